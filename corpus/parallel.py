"""Work on a stream in several threads, its order kept and its memory bounded."""

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

    Items are taken in the caller's thread, so a stream behind them need not be safe for threads. At most
    `workers + ahead` items are under way or wait to be yielded. An error of an item, or of taking one, is raised when
    its turn comes: everything before it has been yielded.

    Args:
        function: Must release the interpreter's lock for most of its time, as numpy and polars do, else more than
            one worker gains nothing.
        items: Taken one by one.
        workers: Threads; 1 means none besides the caller's.
        ahead: Results kept ready beyond one per worker.
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
                    except Exception as error:  # its turn comes after the results before it
                        failure = error
                if not waiting:
                    break
                yield waiting.popleft().result()
            if failure is not None:
                raise failure
        finally:
            for future in waiting:
                future.cancel()
