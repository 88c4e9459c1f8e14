"""Announce a rollback by hand from a home, which must not import Prefect."""

from __future__ import annotations

import sys
from pathlib import Path

from reviewlm.core.services.join import ROLLED_BACK, send_event

told = {"version": 6, "sentence": "By hand, by ann: it swears"}
send_event(Path(sys.argv[1]), ROLLED_BACK, "yelp", told)
assert "prefect" not in sys.modules
