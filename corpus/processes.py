"""Apply a function to a stream in child processes: for work that holds Python's lock, which threads cannot share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import current_process, get_context
from typing import TypeVar

from core.errors import ReviewLMError
from core.processes.children import deaf_to_the_terminal, end_with_parent
from models.threads import in_order, ordered

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_processes(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Iterator[Result]:
    """Yield `function(item)` for every item, in the order of the items; the processes end when the caller stops.

    Starting them takes about a second. At most two items for each are in progress or waiting, so memory stays bounded.

    Args:
        function: Picklable, as are the items and the results; it must depend on nothing but its item.
        items: Taken one by one, in the caller's thread.
        workers: Number of processes. With 1, or in a worker of Dask, which may have no children, threads of this
            process do the work.

    Raises:
        ReviewLMError: A process was killed.
    """
    if workers <= 1 or current_process().daemon:
        yield from ordered(function, items, workers)
        return
    # Spawn new processes, because a fork would copy the locks of threads that other libraries have started.
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=end_with_parent) as pool:

        def hand_out(item: Item) -> Future[Result]:
            with deaf_to_the_terminal():
                return pool.submit(function, item)

        try:
            yield from in_order(hand_out, items, lambda: 2 * workers)
        except BrokenProcessPool as error:
            raise ReviewLMError(
                "A worker process ended before its work was done", cause="it was killed, perhaps for lack of memory",
                remedy="start the command again: it goes on after what is finished",
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)  # if the caller stopped early, only work in progress is waited for
