"""Sort all windows of a text, which may be larger than memory, in batches and passes over the text.

For each batch of windows, one pass over the text copies their words, N for each, so that they can be sorted without the
text, and the last word of each n-gram is written while its window is in memory. Nothing is looked up at a random place
of a file, which would move a page of the disk for every token. Without a memory limit there is one batch and one pass.

K. Heafield et al. 2013 ("Scalable modified Kneser–Ney language model estimation") sort the n-grams of every order
several times instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from models.atomic_files import let_go
from models.base import ModelError
from models.ngram.lookup import word_type
from models.threads import ordered
from training.ngram.counting.memory import GrowingArray, MemoryPlan
from training.ngram.counting.window_counts import (
    DocumentLimit,
    SortedWindows,
    Text,
    begins_new,
    changes,
    shard_words,
    sort_shard,
)
from training.ngram.engine import ShardEngine

_NOTHING = -1


@dataclass(frozen=True)
class TextInBlocks:
    """A text of which memory holds a block.

    Args:
        ids_T: Ids; each document begins with its single begin token.
        given_V: Which ids are begin tokens.
        order: N.
        block: Tokens of a block.
    """

    ids_T: np.ndarray
    given_V: np.ndarray
    order: int
    block: int

    @property
    def starts(self) -> range:
        """Positions where the blocks begin."""
        return range(0, len(self.ids_T), self.block)

    def windows(
        self, first: int, low: int, group_V: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return the windows of at least two tokens that begin in a block with some words, group by group.

        Args:
            first: Position where the block begins.
            low: Smallest id of these words.
            group_V: Group of each word from *low* on; windows that begin with others are left out.

        Returns:
            The group of each window (P,), ascending; where it begins in the text (P,) int32, ascending within a group;
            its words as in `window_counts.Text`, (P, N) int32; its length (P,) uint8.
        """
        ids_B = self._ids(first)
        word_B = ids_B[: len(ids_B) - self.order]
        inside_B = self._continues(ids_B)
        if len(group_V) < len(self.given_V):
            inside_B &= (word_B >= low) & (word_B < low + len(group_V))
        at_P = np.flatnonzero(inside_B)
        group_P = group_V.take(word_B.take(at_P) - low)
        order_P = np.argsort(group_P, kind="stable")
        at_P = at_P[order_P]
        code_PN = np.empty((len(at_P), self.order), np.int32)
        length_P = np.full(len(at_P), self.order, np.uint8)
        for place in range(self.order - 1, -1, -1):
            id_P = ids_B.take(at_P + place)
            code_P = id_P + 1  # 0 after the end of the text
            np.negative(code_P, out=code_P, where=self.given_V[id_P])
            code_PN[:, place] = code_P
            if place:
                length_P[code_P <= 0] = place
        return group_P[order_P], (at_P + first).astype(np.int32), code_PN, length_P

    def first_words(self) -> tuple[np.ndarray, tuple[int, ...]]:
        """Return the number of windows of at least two tokens that begin with each word, and the begin tokens' ids."""
        windows_V, begin_V = np.zeros(len(self.given_V), np.int64), np.zeros(len(self.given_V), bool)
        for ids_B in self._blocks():
            word_B = ids_B[: len(ids_B) - self.order]
            windows_V += np.bincount(word_B[self._continues(ids_B)], minlength=len(windows_V))
            begin_V[word_B[self.given_V[word_B]]] = True
        return windows_V, tuple(np.flatnonzero(begin_V).tolist())

    def _continues(self, ids_B: np.ndarray) -> np.ndarray:
        """Return whether a token of the same document follows each token of a block."""
        next_B = ids_B[1 : len(ids_B) - self.order + 1]
        return ~self.given_V[next_B] & (next_B != _NOTHING)

    def _blocks(self) -> Iterator[np.ndarray]:
        yield from map(self._ids, self.starts)

    def _ids(self, first: int) -> np.ndarray:
        """Return the ids of a block and of the N tokens after it, `_NOTHING` after the end of the text."""
        size = min(self.block, len(self.ids_T) - first)
        ids_B = np.full(size + self.order, _NOTHING, np.int32)
        some = self.ids_T[first : first + size + self.order]
        ids_B[: len(some)] = some
        let_go(self.ids_T)
        return ids_B


MOST_CODES = (1 << 31) - 1


class Dealt(NamedTuple):
    """Windows of some shards, from one block of the text: shard by shard, positions ascending within each.

    Args:
        numbers_S: Number of windows of each shard.
        start_P: Position in the text where each window begins; int32.
        code_PN: Its words, as in `window_counts.Text`.
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


def sort_windows(
    text: TextInBlocks, plan: MemoryPlan, engine: ShardEngine, limit: DocumentLimit | None = None
) -> tuple[SortedWindows, list[np.ndarray]]:
    """Sort all windows of a text; return them in pieces, and the last words of the n-grams of the orders 2 … N.

    Raises:
        ModelError: One word occurs too often for positions of 32 bits; kind "input".
    """
    windows_V, begins = text.first_words()
    if (codes := int(windows_V.max()) * text.order) > MOST_CODES:
        raise ModelError(
            f"n-grams with one first word have {codes:,} words; at most {MOST_CODES:,} can be sorted at a time; choose "
            "a lower order", kind="input",
        )  # fmt: skip
    edges = shard_words(windows_V, plan.windows)
    first_V = np.append(0, np.cumsum(windows_V))
    first_S = first_V[edges]
    total, size = int(first_S[-1]), len(windows_V)
    empty = partial(plan.allocator.empty, total)
    arrays = _Sorted(empty(np.int32), empty(np.uint8), empty(np.uint8), empty(bool) if limit else None)
    words = [plan.allocator.growing(word_type(size)) for _ in range(2, text.order + 1)]
    cuts, ngrams = [0], [np.zeros((1, text.order - 1), np.int64)]
    for first, last in batches(first_S, plan.batch):
        batch = _deal(text, edges[first : last + 1], first_S[first : last + 1], plan.threads)
        base = int(first_S[first])
        of_batch = arrays.part(slice(base, base + len(batch.start_P)))
        for end, ngrams_N in _sort_batch(batch, size, of_batch, plan, engine, limit):
            cuts.append(base + end)
            ngrams.append(ngrams_N[None])
        for order, growing in enumerate(words, start=2):
            _append_words(batch, of_batch.shared_W, of_batch.length_W, order, growing, engine)
            plan.allocator.release()
        del batch  # else the next one would be made beside it
    edges = np.append(np.searchsorted(first_V, cuts[:-1]), size)
    edges[0] = 0  # words without windows may come first
    rows_NS = np.concatenate([edges[None], np.cumsum(np.concatenate(ngrams), axis=0).T])
    sorted_windows = SortedWindows(
        *arrays[:3], first_V, np.array(cuts), edges, rows_NS, begins, limit, arrays.changed_W
    )
    return sorted_windows, [growing.finished() for growing in words]


def batches(first_S: np.ndarray, most: int) -> Iterator[tuple[int, int]]:
    """Cut shards into ranges with at most *most* windows each; one shard may have more."""
    first = 0
    while first < len(first_S) - 1:
        last = int(np.searchsorted(first_S, first_S[first] + most, side="right")) - 1
        last = max(last, first + 1)
        yield first, last
        first = last


def _deal(text: TextInBlocks, edges: np.ndarray, first_S: np.ndarray, threads: int) -> WindowBatch:
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


def _dealt(text: TextInBlocks, low: int, shard_V: np.ndarray, shards: int, first: int) -> Dealt:
    shard_P, start_P, code_PN, length_P = text.windows(first, low, shard_V)
    return Dealt(np.bincount(shard_P, minlength=shards), start_P, code_PN, length_P)


def _sort_batch(
    batch: WindowBatch, vocabulary_size: int, arrays: _Sorted, plan: MemoryPlan, engine: ShardEngine,
    limit: DocumentLimit | None,
) -> Iterator[tuple[int, np.ndarray]]:
    """Sort the windows of a batch into the arrays of `SortedWindows`; yield the end and n-grams of each piece."""
    start_P, shared_P, length_P, changed_P = arrays
    parts: dict[int, tuple[list[int], np.ndarray]] = {}

    def place(number: int, part: SortedPart) -> None:
        at = batch.part(number)
        batch.order_P[at], shared_P[at] = part.order_P, part.shared_P
        start_P[at], length_P[at] = batch.start_P[at][part.order_P], batch.length_P[at][part.order_P]
        if changed_P is not None:
            changed_P[at] = part.changed_P
        parts[number] = part.ends, part.ngrams_SN
        plan.allocator.release()

    engine.each(partial(_sort_part, batch, vocabulary_size, plan.windows, limit), place, len(batch.first_S) - 1)
    for number in sorted(parts):
        ends, ngrams_SN = parts[number]
        yield from zip((int(batch.first_S[number]) + end for end in ends), ngrams_SN, strict=True)


def _sort_part(
    batch: WindowBatch, vocabulary_size: int, most: int, limit: DocumentLimit | None, number: int
) -> SortedPart:
    """Sort the windows of one shard by their copies."""
    part = batch.part(number)
    size, order = part.stop - part.start, batch.code_PN.shape[1]
    # The copies one after another are a text in which window i begins at i N.
    text = Text(batch.code_PN[part].reshape(-1), order, vocabulary_size)
    start_P = np.arange(size, dtype=np.int32) * np.int32(order)
    shared_P = np.empty(size, np.uint8)
    sort_shard(text, start_P, shared_P, most)
    start_P //= np.int32(order)
    length_P = batch.length_P[part].take(start_P)
    changed_P = changes(limit.documents(batch.start_P[part]).take(start_P)) if limit else None
    ends = _ends(shared_P, most)
    ngrams_SN = np.array([
        [np.count_nonzero(begins_new(shared_P[a:b], length_P[a:b], length)) for length in range(2, order + 1)]
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
    parts: dict[int, np.ndarray] = {}
    work = partial(_last_words, batch, shared_P, length_P, order)
    engine.each(work, parts.__setitem__, len(batch.first_S) - 1)
    for number in sorted(parts):
        growing.append(parts.pop(number))


def _last_words(batch: WindowBatch, shared_P: np.ndarray, length_P: np.ndarray, order: int, number: int) -> np.ndarray:
    part = batch.part(number)
    new_P = begins_new(shared_P[part], length_P[part], order)
    return batch.code_PN[part, order - 1].take(batch.order_P[part][new_P]) - 1
