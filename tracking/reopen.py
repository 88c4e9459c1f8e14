"""Going on with a run that an earlier process has left."""

from __future__ import annotations

from reviewlm.errors import ReviewLMError
from tracking.client import ABSENT, error_code
from tracking.runs import Tracker


def reopen_run(tracker: Tracker, run_id: str) -> bool:
    """Set a run back to RUNNING; return False where there is no such run any more, or it lies in the bin.

    Raises:
        TrackingUnavailable: MLflow does not answer.
    """
    run_id = tracker.known_id(run_id)
    try:
        with tracker.reaching() as client:
            if client.get_run(run_id).info.lifecycle_stage == "deleted":
                return False
            client.update_run(run_id, status="RUNNING")
    except ReviewLMError as error:
        if error_code(error) in ABSENT:
            return False
        raise
    return True
