"""Compile the look-ups of single steps and short texts with numba, where numpy's calls cost more than the work itself.

numba takes 0.3 s to import, so this module is only imported where it pays (`lookup.step_kernels`).

Shapes: B streams (U with different contexts), T tokens of each, V vocabulary entries, M n-grams of an order, C their
contexts; K = N − 1. *words*, *firsts*, *logps*, *backoffs*: see `Tables.packed`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..compiled import kernel
from .lookup import NONE


def contexts_of(context_UK: np.ndarray, packed: tuple[Any, ...]) -> list[np.ndarray]:
    """Return the row of the n-gram of the last 1, 2, … K tokens of each stream, each (U,) int64; NONE: never seen.

    Args:
        context_UK: The last K token ids (int64), the newest last; NONE: no token.
        packed: `Tables.packed`.
    """
    row_UK = np.full(context_UK.shape, NONE, np.int64)
    read(np.ascontiguousarray(context_UK), row_UK, *packed, np.zeros(context_UK.shape), np.zeros_like(row_UK))
    return list(row_UK.T)


def log_probabilities(ids_BT: np.ndarray, order: int, packed: tuple[Any, ...]) -> np.ndarray:
    """Return log p of every token after the tokens before it in its row, (B, T) float64; 0 where there is no token.

    It is equal to that of `lookup.log_probabilities` to the bit.
    """
    logp_BT = np.zeros(ids_BT.shape)
    row_BK = np.full((len(ids_BT), order - 1), NONE, np.int64)
    read(np.ascontiguousarray(ids_BT, np.int64), row_BK, *packed, logp_BT, np.zeros(ids_BT.shape, np.int64))
    return logp_BT


@partial(kernel, fast=False)
def read(
    ids_BT: Any, row_BK: Any, words: Any, firsts: Any, logps: Any, backoffs: Any, logp_BT: Any, length_BT: Any
) -> None:
    """Read tokens after a state, and write log p of each with the length of the n-gram that it comes from.

    The order of additions is that of `lookup.log_probabilities`.

    Args:
        ids_BT: Token ids (int64); NONE: no token, and no n-gram crosses it.
        row_BK: The state: the rows of the n-grams of the last 1, 2, … K tokens; NONE: never seen. It becomes the state
            after the last token.
        logp_BT: Zeros, where log p is written; they stay where there is no token.
        length_BT: Zeros, where the lengths are written.
    """
    B, T = ids_BT.shape
    K = row_BK.shape[1]
    for b in range(B):
        row_T = ids_BT[b].copy()  # of the n-grams of k + 1 tokens that end at each token
        for k in range(K):
            word_M, first_C, logp_M, backoff_M = words[k], firsts[k], logps[k], backoffs[k]
            context = row_BK[b, k]  # the row of the n-gram of k + 1 tokens before the token
            for t in range(T):
                row, word = row_T[t], ids_BT[b, t]
                longer: Any = NONE
                if context >= 0 and row >= 0:
                    longer = row_of(word_M, np.int64(first_C[context]), np.int64(first_C[context + 1]), word)
                if longer < 0:
                    if row >= 0:
                        logp_BT[b, t] = logp_M[row]
                        length_BT[b, t] = k + 1
                    if context >= 0 and word >= 0:
                        logp_BT[b, t] += backoff_M[context]
                row_T[t] = longer
                context = row
            row_BK[b, k] = context
        logp_M = logps[K]
        for t in range(T):
            if row_T[t] >= 0:
                logp_BT[b, t] = logp_M[row_T[t]]
                length_BT[b, t] = K + 1


@partial(kernel, fast=False)
def row_of(word_M: Any, first: Any, end: Any, word: Any) -> Any:
    """Return the row of a word among the followers of a context, which are the rows *first* … *end* − 1, or NONE.

    The words of a context ascend, so at most w of them are below w: a frequent word has few candidates. Offsets of a
    damaged file may lie outside the rows.
    """
    first, end = max(first, 0), min(end, len(word_M))
    low, high = first, min(end, first + word + 1)
    while low < high:
        middle = (low + high) >> 1
        if word_M[middle] < word:
            low = middle + 1
        else:
            high = middle
    return low if low < end and word_M[low] == word else NONE


@partial(kernel, fast=False)
def sentence_scores(ids_T: Any, begin: Any, order: Any, words: Any, firsts: Any, logps: Any, backoffs: Any) -> Any:
    """Return log p of the tokens of one sentence after the token *begin*, and the lengths of their n-grams."""
    row_1K = np.full((1, order - 1), NONE, np.int64)
    if order > 1:
        row_1K[0, 0] = begin
    logp_1T, length_1T = np.zeros((1, len(ids_T))), np.zeros((1, len(ids_T)), np.int64)
    read(ids_T.reshape((1, len(ids_T))), row_1K, words, firsts, logps, backoffs, logp_1T, length_1T)
    return logp_1T[0], length_1T[0]


@partial(kernel, fast=False, nogil=False)
def sentence(ids_T: Any, begin: Any, order: Any, words: Any, firsts: Any, logps: Any, backoffs: Any) -> Any:
    """Return Σ log p of the tokens of one sentence after the token *begin*, added from the first to the last."""
    logp_T, _ = sentence_scores(ids_T, begin, order, words, firsts, logps, backoffs)
    total = 0.0
    for t in range(len(logp_T)):
        total += logp_T[t]
    return total


@partial(kernel, fast=False)
def write_followers(
    out_UV: Any, context_U: Any, first_C: Any, word_M: Any, logp_M: Any, backoff_U: Any
) -> bool:
    """Do the same as `lookup.write_followers`: nothing is written outside *out_UV*, whatever the files hold."""
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
