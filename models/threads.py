"""Apply a function to a stream, several items at a time, with results in order; tell about memory and lost threads.

`map_in_order` uses threads of this process. A caller may give another `FanOut`, whose workers are processes or machines.

**Forked processes.** A fork copies the memory, but only the thread that forks. This thread would go on to share its
computations with threads that do not exist: torch waits for ever, or takes a thread that was started later, in the same
memory, for one of them, and both compute nonsense. torch computes without them if it is told to, in this very thread;
so it is told at the fork, before anything else runs: also an unpickled model computes. polars cannot do without them;
`require_threads` refuses before a model is opened or used.
"""

from __future__ import annotations

import ctypes
import os
import re
import resource
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from .base import ModelError

Item = TypeVar("Item")
Result = TypeVar("Result")
TASKS = Path("/proc/self/task")
"""Folder of this process's threads, on Linux."""
POLARS_THREAD = re.compile(r"polars-\d+")
"""Names of the threads with which polars computes; they start when polars computes for the first time. Each gives itself
its name, so on a busy machine the first may not have one yet when another has computed."""
LOST_THREADS = (
    "this process was forked from one that had computed with polars, whose threads do not exist here: it would wait for "
    'ever. Start processes with the method "spawn", or open the model in each process and not before the fork'
)


class FanOut(Protocol):
    """An executor of a function for each item of a stream.

    Function, items and results must be picklable, and the function must depend on nothing but its item: it may run
    anywhere and more than once. All executors give the same results in the same order.
    """

    def __call__(
        self, function: Callable[[Item], Result], items: Iterable[Item], /
    ) -> Iterator[Result]:
        """Yield `function(item)` for every item, in the order of the items."""
        ...


def allowed_threads() -> int:
    """Return the number of threads to use: OMP_NUM_THREADS if it is set, else the number of processors, at most 4."""
    setting = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if setting.isdigit() and int(setting) > 0:
        return int(setting)
    return min(
        4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )


THREADS = allowed_threads()


def map_in_order(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int | None = None,
    ahead: int = 1,
) -> Iterator[Result]:
    """Yield `function(item)` for every item, in the order of the items.

    Items are taken in the caller's thread, so the iterable does not have to be thread-safe. At most `workers + ahead`
    items are in progress or waiting to be yielded. An error of an item, or of taking an item, is raised after all
    results before it have been yielded.

    Args:
        function: Must release the interpreter lock (GIL) for most of its time, as numpy and polars do. Otherwise more
            than one worker gives no speed-up.
        items: Taken one by one.
        workers: Number of threads; None for `THREADS`. With 1, or for a single item, everything runs in the caller's
            thread.
        ahead: Number of results kept ready in addition to one per worker.
    """
    workers = THREADS if workers is None else workers
    if workers <= 1 or (isinstance(items, Sized) and len(items) <= 1):
        yield from map(function, items)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="ordered") as pool:
        yield from in_order(
            lambda item: pool.submit(function, item), items, lambda: workers + ahead
        )


def in_order(
    hand_out: Callable[[Item], Any],
    items: Iterable[Item],
    most: Callable[[], int],
) -> Iterator[Any]:
    """Hand items to workers, and yield the results in the order of the items; errors as for `map_in_order`.

    Args:
        hand_out: Gives an item to a worker; returns a future, with `result` and `cancel`.
        items: Taken one by one, in the caller's thread.
        most: Returns how many items may be in progress or waiting to be yielded.
    """
    waiting: deque[Any] = deque()
    source = iter(items)
    failure: Exception | None = None
    try:
        while True:
            while failure is None and len(waiting) < most():
                try:
                    waiting.append(hand_out(next(source)))
                except StopIteration:
                    break
                except Exception as error:  # raised after the results before it
                    failure = error

            if not waiting:
                break
            yield waiting.popleft().result()

        if failure is not None:
            raise failure
    finally:
        for each in waiting:
            each.cancel()


@dataclass
class _LostThreads:
    """Threads of this process, as far as forks are concerned.

    Args:
        used: Whether a model was opened or used here.
        torch_before_fork: Number of torch's threads in the process that this one was forked from; 0: it had no torch.
        had_polars: Whether polars had threads when this process, or one that it comes from, was last forked.
        lost_polars: Whether they are missing here.
    """

    used: bool = False
    torch_before_fork: int = 0
    had_polars: bool = False
    lost_polars: bool = False


_lost = _LostThreads()


def require_threads() -> None:
    """Refuse to compute in a forked process that would wait for ever.

    Raises:
        ModelError: kind "input": polars computed before the fork, so it cannot compute here.
    """
    _lost.used = True
    if _lost.lost_polars:
        raise ModelError(LOST_THREADS, "input")


def trust_fork() -> None:
    """Take a forked process for a whole one: the process that it was forked from had imported libraries only."""
    if _lost.torch_before_fork:
        sys.modules["torch"].set_num_threads(_lost.torch_before_fork)


def _look_for_polars() -> None:
    """Note, before a fork, whether polars has threads; where they cannot be seen, whether it may have some."""
    try:
        names = [
            (task / "comm").read_text(encoding="ascii", errors="replace")
            for task in TASKS.iterdir()
        ]
    except OSError:
        _lost.had_polars = _lost.used
    else:
        _lost.had_polars = any(POLARS_THREAD.fullmatch(name.strip()) for name in names)


def _note_fork() -> None:
    """Let torch compute in the one thread that a forked process has; note whether those of polars are missing."""
    _lost.lost_polars = _lost.lost_polars or _lost.had_polars
    torch: Any = sys.modules.get("torch")
    if hasattr(torch, "set_num_threads"):  # not while another thread of the parent imported it
        _lost.torch_before_fork = torch.get_num_threads()
        torch.set_num_threads(1)


os.register_at_fork(before=_look_for_polars, after_in_child=_note_fork)


def return_freed() -> None:
    """Return all freed memory to the system now, where the system can: gaps between pieces in use fit few later ones.

    This releases the pool of Arrow (if it is loaded) and the heap of the C library (if it is glibc).
    """
    arrow = sys.modules.get("pyarrow")
    if arrow is not None:
        arrow.default_memory_pool().release_unused()
    trim = None
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)

    if trim is not None:
        trim(0)


def peak_resident() -> int:
    """Return the peak memory of this process so far, in bytes.

    On Linux this is VmHWM: unlike `ru_maxrss` it does not include the process that started this one. On other systems
    it is `ru_maxrss`.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(status.partition("VmHWM:")[2].split(maxsplit=1)[0]) << 10
    except (OSError, ValueError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
            1 if sys.platform == "darwin" else 1024
        )
