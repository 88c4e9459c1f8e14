"""Count the n-grams of each order from sorted windows (`window_batches.py`), for `counts.count_ngrams`.

Nothing is looked up at a random place of a file, which would move a page of the disk for every token. The row of the
n-gram without its first word, which begins one position later, is looked up in memory: for a range of positions at a
time, one pass over the sorted windows writes the rows of the order below at their positions, and another one reads them
(`_link`). Without a memory limit, the range is the whole text.

`_count_part`, `_rows_part` and `_suffix_part` use one shard only, with arrays as input and output, so that workers of
any kind can run them (`training/ngram/engine.py`). They need two sums over all shards: the number of windows that begin
with each word, and the number of n-grams of each order in the shards before (`rows_NS`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from models.atomic_files import let_go
from models.ngram.lookup import Followers, row_type
from training.ngram.counting.memory import MemoryPlan, ranges_in_memory
from training.ngram.counting.windows import DocumentLimit, begins_new
from training.ngram.engine import ShardEngine

_BLOCK = 1 << 22
NOTHING = np.zeros(0, np.int32)


@dataclass(frozen=True)
class SortedWindows:
    """All windows of at least two tokens, sorted, in shards.

    Args:
        start_W: Position in the text where each window begins; int32.
        shared_W: Number of first words shared with the window before; uint8.
        length_W: Number of tokens in the window; uint8.
        first_V: Number of windows whose first word has a smaller id; (V + 1,).
        first_S: Where each shard begins, and W.
        edges: The words whose first window is in shard s are the ids edges[s] … edges[s + 1] − 1.
        rows_NS: Number of n-grams of each order (row k − 1) in the shards before s; the last column is the total.
        begins: Ids of the begin tokens that occur.
        limit: Which n-grams occur in enough documents; None if this is not counted.
        changed_W: With a limit, whether the window is in another document than the window before.
    """

    start_W: np.ndarray
    shared_W: np.ndarray
    length_W: np.ndarray
    first_V: np.ndarray
    first_S: np.ndarray
    edges: np.ndarray
    rows_NS: np.ndarray
    begins: tuple[int, ...]
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
        of_begins = [np.clip(self.first_V[word : word + 2], part.start, part.stop) for word in self.begins]
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


def count_order(
    windows: SortedWindows, order: int, word_M: np.ndarray, ids_T: np.ndarray, plan: MemoryPlan, engine: ShardEngine
) -> WindowRows:
    """Count the n-grams of one order; *word_M*: their last words."""
    rows, contexts, allocator = windows.ngrams(order), windows.ngrams(order - 1), plan.allocator
    first_C = allocator.empty(contexts + 1, row_type(rows))
    counted = WindowRows(
        Followers(word_M, first_C), allocator.empty(rows, np.int32), allocator.empty(rows, np.int32),
        allocator.empty(rows, bool), allocator.empty(rows, bool) if windows.limit else None,
    )  # fmt: skip
    first_C[-1] = rows

    def place(number: int, part: Grouped) -> None:
        first, last = windows.rows_NS[order - 2, number : number + 2].tolist()
        here, there = windows.rows_NS[order - 1, number : number + 2].tolist()
        first_C[first:last] = part.first_C
        counted.raw_M[here:there], counted.begins_M[here:there] = part.raw_M, part.begins_M
        if counted.widespread_M is not None:
            counted.widespread_M[here:there] = part.widespread_M
        allocator.release()

    engine.each(partial(_count_part, windows, order), place, windows.shards)
    for positions in ranges_in_memory(len(ids_T), counted.suffix_M.itemsize, plan.allocator.limit):
        _link(windows, order, ids_T, positions, counted.suffix_M, plan, engine)
    return counted


def _count_part(windows: SortedWindows, order: int, number: int) -> Grouped:
    groups = grouped(windows.shard(number), order, int(windows.rows_NS[order - 1, number]), windows.limit)
    return groups._replace(at_M=NOTHING, row_P=NOTHING)  # an engine would send them for nothing


def _link(
    windows: SortedWindows, order: int, ids_T: np.ndarray, positions: slice, suffix_M: np.ndarray, plan: MemoryPlan,
    engine: ShardEngine,
) -> None:
    """Write the rows, at the order below, of the n-grams that begin at a range of positions into *suffix_M*."""
    below_T = np.empty(positions.stop - positions.start, np.int32)

    def place_below(number: int, row_P: np.ndarray) -> None:
        start_P = windows.shard(number).start_P
        if len(below_T) < len(ids_T):
            inside = _inside(start_P, positions)
            start_P, row_P = start_P[inside] - positions.start, row_P[inside]
        below_T[start_P] = row_P
        plan.allocator.release()

    if order == 2:
        for first in range(0, len(below_T), _BLOCK):
            part = slice(positions.start + first, positions.start + min(first + _BLOCK, len(below_T)))
            below_T[first : first + _BLOCK] = ids_T[part]
            let_go(ids_T)
    else:
        engine.each(partial(_rows_part, windows, order - 1), place_below, windows.shards)

    def place(number: int, part: tuple[np.ndarray, np.ndarray]) -> None:
        here, there = windows.rows_NS[order - 1, number : number + 2].tolist()
        inside, row_M = part
        suffix_M[here:there][inside] = row_M
        plan.allocator.release()

    engine.each(partial(_suffix_part, windows, order, below_T, positions), place, windows.shards)


def _inside(start_P: np.ndarray, positions: slice) -> np.ndarray:
    return (start_P >= positions.start) & (start_P < positions.stop)


def _rows_part(windows: SortedWindows, order: int, number: int) -> np.ndarray:
    row_P = rows_before(windows.shard(number).new(order), int(windows.rows_NS[order - 1, number]))
    row_P -= 1
    return row_P[1:]


def _suffix_part(
    windows: SortedWindows, order: int, below_T: np.ndarray, positions: slice, number: int
) -> tuple[np.ndarray, np.ndarray]:
    shard = windows.shard(number)
    after_M = shard.start_P[shard.new(order)] + 1
    inside_M = _inside(after_M, positions)
    return inside_M, below_T.take(after_M[inside_M] - positions.start)


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
