"""Apply a function to a stream in several threads, with results in order and bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, ahead: int = 1
) -> Iterator[Result]:
    """Yield `function(item)` for every item, in the order of the items.

    Items are taken in the caller's thread, so the iterable does not have to be thread-safe. At most `workers + ahead`
    items are in progress or waiting to be yielded. An error of an item, or of taking an item, is raised after all
    results before it have been yielded.

    Args:
        function: Must release the interpreter lock (GIL) for most of its time, as numpy and polars do. Otherwise more
            than one worker gives no speed-up.
        items: Taken one by one.
        workers: Number of threads; 1 means that everything runs in the caller's thread.
        ahead: Number of results kept ready in addition to one per worker.
    """
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
