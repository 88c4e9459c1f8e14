"""End MLflow runs whose process was killed and could not end them itself.

Every command checks whether there is a file of such a process (`tracking/runs/open_runs.py`), which costs almost no
time. Only if there is one, it asks MLflow.
"""

from __future__ import annotations

import logging
import socket
from contextlib import suppress
from pathlib import Path

from core.config.run_config import RunConfig
from core.errors import ReviewLMError
from core.processes.identity import is_gone
from core.processes.leftovers import is_held
from tracking.logged_models.opening import tracker_at
from tracking.runs.open_runs import marks_of
from tracking.runs.runs import Tracker
from tracking.tags import NOTE, PROCESS, names_of

log = logging.getLogger(__name__)


def end_abandoned(tracker: Tracker) -> list[str]:
    """End the runs of this machine whose process has ended, as KILLED, and return their ids.

    Raises:
        TrackingUnavailable: MLflow does not answer.
    """
    ended = []
    for name in names_of(PROCESS):
        where = f"attributes.status = 'RUNNING' and tags.`{name}` LIKE '{socket.gethostname()} %'"
        runs = tracker.search(where, most=1000)
        ended += [str(run.info.run_id) for run in runs if is_gone(run.data.tags[name])]
    for run_id in ended:
        tracker.set_tags(run_id, {NOTE: "Killed: the process that wrote this run is gone"})
        tracker.end_run(run_id, "KILLED")
    if ended:
        log.info("%d unfinished runs of killed processes were ended in MLflow", len(ended))
    return ended


def end_left_runs(config: RunConfig) -> None:
    """End the runs that killed processes of this home folder left open.

    If MLflow does not answer, the files stay and the next command tries again. This is no error, because not every
    command needs MLflow.
    """
    left = left_marks(config.home)
    if left:
        with suppress(ReviewLMError):
            end_abandoned(tracker_at(config))
            for mark in left:
                mark.unlink(missing_ok=True)


def left_marks(home: Path) -> list[Path]:
    """Return the files of processes that ended while they had runs open."""
    folder, left = marks_of(home), []
    with suppress(OSError):
        for mark in folder.iterdir():
            with suppress(OSError):  # a file of another user without access, or removed just now
                left += [] if is_held(mark) else [mark]
    return left
