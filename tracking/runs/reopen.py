"""Reopen the run of an earlier process, to continue it."""

from __future__ import annotations

from core.errors import ReviewLMError
from tracking.client import ABSENT, error_code
from tracking.runs.open_runs import opened, process_tags, starting
from tracking.runs.runs import Tracker


def reopen_run(tracker: Tracker, run_id: str) -> bool:
    """Set a run back to RUNNING; return False if it does not exist or is marked as deleted.

    Raises:
        TrackingUnavailable: MLflow does not answer.
    """
    known = tracker.known_id(run_id)
    with starting():
        return _reopened(tracker, run_id, known)


def _reopened(tracker: Tracker, run_id: str, known: str) -> bool:
    try:
        with tracker.reaching() as client:
            if client.get_run(known).info.lifecycle_stage == "deleted":
                return False
            client.update_run(known, status="RUNNING")
    except ReviewLMError as error:
        if error_code(error) in ABSENT:
            return False
        raise
    tracker.set_tags(run_id, process_tags())
    opened(tracker, run_id)
    return True
