"""Apply a function to a stream in several threads, with results in order and bounded memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def allowed_threads() -> int:
    """Return the number of threads to use: OMP_NUM_THREADS if it is set, else the number of processors, at most 4."""
    said = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if said.isdigit() and int(said) > 0:
        return int(said)
    return min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


THREADS = allowed_threads()


def ordered(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int | None = None, ahead: int = 1
) -> Iterator[Result]:
    """Yield `function(item)` for every item, in the order of the items.

    Items are taken in the caller's thread, so the iterable does not have to be thread-safe. At most `workers + ahead`
    items are in progress or waiting to be yielded. An error of an item, or of taking an item, is raised after all
    results before it have been yielded.

    Args:
        function: Must release the interpreter lock (GIL) for most of its time, as numpy and polars do. Otherwise more
            than one worker gives no speed-up.
        items: Taken one by one.
        workers: Number of threads; None for `THREADS`. With 1, everything runs in the caller's thread.
        ahead: Number of results kept ready in addition to one per worker.
    """
    workers = THREADS if workers is None else workers
    if workers <= 1:
        yield from map(function, items)
        return
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="ordered") as pool:
        try:
            source = iter(items)
            failure: Exception | None = None
            while True:
                while failure is None and len(waiting) < workers + ahead:
                    try:
                        waiting.append(pool.submit(function, next(source)))
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
            for future in waiting:
                future.cancel()
