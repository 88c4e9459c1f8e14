"""Run one retrain at a time: those of deployments, events and commands wait for each other.

Within a home, locks in its folder say so, because the system releases them when a process ends, in whatever way. Homes
that share a Prefect server wait for each other by its limit `retrain`, whose slot stays taken for up to five minutes
after a kill.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from prefect.runtime import deployment, flow_run

from core.output import write_output
from core.processes.interrupts import during
from tasks.limits import RETRAIN, is_shared, slot

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
    """Hold the place of the home's and the server's one retrain in this block; wait until both are free.

    A command without a lasting Prefect server takes the place if it is free, but does not wait for it.

    Args:
        name: What those who wait are told about this retrain.
        asked: Parameters of the run. If one with the same ones waits already, this one is not needed. None: always
            wait.

    Raises:
        SameRetrainWaits: As above; the run that waits is not disturbed.
        ConfigError: A shared server lacks the limit `retrain`.
    """
    folder = home / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        free = _took(folder / RUNNING, held)
        if is_shared():
            with _waiting(folder, asked) as wait:
                if not free:
                    wait(f"another retrain has ended: {_holder(folder)}")
                    held.enter_context(FileLock(folder / RUNNING).acquire(poll_interval=LOOK_SECONDS))
                held.enter_context(slot(RETRAIN, lambda: wait("the server's place for a retrain is free")))
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


@contextmanager
def _waiting(folder: Path, asked: Mapping[str, Any] | None) -> Iterator[Callable[[str], None]]:
    """Yield a function to call before each wait; this retrain counts as waiting from its first call to the block's end.

    The function raises SameRetrainWaits if one with the same parameters waits already.
    """
    with ExitStack() as held:
        waits = False

        def wait(until: str) -> None:
            nonlocal waits
            if not waits and asked is not None and not _took(folder / _name_of(asked), held):
                raise SameRetrainWaits("A retrain with the same parameters waits already, so this one ends")
            if not waits:
                held.enter_context(during("wait for another retrain"))
            waits = True
            log.info("waiting until %s", until)

        yield wait


def _name_of(asked: Mapping[str, Any]) -> str:
    """Return the name of the lock of those who wait with these parameters."""
    content = json.dumps(asked, sort_keys=True, default=str).encode()
    return f"waiting-{hashlib.sha256(content).hexdigest()[:DIGITS]}.lock"


def _holder(folder: Path) -> str:
    try:
        return (folder / HOLDER).read_text(encoding="utf-8")
    except OSError:
        return "not known which"
