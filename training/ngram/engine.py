"""Run the shards of a step in parallel: in threads of this process, or by another engine that the caller gives.

A `Dataflow` also keeps results where they were made, for the steps after.

A step consists of two functions. The first is a pure function of a shard's number, with the arrays that it reads bound
to it (`functools.partial`). The second puts a shard's result in its place. Shards are independent, so an engine may run
them in any order, on any machine, and more than once. All engines give the same results to the bit: workers only sort,
add, multiply and divide. Logarithms differ in the last digit between processors, so they are computed in this process,
where results are placed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeGuard

from reviewlm.models.threads import THREADS, map_in_order, return_freed


class ShardEngine(Protocol):
    """An executor of shards."""

    def each(
        self, work: Callable[[int], Any], place: Callable[[int, Any], None], shards: int
    ) -> None:
        """Call `place(shard, work(shard))` for every shard; *work* anywhere, *place* in this process.

        Raises:
            ModelError: The engine failed.
        """
        ...


class Dataflow(ShardEngine, Protocol):
    """An executor whose results stay with its workers: this process has references to them only."""

    def workers(self) -> int:
        """Return how many steps can run at the same time."""
        ...

    def put(self, value: Any) -> Any:
        """Return a reference to a value, for the arguments of several steps."""
        ...

    def submit(self, function: Any, *arguments: Any, results: int = 1) -> list[Any]:
        """Have `function(*arguments)` computed, and return references to the values in the sequence that it returns.

        It depends on nothing but its arguments: it may run anywhere and more than once.

        Args:
            function: A function of a module or a `functools.partial`; or a reference to it.
            arguments: Values, or references to values.
            results: Number of values that the function returns.
        """
        ...

    def fetch(self, references: Iterable[Any]) -> Iterator[Any]:
        """Yield the values of references, in their order.

        Raises:
            ModelError: The engine failed. Errors of the functions are raised as they are.
        """
        ...


class Threads:
    """An engine of threads in this process; numpy lets other threads run while it sorts and adds.

    Args:
        threads: Number of threads; None for `threads.THREADS`.
    """

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or THREADS

    def each(
        self, work: Callable[[int], Any], place: Callable[[int, Any], None], shards: int
    ) -> None:
        """Compute and place every shard, both in the same thread."""
        for _ in map_in_order(
            lambda shard: place(shard, work(shard)), range(shards), min(self.threads, shards) or 1
        ):
            pass
        return_freed()


def keeps_results(engine: ShardEngine | None) -> TypeGuard[Dataflow]:
    """Return whether an engine keeps results with its workers."""
    return hasattr(engine, "submit")
