"""Compile the look-ups of a step with numba: the contexts of a few streams, and the followers of each.

numpy's calls cost more than the work itself here. Only `NGramLM.step` imports this module, because numba takes long to
import. Shapes: U streams, K tokens of each, V vocabulary entries, M n-grams of an order, C their contexts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from ..compiled import kernel
from .lookup import NONE, Followers


def contexts_of(context_UK: np.ndarray, orders: Sequence[Followers]) -> list[np.ndarray]:
    """Return the row of the n-gram of the last 1, 2, … tokens of each stream, each (U,) int64; NONE: never seen.

    Args:
        context_UK: Token ids (int64), the newest last; NONE: no token.
        orders: The n-grams of orders 2, 3, …, of fewer orders than there are tokens.
    """
    row_UK = context_UK.copy()
    rows = [context_UK[:, -1]]
    for length, order in enumerate(orders, start=1):
        lengthen(row_UK, context_UK, length, order.first_C, order.word_M)
        rows.append(row_UK[:, -1 - length].copy())
    return rows


@partial(kernel, fast=False)
def lengthen(row_UK: Any, context_UK: Any, length: int, first_C: Any, word_M: Any) -> None:
    """Replace the row of the n-gram of this length that begins at each token by that of the n-gram with one token more.

    As in `lookup.follow`, an n-gram is only looked for if its context and its suffix were seen.
    """
    U, K = context_UK.shape
    for u in range(U):
        for k in range(K - length):
            row, word = row_UK[u, k], context_UK[u, k + length]
            found: Any = NONE
            if row >= 0 and row_UK[u, k + 1] >= 0:
                low: Any = np.int64(first_C[row])
                end = np.int64(first_C[row + 1])
                high: Any = end
                while low < high:
                    middle = (low + high) >> 1
                    if word_M[middle] < word:
                        low = middle + 1
                    else:
                        high = middle
                if low < end and word_M[low] == word:
                    found = low
            row_UK[u, k] = found


@partial(kernel, fast=False)
def write_followers(
    out_UV: Any, context_U: Any, first_C: Any, word_M: Any, logp_M: Any, backoff_U: Any
) -> None:
    """Write log p of the words that follow each stream's context, plus the back-off weights of longer contexts."""
    for u in range(len(context_U)):
        if context_U[u] >= 0:
            for row in range(np.int64(first_C[context_U[u]]), np.int64(first_C[context_U[u] + 1])):
                out_UV[u, word_M[row]] = logp_M[row] + backoff_U[u]
