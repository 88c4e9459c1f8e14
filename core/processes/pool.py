"""Apply a function to a stream in several processes of this machine, with results in order and bounded memory."""

from __future__ import annotations

import os
import pickle
import signal
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any, TypeVar

from core.errors import OutOfMemory
from models.threads import in_order

Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 1
"""Results that are kept ready in addition to one for each process."""


class ProcessPool:
    """A `models.threads.FanOut` of processes, which start with the first item and end with this process.

    Args:
        processes: Number of processes.
    """

    def __init__(self, processes: int) -> None:
        self.processes = processes
        self._pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_end_with_parent)

    def __call__(self, function: Callable[[Item], Result], items: Iterable[Item], /) -> Iterator[Result]:
        """Yield `function(item)` for every item, in the order of the items.

        Raises:
            OutOfMemory: A process ended before its work was done.
        """
        with tempfile.NamedTemporaryFile(prefix="reviewlm-function-") as file:  # which each process reads once
            file.write(pickle.dumps(function))
            file.flush()
            try:
                submit = self._pool.submit
                yield from in_order(lambda item: submit(_call, file.name, item), items, lambda: self.processes + AHEAD)
            except BrokenProcessPool as error:
                raise OutOfMemory(
                    "A process of the engine ended before its work was done", value=f"{self.processes} processes",
                    cause="most likely the system ended it because memory was short",
                    remedy="free memory, or set execution.engine=threads, then run again",
                ) from error

    def close(self) -> None:
        """End the processes, also those that still work."""
        processes = list((self._pool._processes or {}).values())
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()


def _end_with_parent() -> None:
    """Leave an interrupt to the parent, and end when it ends, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_watch_parent, name="lifeline", daemon=True).start()


def _watch_parent() -> None:
    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)


def _call(function: str, item: Any) -> Any:
    return _function(function)(item)


@lru_cache(maxsize=2)
def _function(file: str) -> Callable[[Any], Any]:
    return pickle.loads(Path(file).read_bytes())  # type: ignore[no-any-return]
