"""Track the MLflow runs that this process has open, so that they are ended also after an interrupt or a kill.

An interrupted process ends its runs as KILLED. A process that is killed cannot do so. It leaves a file whose lock the
system has released. The file lists the runs, and the next command in the home folder ends them, also on another machine
or in another container (`tracking/runs/abandoned.py`).
"""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from core.errors import ReviewLMError
from core.processes import interrupts
from core.processes.leftovers import hold, this_process
from tracking.client import ABSENT, error_code
from tracking.runs.publish import Publisher
from tracking.runs.record import remember_store, store_key
from tracking.tags import NOTE, PROCESS, stored_name

STARTING_SECONDS = 1.0
"""Seconds that an interrupt waits for a run that another thread is starting."""
_lock = threading.Lock()
_starting = threading.RLock()
_open: dict[tuple[Path, str], Publisher] = {}
_marks: dict[Path, tuple[Path, int]] = {}


@dataclass(frozen=True)
class MarkedRun:
    """A run that a file lists: its id, the experiment and the key of its store, and the process that writes it."""

    run: str
    experiment: str
    store: str
    process: str


def process_tags() -> dict[str, str]:
    """Return the tag with the process that writes a run (see `core/processes/leftovers.py`)."""
    return {PROCESS: this_process()}


@contextmanager
def starting() -> Iterator[None]:
    """Delay an interrupt while a run starts, until `opened` has recorded it, so that every started run is ended."""
    with _starting:
        yield


def opened(tracker: Publisher, run_id: str) -> None:
    """Record that this process writes a run; call it within `starting`."""
    folder = marks_of(tracker.artifact_root.parent)
    remember_store(tracker)
    with _lock:
        _open[folder, run_id] = tracker
        if folder not in _marks:
            with suppress(OSError):  # e.g. a full disk: then only the next tracked run ends these runs
                folder.mkdir(parents=True, exist_ok=True)
                file = folder / f"{os.getpid()}-{uuid.uuid4().hex}"
                if (descriptor := hold(file)) is not None:
                    _marks[folder] = file, descriptor
        if folder in _marks:
            listed = MarkedRun(run_id, tracker.experiment, store_key(tracker.uri), this_process())
            with suppress(OSError):
                os.write(_marks[folder][1], (json.dumps(asdict(listed)) + "\n").encode())
    interrupts.at_interrupt(end_for_good)


def reopen_run(tracker: Publisher, run_id: str) -> bool:
    """Set the run of an earlier process back to RUNNING; return False if it does not exist or is marked as deleted."""
    known_id = tracker.known_id(run_id)
    with starting():
        try:
            with tracker.reaching() as client:
                if client.get_run(known_id).info.lifecycle_stage == "deleted":
                    return False
                for name, value in process_tags().items():  # first: whoever ends the former process's runs looks at it
                    client.set_tag(known_id, name, value)
                client.update_run(known_id, status="RUNNING")
        except ReviewLMError as error:
            if error_code(error) in ABSENT:
                return False
            raise
        opened(tracker, run_id)
    return True


def end(tracker: Publisher, run_id: str, status: str) -> None:
    """End a run as FINISHED, FAILED or KILLED."""
    tracker.write(run_id, end={"status": status, "time": int(time.time() * 1000)})
    folder = marks_of(tracker.artifact_root.parent)
    with _lock:
        _open.pop((folder, run_id), None)
        if folder in _marks and not any(where == folder for where, _ in _open):
            file, descriptor = _marks.pop(folder)
            file.unlink(missing_ok=True)
            os.close(descriptor)


def end_for_good() -> None:
    """End all open runs before the process ends, and block new ones: the lock is not released."""
    _starting.acquire(timeout=STARTING_SECONDS)
    end_open_runs()


def end_open_runs() -> None:
    """End all runs that this process has open as KILLED, the newest first, and then add a note with the reason."""
    with _lock:
        left = list(reversed(_open.items()))
    for (_, run_id), tracker in left:
        with suppress(ReviewLMError):
            end(tracker, run_id, "KILLED")
    for (_, run_id), tracker in left:
        with suppress(ReviewLMError):
            tracker.write(run_id, tags={stored_name(NOTE): "Interrupted"})


def listed_runs(mark: Path) -> list[MarkedRun]:
    """Return the runs that the file of a process lists; none if it is gone."""
    marked = []
    with suppress(OSError):
        for line in mark.read_bytes().splitlines():
            with suppress(ValueError, TypeError):  # cut off by a full disk
                marked.append(MarkedRun(**json.loads(line)))
    return marked


def marks_of(home: Path) -> Path:
    """Return the folder with one file per process that has runs open."""
    return home / "running"
