"""Work cut into pieces that know nothing of each other: done side by side, or one after another in little memory."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from .memory import give_back

NGRAMS = 1 << 18
"""N-grams that are worked on at a time: few enough to stay in the processor's cache."""


def in_parallel(work: Callable[[int], None], shards: int, threads: int) -> None:
    """Call *work* for every shard; numpy lets other threads run while it sorts and adds."""
    if threads == 1 or shards < 2:
        for shard in range(shards):
            work(shard)
    else:
        with ThreadPoolExecutor(min(threads, shards)) as pool:
            list(pool.map(work, range(shards)))
    give_back()


def context_blocks(first_C: np.ndarray, most: int) -> np.ndarray:
    """Cut contexts into blocks of at most *most* n-grams, where single contexts allow it, and *most* contexts.

    Args:
        first_C: See `lookup.Followers`.

    Returns:
        First context of every block, and their number; (blocks + 1,).
    """
    edges, contexts = [0], len(first_C) - 1
    while edges[-1] < contexts:
        room = int(first_C[edges[-1]]) + most
        last = int(np.searchsorted(first_C[: edges[-1] + most + 1], np.array(room, first_C.dtype), side="right")) - 1
        edges.append(max(last, edges[-1] + 1))
    return np.array(edges)
