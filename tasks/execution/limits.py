"""Wait for a slot of a Prefect concurrency limit: one retrain and one promotion at a time, one training per GPU.

Prefect lets everything run if a limit does not exist. That is right for the server that a command starts for itself
alone; on a server that others use too, a missing limit is created. A slot stays taken for up to five minutes after a
kill. So within a home, locks in its folder say which retrain runs and which GPUs of this machine are held: the system
releases them when a process ends, in whatever way.
"""

from __future__ import annotations

import logging
import os
import platform
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectAlreadyExists

from reviewlm.core.environment import home_folder, usable_together, visible_gpu_names
from reviewlm.core.manifest import hash_of
from reviewlm.core.processes import interrupts
from reviewlm.core.processes.interrupts import during
from reviewlm.core.services.pools import LIMITS, size_of_limit
from reviewlm.core.store import DIGEST_LENGTH
from reviewlm.tasks.execution.stage import counted_wait

GPU, PROMOTION, RETRAIN = LIMITS
FOLDER = "retrains"
RUNNING = "running.lock"
LOOK_SECONDS = 0.5
log = logging.getLogger(__name__)


def is_shared() -> bool:
    """Return whether the server is one that was named, and not this command's own."""
    return bool(os.environ.get("PREFECT_API_URL"))


def _create(name: str) -> bool:
    """Create a limit of the shared server; return False if it is there already, which stays as it is."""
    limit = GlobalConcurrencyLimitCreate(name=name, limit=size_of_limit(name))
    with suppress(ObjectAlreadyExists), get_client(sync_client=True) as client:
        client.create_global_concurrency_limit(limit)
        return True
    return False


@contextmanager
def slot(name: str, at_wait: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Hold a slot of a limit of a shared server while the block runs; wait until one is free.

    Prefect renews its lease while this process lives; after a kill the slot is free within five minutes. The block goes
    on if the server is away for longer than that, and another process took the slot meanwhile.

    Args:
        name: Name of the limit, which is created if the server does not have it.
        at_wait: Called once, before the first wait.
    """
    with ExitStack() as held:
        if is_shared():
            holding = partial(concurrency, name, strict=True, raise_on_lease_renewal_failure=False)
            try:
                held.enter_context(holding(max_retries=0))
            except ConcurrencySlotAcquisitionError:  # none is free, or there is no such limit
                if not _create(name):
                    at_wait()
                # Fits that wait for GPUs do so beside others of the same run, so only these waits are of the whole run.
                counted = nullcontext() if name == GPU else counted_wait()
                with counted:
                    held.enter_context(holding())
        with interrupts.cleaned_up(held.close):
            yield


class SameRetrainWaits(Exception):
    """A retrain with the same parameters waits already; it will read all files that there are when its turn comes."""


@contextmanager
def one_retrain(home: Path, parameters: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Hold the place of the home's and the server's one retrain in this block; wait until both are free.

    A command without a lasting Prefect server takes the place if it is free, but does not wait for it.

    Args:
        parameters: Parameters of the run. If one with the same ones waits already, this one is not needed. None: always
            wait.

    Raises:
        SameRetrainWaits: As above; the run that waits is not disturbed.
    """
    folder = home / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        if not is_shared():
            if not _took(folder / RUNNING, held):
                log.info(
                    "another retrain runs in this home; this one does not wait, as no services run"
                )
        else:
            with _waiting(folder, parameters) as wait:
                if not _took(folder / RUNNING, held):
                    wait("another retrain has ended")
                    lock = FileLock(folder / RUNNING)
                    with counted_wait():
                        held.enter_context(lock.acquire(poll_interval=LOOK_SECONDS))
                held.enter_context(
                    slot(RETRAIN, lambda: wait("the server's place for a retrain is free"))
                )
        yield


def _took(lock: Path, held: ExitStack) -> bool:
    """Return whether a lock was free; it is then held until the stack ends."""
    with suppress(Timeout):
        held.enter_context(FileLock(lock).acquire(timeout=0))
        return True
    return False


@contextmanager
def _waiting(folder: Path, parameters: Mapping[str, Any] | None) -> Iterator[Callable[[str], None]]:
    """Yield a function to call before each wait; this retrain counts as waiting from its first call to the block's end.

    The function raises SameRetrainWaits if one with the same parameters waits already.
    """
    with ExitStack() as held:
        waits: list[str] = []

        def wait(until: str) -> None:
            if not waits:
                name = f"waiting-{hash_of(parameters)[:DIGEST_LENGTH]}.lock"
                if parameters is not None and not _took(folder / name, held):
                    raise SameRetrainWaits(
                        "A retrain with the same parameters waits already, so this one ends"
                    )
                held.enter_context(during("wait for another retrain"))
            waits.append(until)
            log.info("waiting until %s", until)

        yield wait


@contextmanager
def gpu_slot(
    device: str,
    count: int = 1,
    here: bool = False,
) -> Iterator[tuple[int, ...]]:
    """Wait for a slot of the limit `gpu` and for GPUs of this machine; yield their indices. On the CPU do nothing.

    An index is a place among the visible GPUs, as in torch's "cuda:1". Nothing is yielded where it is not known which
    GPUs there are. A thread must not ask for a second slot while it holds one.

    Args:
        count: Number of GPUs; all are taken together, so that two fits do not wait for each other's.
        here: This process uses them itself, so only those are taken that it sees.
    """
    if device != "cuda":
        yield ()
        return
    names = visible_gpu_names()
    seen = names
    if here:
        seen = names[: usable_together(names)]

    with slot(GPU), _own_gpus(seen, count) as gpus:
        yield gpus


@contextmanager
def _own_gpus(names: Sequence[str], count: int) -> Iterator[tuple[int, ...]]:
    folder = home_folder() / "gpus"
    folder.mkdir(parents=True, exist_ok=True)
    locks: list[Path] = []
    for name in names:
        in_letters = re.sub("[^0-9A-Za-z-]", "_", name)
        locks.append(folder / f"{platform.node()}-{in_letters}.lock")

    while True:
        with ExitStack() as held:
            free = (index for index, lock in enumerate(locks) if _took(lock, held))
            gpus = tuple(islice(free, count))
            if len(gpus) == min(count, len(locks)):
                yield gpus
                return
        time.sleep(LOOK_SECONDS)
