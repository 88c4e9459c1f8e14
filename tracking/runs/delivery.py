"""Send writes to MLflow, or queue them while it does not answer, without loss or duplicates.

Queued writes are sent in their order, before any newer write, by the next process that writes. A run that is started
while MLflow does not answer gets a local name (`pending-…`). Queued writes contain this name until they are sent; then
it is replaced by the id that MLflow has given the run. A queued write that MLflow refuses is removed and recorded.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from filelock import Timeout

from core.errors import ArtifactError, ReviewLMError, TrackingUnavailable
from tracking.runs.outbox import Outbox, Waiting, Write
from tracking.runs.writes import send

if TYPE_CHECKING:
    from tracking.runs.runs import Tracker

log = logging.getLogger(__name__)
PENDING = "pending-"
HOPELESS = 5
"""Attempts after which a write that fails while MLflow answers other requests is removed, to not block the others."""
WAIT_PAUSE = 2.0


def new_run() -> str:
    """Return a new local name for a run, used until MLflow gives it an id."""
    return PENDING + uuid.uuid4().hex


def deliver(tracker: Tracker, write: Write) -> str | None:
    """Send a write, or queue it if MLflow does not answer; return the result of `send`, or None if it was queued.

    Raises:
        TrackingUnavailable: The local database cannot be used, and waiting would not help.
        ReviewLMError: MLflow refuses the write.
    """
    outbox = tracker.outbox
    if outbox.waiting() and not outbox.paused():
        flush(tracker)
    if not outbox.waiting() and not outbox.paused():
        try:
            return send(tracker, real_ids(outbox, write))
        except TrackingUnavailable as error:
            if not tracker.may_come_back(error):
                raise
            _told(tracker, error, outbox.pause())
    outbox.put(write)
    return None


def deliver_now(tracker: Tracker, journal: Write) -> int:
    """Send the new points of a journal and return their number; never queue them, because the journal keeps them.

    Raises:
        TrackingUnavailable: MLflow does not answer, or has not received all queued writes.
    """
    outbox = tracker.outbox
    if outbox.paused() or flush(tracker):
        raise TrackingUnavailable("MLflow did not answer a moment ago", where=tracker.shown)
    try:
        return int(send(tracker, real_ids(outbox, journal)) or 0)
    except TrackingUnavailable as error:
        if tracker.may_come_back(error):
            outbox.pause()
        raise


def flush(tracker: Tracker) -> int:
    """Send the queued writes in their order, and return how many remain."""
    outbox = tracker.outbox
    if not outbox.waiting():
        return 0
    sent = 0
    try:
        with outbox.lock.acquire(timeout=0):
            while (waiting := outbox.first()) is not None and _send_one(tracker, waiting):
                sent += 1
    except Timeout:
        log.debug("another process is sending the queued writes to %s", tracker.shown)
    left = outbox.waiting()
    if sent:
        log.info("MLflow (%s) is back: %d queued writes were sent, %d are still queued", tracker.shown, sent, left)
    return left


def _send_one(tracker: Tracker, waiting: Waiting) -> bool:
    """Send one write and remove it from the outbox; return False if MLflow does not answer."""
    outbox = tracker.outbox
    outbox.try_again(waiting)
    try:
        named = send(tracker, real_ids(outbox, waiting.write), again=True)
    except TrackingUnavailable as error:
        if waiting.tries < HOPELESS or not tracker.answers():
            _told(tracker, error, outbox.pause())
            return False
        _refuse(outbox, waiting, error)
    except ArtifactError:  # e.g. this machine's disk is full: the write is not at fault
        raise
    except Exception as error:
        _refuse(outbox, waiting, error)
    else:
        outbox.sent(waiting, named if waiting.write.kind == "start" else None)
        outbox.resume()
    return True


def _refuse(outbox: Outbox, waiting: Waiting, error: Exception) -> None:
    what = waiting.write
    log.warning("MLflow rejected the queued '%s' of run %s: %s", what.kind, what.run_id, error)
    outbox.refuse(waiting, str(error))


def _told(tracker: Tracker, error: TrackingUnavailable, pause: float) -> None:
    log.warning(
        "MLflow (%s) cannot be reached (%s); writes are queued in %s and sent when it is back; next attempt in %.0f s",
        tracker.shown, error.cause or error.what, tracker.outbox.folder, pause,
    )


def wait_for(tracker: Tracker, seconds: float = 0.0, sleep: Callable[[float], None] = time.sleep) -> None:
    """Wait until MLflow answers and has received all queued writes.

    Raises:
        TrackingUnavailable: This takes longer than *seconds*, or waiting would not help.
        NotAuthorized: MLflow rejects the credentials; raised at once.
    """
    deadline = time.monotonic() + seconds
    told = False
    while True:
        try:
            tracker.ask(lambda client: client.search_experiments(max_results=1), patient=False)
            if not (left := flush(tracker)):
                if tracker.outbox.paused():  # otherwise the start of the next run would be queued
                    tracker.outbox.resume()
                return
            error = TrackingUnavailable("Some writes to MLflow are still queued", where=tracker.shown, value=left)
        except TrackingUnavailable as away:
            error = away
        if time.monotonic() + WAIT_PAUSE > deadline or not tracker.worth_waiting(error):
            raise error
        if not told:
            log.warning(
                "MLflow (%s) is needed now but cannot be reached; waiting up to %.0f s for it", tracker.shown, seconds
            )
            told = True
        sleep(WAIT_PAUSE)


def real_ids(outbox: Outbox, write: Write) -> Write:
    """Return a write with MLflow's ids in place of the local names of runs.

    Raises:
        ReviewLMError: A run never reached MLflow.
    """
    run_id = write.run_id if write.kind == "start" else real_id(outbox, write.run_id)
    return Write(write.kind, run_id, _replaced(outbox, write.details), write.files)


def real_id(outbox: Outbox, run_id: str) -> str:
    """Return MLflow's id of a run.

    Raises:
        ReviewLMError: The run never reached MLflow.
    """
    if not run_id.startswith(PENDING):
        return run_id
    known = outbox.known_as(run_id)
    if known is None:
        raise ReviewLMError("MLflow does not know this run", where=outbox.folder, value=run_id)
    return known


def _replaced(outbox: Outbox, value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _replaced(outbox, inner) for name, inner in value.items()}
    if isinstance(value, str) and value.startswith(PENDING) and len(value) == len(PENDING) + 32:
        return real_id(outbox, value)
    return value
