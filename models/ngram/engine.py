"""Who does the shards of a step: threads of this process, unless the caller knows something larger.

A step is a pure function of a shard's number, with the arrays that it reads bound to it (`functools.partial`), and a
function that puts a shard's result in its place. Shards know nothing of each other, so an engine may do them in any
order, anywhere, and more than once. Whatever the engine, the results are the same to the bit: workers only sort, add,
multiply and divide; logarithms, which differ in the last place between processors, are taken where results are placed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from .counting.memory import give_back
from .counting.threads import THREADS, side_by_side


class Engine(Protocol):
    """Does shards."""

    def share(self, array: np.ndarray) -> np.ndarray:
        """Return the array in a form that all workers can read, step after step; nobody may write to either any more.

        What is bound to one step only need not be shared: an engine shares it for the time of the step.
        """
        ...

    def each(self, work: Callable[[int], Any], place: Callable[[int, Any], None], shards: int) -> None:
        """Call `place(shard, work(shard))` for every shard; *work* anywhere, *place* in this process.

        Raises:
            ModelError: The engine broke down.
        """
        ...


class Threads:
    """Threads of this process; numpy lets other threads run while it sorts and adds.

    Args:
        threads: How many; None for `threads.THREADS`.
    """

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or THREADS

    def share(self, array: np.ndarray) -> np.ndarray:
        """Return the array itself, which may still be written to by *place*, shard by shard."""
        return array

    def each(self, work: Callable[[int], Any], place: Callable[[int, Any], None], shards: int) -> None:
        """Do and place every shard, both in the same thread."""
        for _ in side_by_side(lambda shard: place(shard, work(shard)), range(shards), min(self.threads, shards) or 1):
            pass
        give_back()
