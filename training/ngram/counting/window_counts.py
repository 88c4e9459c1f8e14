"""Count the n-grams of the orders 2 … N from sorted windows of a text, for `counts.count_ngrams`.

A window begins at a position of the text and ends after N tokens, or with its document. After sorting (by their words'
ids, first word first), the occurrences of an n-gram of any order are neighbours, and n-grams have the order of the
tables: sorted by context, then by last word. Two small numbers per window tell where a new n-gram begins: `shared`, the
number of first words that a window has in common with the window before it, and its own `length`. Then

    a new n-gram of order k begins at a window     ⟺     shared < k <= length.

This is a suffix array with its longest common prefixes, cut off at N words (U. Manber and G. Myers 1993, "Suffix
arrays: a new method for on-line string searches", SIAM Journal on Computing 22).

Windows are put into shards by their first word, neighbouring shards into a batch. For each batch, one pass over the
text copies the words of its windows; its shards are sorted and counted in parallel, without the text. The batches one
after another are the sorted text. K. Heafield et al. 2013 ("Scalable modified Kneser–Ney language model estimation")
sort the n-grams of every order several times instead.

At last the suffix of each n-gram (without its first word) is found: it begins one position later. For a range of
positions at a time, one pass over the sorted windows writes the rows of the order below at their positions, and another
one reads them (`_link`). So nothing is looked up at a random place of a file, which would move a page of the disk for
every token. Without a memory limit, the range is the whole text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from reviewlm.models.atomic_files import let_go
from reviewlm.models.base import ModelError
from reviewlm.models.ngram.lookup import Followers, row_type, word_type
from reviewlm.models.threads import map_in_order, return_freed
from reviewlm.training.ngram.counting.memory import (
    ArrayAllocator,
    GrowingArray,
    MemoryPlan,
    blocks,
    ranges_in_memory,
)
from reviewlm.training.ngram.counting.window_sorting import sort_windows
from reviewlm.training.ngram.engine import ShardEngine

_NOTHING = -1
MOST_32 = (1 << 31) - 1
"""Largest position or row in 32 bits."""
MOST_CODES = (1 << 31) - 1
"""Largest number of words of the windows with one first word, which are numbered in 32 bits."""


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
        self,
        low: int,
        group_V: np.ndarray,
        first: int,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return the windows of at least two tokens that begin in a block with some words, group by group.

        Args:
            low: Smallest id of these words.
            group_V: Group of each word from *low* on; windows that begin with others are left out.
            first: Position where the block begins.

        Returns:
            The group of each window (P,), ascending; where it begins in the text (P,), ascending within a group;
            its words as in `window_sorting.py`, (N, P) int32; its length (P,) uint8.
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
        code_NP = np.empty((self.order, len(at_P)), np.int32)
        length_P = np.full(len(at_P), self.order, np.uint8)
        for place in range(self.order - 1, -1, -1):
            id_P = ids_B.take(at_P + place)
            np.add(id_P, 1, out=code_NP[place])  # 0 after the end of the text
            np.negative(code_NP[place], out=code_NP[place], where=self.given_V[id_P])
            if place:
                length_P[code_NP[place] <= 0] = place

        start_P: np.ndarray = (at_P + first).astype(number_type(len(self.ids_T)))
        return group_P[order_P], start_P, code_NP, length_P

    def first_words(self) -> np.ndarray:
        """Return the number of windows of at least two tokens that begin with each word; (V,)."""
        windows_V = np.zeros(len(self.given_V), np.int64)
        for ids_B in map(self._ids, self.starts):
            windows_V += np.bincount(
                ids_B[: len(ids_B) - self.order][self._continues(ids_B)], minlength=len(windows_V)
            )
        return windows_V

    def _continues(self, ids_B: np.ndarray) -> np.ndarray:
        """Return whether a token of the same document follows each token of a block."""
        next_B = ids_B[1 : len(ids_B) - self.order + 1]
        return ~self.given_V[next_B] & (next_B != _NOTHING)

    def _ids(self, first: int) -> np.ndarray:
        """Return the ids of a block and of the N tokens after it, `_NOTHING` after the end of the text."""
        size = min(self.block, len(self.ids_T) - first)
        ids_B = np.full(size + self.order, _NOTHING, np.int32)
        some = self.ids_T[first : first + size + self.order]
        ids_B[: len(some)] = some
        let_go(self.ids_T)
        return ids_B


class DocumentLimit(NamedTuple):
    """The least number of documents of an n-gram, or of people who wrote them.

    The order of the windows also tells which n-grams occur in enough documents. One that only one review has may be
    somebody's secret, and a table of n-grams tells it to everybody who asks (docs/concepts/evaluation/memorisation.md).
    The documents of an n-gram are at most 1 + the number of its occurrences that are in another document than the
    occurrence before. For a limit of 2 this is exact. For a higher one, only n-grams with enough changes are looked at
    closely. All documents of one author count as one, if the authors are known: a secret that somebody writes twice is
    still his.

    Args:
        least: 2 or more.
        begin_D: Position where each document begins, ascending.
        authors_D: Number of each document's author, 0 or more; None: every document counts.
    """

    least: int
    begin_D: np.ndarray
    authors_D: np.ndarray | None = None

    def changes(self, start_P: np.ndarray) -> np.ndarray:
        """Return whether each window is of another author than the window before; (P,) bool, the first one True."""
        return np.diff(self._sources(start_P), prepend=-1) != 0

    def reached(
        self,
        at_M: np.ndarray,
        raw_M: np.ndarray,
        start_P: np.ndarray,
        changed_P: np.ndarray,
    ) -> np.ndarray:
        """Return whether each n-gram occurs in documents of at least *least* authors; (M,) bool.

        Args:
            at_M: The first window of each n-gram; its occurrences are this window and those after it.
            raw_M: Number of its occurrences.
            start_P: Position in the text where each window begins.
            changed_P: From `changes`.
        """
        return reach(
            self.least,
            at_M,
            raw_M,
            changed_P,
            lambda window_N: self._sources(start_P.take(window_N)),
        )

    def _sources(self, start_P: np.ndarray) -> np.ndarray:
        """Return the author, or else the document, of each window; (P,) int."""
        document_P = np.searchsorted(self.begin_D, start_P, side="right") - 1
        if self.authors_D is None:
            return document_P
        return self.authors_D.take(document_P)


class WindowBatch(NamedTuple):
    """The windows of neighbouring shards in memory; once sorted, in the order of their words.

    Args:
        start_P: Position in the text where each window begins; 32 bits if they are enough.
        code_NP: Its words, as in `window_sorting.py`; later only the first ones.
        length_P: Number of its tokens; uint8.
        shared_P: Number of first words shared with the window before; uint8.
        changed_P: With a limit of documents, see `DocumentLimit.changes`.
        first_C: The first window of each word that is a first word here (cumulated over the words of all shards).
        first_S: Where each shard begins, and P.
        word_S: Index in first_C of the first word of each shard, and their number.
    """

    start_P: np.ndarray
    code_NP: list[np.ndarray]
    length_P: np.ndarray
    shared_P: np.ndarray
    changed_P: np.ndarray | None
    first_C: np.ndarray
    first_S: np.ndarray
    word_S: np.ndarray

    @property
    def shards(self) -> int:
        """Number of shards."""
        return len(self.first_S) - 1

    def part(self, number: int) -> slice:
        """Return the windows of one shard."""
        return slice(int(self.first_S[number]), int(self.first_S[number + 1]))

    def new(self, part: slice, order: int) -> np.ndarray:
        """Return at which windows a new n-gram of an order begins; (P,) bool."""
        return begins_new(self.shared_P[part], self.length_P[part], order)


class NGramRows(NamedTuple):
    """The n-grams of one order, from one shard or from all of them; M rows.

    Args:
        word_M: Last words.
        first_C: See `Followers`; of a shard, without the end of the last context and counted from its first row.
        raw_M: Occurrences; int32.
        begins_M: Whether the n-gram begins with a begin token.
        widespread_M: Whether it occurs in enough documents; empty if this is not counted.
    """

    word_M: np.ndarray
    first_C: np.ndarray
    raw_M: np.ndarray
    begins_M: np.ndarray
    widespread_M: np.ndarray


def number_type(most: int) -> type:
    """Return the signed integer type for positions and rows from −1 to *most*."""
    return np.int32 if most <= MOST_32 else np.int64


def count_windows(
    text: TextInBlocks,
    plan: MemoryPlan,
    engine: ShardEngine,
    limit: DocumentLimit | None = None,
) -> Iterator[tuple[Followers, NGramRows, np.ndarray]]:
    """Yield n-grams of the orders 2 … N: by context, their counts, and the row of their suffix at the order below.

    Raises:
        ModelError: One word occurs too often for 32 bits; kind "input".
    """
    windows_V = text.first_words()
    size = len(text.given_V)
    allocator = plan.allocator
    codes = int(windows_V.max()) * text.order
    if codes > MOST_CODES:
        raise ModelError(
            f"n-grams with one first word have {codes:,} words; at most {MOST_CODES:,} can be sorted at a time; "
            "choose a lower order, or a cluster",
            kind="input",
        )

    edges = shard_words(windows_V, plan.windows)
    first_V = np.append(0, np.cumsum(windows_V))
    first_S = first_V[edges]
    tokens = len(text.ids_T)
    kinds = word_type(size), row_type(tokens), np.int32, bool, bool
    orders = []
    for _ in range(2, text.order + 1):
        orders.append([allocator.growing(kind) for kind in kinds])

    windows = [allocator.growing(kind) for kind in (number_type(tokens), np.uint8, np.uint8)]
    for first, last in batches(first_S, plan.batch):
        batch = _deal(
            text,
            edges[first : last + 1],
            first_V,
            plan.threads,
            limit is not None,
        )
        _sort(
            batch,
            size,
            plan.windows,
            limit,
            engine,
        )
        for order in range(text.order, 1, -1):
            _append(
                batch,
                order,
                orders[order - 2],
                limit,
                engine,
            )
            batch.code_NP.pop()  # makes room
        for growing, array_P in zip(
            windows, (batch.start_P, batch.shared_P, batch.length_P), strict=True
        ):
            growing.append(array_P)
        del batch, array_P  # else the next one would be made beside it
        return_freed()

    del text  # if the caller has given it up, too, the links have its memory
    below = 0  # n-grams of the order below
    start_W, shared_W, length_W = (growing.finish() for growing in windows)
    for order, rows in enumerate(orders, start=2):
        rows[1].append(np.array([rows[0].length]))
        word_M, first_C, *others = (growing.finish() for growing in rows)
        first_C = _narrow(first_C, row_type(len(word_M)), allocator)
        suffix_M = allocator.empty(len(word_M), number_type(max(below, size)))
        below = len(word_M)
        if order == 2:
            for part in blocks(len(word_M)):
                suffix_M[part] = word_M[part]
                allocator.release()
        else:
            _link(
                start_W,
                shared_W,
                length_W,
                order,
                tokens,
                suffix_M,
                plan,
            )
        yield Followers(word_M, first_C), NGramRows(word_M, first_C, *others), suffix_M


def _narrow(
    values: np.ndarray,
    kind: type,
    allocator: ArrayAllocator,
) -> np.ndarray:
    """Return numbers in the type that their files have, copied by blocks if that is another one."""
    if values.dtype == kind:
        return values
    copy = allocator.empty(len(values), kind)
    for part in blocks(len(values)):
        copy[part] = values[part]
        allocator.release()
    return copy


def shard_words(windows_V: np.ndarray, most: int) -> np.ndarray:
    """Cut the vocabulary into ranges of first words with at most *most* windows each (more if one word has more).

    Returns:
        First id of every range, and V; (shards + 1,) int64.
    """
    edges = [0]
    room = most
    for word in np.flatnonzero(windows_V):
        if windows_V[word] > room and room < most:
            edges.append(int(word))
            room = most
        room -= int(windows_V[word])
    return np.array([*edges, len(windows_V)])


def batches(first_S: np.ndarray, most: int) -> Iterator[tuple[int, int]]:
    """Cut shards into ranges with at most *most* windows each; one shard may have more."""
    first = 0
    while first < len(first_S) - 1:
        last = int(np.searchsorted(first_S, first_S[first] + most, side="right")) - 1
        last = max(last, first + 1)
        yield first, last
        first = last


def _deal(
    text: TextInBlocks,
    edges: np.ndarray,
    first_V: np.ndarray,
    threads: int,
    limited: bool,
) -> WindowBatch:
    """Copy the windows whose first words are in [edges[0], edges[-1]) into memory, in one pass over the text."""
    first_C = first_V[edges[0] : edges[-1]] - first_V[edges[0]]
    word_S = edges - edges[0]
    shards = len(edges) - 1
    first_S = first_V[edges] - first_V[edges[0]]
    total = int(first_S[-1])
    batch = WindowBatch(
        np.empty(total, number_type(len(text.ids_T))),
        [np.empty(total, np.int32) for _ in range(text.order)],
        np.empty(total, np.uint8),
        np.empty(total, np.uint8),
        np.empty(total, bool) if limited else None,
        first_C,
        first_S,
        word_S,
    )
    free_S = first_S[:-1].copy()
    kind = np.uint16 if shards <= 1 << 16 else np.int64  # numpy sorts two bytes without comparisons
    shard_V = np.repeat(np.arange(shards, dtype=kind), np.diff(edges))
    deal = partial(text.windows, int(edges[0]), shard_V)
    for shard_P, start_P, code_NP, length_P in map_in_order(deal, text.starts, threads):
        numbers_S = np.bincount(shard_P, minlength=shards)
        to_P = np.repeat(free_S - (np.cumsum(numbers_S) - numbers_S), numbers_S) + np.arange(
            len(start_P)
        )
        batch.start_P[to_P], batch.length_P[to_P] = start_P, length_P
        for to_code_P, code_P in zip(batch.code_NP, code_NP, strict=True):
            to_code_P[to_P] = code_P
        free_S += numbers_S

    return batch


def _sort(
    batch: WindowBatch,
    size: int,
    most: int,
    limit: DocumentLimit | None,
    engine: ShardEngine,
) -> None:
    """Sort the windows of a batch, shard by shard, in place."""

    def place(number: int, result: tuple[np.ndarray, np.ndarray]) -> None:
        part = batch.part(number)
        order_P, batch.shared_P[part] = result
        for array_P in (batch.start_P, batch.length_P, *batch.code_NP):
            array_P[part] = array_P[part].take(order_P)
        if limit and batch.changed_P is not None:
            batch.changed_P[part] = limit.changes(batch.start_P[part])

    engine.each(partial(_sort_shard, batch, size, most), place, batch.shards)


def _sort_shard(
    batch: WindowBatch,
    size: int,
    most: int,
    number: int,
) -> tuple[np.ndarray, np.ndarray]:
    part = batch.part(number)
    return sort_windows([code_P[part] for code_P in batch.code_NP], size, most)


def _append(
    batch: WindowBatch,
    order: int,
    rows: Sequence[GrowingArray],
    limit: DocumentLimit | None,
    engine: ShardEngine,
) -> None:
    """Count the n-grams of one order that begin in a batch, and append them to those before."""
    parts: dict[int, NGramRows] = {}
    engine.each(partial(_count_shard, batch, order, limit), parts.__setitem__, batch.shards)
    for number in range(batch.shards):
        part = parts.pop(number)
        part = part._replace(first_C=part.first_C + rows[1].kind.type(rows[0].length))
        for growing, values in zip(rows, part, strict=True):
            growing.append(values)


def _count_shard(
    batch: WindowBatch,
    order: int,
    limit: DocumentLimit | None,
    number: int,
) -> NGramRows:
    """Count the n-grams of one order in a shard."""
    part = batch.part(number)
    new_P = batch.new(part, order)
    at_M = np.flatnonzero(new_P)
    raw_M = occurrences_of(at_M, batch.length_P[part], order)
    if order == 2:  # every word is a context, also one without windows
        context_C = batch.first_C[batch.word_S[number] : batch.word_S[number + 1]] - part.start
    else:
        context_C = np.flatnonzero(batch.new(part, order - 1))

    before_P = np.append(np.uint32(0), np.cumsum(new_P, dtype=np.uint32))
    widespread_M = np.zeros(0, bool)
    if limit and batch.changed_P is not None:
        widespread_M = limit.reached(at_M, raw_M, batch.start_P[part], batch.changed_P[part])

    first_M = batch.code_NP[0][part].take(at_M)
    word_M = batch.code_NP[order - 1][part].take(at_M) - 1
    return NGramRows(
        word_M,
        before_P.take(context_C),
        raw_M,
        first_M < 0,
        widespread_M,
    )


def occurrences_of(
    at_M: np.ndarray,
    length_P: np.ndarray,
    order: int,
) -> np.ndarray:
    """Return the occurrences of the n-grams of an order that begin at some of the sorted windows; (M,) int32."""
    # They are the windows up to the next new n-gram, without windows that are too short.
    raw_M = np.diff(at_M, append=len(length_P)).astype(np.int32)
    short = np.flatnonzero(length_P < order)
    if len(short):
        before_M = np.bincount(np.searchsorted(at_M, short, side="right"), minlength=len(at_M) + 1)
        raw_M -= before_M[1:].astype(np.int32)
    return raw_M


def reach(
    least: int,
    at_M: np.ndarray,
    raw_M: np.ndarray,
    changed_P: np.ndarray,
    sources: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """Return whether each n-gram occurs in documents of at least *least* authors; (M,) bool.

    Args:
        at_M: The first window of each n-gram; its occurrences are this window and those after it.
        raw_M: Number of its occurrences.
        changed_P: Whether the author of each window, or its document, differs from that of the window before.
        sources: Returns the number of the author of each of some windows, less than 2^32.
    """
    changes_P = np.cumsum(changed_P, dtype=np.int32)
    reached_M: np.ndarray = changes_P.take(at_M + raw_M - 1) - changes_P.take(at_M) >= least - 1
    if least > 2:  # the occurrences may change between two authors all the time
        maybe = np.flatnonzero(reached_M)
        reached_M[maybe] = _count_sources(at_M[maybe], raw_M[maybe], sources) >= least
    return reached_M


def _count_sources(
    at_M: np.ndarray,
    raw_M: np.ndarray,
    sources: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """Return the number of authors, or of documents, of each n-gram; (M,)."""
    row_N = np.repeat(np.arange(len(raw_M)), raw_M)
    window_N = np.arange(len(row_N)) + np.repeat(at_M - (np.cumsum(raw_M) - raw_M), raw_M)
    pair_N = np.sort(row_N << 32 | sources(window_N))
    return np.bincount(row_N, weights=np.diff(pair_N, prepend=-1) != 0, minlength=len(raw_M))


def begins_new(
    shared_P: np.ndarray,
    length_P: np.ndarray,
    order: int,
) -> np.ndarray:
    """Return the mask of the windows at which a new n-gram of an order begins; (P,) bool."""
    return (shared_P < order) & (length_P >= order)


def _link(
    start_W: np.ndarray,
    shared_W: np.ndarray,
    length_W: np.ndarray,
    order: int,
    tokens: int,
    suffix_M: np.ndarray,
    plan: MemoryPlan,
) -> None:
    """Write the row, at the order below, of each n-gram without its first word into *suffix_M*."""
    for positions in ranges_in_memory(tokens, suffix_M.itemsize, plan.allocator.limit):
        below_T = np.empty(positions.stop - positions.start, suffix_M.dtype)
        row = -1
        for part in blocks(len(start_W)):
            new_P = begins_new(shared_W[part], length_W[part], order - 1)
            row_P = np.cumsum(new_P, dtype=below_T.dtype)
            row_P += below_T.dtype.type(row)
            at_P = start_W[part] - start_W.dtype.type(positions.start)
            row = int(row_P[-1])
            if len(below_T) < tokens:
                inside = (at_P >= 0) & (at_P < len(below_T))
                at_P = at_P[inside]
                row_P = row_P[inside]

            below_T[at_P] = row_P
            plan.allocator.release()

        row = 0
        for part in blocks(len(start_W)):
            new_P = begins_new(shared_W[part], length_W[part], order)
            after_M = start_W[part][new_P] + start_W.dtype.type(1 - positions.start)
            inside_M = (after_M >= 0) & (after_M < len(below_T))
            suffix_M[row : row + len(after_M)][inside_M] = below_T.take(after_M[inside_M])
            row += len(after_M)
            plan.allocator.release()
