"""Verify the folder of a bundle, and print which libraries of arrays that has imported.

python -m tests.programs.verify_bundle FOLDER
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from reviewlm.models.base import ModelError
from reviewlm.tracking.registry.opening import verify_bundle

with suppress(ModelError):
    verify_bundle(Path(sys.argv[1]))

print(sorted({"numpy", "polars"} & sys.modules.keys()))
