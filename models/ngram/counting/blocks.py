"""Cut contexts into independent blocks, to process in parallel or one after another in little memory."""

from __future__ import annotations

import numpy as np

NGRAMS = 1 << 18
"""Number of n-grams in a block: small enough for the processor's cache."""


def context_blocks(first_C: np.ndarray, most: int) -> np.ndarray:
    """Cut contexts into blocks of at most *most* contexts and *most* n-grams (more if a single context has more).

    Args:
        first_C: See `lookup.Followers`.
        most: Maximum size of a block.

    Returns:
        First context of every block, and the number of contexts; (blocks + 1,).
    """
    edges, contexts = [0], len(first_C) - 1
    while edges[-1] < contexts:
        room = int(first_C[edges[-1]]) + most
        last = int(np.searchsorted(first_C[: edges[-1] + most + 1], np.array(room, first_C.dtype), side="right")) - 1
        edges.append(max(last, edges[-1] + 1))
    return np.array(edges)
