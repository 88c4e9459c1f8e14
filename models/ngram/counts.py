"""Counting n-grams: every window of 1, 2, … N tokens that lies inside one document.

A document is `[begin, w1 … wn, end]`, where begin is a token that is given and never predicted (a star token, or `<s>`
in a text of lines). No n-gram ends in the begin token and none crosses a document, so an order counts exactly the
positions that have enough history, and order 1 counts the predicted tokens.

Counting is sorting (one integer key per window, see `lookup.py`): 13 million tokens to order 5 take seconds and a few
numbers per token of memory. Each order's keys build on the rows of the order below, which also gives the link from an
n-gram to its suffix: whatever the estimators need is then one `bincount` away.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..base import ModelError
from .lookup import NONE, walk


class Documents(Protocol):
    """What is counted: documents laid end to end, `ids[offsets[i]:offsets[i + 1]]` being document i."""

    ids: np.ndarray
    offsets: np.ndarray


@dataclass(frozen=True)
class OrderCounts:
    """The M distinct n-grams of one order, sorted by context and last word; the row number is the n-gram's id.

    Args:
        keys_M: row of the context at the order below · V + last word (int64). At order 1 all V ids are listed,
            seen or not, and the key is the id.
        raw_M: Occurrences, c(g) (int32).
        suffix_M: Row, at the order below, of the n-gram without its first word (int32; empty at order 1).
        begins_M: Whether the n-gram begins with a begin token.
        open_row: The row of the n-gram that `lmplz` has still open when its stream ends (PARITY quirk of
            `kneser_ney.counts_of_counts`), NONE without one.
    """

    keys_M: np.ndarray
    raw_M: np.ndarray
    suffix_M: np.ndarray
    begins_M: np.ndarray
    open_row: int = NONE

    def __len__(self) -> int:
        return len(self.keys_M)


@dataclass(frozen=True)
class NGramCounts:
    """The counts of all orders 1 … N; `orders[k - 1]` is order k."""

    orders: tuple[OrderCounts, ...]
    vocabulary_size: int
    given: tuple[int, ...]

    @property
    def order(self) -> int:
        """N, the longest n-gram."""
        return len(self.orders)

    @property
    def predictable(self) -> int:
        """Number of ids that can be predicted: the vocabulary without the given ones."""
        return self.vocabulary_size - len(self.given)

    def context(self, order: int) -> np.ndarray:
        """Return the row, at the order below, of every n-gram's context; (M,) int64, 0 (the empty one) at order 1."""
        keys_M = self.orders[order - 1].keys_M
        return keys_M // self.vocabulary_size if order > 1 else np.zeros_like(keys_M)

    def words(self, order: int) -> np.ndarray:
        """Return the token ids of every n-gram of an order; (M, order) int64."""
        keys_M = self.orders[order - 1].keys_M
        words_MK = np.empty((len(keys_M), order), np.int64)
        for place in range(order - 1, 0, -1):
            rows_M, words_MK[:, place] = np.divmod(keys_M, self.vocabulary_size)
            keys_M = self.orders[place - 1].keys_M[rows_M]
        words_MK[:, 0] = keys_M
        return words_MK

    def row(self, ngram: Sequence[int]) -> int:
        """Return the row of one n-gram in the table of its order, NONE if it was never seen; 0 for the empty one.

        Raises:
            ModelError: The n-gram is longer than what was counted, or an id is outside the vocabulary.
        """
        if len(ngram) > self.order:
            raise ModelError(f"an n-gram of {len(ngram)} tokens; counted were 1 to {self.order}", kind="input")
        if not all(0 <= word < self.vocabulary_size for word in ngram):
            raise ModelError(f"{tuple(ngram)}: ids go from 0 to {self.vocabulary_size - 1}", kind="input")
        if len(ngram) < 2:
            return int(ngram[0]) if ngram else 0
        keys = [entry.keys_M for entry in self.orders[1 : len(ngram)]]
        return [int(row_BL[0, -1]) for _, row_BL in walk(np.array([ngram]), keys, self.vocabulary_size)][-1]

    def count(self, ngram: Sequence[int]) -> int:
        """Return c(g), the occurrences of one n-gram of at least one token; 0 if it was never seen.

        >>> from types import SimpleNamespace
        >>> text = SimpleNamespace(ids=np.array([1, 3, 4, 3, 4, 2]), offsets=np.array([0, 6]))
        >>> count_ngrams(text, order=2, vocabulary_size=5, given={1}).count((3, 4))
        2
        """
        row = self.row(ngram)
        return 0 if row == NONE else int(self.orders[len(ngram) - 1].raw_M[row])


def count_ngrams(documents: Documents, order: int, vocabulary_size: int, given: Collection[int]) -> NGramCounts:
    """Count all n-grams of 1 to *order* tokens.

    Args:
        documents: Token ids and document offsets. A document begins with one or more given ids; the last of them is
            its begin token, those before it (`<bos>`) are not counted.
        vocabulary_size: V; ids are 0 … V − 1.
        given: Ids that are never predicted.

    Raises:
        ModelError: The order is below 1, an id is out of range, or a document does not begin with a given token.
    """
    if order < 1:
        raise ModelError(f"order is {order}; it must be at least 1", kind="input")
    given_V = _mask(given, vocabulary_size)
    ids_T = _ids_from_begin(documents, given_V)
    begin_T = given_V[ids_T]
    last = _last_in_suffix_order(ids_T, begin_T, order)
    orders = [_count_words(ids_T, begin_T, given_V, last)]
    row_T, begins_T = ids_T, begin_T
    for _ in range(2, order + 1):
        entry, row_T, begins_T = _count_longer(ids_T, begin_T, row_T, begins_T, orders[-1], vocabulary_size, last)
        orders.append(entry)
    return NGramCounts(tuple(orders), vocabulary_size, tuple(sorted(given)))


def _mask(given: Collection[int], vocabulary_size: int) -> np.ndarray:
    given_V = np.zeros(vocabulary_size, bool)
    given_V[list(given)] = True
    return given_V


def _ids_from_begin(documents: Documents, given_V: np.ndarray) -> np.ndarray:
    """Return all documents end to end, each from its last leading given token on (so without `<bos>`); int32."""
    ids_T = np.asarray(documents.ids).astype(np.int32)
    if len(ids_T) == 0:
        return ids_T
    if not 0 <= int(ids_T.min()) <= int(ids_T.max()) < len(given_V):
        span = f"{ids_T.min()} to {ids_T.max()}"
        raise ModelError(f"token ids from {span}; the vocabulary has {len(given_V)}", kind="input")
    starts = np.asarray(documents.offsets)
    starts = starts[:-1][np.diff(starts) > 0]
    if not given_V[ids_T[starts]].all():
        raise ModelError("a document does not begin with a given token (a star token, <s>)", kind="input")
    given_T = given_V[ids_T]
    followed_T = np.append(given_T[1:], False)
    return ids_T[~(given_T & followed_T)]


def _last_in_suffix_order(ids_T: np.ndarray, begin_T: np.ndarray, order: int) -> int:
    """Return the position where the N-gram ends that is greatest when read backwards; NONE if nothing was counted.

    Histories that reach back beyond their document's begin are padded with the begin token.
    """
    best = np.flatnonzero(~begin_T)
    if len(best) == 0:
        return NONE
    looking = best
    for _ in range(order):
        words = ids_T[looking]
        kept = words == words.max()
        best, looking = best[kept], looking[kept]
        if len(best) == 1:
            break
        looking = np.where(begin_T[looking], looking, looking - 1)
    return int(best[0])


def _count_words(ids_T: np.ndarray, begin_T: np.ndarray, given_V: np.ndarray, last: int) -> OrderCounts:
    size = len(given_V)
    raw_V = np.bincount(ids_T[~begin_T], minlength=size).astype(np.int32)
    open_row = int(ids_T[last]) if last != NONE else NONE
    return OrderCounts(np.arange(size, dtype=np.int64), raw_V, np.zeros(0, np.int32), given_V, open_row)


def _count_longer(
    ids_T: np.ndarray,
    begin_T: np.ndarray,
    row_T: np.ndarray,
    begins_T: np.ndarray,
    below: OrderCounts,
    vocabulary_size: int,
    last: int,
) -> tuple[OrderCounts, np.ndarray, np.ndarray]:
    """Count the n-grams that are one token longer than those of *below*.

    Args:
        row_T: Row of the shorter n-gram that ends at each position, NONE where there is none.
        begins_T: Whether that one begins with a begin token.

    Returns:
        The counts, and row_T and begins_T of the longer n-grams.
    """
    at_P = np.flatnonzero(~begin_T[1:] & (row_T[:-1] >= 0)).astype(np.int32) + 1
    keys_P = row_T[at_P - 1].astype(np.int64)
    keys_P *= vocabulary_size
    keys_P += ids_T[at_P]
    order_P, new_P = _sorted_groups(keys_P)
    first_M = np.flatnonzero(new_P)
    example_M = at_P[order_P[first_M]]
    longer_T = np.full(len(ids_T), NONE, np.int32)
    longer_T[at_P[order_P]] = np.cumsum(new_P, dtype=np.int32) - 1
    longer_begins_T = np.zeros(len(ids_T), bool)
    longer_begins_T[at_P] = begins_T[at_P - 1]
    entry = OrderCounts(
        keys_M=keys_P[order_P[first_M]],
        raw_M=np.diff(first_M, append=len(keys_P)).astype(np.int32),
        suffix_M=row_T[example_M],
        begins_M=longer_begins_T[example_M],
        open_row=int(longer_T[last]) if last != NONE else NONE,
    )
    return entry, longer_T, longer_begins_T


def _sorted_groups(keys_P: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the order that sorts the keys, and where in it a new key begins.

    Key and position share one 64-bit integer where they fit: sorting those in place is several times faster than
    an argsort.
    """
    places = len(keys_P)
    bits = max(places - 1, 1).bit_length()
    if places and int(keys_P.max()).bit_length() + bits <= 64:
        packed_P = keys_P.astype(np.uint64) << np.uint64(bits)
        packed_P |= np.arange(places, dtype=np.uint64)
        packed_P.sort()
        order_P = (packed_P & np.uint64((1 << bits) - 1)).astype(np.int32)
        packed_P >>= np.uint64(bits)
        sorted_P = packed_P
    else:
        order_P = np.argsort(keys_P).astype(np.int32)
        sorted_P = keys_P[order_P]
    new_P = np.ones(places, bool)
    np.not_equal(sorted_P[1:], sorted_P[:-1], out=new_P[1:])
    return order_P, new_P


def unseen_share(counts: NGramCounts, held_out: Documents) -> dict[int, float]:
    """Return, per order, the share of held-out tokens whose n-gram never occurred in training.

    The n-gram of a token is the token and the k − 1 before it, cut at the document's begin. Every order has the
    same denominator (all predicted tokens), so the share can only rise with the order: the sparsity problem.

    Raises:
        ModelError: The held-out documents are empty, or hold ids outside the vocabulary.
    """
    given_V = _mask(counts.given, counts.vocabulary_size)
    ids_T = _ids_from_begin(held_out, given_V)
    begin_T = given_V[ids_T]
    tokens = int((~begin_T).sum())
    if tokens == 0:
        raise ModelError("there are no held-out tokens", kind="input")
    return {order: int(unseen_T[~begin_T].sum()) / tokens for order, unseen_T in _unseen(counts, ids_T, begin_T)}


def _unseen(counts: NGramCounts, ids_T: np.ndarray, begin_T: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    unseen_T = counts.orders[0].raw_M[ids_T] == 0
    yield 1, unseen_T
    room_T = ~begin_T
    keys = [entry.keys_M for entry in counts.orders[1:]]
    for order, (_, row_BL) in enumerate(walk(ids_T[None], keys, counts.vocabulary_size), start=2):
        # room: the window of this order does not reach back beyond the document's begin
        unseen_T = unseen_T | (room_T & (row_BL[0] == NONE))
        room_T = room_T & np.append(False, room_T[:-1])
        yield order, unseen_T
