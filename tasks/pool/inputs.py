"""Delete from a worker's home the results that it downloaded for earlier jobs, so that its disk does not fill up."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from pathlib import Path

from core.errors import ArtifactError
from core.manifest import MANIFEST
from core.storing.removal import Removal, one_collection
from core.storing.uses import Uses
from evaluation.reports.run_record import REPORTS
from tracking.runs.known_stores import known_stores

KEPT_DAYS = 7
"""Days after its last use in which an input is kept: a run's next fits, and its next evaluation, read the same ones."""
DAY = 24 * 3600 * 1_000_000_000
log = logging.getLogger(__name__)


def remove_old_inputs(home: Path) -> int:
    """Remove the results that no job has used for `KEPT_DAYS`, and return their number.

    A home in which runs of its own were made is left alone: `reviewlm gc` knows what they need.
    """
    if (home / REPORTS).exists() or known_stores(home):
        return 0
    store, removed = home / "store", 0
    uses = Uses(store)
    before = time.time_ns() - KEPT_DAYS * DAY
    if (since := uses.since()) is not None:  # a process may still read what it has opened
        before = min(before, since)
    with suppress(ArtifactError), one_collection(store):  # another worker of this home does the same
        (removal := Removal(store)).finish_earlier()
        for manifest in sorted(store.glob(f"[!.]*/*/{MANIFEST}")):
            stage, digest = manifest.parent.parent.name, manifest.parent.name
            if (used := uses.last(stage, digest)) < before:
                removed += removal.remove(stage, digest, used)
        removal.empty()
    if removed:
        log.info("%d results were removed that no fit has used for %d days", removed, KEPT_DAYS)
    return removed
