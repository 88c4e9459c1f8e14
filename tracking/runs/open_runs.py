"""End MLflow runs also after an interrupt or a kill of the process that writes them.

The record of a run (`tracking/runs/record.py`) names the process that has the run open, and a lock beside it is held
for as long. An interrupted process ends its runs as KILLED. For a killed one, the next command in the home folder does
so. On one machine, number and start of the process say whether it lives; of another machine or container the lock does.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from core.errors import ArtifactError, ReviewLMError, TrackingUnavailable, disk_errors
from core.processes import interrupts
from core.processes.leftovers import hold, is_elsewhere, is_gone, is_held, this_process
from tracking.artifacts import ARTIFACTS
from tracking.client import ABSENT, error_code
from tracking.runs.publish import Publisher, Sent
from tracking.runs.record import FOLDER, OWN, Record, Records, known_stores, remember_store
from tracking.tags import NOTE, stored_name

LOCK = "open.lock"
STARTING_SECONDS = 1.0
"""Seconds that an interrupt waits for a run that another thread is starting."""
KILLED = "Killed: the process that wrote this run is gone"
_lock = threading.Lock()
_starting = threading.RLock()
_open: dict[Path, tuple[Publisher, str, int | None]] = {}
"""By lock: the connection, the run and the descriptor of the lock."""


@contextmanager
def starting() -> Iterator[None]:
    """Delay an interrupt while a run starts, until `opened` has recorded it, so that every started run is ended."""
    with _starting:
        yield


def opened(tracker: Publisher, run: str, **part: Any) -> Sent:
    """Record that this process writes a run, together with a part of its record; call it within `starting`."""
    remember_store(tracker)
    file = tracker.records.folder / run / LOCK
    with disk_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = hold(file)
    with _lock:
        _open[file] = tracker, run, descriptor
    try:
        sent = tracker.write(run, process=this_process(), **part)
    except BaseException:
        forget(tracker, run)
        raise
    interrupts.at_interrupt(end_for_good)
    return sent


def forget(tracker: Publisher, run: str) -> None:
    """Remove the record of a run that this process has opened under another name, or could not open."""
    _release(tracker.records.folder / run / LOCK)
    tracker.records.forget(run)


def _release(file: Path) -> None:
    with _lock:
        _, _, descriptor = _open.pop(file, (None, "", None))
    if descriptor is not None:
        file.unlink(missing_ok=True)
        os.close(descriptor)


def reopen_run(tracker: Publisher, run_id: str) -> bool:
    """Set the run of an earlier process back to RUNNING; return False if it does not exist or is marked as deleted."""
    known_id = tracker.known_id(run_id)
    with starting():
        try:
            with tracker.reaching() as client:
                if client.get_run(known_id).info.lifecycle_stage == "deleted":
                    return False
                opened(tracker, run_id)  # first: whoever ends the former process's runs looks at it
                client.update_run(known_id, status="RUNNING")
        except ReviewLMError as error:
            if error_code(error) in ABSENT:
                return False
            raise
    return True


def end(tracker: Publisher, run_id: str, status: str, **part: Any) -> None:
    """End a run as FINISHED, FAILED or KILLED; *part* is written with it."""
    tracker.write(run_id, end={"status": status, "time": int(time.time() * 1000)}, process="", **part)
    _release(tracker.records.folder / run_id / LOCK)


def end_for_good() -> None:
    """End all open runs before the process ends, and block new ones: the lock is not released."""
    _starting.acquire(timeout=STARTING_SECONDS)
    end_open_runs()


def end_open_runs() -> None:
    """End all runs that this process has open as KILLED, the newest first, and then add a note with the reason."""
    with _lock:
        left = list(reversed(_open.values()))
    for tracker, run_id, _ in left:
        with suppress(ReviewLMError):
            end(tracker, run_id, "KILLED")
    for tracker, run_id, _ in left:
        with suppress(ReviewLMError):
            tracker.write(run_id, tags={stored_name(NOTE): "Interrupted"})


def end_left_runs(home: Path) -> None:
    """End the runs that killed processes of this home folder left open, as KILLED.

    Where MLflow does not answer, their ends wait like all other writes.
    """
    for uri in known_stores(home):
        with suppress(ArtifactError):  # whoever writes the run says what is wrong with its record
            for record in Records(home, uri).all():
                if record.process:
                    _end_left(Publisher(uri, record.experiment, home / ARTIFACTS), record.run)


def _end_left(tracker: Publisher, run: str) -> None:
    """End a run if the process that has it open is gone."""
    with tracker.records.lock(run):
        record = tracker.records.read(run)  # another process may have ended it, or gone on with it
        if record is None or not is_left(tracker, record):
            return
        try:
            end(tracker, run, "KILLED", tags={stored_name(NOTE): KILLED})
        except TrackingUnavailable:  # of the local database: the next command tries again
            return
        except ReviewLMError:  # deleted in MLflow
            tracker.records.forget(run)
        (tracker.records.folder / run / LOCK).unlink(missing_ok=True)


def is_left(tracker: Publisher, record: Record) -> bool:
    """Return whether the process that has a run open is gone."""
    if not record.process or not is_elsewhere(record.process):
        return bool(record.process) and is_gone(record.process)
    file = tracker.records.folder / record.run / LOCK
    return not _is_held(file) if file.exists() else tracker.records.folder.name == OWN  # of a restored home


def open_locks(home: Path, held: bool) -> list[Path]:
    """Return the locks of open runs that a living process holds, or those that none does."""
    return [file for file in (home / FOLDER).glob(f"*/*/{LOCK}") if _is_held(file) == held]


def _is_held(file: Path) -> bool:
    """Return whether a process holds a lock; one of another user that cannot be opened counts as held."""
    try:
        return is_held(file)
    except OSError:
        return True
