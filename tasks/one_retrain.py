"""Run one retrain of a home at a time: those of deployments, events and commands wait for each other.

Locks in the home folder say so, because the system releases them when a process ends, in whatever way. A limit of
Prefect's server would stay taken after a kill until its lease ends (up to five minutes), also for the second attempt
of the same run, and would be lost where the server is away when the lease should be renewed.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from prefect.runtime import deployment, flow_run

from core.output import write_output
from core.processes.interrupts import during
from tasks.limits import is_shared

FOLDER, RUNNING, HOLDER = "retrains", "running.lock", "running.txt"
LOOK_SECONDS = 1.0
DIGITS = 16
log = logging.getLogger(__name__)


class SameRetrainWaits(Exception):
    """A retrain with the same parameters waits already; it will read all files that there are when its turn comes."""


def asked_by_deployment(asked: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the parameters if a deployment made this run; None for a command, whose user wants its result."""
    return asked if deployment.id else None


@contextmanager
def one_retrain(home: Path, name: str, asked: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Hold the place of the home's one retrain in this block; wait until it is free.

    A command without a lasting Prefect server takes the place if it is free, but does not wait for it.

    Args:
        home: Home folder.
        name: What those who wait are told about this retrain.
        asked: Parameters of the run. If one with the same ones waits already, this one is not needed. None: always
            wait.

    Raises:
        SameRetrainWaits: As above; the run that waits is not disturbed.
    """
    folder = home / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        free = _took(folder / RUNNING, held)
        if not free and is_shared():
            _wait(folder, asked, held)
            free = True
        if free:
            write_output(folder / HOLDER, f"{name} (flow run {flow_run.name or 'unknown'})")
        else:
            log.info("another retrain runs in this home: %s", _holder(folder))
        yield


def _took(lock: Path, held: ExitStack) -> bool:
    """Return whether a lock was free; it is then held until the stack ends."""
    try:
        held.enter_context(FileLock(lock).acquire(timeout=0))
    except Timeout:
        return False
    return True


def _wait(folder: Path, asked: Mapping[str, Any] | None, held: ExitStack) -> None:
    with ExitStack() as waiting, during("wait for another retrain"):
        if asked is not None and not _took(folder / _name_of(asked), waiting):
            raise SameRetrainWaits("A retrain with the same parameters waits already, so this one ends")
        log.info("waiting until another retrain has ended: %s", _holder(folder))
        held.enter_context(FileLock(folder / RUNNING).acquire(poll_interval=LOOK_SECONDS))


def _name_of(asked: Mapping[str, Any]) -> str:
    """Return the name of the lock of those who wait with these parameters."""
    content = json.dumps(asked, sort_keys=True, default=str).encode()
    return f"waiting-{hashlib.sha256(content).hexdigest()[:DIGITS]}.lock"


def _holder(folder: Path) -> str:
    try:
        return (folder / HOLDER).read_text(encoding="utf-8")
    except OSError:
        return "not known which"
