"""Count the n-grams of each order from sorted windows (`windows.py`), for `counts.count_ngrams`.

`sort_part` and `count_part` use one shard only, with arrays as input and output, so that workers of any kind can run
them (`training/ngram/engine.py`). They need two sums over all shards: the number of windows that begin with each word,
and the number of n-grams of each order in the shards before (`rows_NS`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np

from models.ngram.lookup import Followers, row_type, word_type
from training.ngram.counting.memory import ArrayAllocator
from training.ngram.counting.windows import DocumentLimit, Text, changes, deal, first_words, shard_words, sort_shard
from training.ngram.engine import ShardEngine


@dataclass(frozen=True)
class SortedWindows:
    """All windows of at least two tokens, sorted, in shards.

    Args:
        text: The text; without tokens if it is in a file (`disk_counts.py`).
        start_W: Position in the text where each window begins; int32.
        shared_W: Number of first words shared with the window before; uint8.
        length_W: Number of tokens in the window; uint8.
        first_V: Number of windows whose first word has a smaller id; (V + 1,).
        first_S: Where each shard begins, and W.
        edges: The words whose first window is in shard s are the ids edges[s] … edges[s + 1] − 1.
        rows_NS: Number of n-grams of each order (row k − 1) in the shards before s; the last column is the total.
        limit: Which n-grams occur in enough documents; None if this is not counted.
        changed_W: With a limit, whether the window is in another document than the window before.
    """

    text: Text
    start_W: np.ndarray
    shared_W: np.ndarray
    length_W: np.ndarray
    first_V: np.ndarray
    first_S: np.ndarray
    edges: np.ndarray
    rows_NS: np.ndarray
    limit: DocumentLimit | None = None
    changed_W: np.ndarray | None = None

    @property
    def shards(self) -> int:
        """Number of shards."""
        return len(self.edges) - 1

    def ngrams(self, order: int) -> int:
        """Return the number of distinct n-grams of an order."""
        return int(self.rows_NS[order - 1, -1])

    def shard(self, number: int) -> Shard:
        """Return the shard with this number."""
        part = slice(int(self.first_S[number]), int(self.first_S[number + 1]))
        words = slice(int(self.edges[number]), int(self.edges[number + 1]))
        first_C = self.first_V[words] - part.start
        of_begins = [np.clip(self.first_V[word : word + 2], part.start, part.stop) for word in self.text.begins]
        begun = tuple((int(first), int(last)) for first, last in (of - part.start for of in of_begins) if first < last)
        changed_P = None if self.changed_W is None else self.changed_W[part]
        return Shard(self.start_W[part], self.shared_W[part], self.length_W[part], first_C, begun, changed_P)


class Shard(NamedTuple):
    """Some of the sorted windows, with all windows of each n-gram of two or more. Arrays as in `SortedWindows`.

    Args:
        first_C: Index of the first window of each word that has it here.
        begun: Ranges of windows whose first word is a begin token.
    """

    start_P: np.ndarray
    shared_P: np.ndarray
    length_P: np.ndarray
    first_C: np.ndarray
    begun: tuple[tuple[int, int], ...]
    changed_P: np.ndarray | None = None

    def new(self, order: int) -> np.ndarray:
        """Return the mask of the windows at which a new n-gram of an order begins; (P,) bool."""
        return begins_new(self.shared_P, self.length_P, order)


class Sorted(NamedTuple):
    """The sorted windows of a shard, as in `SortedWindows`, and its number of n-grams of each order 2 … N."""

    start_P: np.ndarray
    shared_P: np.ndarray
    length_P: np.ndarray
    changed_P: np.ndarray | None
    ngrams: list[int]


class WindowRows(NamedTuple):
    """The n-grams of one order, from one shard or from all shards; M rows.

    Args:
        followers: N-grams by context and last word; for a shard, only its own contexts, but with row numbers of the
            whole order.
        raw_M: Occurrences; int32.
        suffix_M: Row, at the order below, of the n-gram without its first word; int32.
        begins_M: Whether the n-gram begins with a begin token.
        widespread_M: Whether it occurs in enough documents; None if this is not counted.
    """

    followers: Followers
    raw_M: np.ndarray
    suffix_M: np.ndarray
    begins_M: np.ndarray
    widespread_M: np.ndarray | None


def sort_windows(
    text: Text, most: int, engine: ShardEngine, allocator: ArrayAllocator, limit: DocumentLimit | None = None
) -> SortedWindows:
    """Sort all windows of a text, in shards of at most *most* windows each (more if one first word has more).

    Args:
        limit: With it, the text must know its documents.
    """
    document_T = None if text.document_T is None else engine.share(text.document_T)
    text = replace(
        text, code_T=engine.share(text.code_T), length_T=engine.share(text.length_T), document_T=document_T
    )
    windows_V = first_words(text)
    edges = shard_words(windows_V, most)
    first_V = np.append(0, np.cumsum(windows_V))
    first_S = first_V[edges]
    start_W = allocator.empty(int(first_S[-1]), np.int32)
    shared_W, length_W = (allocator.empty(len(start_W), np.uint8) for _ in range(2))
    changed_W = allocator.empty(len(start_W), bool) if limit else None
    deal(text, edges, first_S, start_W)
    rows_NS = np.zeros((text.order, len(edges)), np.int64)
    rows_NS[0] = edges

    def place(number: int, piece: Sorted) -> None:
        part = slice(int(first_S[number]), int(first_S[number + 1]))
        start_W[part], shared_W[part], length_W[part] = piece[:3]
        if changed_W is not None:
            changed_W[part] = piece.changed_P
        rows_NS[1:, number + 1] = piece.ngrams
        allocator.release()

    engine.each(partial(sort_part, text, engine.share(start_W), first_S, most), place, len(edges) - 1)
    np.cumsum(rows_NS[1:], axis=1, out=rows_NS[1:])
    start_W, shared_W, length_W = (engine.share(array_W) for array_W in (start_W, shared_W, length_W))
    changed_W = None if changed_W is None else engine.share(changed_W)
    text = replace(text, document_T=None)
    return SortedWindows(text, start_W, shared_W, length_W, first_V, first_S, edges, rows_NS, limit, changed_W)


def sort_part(text: Text, start_W: np.ndarray, first_S: np.ndarray, most: int, number: int) -> Sorted:
    """Sort the windows of one shard; *start_W*: where the windows begin, by shard, unsorted within a shard."""
    start_P = start_W[int(first_S[number]) : int(first_S[number + 1])].copy()
    shared_P = np.empty(len(start_P), np.uint8)
    sort_shard(text, start_P, shared_P, most)
    length_P = text.length_T.take(start_P)
    changed_P = None if text.document_T is None else changes(text.document_T.take(start_P))
    ngrams = [int(np.count_nonzero(begins_new(shared_P, length_P, order))) for order in range(2, text.order + 1)]
    return Sorted(start_P, shared_P, length_P, changed_P, ngrams)


def begins_new(shared_P: np.ndarray, length_P: np.ndarray, order: int) -> np.ndarray:
    """Return the mask of the windows at which a new n-gram of an order begins; (P,) bool."""
    return (shared_P < order) & (length_P >= order)


def count_order(
    windows: SortedWindows, order: int, row_T: np.ndarray, longer_T: np.ndarray | None, engine: ShardEngine,
    allocator: ArrayAllocator,
) -> WindowRows:
    """Count the n-grams of one order.

    Args:
        row_T: Row, at the order below, of the n-gram that begins at each position of the text; int32.
        longer_T: Output: the same for this order, where such an n-gram exists; None if it is not needed.
    """
    rows, contexts = windows.ngrams(order), windows.ngrams(order - 1)
    order_rows = WindowRows(
        Followers(
            allocator.empty(rows, word_type(windows.text.vocabulary_size)),
            allocator.empty(contexts + 1, row_type(rows))
        ),
        allocator.empty(rows, np.int32), allocator.empty(rows, np.int32), allocator.empty(rows, bool),
        allocator.empty(rows, bool) if windows.limit else None,
    )  # fmt: skip
    order_rows.followers.first_C[-1] = rows

    def place(number: int, counted: tuple[WindowRows, np.ndarray | None]) -> None:
        part, row_P = counted
        first, last = windows.rows_NS[order - 2, number : number + 2].tolist()
        here, there = windows.rows_NS[order - 1, number : number + 2].tolist()
        order_rows.followers.first_C[first:last] = part.followers.first_C
        order_rows.followers.word_M[here:there] = part.followers.word_M
        for all_M, part_M in zip(order_rows[1:], part[1:], strict=True):
            if all_M is not None:
                all_M[here:there] = part_M
        if longer_T is not None:
            longer_T[windows.shard(number).start_P] = row_P  # rows of windows that are too short are never read
        allocator.release()

    work = partial(count_part, windows, order, engine.share(row_T), longer_T is not None)
    engine.each(work, place, windows.shards)
    return order_rows


def count_part(
    windows: SortedWindows, order: int, row_T: np.ndarray, with_rows: bool, number: int
) -> tuple[WindowRows, np.ndarray | None]:
    """Count the n-grams of one order at the beginnings of the windows of one shard.

    Args:
        with_rows: Also return the row of the n-gram at the beginning of each window, (P,) int32.

    Returns:
        The shard's n-grams (`followers.first_C` is without the end of the last context), and the rows or None.
    """
    first_row = int(windows.rows_NS[order - 1, number])
    shard = windows.shard(number)
    groups = grouped(shard, order, first_row, windows.limit)
    start_M = shard.start_P.take(groups.at_M)
    followers = Followers(windows.text.later_ids(start_M, order - 1), groups.first_C)
    rows = WindowRows(followers, groups.raw_M, row_T.take(start_M + 1), groups.begins_M, groups.widespread_M)
    return rows, groups.row_P if with_rows else None


class Grouped(NamedTuple):
    """The windows of a shard by the n-gram of one order that they begin with.

    Args:
        at_M: The first window of each n-gram.
        raw_M: Occurrences; int32.
        first_C: As in `Followers`, without the end of the last context.
        begins_M: Whether the n-gram begins with a begin token.
        row_P: Row of the n-gram at the beginning of each window, where the window is long enough; int32.
        widespread_M: Whether the n-gram occurs in enough documents; None if this is not counted.
    """

    at_M: np.ndarray
    raw_M: np.ndarray
    first_C: np.ndarray
    begins_M: np.ndarray
    row_P: np.ndarray
    widespread_M: np.ndarray | None


def grouped(shard: Shard, order: int, first_row: int, limit: DocumentLimit | None) -> Grouped:
    """Group the windows of a shard.

    Args:
        first_row: Number of rows of this order in the shards before this one.
        limit: See `SortedWindows`.
    """
    new_P = shard.new(order)
    at_M = np.flatnonzero(new_P)
    # An n-gram's occurrences are the windows up to the next new n-gram, without windows that are too short.
    raw_M = np.diff(at_M, append=len(new_P)).astype(np.int32)
    short = np.flatnonzero(shard.length_P < order)
    if len(short):
        raw_M -= np.bincount(np.searchsorted(at_M, short, side="right"), minlength=len(at_M) + 1)[1:].astype(np.int32)
    before_P = rows_before(new_P, first_row)
    context_C = shard.first_C if order == 2 else np.flatnonzero(shard.new(order - 1))
    first_C = before_P.take(context_C)
    begins_M = np.zeros(len(at_M), bool)
    for begun in shard.begun:
        begins_M[slice(*np.searchsorted(at_M, begun))] = True
    before_P -= 1
    widespread_M = None
    if limit and shard.changed_P is not None:
        widespread_M = limit.reached(at_M, raw_M, shard.start_P, shard.changed_P)
    return Grouped(at_M, raw_M, first_C, begins_M, before_P[1:], widespread_M)


def rows_before(new_P: np.ndarray, first_row: int) -> np.ndarray:
    """Return the number of n-grams that begin before each window, and before the end; (P + 1,) int32."""
    before_P = np.zeros(len(new_P) + 1, np.int32)
    np.cumsum(new_P, out=before_P[1:])
    before_P += first_row
    return before_P
