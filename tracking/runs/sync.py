"""Send queued MLflow writes from the outbox in order, without loss or duplicates.

A write is sent at once if MLflow answers. If not, it is queued in the outbox with all later ones, and `sync` sends
them in their order: before the next write, at the end of a flow, and by `reviewlm tracking flush`. Sending a write
again changes nothing (`tracking/runs/writes.py`). A run that is started while MLflow does not answer gets a local name
(`pending-…`). Queued writes contain it until they are sent; then it is replaced by MLflow's id of the run. A queued
write that MLflow refuses is removed and recorded.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from filelock import Timeout

from core.errors import ArtifactError, ReviewLMError, TrackingUnavailable
from tracking.connection import Connection
from tracking.runs.outbox import Outbox, Waiting, Write
from tracking.runs.writes import WITH_FILES, send

log = logging.getLogger(__name__)
PENDING = "pending-"
HOPELESS = 5
"""Attempts after which a write is removed, to not block the others, if MLflow and the place of its artifacts answer."""
WAIT_PAUSE = 2.0


class QueuedConnection(Connection):
    """A connection whose writes are queued on this disk while MLflow does not answer."""

    def _connect(self) -> None:
        super()._connect()
        self.outbox = Outbox(self.artifact_root.parent / "outbox", self.uri, self.experiment)

    def wait(self, seconds: float = 0.0) -> None:
        """Wait until MLflow answers and has all queued writes; raise TrackingUnavailable after *seconds*."""
        wait_for(self, seconds)

    def sync(self) -> int:
        """Send the queued writes, and return how many remain."""
        with self._lock:
            return sync(self)

    def write(self, write: Write, keep: bool = True) -> str | None:
        """Send a write or queue it; see `tracking.runs.sync.deliver`."""
        with self._lock:
            return deliver(self, write, keep)

    def known_id(self, run_id: str) -> str:
        """Return MLflow's id of a run that may have been started while MLflow did not answer.

        Raises:
            TrackingUnavailable: MLflow has not received the run yet.
        """
        try:
            return real_id(self.outbox, run_id)
        except ReviewLMError as error:
            raise TrackingUnavailable("MLflow does not know this run yet", where=self.shown, value=run_id) from error


def deliver(tracker: QueuedConnection, write: Write, keep: bool = True) -> str | None:
    """Send a write after all queued ones, or queue it if MLflow does not answer.

    Args:
        keep: Whether the write may be queued; the journal of a running training needs no copy.

    Returns:
        The result of `send`; None if the write was queued.

    Raises:
        TrackingUnavailable: MLflow does not answer, and the write is not queued: *keep* is false, or the local database
            cannot be used, so that waiting would not help.
        ReviewLMError: MLflow refuses the write.
    """
    outbox = tracker.outbox
    away = TrackingUnavailable("MLflow did not answer a moment ago", where=tracker.shown)
    if not outbox.paused() and not sync(tracker):
        try:
            return send(tracker, real_ids(outbox, write))
        except TrackingUnavailable as error:
            if not tracker.may_come_back(error):
                raise
            _pause(tracker, error)
            away = error
    if not keep:
        raise away
    outbox.put(write)
    return None


def sync(tracker: QueuedConnection) -> int:
    """Send the queued writes in their order, and return how many remain."""
    outbox = tracker.outbox
    if not outbox.waiting():
        return 0
    sent = 0
    with suppress(Timeout), outbox.lock.acquire(timeout=0):  # a timeout: another process is sending
        while (waiting := outbox.first()) is not None and _send_queued(tracker, waiting):
            sent += 1
    left = outbox.waiting()
    if sent:
        log.info("MLflow (%s) is back: %d queued writes were sent, %d are still queued", tracker.shown, sent, left)
    return left


def _send_queued(tracker: QueuedConnection, waiting: Waiting) -> bool:
    """Send a queued write and remove it; return False if MLflow does not answer."""
    outbox, write = tracker.outbox, waiting.write
    try:
        run_id = send(tracker, real_ids(outbox, write), again=True)
        outbox.sent(waiting, run_id if write.kind == "start" else None)
    except ArtifactError:  # e.g. this machine's disk is full: the write is not at fault
        raise
    except Exception as error:
        if isinstance(error, TrackingUnavailable) and (waiting.tries < HOPELESS or not _answers(tracker, write)):
            _pause(tracker, error)
            return False
        log.warning("MLflow rejected the queued '%s' of run %s: %s", write.kind, write.run_id, error)
        outbox.refuse(waiting, str(error))
    outbox.resume()
    return True


def _answers(tracker: QueuedConnection, write: Write) -> bool:
    """Return whether all answers now that a write needs."""
    return tracker.answers(real_id(tracker.outbox, write.run_id) if write.kind in WITH_FILES else "")


def _pause(tracker: QueuedConnection, error: TrackingUnavailable) -> None:
    log.warning(
        "MLflow (%s) cannot be reached (%s); writes are queued in %s and sent when it is back; next attempt in %.0f s",
        tracker.shown, error.cause or error.what, tracker.outbox.folder, tracker.outbox.pause(),
    )


def wait_for(tracker: QueuedConnection, seconds: float = 0.0, sleep: Callable[[float], None] = time.sleep) -> None:
    """Wait until MLflow answers and has received all queued writes.

    Raises:
        TrackingUnavailable: This takes longer than *seconds*, or waiting would not help.
        NotAuthorized: MLflow rejects the credentials; raised at once.
    """
    deadline, told = time.monotonic() + seconds, False
    while True:
        try:
            tracker.ask(lambda client: client.search_experiments(max_results=1), patient=False)
            if left := sync(tracker):
                raise TrackingUnavailable("Some writes to MLflow are still queued", where=tracker.shown, value=left)
            if tracker.outbox.paused():  # otherwise the start of the next run would be queued
                tracker.outbox.resume()
            return
        except TrackingUnavailable as error:
            if time.monotonic() + WAIT_PAUSE > deadline or not tracker.worth_waiting(error):
                raise
        if not told:
            log.warning("MLflow (%s) cannot be reached; waiting up to %.0f s for it", tracker.shown, seconds)
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
