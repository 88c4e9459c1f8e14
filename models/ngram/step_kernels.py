"""Compile the look-ups of single steps and short texts with numba, where numpy's calls cost more than the work itself.

`tables.py` imports this module where it pays.

Shapes: B streams (U with different contexts), T tokens of each, V vocabulary entries, M n-grams of an order, C their
contexts; K = N − 1. *tables*: `Packed.address`; the object must stay alive during the call.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..compiled import float32_at, float64_at, int64_at, kernel, uint16_at, uint32_at
from .lookup import NONE


def contexts_of(context_UK: np.ndarray, packed: Any) -> list[np.ndarray]:
    """Return the row of the n-gram of the last 1, 2, … K tokens of each stream, each (U,) int64; NONE: never seen.

    Args:
        context_UK: The last K token ids (int64), the newest last; NONE: no token.
        packed: `Tables.packed`.
    """
    row_UK = np.empty(context_UK.shape, np.int64)
    read_streams(np.ascontiguousarray(context_UK), packed.address, row_UK, np.empty(context_UK.shape))
    return list(row_UK.T)


def log_probabilities(ids_BT: np.ndarray, packed: Any) -> np.ndarray:
    """Return log p of every token after the tokens before it in its row, (B, T) float64; 0 where there is no token.

    It is equal to that of `lookup.log_probabilities` to the bit.
    """
    logp_BT, row_BK = np.empty(ids_BT.shape), np.empty((len(ids_BT), packed.order - 1), np.int64)
    read_streams(np.ascontiguousarray(ids_BT, np.int64), packed.address, row_BK, logp_BT)
    return logp_BT


@partial(kernel, fast=False)
def read_streams(ids_BT: Any, tables: Any, row_BK: Any, logp_BT: Any) -> None:
    """Read the tokens of streams after none; write log p of each token, and the state of each stream after them."""
    length_T, row_T = np.empty(ids_BT.shape[1], np.int64), np.empty(ids_BT.shape[1], np.int64)
    for b in range(len(ids_BT)):
        for k in range(row_BK.shape[1]):
            row_BK[b, k] = NONE
        read(ids_BT[b], row_BK[b], tables, logp_BT[b], length_T, row_T)


@partial(kernel, fast=False)
def read(ids_T: Any, row_K: Any, tables: Any, logp_T: Any, length_T: Any, row_T: Any) -> None:
    """Read tokens after a state, and write log p of each with the length of the n-gram that it comes from.

    The order of additions is that of `lookup.log_probabilities`.

    Args:
        ids_T: Token ids (int64); NONE: no token, and no n-gram crosses it.
        row_K: The state: the rows of the n-grams of the last 1, 2, … K tokens; NONE: never seen. It becomes the state
            after the last token.
        tables: Address of the arrays of each order (`Packed`).
        logp_T, length_T: The results; 0 where there is no token.
        row_T: Room, for the row of the n-gram of k + 1 tokens that ends at each token.
    """
    T, K = len(ids_T), len(row_K)
    for t in range(T):
        row_T[t], logp_T[t], length_T[t] = ids_T[t], 0.0, 0
    for k in range(K + 1):
        at = tables + 8 * (1 + 12 * k)
        words, word_bytes, M = int64_at(at, 0), int64_at(at, 1), int64_at(at, 2)
        firsts, first_bytes = int64_at(at, 3), int64_at(at, 4)
        logps, logp_bytes, backoffs, backoff_bytes = (
            int64_at(at, 6), int64_at(at, 7), int64_at(at, 9), int64_at(at, 10)
        )  # fmt: skip
        context: Any = row_K[k] if k < K else NONE  # the row of the n-gram of k + 1 tokens before the token
        for t in range(T):
            row, word = row_T[t], ids_T[t]
            longer: Any = NONE
            if context >= 0 and row >= 0:
                first, end = whole_at(firsts, first_bytes, context), whole_at(firsts, first_bytes, context + 1)
                longer = row_of(words, word_bytes, M, first, end, word)
            if longer < 0:
                if row >= 0:
                    logp_T[t] = real_at(logps, logp_bytes, row)
                    length_T[t] = k + 1
                if context >= 0 and word >= 0:
                    logp_T[t] += real_at(backoffs, backoff_bytes, context)
            row_T[t] = longer
            context = row if k < K else NONE
        if k < K:
            row_K[k] = context


@partial(kernel, fast=False)
def row_of(words: Any, word_bytes: Any, M: Any, first: Any, end: Any, word: Any) -> Any:
    """Return the row of a word among the followers of a context, which are the rows *first* … *end* − 1, or NONE.

    The words of a context ascend, so at most w of them are below w: a frequent word has few candidates. Offsets of a
    damaged file may lie outside the rows.
    """
    row, end = max(first, 0), min(end, M)
    number = min(end - row, word + 1)
    while number > 1:
        half = number >> 1
        row += half * (whole_at(words, word_bytes, row + half) <= word)  # no branch, which would be foretold wrongly
        number -= half
    return row if number > 0 and whole_at(words, word_bytes, row) == word else NONE


@partial(kernel, fast=False)
def whole_at(address: Any, width: Any, index: Any) -> Any:
    """Return a whole number of an array whose entries have so many bytes."""
    if width == 2:
        return uint16_at(address, index)
    return uint32_at(address, index) if width == 4 else int64_at(address, index)


@partial(kernel, fast=False)
def real_at(address: Any, width: Any, index: Any) -> Any:
    """Return a real number of an array whose entries have so many bytes."""
    return float32_at(address, index) if width == 4 else float64_at(address, index)


@partial(kernel, fast=False)
def write_followers(
    out_UV: Any, context_U: Any, first_C: Any, word_M: Any, logp_M: Any, backoff_U: Any
) -> bool:
    """Write log p of the words that follow each context, plus the back-off weights of longer contexts.

    Return False where a word is outside the vocabulary, as in a damaged file: nothing is written outside *out_UV*.
    """
    V, M = out_UV.shape[1], len(word_M)
    for u in range(len(context_U)):
        if context_U[u] >= 0:
            first: Any = np.int64(first_C[context_U[u]])
            end: Any = np.int64(first_C[context_U[u] + 1])
            for row in range(max(first, 0), min(end, M)):
                word = np.int64(word_M[row])
                if word >= V:
                    return False
                out_UV[u, word] = logp_M[row] + backoff_U[u]
    return True


COMPLETE = True
"""Set at the end: a thread that finds the module while another imports it must not use it."""
