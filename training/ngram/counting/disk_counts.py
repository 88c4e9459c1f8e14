"""Count the n-grams of a text that is larger than memory, in passes over files.

The result is that of `window_counts.py`, and so is the way: all windows are sorted, then each order is read from them.
But nothing is looked up at a random place of a file, which would move a page of the disk for every token:

* Windows are sorted in batches that fit into memory. For each batch, one pass over the text copies the words of its
  windows, N for each, so that they can be sorted without the text (`disk_windows.py`).
* The last word of each n-gram is written while its window is in memory.
* The row of the n-gram without its first word, which begins one position later, is looked up in memory: for a range of
  positions at a time, one pass over the sorted windows writes the rows of the order below at their positions, and
  another one reads them (`_link`).

A batch or a range as large as the text makes each of this a single pass. K. Heafield et al. 2013 ("Scalable modified
Kneser–Ney language model estimation") sort the n-grams of every order several times instead.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from models.ngram.lookup import Followers, row_type
from models.npy_files import let_go
from training.ngram.counting.memory import MemoryPlan, ranges_in_memory
from training.ngram.counting.window_counts import Grouped, SortedWindows, WindowRows, grouped, rows_before
from training.ngram.engine import ShardEngine

_BLOCK = 1 << 22
NOTHING = np.zeros(0, np.int32)


def count_order_on_disk(
    windows: SortedWindows, order: int, word_M: np.ndarray, ids_T: np.ndarray, plan: MemoryPlan, engine: ShardEngine
) -> WindowRows:
    """Count the n-grams of one order; *word_M*: their last words."""
    rows, contexts, allocator = windows.ngrams(order), windows.ngrams(order - 1), plan.allocator
    first_C = allocator.empty(contexts + 1, row_type(rows))
    found = WindowRows(
        Followers(word_M, first_C), allocator.empty(rows, np.int32), allocator.empty(rows, np.int32),
        allocator.empty(rows, bool), allocator.empty(rows, bool) if windows.limit else None,
    )  # fmt: skip
    first_C[-1] = rows

    def place(number: int, part: Grouped) -> None:
        first, last = windows.rows_NS[order - 2, number : number + 2].tolist()
        here, there = windows.rows_NS[order - 1, number : number + 2].tolist()
        first_C[first:last] = part.first_C
        found.raw_M[here:there], found.begins_M[here:there] = part.raw_M, part.begins_M
        if found.widespread_M is not None:
            found.widespread_M[here:there] = part.widespread_M
        allocator.release()

    engine.each(partial(_count_part, windows, order), place, windows.shards)
    for positions in ranges_in_memory(len(ids_T), found.suffix_M.itemsize, plan.allocator.limit):
        _link(windows, order, ids_T, positions, found.suffix_M, plan, engine)
    return found


def _count_part(windows: SortedWindows, order: int, number: int) -> Grouped:
    found = grouped(windows.shard(number), order, int(windows.rows_NS[order - 1, number]), windows.limit)
    return found._replace(at_M=NOTHING, row_P=NOTHING)  # an engine would send them for nothing


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
