"""Contexts cut into blocks that know nothing of each other: worked on side by side, or one by one in little memory."""

from __future__ import annotations

import numpy as np

NGRAMS = 1 << 18
"""N-grams that are worked on at a time: few enough to stay in the processor's cache."""


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
