"""Look up n-grams by number: the row of the context and the id of the last word.

In each order, every n-gram that was seen has a row. The n-gram `h w` of order k is found through row(h), the row of its
context h at order k − 1 (at order 1 the row is the word's id). The rows of all n-grams that continue h are next to each
other, sorted by their last word. So a binary search among these few words finds `h w`, without strings or dictionaries.
The key of an n-gram is both numbers in one: `row(h) · V + w`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

NONE = -1
"""Row of an n-gram that was never seen, and id of a place without a token."""

SHORT = 4_096
"""Number of tokens up to which compiled look-ups are faster than numpy's."""
_BLOCK = 1 << 22


@dataclass(frozen=True)
class Followers:
    """The M n-grams of one order, grouped by their context.

    Args:
        word_M: Last word of each n-gram; ascending within one context.
        first_C: The n-grams with context c are rows first_C[c] … first_C[c + 1] − 1; one entry more than contexts.
    """

    word_M: np.ndarray
    first_C: np.ndarray

    @classmethod
    def from_keys(
        cls,
        keys_M: np.ndarray,
        contexts: int,
        vocabulary_size: int,
    ) -> Self:
        """Build from sorted keys; *contexts* is the number of n-grams of the order below."""
        word_M: np.ndarray = np.empty(len(keys_M), word_type(vocabulary_size))
        first_C: np.ndarray = np.zeros(contexts + 1, row_type(len(keys_M)))
        for at in range(0, len(keys_M), _BLOCK):
            context_P, word_M[at : at + _BLOCK] = np.divmod(
                keys_M[at : at + _BLOCK], vocabulary_size
            )
            low = int(context_P[0])
            counts = np.bincount(context_P - low)
            first_C[low + 1 : low + 1 + len(counts)] += counts.astype(first_C.dtype)

        return cls(word_M, np.cumsum(first_C, out=first_C))

    def __len__(self) -> int:
        return len(self.word_M)

    def contexts(self, row_Q: np.ndarray | None = None) -> np.ndarray:
        """Return the row, at the order below, of the context of each n-gram, or of the given rows only; int64."""
        if row_Q is None:
            return np.repeat(
                np.arange(len(self.first_C) - 1), np.diff(self.first_C).astype(np.int64)
            )
        return np.searchsorted(self.first_C, row_Q.astype(self.first_C.dtype), side="right") - 1

    def keys(self, vocabulary_size: int) -> np.ndarray:
        """Return `row(h) · V + w` of every n-gram, (M,) int64, ascending."""
        keys_M = self.contexts()
        keys_M *= vocabulary_size
        keys_M += self.word_M
        return keys_M

    def rows(self, context: int) -> slice:
        """Return the rows of the n-grams that continue one context."""
        return slice(*self.first_C[context : context + 2].tolist())

    def span(self, context_Q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the first row that continues each context, and the number of such rows; (Q,) signed integers."""
        kind = signed_type(len(self))
        first_Q: np.ndarray = self.first_C.take(context_Q).astype(kind)
        return first_Q, self.first_C.take(context_Q + 1).astype(kind) - first_Q

    def find(self, context_Q: np.ndarray, word_Q: np.ndarray) -> np.ndarray:
        """Return the row of each n-gram, given the row of its context and its last word; NONE if it is absent."""
        word_Q = word_Q.astype(self.word_M.dtype, copy=False)
        if len(self) == 0:
            return np.full(len(context_Q), NONE, np.int64)

        first_Q, number_Q = self.span(context_Q)
        # The words of a context ascend, so at most w of them are below w: frequent words, whose ids are small, have few
        # candidates.
        number_Q = np.minimum(number_Q, word_Q.astype(number_Q.dtype) + 1)
        row_Q = self._search(word_Q, first_Q, number_Q)
        row_Q[(number_Q == 0) | (self.word_M.take(row_Q, mode="clip") != word_Q)] = NONE
        return row_Q

    def _search(
        self,
        word_Q: np.ndarray,
        first_Q: np.ndarray,
        number_Q: np.ndarray,
    ) -> np.ndarray:
        """Return, among number_Q rows from first_Q on, the last one whose word is not above word_Q (or the first row).

        This is a binary search of all queries at once: each step halves the candidate rows of each query. Most contexts
        have few followers, so when most queries have only one row left, the search continues without these queries.
        """
        row_Q = first_Q
        open_P = np.arange(len(first_Q))
        while len(open_P) and int(number_Q.max()) > 1:
            half_P = number_Q >> 1
            first_Q = first_Q + half_P * (self.word_M.take(first_Q + half_P, mode="clip") <= word_Q)
            number_Q = number_Q - half_P
            if 2 * np.count_nonzero(number_Q > 1) < len(number_Q):
                row_Q[open_P] = first_Q
                more = np.flatnonzero(number_Q > 1)
                open_P, word_Q, first_Q, number_Q = (
                    a.take(more) for a in (open_P, word_Q, first_Q, number_Q)
                )

        row_Q[open_P] = first_Q
        return row_Q


def word_type(vocabulary_size: int) -> type:
    """Return the integer type for ids 0 … V − 1."""
    return np.uint16 if vocabulary_size <= 1 << 16 else np.uint32


def row_type(ngrams: int) -> type:
    """Return the integer type for the numbers 0 … M."""
    return np.uint32 if ngrams < 1 << 32 else np.uint64


def signed_type(ngrams: int) -> type:
    """Return the signed integer type for calculations with rows, which can also hold NONE."""
    return np.int32 if ngrams < 1 << 31 else np.int64


def follow(ids_T: np.ndarray, orders: Sequence[Followers]) -> Iterator[np.ndarray]:
    """Look up all n-grams of a token sequence in the tables, one order after another, from order 2 on.

    Args:
        ids_T: Token ids; NONE means "no token", and no n-gram crosses it. No counted n-gram crosses a document's begin,
            so none is found there.
        orders: The n-grams of orders 2, 3, …

    Yields:
        For each order k: row_T, the row of the k-gram that ends at each position; NONE if it was never seen.
    """
    row_T: np.ndarray = ids_T.astype(signed_type(max(map(len, orders), default=0)), copy=False)
    for order in orders:
        # An n-gram can only have been seen if its context and its suffix were seen: then neither row is negative.
        at_P = np.flatnonzero((row_T[:-1] | row_T[1:]) >= 0)
        row_P = order.find(row_T.take(at_P), ids_T.take(at_P + 1))
        row_T = np.full_like(row_T, NONE)
        row_T[at_P + 1] = row_P
        yield row_T


def different(context_BK: np.ndarray) -> tuple[list[int], list[int]]:
    """Return the first stream with each different context (U), and the number of each stream's context (B)."""
    numbers: dict[bytes, int] = {}
    which_B = [numbers.setdefault(context_K.tobytes(), len(numbers)) for context_K in context_BK]
    first = dict(zip(reversed(which_B), range(len(which_B) - 1, -1, -1), strict=True))
    return [first[number] for number in range(len(numbers))], which_B


def backoff_weights(context_B: np.ndarray, backoff_M: np.ndarray) -> np.ndarray:
    """Return log γ of each context, 0 for a context that was never seen; (B,) float64."""
    weight_B = np.zeros(len(context_B))
    known_B = context_B != NONE
    weight_B[known_B] = backoff_M[context_B[known_B]]
    return weight_B


def apart(ids_BL: np.ndarray) -> np.ndarray:
    """Return the sequences with NONE before each, so that they can be concatenated."""
    return np.concatenate([np.full((len(ids_BL), 1), NONE, ids_BL.dtype), ids_BL], axis=1)


def log_probabilities(
    ids_T: np.ndarray,
    orders: Sequence[Followers],
    logp: Sequence[np.ndarray],
    backoff: Sequence[np.ndarray],
) -> np.ndarray:
    """Return log p of every token after all tokens before it, (T,) float64; 0 where there is no token.

    p comes from the longest seen n-gram that ends at the token, times the back-off weight of every longer context that
    was seen.

    Args:
        ids_T: Token ids, NONE between sequences.
        orders: The n-grams of orders 2 … N.
        logp: Log-probabilities per order 1 … N.
        backoff: Logarithms of back-off weights per order 1 … N − 1.
    """
    logp_T = np.zeros(len(ids_T))
    row_T = ids_T.astype(np.int32)
    for longer_T, logp_M, backoff_M in zip(follow(row_T, orders), logp[:-1], backoff, strict=True):
        longest = np.flatnonzero((row_T >= 0) & (longer_T < 0))
        logp_T[longest] = logp_M.take(row_T.take(longest))
        # Position t + 1 with its context, which ends at t.
        backed_off = np.flatnonzero((row_T[:-1] >= 0) & (longer_T[1:] < 0) & (ids_T[1:] >= 0))
        logp_T[backed_off + 1] += backoff_M.take(row_T.take(backed_off))
        row_T = longer_T

    longest = np.flatnonzero(row_T >= 0)
    logp_T[longest] = logp[-1].take(row_T.take(longest))
    return logp_T
