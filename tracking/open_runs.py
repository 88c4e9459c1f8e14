"""The MLflow runs that this process has open.

An interrupted process ends them as KILLED. One that is killed cannot; it leaves a file that nobody holds any more,
which tells whatever starts next in this home folder that runs have to be ended (`tracking/abandoned.py`).
"""

from __future__ import annotations

import os
import threading
import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from reviewlm import interrupts
from reviewlm.errors import ReviewLMError
from reviewlm.leftovers import hold
from reviewlm.processes import this_process

if TYPE_CHECKING:
    from tracking.runs import Tracker

PROCESS = "reviewlm.process"
NOTE = "mlflow.note.content"
_lock = threading.Lock()
_open: dict[tuple[Path, str], Tracker] = {}
_marks: dict[Path, tuple[Path, int]] = {}


def process_tags() -> dict[str, str]:
    """Return the tag that says which process writes a run: machine, number, seconds since 1970 at its start."""
    return {PROCESS: this_process()}


def opened(tracker: Tracker, run_id: str) -> None:
    """Note that this process writes a run."""
    folder = marks_of(tracker.artifact_root.parent)
    with _lock:
        _open[folder, run_id] = tracker
        if folder not in _marks:
            with suppress(OSError):  # a disk that is full; then the next run finds out
                folder.mkdir(parents=True, exist_ok=True)
                file = folder / f"{os.getpid()}-{uuid.uuid4().hex}"
                if (descriptor := hold(file)) is not None:
                    _marks[folder] = file, descriptor
    interrupts.at_interrupt(end_open_runs)


def ended(tracker: Tracker, run_id: str) -> None:
    """Note that a run is ended."""
    folder = marks_of(tracker.artifact_root.parent)
    with _lock:
        _open.pop((folder, run_id), None)
        if folder in _marks and not any(where == folder for where, _ in _open):
            file, descriptor = _marks.pop(folder)
            file.unlink(missing_ok=True)
            os.close(descriptor)


def end_open_runs() -> None:
    """End all runs that this process has open as KILLED, the last one first."""
    with _lock:
        left = list(_open.items())
    for (_, run_id), tracker in reversed(left):
        with suppress(ReviewLMError):
            tracker.end_run(run_id, "KILLED")
            tracker.set_tags(run_id, {NOTE: "Interrupted"})


def marks_of(home: Path) -> Path:
    """Return the folder with one file for each process that has runs open."""
    return home / "running"
