"""Sort all windows of a text that is larger than memory, in batches; see `disk_counts.py`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from models.base import ModelError
from models.ngram.lookup import word_type
from models.threads import ordered
from training.ngram.counting.array_allocator import GrowingArray
from training.ngram.counting.disk_text import DiskText
from training.ngram.counting.document_counts import DocumentLimit, changes
from training.ngram.counting.memory import MemoryPlan
from training.ngram.counting.window_counts import SortedWindows, begins_new
from training.ngram.counting.windows import Text, shard_words, sort_shard
from training.ngram.engine import ShardEngine

MOST_CODES = (1 << 31) - 1


class Dealt(NamedTuple):
    """Windows of some shards, from one block of the text: shard by shard, positions ascending within each.

    Args:
        numbers_S: Number of windows of each shard.
        start_P: Position in the text where each window begins; int32.
        code_PN: Its words, as in `windows.Text`.
        length_P: Its length; uint8.
    """

    numbers_S: np.ndarray
    start_P: np.ndarray
    code_PN: np.ndarray
    length_P: np.ndarray


class WindowBatch(NamedTuple):
    """The windows of neighbouring shards in memory, arrays as in `Dealt`.

    Args:
        first_S: Where each shard begins, and P.
        order_P: For each place in the order of the words, which window of its shard belongs there; int32.
    """

    start_P: np.ndarray
    code_PN: np.ndarray
    length_P: np.ndarray
    first_S: np.ndarray
    order_P: np.ndarray

    def part(self, number: int) -> slice:
        """Return the places of one shard."""
        return slice(int(self.first_S[number]), int(self.first_S[number + 1]))


class SortedPart(NamedTuple):
    """A sorted shard, cut into pieces, which later passes hold one at a time.

    A piece ends before a new pair of first words, so all windows of an n-gram are in one piece.

    Args:
        order_P: See `WindowBatch`.
        shared_P: See `SortedWindows`.
        changed_P: See `SortedWindows`.
        ends: End of each piece in the shard.
        ngrams_SN: Number of n-grams of the orders 2 … N in each piece.
    """

    order_P: np.ndarray
    shared_P: np.ndarray
    changed_P: np.ndarray | None
    ends: list[int]
    ngrams_SN: np.ndarray


class _Sorted(NamedTuple):
    """Arrays of `SortedWindows`, of all windows or of a batch."""

    start_W: np.ndarray
    shared_W: np.ndarray
    length_W: np.ndarray
    changed_W: np.ndarray | None

    def part(self, part: slice) -> _Sorted:
        """Return views of some windows."""
        return _Sorted(*(None if array_W is None else array_W[part] for array_W in self))  # type: ignore[arg-type]


def sort_windows_on_disk(
    text: DiskText, plan: MemoryPlan, engine: ShardEngine, limit: DocumentLimit | None = None
) -> tuple[SortedWindows, list[np.ndarray]]:
    """Sort all windows of a text; return them in pieces, and the last words of the n-grams of the orders 2 … N.

    Raises:
        ModelError: One word occurs too often for positions of 32 bits; kind "input".
    """
    windows_V, begins = text.first_words()
    if (codes := int(windows_V.max()) * text.order) > MOST_CODES:
        raise ModelError(
            f"n-grams with one first word have {codes:,} words; at most {MOST_CODES:,} can be sorted at a time; choose "
            "a lower order, or leave the memory limit out", kind="input",
        )  # fmt: skip
    edges = shard_words(windows_V, plan.windows)
    first_V = np.append(0, np.cumsum(windows_V))
    first_S = first_V[edges]
    total, size = int(first_S[-1]), len(windows_V)
    empty = partial(plan.allocator.empty, total)
    arrays = _Sorted(empty(np.int32), empty(np.uint8), empty(np.uint8), empty(bool) if limit else None)
    like = Text(np.empty(0, np.int32), np.empty(0, np.uint8), text.order, size, begins)
    words = [plan.allocator.growing(word_type(size)) for _ in range(2, text.order + 1)]
    cuts, ngrams = [0], [np.zeros((1, text.order - 1), np.int64)]
    for first, last in batches(first_S, plan.batch):
        batch = _deal(text, edges[first : last + 1], first_S[first : last + 1], plan.threads)
        base = int(first_S[first])
        of_batch = arrays.part(slice(base, base + len(batch.start_P)))
        for end, ngrams_N in _sort_batch(batch, like, of_batch, plan, engine, limit):
            cuts.append(base + end)
            ngrams.append(ngrams_N[None])
        for order, growing in enumerate(words, start=2):
            _append_words(batch, of_batch.shared_W, of_batch.length_W, order, growing, engine)
            plan.allocator.release()
        del batch  # else the next one would be made beside it
    edges = np.append(np.searchsorted(first_V, cuts[:-1]), size)
    edges[0] = 0  # words without windows may come first
    rows_NS = np.concatenate([edges[None], np.cumsum(np.concatenate(ngrams), axis=0).T])
    start_W, shared_W, length_W = (engine.share(array_W) for array_W in arrays[:3])
    changed_W = None if arrays.changed_W is None else engine.share(arrays.changed_W)
    found = SortedWindows(
        like, start_W, shared_W, length_W, first_V, np.array(cuts), edges, rows_NS, limit, changed_W
    )
    return found, [growing.finished() for growing in words]


def batches(first_S: np.ndarray, most: int) -> Iterator[tuple[int, int]]:
    """Cut shards into ranges with at most *most* windows each; one shard may have more."""
    first = 0
    while first < len(first_S) - 1:
        last = int(np.searchsorted(first_S, first_S[first] + most, side="right")) - 1
        last = max(last, first + 1)
        yield first, last
        first = last


def _deal(text: DiskText, edges: np.ndarray, first_S: np.ndarray, threads: int) -> WindowBatch:
    """Copy the windows whose first words are in [edges[0], edges[-1]) into memory, in one pass over the text."""
    first_S = first_S - first_S[0]
    total = int(first_S[-1])
    batch = WindowBatch(
        np.empty(total, np.int32), np.empty((total, text.order), np.int32), np.empty(total, np.uint8), first_S,
        np.empty(total, np.int32),
    )  # fmt: skip
    free_S = first_S[:-1].copy()
    shards = len(first_S) - 1
    kind = np.uint16 if shards <= 1 << 16 else np.int64  # numpy sorts two bytes without comparisons
    shard_V = np.repeat(np.arange(shards, dtype=kind), np.diff(edges))
    for dealt in ordered(partial(_dealt, text, int(edges[0]), shard_V, shards), text.starts, threads):
        before_S = np.cumsum(dealt.numbers_S) - dealt.numbers_S
        to_P = np.repeat(free_S - before_S, dealt.numbers_S) + np.arange(len(dealt.start_P))
        batch.start_P[to_P], batch.code_PN[to_P], batch.length_P[to_P] = dealt[1:]
        free_S += dealt.numbers_S
    return batch


def _dealt(text: DiskText, low: int, shard_V: np.ndarray, shards: int, first: int) -> Dealt:
    shard_P, start_P, code_PN, length_P = text.windows(first, low, shard_V)
    return Dealt(np.bincount(shard_P, minlength=shards), start_P, code_PN, length_P)


def _sort_batch(
    batch: WindowBatch, like: Text, arrays: _Sorted, plan: MemoryPlan, engine: ShardEngine,
    limit: DocumentLimit | None,
) -> Iterator[tuple[int, np.ndarray]]:
    """Sort the windows of a batch into the arrays of `SortedWindows`; yield the end and n-grams of each piece."""
    start_P, shared_P, length_P, changed_P = arrays
    found: dict[int, tuple[list[int], np.ndarray]] = {}

    def place(number: int, part: SortedPart) -> None:
        at = batch.part(number)
        batch.order_P[at], shared_P[at] = part.order_P, part.shared_P
        start_P[at], length_P[at] = batch.start_P[at][part.order_P], batch.length_P[at][part.order_P]
        if changed_P is not None:
            changed_P[at] = part.changed_P
        found[number] = part.ends, part.ngrams_SN
        plan.allocator.release()

    engine.each(partial(_sort_part, batch, like, plan.windows, limit), place, len(batch.first_S) - 1)
    for number in sorted(found):
        ends, ngrams_SN = found[number]
        yield from zip((int(batch.first_S[number]) + end for end in ends), ngrams_SN, strict=True)


def _sort_part(
    batch: WindowBatch, like: Text, most: int, limit: DocumentLimit | None, number: int
) -> SortedPart:
    """Sort the windows of one shard by their copies."""
    part = batch.part(number)
    size = part.stop - part.start
    # The copies one after another are a text in which window i begins at i N.
    text = replace(like, code_T=batch.code_PN[part].reshape(-1))
    start_P = np.arange(size, dtype=np.int32) * np.int32(like.order)
    shared_P = np.empty(size, np.uint8)
    sort_shard(text, start_P, shared_P, most)
    start_P //= np.int32(like.order)
    length_P = batch.length_P[part].take(start_P)
    changed_P = changes(limit.documents(batch.start_P[part]).take(start_P)) if limit else None
    ends = _ends(shared_P, most)
    ngrams_SN = np.array([
        [np.count_nonzero(begins_new(shared_P[a:b], length_P[a:b], order)) for order in range(2, like.order + 1)]
        for a, b in pairwise([0, *ends])
    ])  # fmt: skip
    return SortedPart(start_P, shared_P, changed_P, ends, ngrams_SN)


def _ends(shared_P: np.ndarray, most: int) -> list[int]:
    """Return the ends of pieces of at most *most* windows; more if one pair of words has more."""
    size = len(shared_P)
    if size <= most:
        return [size]
    new = np.append(np.flatnonzero(shared_P < 2), size)
    ends = [0]
    while ends[-1] < size:
        at = int(np.searchsorted(new, ends[-1] + most, side="right")) - 1
        ends.append(int(new[at]) if new[at] > ends[-1] else int(new[at + 1]))
    return ends[1:]


def _append_words(
    batch: WindowBatch, shared_P: np.ndarray, length_P: np.ndarray, order: int, growing: GrowingArray,
    engine: ShardEngine,
) -> None:
    """Write the last words of the n-grams of one order that begin in a batch."""
    found: dict[int, np.ndarray] = {}
    work = partial(_last_words, batch, shared_P, length_P, order)
    engine.each(work, found.__setitem__, len(batch.first_S) - 1)
    for number in sorted(found):
        growing.append(found.pop(number))


def _last_words(batch: WindowBatch, shared_P: np.ndarray, length_P: np.ndarray, order: int, number: int) -> np.ndarray:
    part = batch.part(number)
    new_P = begins_new(shared_P[part], length_P[part], order)
    return batch.code_PN[part, order - 1].take(batch.order_P[part][new_P]) - 1
