"""Count n-grams: every window of 1, 2, … N tokens inside one document.

A document is `[begin, w1 … wn, end]`, where begin is a token that is given and never predicted (a star token, or `<s>`
in a text of lines). No n-gram ends with the begin token and none crosses a document. So an order counts exactly the
positions with enough history, and order 1 counts the predicted tokens.

All windows of N tokens are sorted once (`windows.py`). Then the n-grams of every order are read from them, each with a
link to its suffix (`window_counts.py`), so that the estimators can sum with one `bincount`. The arrays may be in
temporary files (`array_allocator.py`): then memory holds only 12 bytes per token and the current work.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from ...base import ModelError
from ..engine import ShardEngine, Threads
from ..lookup import NONE, Followers, follow
from .array_allocator import ArrayAllocator
from .memory import memory_plan
from .window_counts import SortedWindows, count_order, sort_windows
from .windows import Text

MOST_ORDERS, MOST_TOKENS = 255, (1 << 31) - 1
_BLOCK = 1 << 20


class Documents(Protocol):
    """Documents one after another: document i is `ids[offsets[i]:offsets[i + 1]]`."""

    ids: np.ndarray
    offsets: np.ndarray


@dataclass(frozen=True)
class OrderCounts:
    """The M distinct n-grams of one order, sorted by context and last word; the row number is the n-gram's id.

    Args:
        followers: Last words, and where each context's n-grams are; None at order 1, where all V ids have a row, also
            unseen ones, and the row is the id.
        raw_M: Occurrences, c(g) (int32).
        suffix_M: Row, at the order below, of the n-gram without its first word (int32; empty at order 1).
        begins_M: Whether the n-gram begins with a begin token.
        vocabulary_size: V.
        open_row: The row of the n-gram that `lmplz` has not finished when its stream ends (see `kenlm_exact` of
            `kneser_ney.counts_of_counts`); NONE if there is none.
    """

    followers: Followers | None
    raw_M: np.ndarray
    suffix_M: np.ndarray
    begins_M: np.ndarray
    vocabulary_size: int
    open_row: int = NONE

    @property
    def keys_M(self) -> np.ndarray:
        """Row of the context at the order below · V + last word, ascending (int64); the id at order 1."""
        if self.followers is None:
            return np.arange(self.vocabulary_size, dtype=np.int64)
        return self.followers.keys(self.vocabulary_size)

    def __len__(self) -> int:
        return len(self.raw_M)


@dataclass(frozen=True)
class NGramCounts:
    """The counts of all orders 1 … N; `orders[k - 1]` is order k; *allocator* is the allocator of their arrays."""

    orders: tuple[OrderCounts, ...]
    vocabulary_size: int
    given: tuple[int, ...]
    allocator: ArrayAllocator = field(default_factory=ArrayAllocator, repr=False, compare=False)

    @property
    def order(self) -> int:
        """Length N of the longest n-gram."""
        return len(self.orders)

    @property
    def predictable(self) -> int:
        """Number of ids that can be predicted: the vocabulary without the given ones."""
        return self.vocabulary_size - len(self.given)

    def context(self, order: int) -> np.ndarray:
        """Return the row, at the order below, of every n-gram's context; (M,) int64; 0 (empty context) at order 1."""
        followers = self.orders[order - 1].followers
        return np.zeros(self.vocabulary_size, np.int64) if followers is None else followers.contexts()

    def words(self, order: int) -> np.ndarray:
        """Return the token ids of every n-gram of an order; (M, order) int64."""
        rows_M = np.arange(len(self.orders[order - 1]))
        words_MK = np.empty((len(rows_M), order), np.int64)
        for place in range(order - 1, 0, -1):
            followers = self.orders[place].followers
            assert followers is not None  # order 2 and up
            words_MK[:, place] = followers.word_M[rows_M]
            rows_M = followers.contexts(rows_M)
        words_MK[:, 0] = rows_M
        return words_MK

    def row(self, ngram: Sequence[int]) -> int:
        """Return the row of one n-gram in the table of its order, NONE if it was never seen; 0 for the empty n-gram.

        Raises:
            ModelError: The n-gram is longer than the counted order, or an id is outside the vocabulary; kind "input".
        """
        if len(ngram) > self.order:
            raise ModelError(
                f"an n-gram of {len(ngram)} tokens; this model has counts of 1 to {self.order}", kind="input"
            )
        if not all(0 <= word < self.vocabulary_size for word in ngram):
            raise ModelError(f"{tuple(ngram)}: ids go from 0 to {self.vocabulary_size - 1}", kind="input")
        row = int(ngram[0]) if len(ngram) else 0
        for word, entry in zip(ngram[1:], self.orders[1:], strict=False):
            if row != NONE and entry.followers is not None:
                row = int(entry.followers.find(np.array([row]), np.array([word]))[0])
        return row

    def count(self, ngram: Sequence[int]) -> int:
        """Return c(g), the number of occurrences of one n-gram of at least one token; 0 if it was never seen.

        >>> from types import SimpleNamespace
        >>> text = SimpleNamespace(ids=np.array([1, 3, 4, 3, 4, 2]), offsets=np.array([0, 6]))
        >>> count_ngrams(text, order=2, vocabulary_size=5, given={1}).count((3, 4))
        2
        """
        row = self.row(ngram)
        return 0 if row == NONE else int(self.orders[len(ngram) - 1].raw_M[row])


def count_ngrams(
    documents: Documents,
    order: int,
    vocabulary_size: int,
    given: Collection[int],
    memory_limit: int | None = None,
    folder: Path | None = None,
    threads: int | None = None,
    engine: ShardEngine | None = None,
) -> NGramCounts:
    """Count all n-grams of 1 to *order* tokens.

    Args:
        documents: Token ids and document offsets. A document begins with one or more given ids; the last of them is
            its begin token, those before it (`<bos>`) are not counted.
        order: N.
        vocabulary_size: V; ids are 0 … V − 1.
        given: Ids that are never predicted.
        memory_limit: Maximum memory of the whole process in bytes, see `memory.py`. With a limit, the counts are in
            temporary files, with the same values.
        folder: Folder of the temporary files; None: the system's (`TMPDIR`).
        threads: Number of threads; None for `threads.THREADS`.
        engine: Executor of the shards instead of threads.

    Raises:
        ModelError: The order is out of range, there are too many tokens, an id is out of range, or a document does not
            begin with a given token; the limit is too low for this text, or the disk has no space for the files; the
            engine failed.
    """
    if not 1 <= order <= MOST_ORDERS:
        raise ModelError(f"order is {order}; it must be at least 1 and at most {MOST_ORDERS}", kind="input")
    if len(documents.ids) > MOST_TOKENS:
        raise ModelError(f"{len(documents.ids):,} tokens; at most {MOST_TOKENS:,} can be counted", kind="input")
    given_V = _mask(given, vocabulary_size)
    ids_T = _ids_from_begin(documents, given_V)
    begin_T = given_V[ids_T]
    last = _last_in_suffix_order(ids_T, begin_T, order)
    orders = [_count_words(ids_T, begin_T, given_V, last)]
    if order > 1:
        text = Text.of(ids_T, begin_T, order, vocabulary_size)
        del begin_T
        plan = memory_plan(len(ids_T), int(orders[0].raw_M.max(initial=0)), memory_limit, folder, threads)
        engine = engine or Threads(plan.threads)
        windows = sort_windows(text, plan.windows, engine, plan.allocator)
        longer = _longer(windows, ids_T, last, engine, plan.allocator)
        del ids_T, text
        orders += longer
    allocator = plan.allocator if order > 1 else ArrayAllocator()
    return NGramCounts(tuple(orders), vocabulary_size, tuple(sorted(given)), allocator)


def _longer(
    windows: SortedWindows, row_T: np.ndarray, last: int, engine: ShardEngine, allocator: ArrayAllocator
) -> Iterator[OrderCounts]:
    """Count orders 2 … N.

    Args:
        row_T: Row, at the order below, of the n-gram that begins at each position.
        last: See `_last_in_suffix_order`.
    """
    for order in range(2, windows.text.order + 1):
        longer_T = np.empty_like(row_T) if order < windows.text.order else None
        found = count_order(windows, order, row_T, longer_T, engine, allocator)
        start, open_row = last - order + 1, NONE
        if last != NONE and start >= 0 and windows.text.length_T[start] >= order:
            word = windows.text.code_T[last : last + 1] - 1
            open_row = int(found.followers.find(row_T[start : start + 1], word)[0])
        yield OrderCounts(*found, windows.text.vocabulary_size, open_row)
        if longer_T is not None:
            row_T = longer_T


def _mask(given: Collection[int], vocabulary_size: int) -> np.ndarray:
    given_V = np.zeros(vocabulary_size, bool)
    given_V[list(given)] = True
    return given_V


def _ids_from_begin(documents: Documents, given_V: np.ndarray) -> np.ndarray:
    """Return all documents one after another, each from its last leading given token on (without `<bos>`); int32."""
    ids_T = np.asarray(documents.ids)
    if len(ids_T) == 0:
        return ids_T.astype(np.int32)
    if not 0 <= int(ids_T.min()) <= int(ids_T.max()) < len(given_V):
        span = f"{ids_T.min()} to {ids_T.max()}"
        raise ModelError(f"token ids from {span}; the vocabulary has {len(given_V)}", kind="input")
    starts = np.asarray(documents.offsets)
    starts = starts[:-1][np.diff(starts) > 0]
    if not given_V[ids_T[starts]].all():
        raise ModelError("a document does not begin with a given token (a star token, <s>)", kind="input")
    kept_T = given_V[ids_T]
    kept_T[:-1] &= kept_T[1:]
    kept_T[-1] = False
    np.logical_not(kept_T, out=kept_T)
    return (ids_T if kept_T.all() else ids_T[kept_T]).astype(np.int32, copy=False)


def _last_in_suffix_order(ids_T: np.ndarray, begin_T: np.ndarray, order: int) -> int:
    """Return the end position of the N-gram that is greatest when read backwards; NONE if there is no n-gram.

    Histories that are longer than their document are padded with the begin token.
    """
    greatest = int(ids_T[~begin_T].max(initial=NONE))
    best = np.flatnonzero((ids_T == greatest) & ~begin_T)
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
    raw_V = np.zeros(len(given_V), np.int64)
    for first in range(0, len(ids_T), _BLOCK):
        raw_V += np.bincount(ids_T[first : first + _BLOCK], minlength=len(given_V))
    raw_V[given_V] = 0
    open_row = int(ids_T[last]) if last != NONE else NONE
    return OrderCounts(None, raw_V.astype(np.int32), np.zeros(0, np.int32), given_V, len(given_V), open_row)


def unseen_share(counts: NGramCounts, held_out: Documents) -> dict[int, float]:
    """Return, per order, the share of held-out tokens whose n-gram never occurred in training.

    The n-gram of a token is the token and the k − 1 tokens before it, cut at the document's begin. Every order has the
    same denominator (all predicted tokens), so the share can only rise with the order: the sparsity problem.

    Raises:
        ModelError: The held-out documents are empty, or have ids outside the vocabulary; kind "input".
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
    longer = [entry.followers for entry in counts.orders if entry.followers is not None]
    # No n-gram has a begin token after its first place, so no n-gram is found across documents.
    for order, row_T in enumerate(follow(ids_T, longer), start=2):
        # room_T: whether the window of this order begins inside the document
        unseen_T = unseen_T | (room_T & (row_T == NONE))
        room_T = room_T & np.append(False, room_T[:-1])
        yield order, unseen_T
