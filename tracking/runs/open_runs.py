"""Track the MLflow runs that this process has open, so that they are ended also after an interrupt or a kill.

An interrupted process ends its runs as KILLED. A process that is killed cannot do so. It leaves a file whose lock the
system has released. The file lists the runs, and the next command in the home folder ends them, also on another machine
or in another container (`tracking/runs/abandoned.py`).

Remember which MLflow stores the runs of a home folder wrote to, so that a collection asks all of them for versions.

The address may come from a preset that another command does not use. The home folder's own database needs no entry.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import ReviewLMError
from core.processes import interrupts
from core.processes.identity import this_process
from core.processes.leftovers import hold
from core.storing.sqlite_files import DATABASE, home_database
from tracking.client import ABSENT, error_code
from tracking.runs.outbox import Write
from tracking.runs.sync import QueuedConnection
from tracking.tags import NOTE, PROCESS

if TYPE_CHECKING:
    from tracking.connection import Connection

STARTING_SECONDS = 1.0
"""Seconds that an interrupt waits for a run that another thread is starting."""
_lock = threading.Lock()
_starting = threading.RLock()
_open: dict[tuple[Path, str], QueuedConnection] = {}
_marks: dict[Path, tuple[Path, int]] = {}

FOLDER = "stores"


@dataclass(frozen=True)
class MarkedRun:
    """A run that a file lists: its id, the experiment and the key of its store, and the process that writes it."""

    run: str
    experiment: str
    store: str
    process: str


def process_tags() -> dict[str, str]:
    """Return the tag with the process that writes a run (see `core/processes/identity.py`)."""
    return {PROCESS: this_process()}


@contextmanager
def starting() -> Iterator[None]:
    """Delay an interrupt while a run starts, until `opened` has recorded it, so that every started run is ended."""
    with _starting:
        yield


def opened(tracker: QueuedConnection, run_id: str) -> None:
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


def reopen_run(tracker: QueuedConnection, run_id: str) -> bool:
    """Set the run of an earlier process back to RUNNING; return False if it does not exist or is marked as deleted."""
    known = tracker.known_id(run_id)
    with starting():
        try:
            with tracker.reaching() as client:
                if client.get_run(known).info.lifecycle_stage == "deleted":
                    return False
                for name, value in process_tags().items():  # first: whoever ends the former process's runs looks at it
                    client.set_tag(known, name, value)
                client.update_run(known, status="RUNNING")
        except ReviewLMError as error:
            if error_code(error) in ABSENT:
                return False
            raise
        opened(tracker, run_id)
    return True


def end(tracker: QueuedConnection, run_id: str, status: str) -> None:
    """End a run as FINISHED, FAILED or KILLED."""
    tracker.write(Write("end", run_id, {"status": status, "time": int(time.time() * 1000)}))
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
            tracker.write(Write("tags", run_id, {"tags": {NOTE: "Interrupted"}}))


def listed_runs(mark: Path) -> list[MarkedRun]:
    """Return the runs that the file of a process lists; none if it is gone."""
    found = []
    with suppress(OSError):
        for line in mark.read_bytes().splitlines():
            with suppress(ValueError, TypeError):  # cut off by a full disk
                found.append(MarkedRun(**json.loads(line)))
    return found


def marks_of(home: Path) -> Path:
    """Return the folder with one file per process that has runs open."""
    return home / "running"


def store_key(uri: str) -> str:
    """Return the name by which files of a home folder mean a store; its address may hold a password."""
    return hashlib.sha256(uri.encode()).hexdigest()[:16]


def remember_store(tracker: Connection) -> None:
    """Record the address of a store outside the home folder, with its password, for the home folder's owner only."""
    home = tracker.artifact_root.parent
    if tracker.uri == home_database(home):
        return
    file = home / FOLDER / store_key(tracker.uri)
    with suppress(OSError):  # a full disk must not end a run
        if not file.exists():
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            part = file.with_name(f"{file.name}.part")
            part.write_text(tracker.uri, encoding="utf-8")
            part.replace(file)


def known_stores(home: Path) -> list[str]:
    """Return the addresses of the home folder's own database, if it exists, and of all remembered stores."""
    own = [home_database(home)] if (home / DATABASE).is_file() else []
    files = sorted((home / FOLDER).glob("*")) if (home / FOLDER).is_dir() else []
    return [*own, *(file.read_text(encoding="utf-8") for file in files if file.suffix != ".part")]
