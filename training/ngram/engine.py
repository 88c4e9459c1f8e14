"""Run the shards of a step in parallel: in threads of this process, or by another engine that the caller gives.

A `reviewlm.models.dataflow.Dataflow` also keeps results where they were made, for the steps after.

A step consists of two functions. The first is a pure function of a shard's number, with the arrays that it reads bound
to it (`functools.partial`). The second puts a shard's result in its place. Shards are independent, so an engine may run
them in any order, on any machine, and more than once. All engines give the same results to the bit: workers only sort,
add, multiply and divide. Logarithms differ in the last digit between processors, so they are computed in this process,
where results are placed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeGuard

from reviewlm.models.dataflow import Dataflow
from reviewlm.models.threads import THREADS, map_in_order, return_freed


class ShardEngine(Protocol):
    """An executor of shards."""

    def each(
        self,
        work: Callable[[int], Any],
        place: Callable[[int, Any], None],
        shards: int,
    ) -> None:
        """Call `place(shard, work(shard))` for every shard; *work* anywhere, *place* in this process.

        Raises:
            ModelError: The engine failed.
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
        self,
        work: Callable[[int], Any],
        place: Callable[[int, Any], None],
        shards: int,
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
