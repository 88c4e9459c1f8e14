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

LENGTH, ROW, LONGER, CANDIDATES = range(4)
"""Rows of `number_4R`, see `read`."""
BLOCK = 64
"""Number of tokens that look their n-grams up together: their rows stay in the nearest cache."""


def contexts_of(context_UK: np.ndarray, packed: Any) -> list[np.ndarray]:
    """Return the row of the n-gram of the last 1, 2, … K tokens of each stream, each (U,) int64; NONE: never seen.

    Args:
        context_UK: The last K token ids (int64), the newest last; NONE: no token.
        packed: `Tables.packed`.
    """
    row_UK = np.empty(context_UK.shape, np.int64)
    read_streams(
        np.ascontiguousarray(context_UK), packed.address, row_UK, np.empty(context_UK.shape)
    )
    return list(row_UK.T)


def log_probabilities(ids_BT: np.ndarray, packed: Any) -> np.ndarray:
    """Return log p of every token after the tokens before it in its row, (B, T) float64; 0 where there is no token.

    It is equal to that of `lookup.log_probabilities` to the bit.
    """
    logp_BT = np.empty(ids_BT.shape)
    row_BK = np.empty((len(ids_BT), packed.order - 1), np.int64)
    read_streams(np.ascontiguousarray(ids_BT, np.int64), packed.address, row_BK, logp_BT)
    return logp_BT


@partial(
    kernel,
    fast=False,
    calls=[
        "int64[:,::1], int64, int64[:,::1], float64[:,::1]",
    ],
)
def read_streams(
    ids_BT: Any,
    tables: Any,
    row_BK: Any,
    logp_BT: Any,
) -> None:
    """Read the tokens of streams after none; write log p of each token, and the state of each stream after them."""
    number_4R = np.empty((4, min(BLOCK, ids_BT.shape[1])), np.int64)
    for b in range(len(ids_BT)):
        for k in range(row_BK.shape[1]):
            row_BK[b, k] = NONE
        for t in range(0, ids_BT.shape[1], BLOCK):
            read(
                ids_BT[b, t : t + BLOCK],
                row_BK[b],
                tables,
                logp_BT[b, t : t + BLOCK],
                number_4R,
            )


@partial(kernel, fast=False)
def read(
    ids_T: Any,
    row_K: Any,
    tables: Any,
    logp_T: Any,
    number_4R: Any,
) -> None:
    """Read tokens after a state, and write log p of each with the length of the n-gram that it comes from.

    The order of additions is that of `lookup.log_probabilities`.

    Args:
        ids_T: Token ids (int64); NONE: no token, and no n-gram crosses it.
        row_K: The state: the rows of the n-grams of the last 1, 2, … K tokens; NONE: never seen. It becomes the state
            after the last token.
        tables: Address of the arrays of each order (`Packed`).
        logp_T: The results; 0 where there is no token.
        number_4R: Room for R ≥ T tokens. LENGTH is a result, 0 where there is no token. ROW: the row of the n-gram of
            k + 1 tokens that ends at each token, or NONE; LONGER: of k + 2 tokens; CANDIDATES: how many rows are left.
    """
    T = len(ids_T)
    K = len(row_K)
    for t in range(T):
        number_4R[ROW, t], logp_T[t], number_4R[LENGTH, t] = ids_T[t], 0.0, 0

    for k in range(K + 1):
        at = tables + 8 * (1 + 12 * k)
        logps = int64_at(at, 6)
        logp_bytes = int64_at(at, 7)
        backoffs = int64_at(at, 9)
        backoff_bytes = int64_at(at, 10)
        # The row of the n-gram of k + 1 tokens before the token.
        context: Any = row_K[k] if k < K else NONE
        look_up(at, context, ids_T, number_4R)
        for t in range(T):
            row = number_4R[ROW, t]
            if number_4R[LONGER, t] < 0:
                if row >= 0:
                    logp_T[t] = real_at(logps, logp_bytes, row)
                    number_4R[LENGTH, t] = k + 1
                if context >= 0 and ids_T[t] >= 0:
                    logp_T[t] += real_at(backoffs, backoff_bytes, context)
            number_4R[ROW, t] = number_4R[LONGER, t]
            context = row if k < K else NONE
        if k < K:
            row_K[k] = context


@partial(kernel, fast=False)
def look_up(
    order: Any,
    context: Any,
    ids_T: Any,
    number_4R: Any,
) -> None:
    """Write the row of the n-gram of k + 2 tokens that ends at each token, or NONE: a binary search in each context.

    All tokens take each step of their searches together and without a branch, so what one waits for from memory, the
    others wait for too. The words of a context ascend, so at most w of them are below w: a frequent word has few
    candidates. Offsets of a damaged file may lie outside the rows.

    Args:
        order: Address of the numbers of order k + 1 in `Packed`.
        context: The row of the n-gram of k + 1 tokens before the first token.
        ids_T, number_4R: See `read`; it writes LONGER and CANDIDATES.
    """
    words = int64_at(order, 0)
    word_bytes = int64_at(order, 1)
    M = int64_at(order, 2)
    firsts = int64_at(order, 3)
    first_bytes = int64_at(order, 4)
    most = 0
    for t in range(len(ids_T)):
        number_4R[LONGER, t], number_4R[CANDIDATES, t] = NONE, 0
        if M > 0:
            known = max(context, 0)
            first = max(whole_at(firsts, first_bytes, known), 0)
            end = min(whole_at(firsts, first_bytes, known + 1), M)
            number = (
                max(min(end - first, ids_T[t] + 1), 0) * (context >= 0) * (number_4R[ROW, t] >= 0)
            )
            number_4R[LONGER, t], number_4R[CANDIDATES, t] = first * (number > 0), number
            most = max(most, number)
            context = number_4R[ROW, t]

    while most > 1:
        for t in range(len(ids_T)):
            half = number_4R[CANDIDATES, t] >> 1
            number_4R[LONGER, t] += half * (
                whole_at(words, word_bytes, number_4R[LONGER, t] + half) <= ids_T[t]
            )
            number_4R[CANDIDATES, t] -= half
        most -= most >> 1

    for t in range(len(ids_T)):
        if (
            number_4R[CANDIDATES, t] == 0
            or whole_at(words, word_bytes, number_4R[LONGER, t]) != ids_T[t]
        ):
            number_4R[LONGER, t] = NONE


@partial(kernel, fast=False)
def whole_at(
    address: Any,
    width: Any,
    index: Any,
) -> Any:
    """Return a whole number of an array whose entries have so many bytes."""
    if width == 2:
        return uint16_at(address, index)
    return uint32_at(address, index) if width == 4 else int64_at(address, index)


@partial(kernel, fast=False)
def real_at(
    address: Any,
    width: Any,
    index: Any,
) -> Any:
    """Return a real number of an array whose entries have so many bytes."""
    return float32_at(address, index) if width == 4 else float64_at(address, index)


@partial(
    kernel,
    fast=False,
    calls=[
        "float32[:,::1], int64[::1], const uint32[::1], const uint16[::1], const float64[::1], float64[::1]",
    ],
)
def write_followers(
    out_UV: Any,
    context_U: Any,
    first_C: Any,
    word_M: Any,
    logp_M: Any,
    backoff_U: Any,
) -> bool:
    """Write log p of the words that follow each context, plus the back-off weights of longer contexts.

    Return False where a word is outside the vocabulary, as in a damaged file: nothing is written outside *out_UV*.
    """
    V = out_UV.shape[1]
    M = len(word_M)
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
