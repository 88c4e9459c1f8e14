"""Count the n-grams of each order from sorted windows (`window_batches.py`), for `counts.count_ngrams`.

Nothing is looked up at a random place of a file, which would move a page of the disk for every token. The row of the
n-gram without its first word, which begins one position later, is looked up in memory: for a range of positions at a
time, one pass over the sorted windows writes the rows of the order below at their positions, and another one reads them
(`_link`). Without a memory limit, the range is the whole text.

`_count_part`, `_rows_part` and `_suffix_part` use one shard only, with arrays as input and output, so that workers of
any kind can run them (`training/ngram/engine.py`).

A window begins at a position of the text and ends after N tokens, or with its document. After sorting (by their words'
ids, first word first), the occurrences of an n-gram of any order are neighbours, and n-grams have the order of the
tables: sorted by context, then by last word. Two small numbers per window tell where a new n-gram begins: `shared`, the
number of first words that a window has in common with the window before it, and its own `length`. Then

    a new n-gram of order k begins at a window     ⟺     shared < k <= length.

This is a suffix array with its longest common prefixes, cut off at N words (U. Manber and G. Myers 1993, "Suffix
arrays: a new method for on-line string searches", SIAM Journal on Computing 22).

Windows are put into shards by their first word. Each shard is sorted separately, in parallel, or one after another if
memory is short. The sorted shards one after another are the sorted text. Within a shard, each pass sorts by as many
words as fit into one 64-bit integer together with the window's place. A window whose words so far occur only once is
finished.

The order also tells which n-grams occur in enough documents. One that only one review has may be somebody's secret, and
a table of n-grams tells it to everybody who asks (docs/concepts/evaluation/memorisation.md). In this order, the
occurrences of an n-gram are neighbours. So its documents are at most 1 + the number of its occurrences that are in
another document than the occurrence before. For a limit of 2 this is exact. For a higher one, only n-grams with enough
changes are looked at closely.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from models.atomic_files import let_go
from models.ngram.lookup import Followers, row_type
from training.ngram.counting.memory import MemoryPlan, ranges_in_memory
from training.ngram.engine import ShardEngine

_BLOCK = 1 << 20
WORD_BITS = 64


@dataclass(frozen=True)
class Text:
    """A text whose windows can be sorted.

    Args:
        code_T: id + 1 of each token, −(id + 1) of a begin token, 0 after the text; int32. So a code of 0 or below after
            the first token of a window is after its document's end.
        order: N.
        vocabulary_size: V.
    """

    code_T: np.ndarray
    order: int
    vocabulary_size: int

    def first_ids(self, start_P: np.ndarray) -> np.ndarray:
        """Return the id of each window's first word; (P,) int32."""
        return np.abs(self.code_T.take(start_P)) - 1


def shard_words(windows_V: np.ndarray, most: int) -> np.ndarray:
    """Cut the vocabulary into ranges of first words with at most *most* windows each (more if one word has more).

    Returns:
        First id of every range, and V; (shards + 1,) int64.
    """
    edges, room = [0], most
    for word in np.flatnonzero(windows_V):
        if windows_V[word] > room and room < most:
            edges.append(int(word))
            room = most
        room -= int(windows_V[word])
    return np.array([*edges, len(windows_V)])


def sort_shard(text: Text, start_P: np.ndarray, shared_P: np.ndarray, most: int) -> None:
    """Sort the windows of one shard, in place.

    Args:
        start_P: Where the windows begin; afterwards in the order of their words, equal windows by position.
        shared_P: Output, uint8: the number of first words that a window shares with the one before it; N if the two
            are equal, 0 for the first window.
        most: Maximum number of windows sorted at a time; if there are more, they must all begin with the same word.
    """
    shared_P[:] = text.order
    if len(start_P) == 0:
        return
    if len(start_P) <= most:
        group_A = text.first_ids(start_P)
        group_A -= group_A.min()
        _refine(text, start_P, shared_P, np.arange(len(start_P)), group_A, 1)
        return
    _sort_piece(text, start_P, shared_P, 1, most)
    shared_P[0] = 0


def _sort_piece(text: Text, start_P: np.ndarray, shared_P: np.ndarray, depth: int, most: int) -> None:
    """Sort windows that share their first *depth* words, in place; arguments as in `sort_shard`.

    shared_P[0] becomes *depth*: only the caller knows the window before.
    """
    edges = _sort_by_word(text, start_P, depth, most)
    for first, last in pairwise(edges):
        piece = slice(first, last)
        if last - first <= most:
            at_A = np.arange(last - first)
            _refine(text, start_P[piece], shared_P[piece], at_A, np.zeros(len(at_A), np.int32), depth)
        elif depth + 1 < text.order and text.code_T[start_P[first] + depth] > 0:
            _sort_piece(text, start_P[piece], shared_P[piece], depth + 1, most)
        shared_P[first] = depth


def _sort_by_word(text: Text, start_P: np.ndarray, place: int, most: int) -> list[int]:
    """Sort windows by their word at *place*, in place; return edges of pieces with at most *most* windows if possible.

    A piece is larger if it is of one word. Needs 8 bytes per window; a full sort needs about 100.
    """
    key_P = np.empty(len(start_P), np.uint64)
    for first in range(0, len(key_P), _BLOCK):
        start_B = start_P[first : first + _BLOCK]
        key_P[first : first + _BLOCK] = np.maximum(text.code_T.take(start_B + place), 0)
    key_P <<= np.uint64(32)
    key_P |= start_P.view(np.uint32)
    key_P.sort()
    for first in range(0, len(key_P), _BLOCK):
        start_P[first : first + _BLOCK] = key_P[first : first + _BLOCK] & np.uint64(0xFFFFFFFF)
    key_P >>= np.uint64(32)
    edges = [0]
    while len(key_P) - edges[-1] > most:
        cut = int(np.searchsorted(key_P, key_P[edges[-1] + most]))
        if cut == edges[-1]:  # one word has more windows than *most*
            cut = int(np.searchsorted(key_P, key_P[cut], side="right"))
        edges.append(cut)
    return [*edges, len(key_P)] if edges[-1] < len(key_P) else edges


def _refine(
    text: Text, start_P: np.ndarray, shared_P: np.ndarray, at_A: np.ndarray, group_A: np.ndarray, depth: int
) -> None:
    """Sort windows by their group, then by the words from place *depth* on.

    Args:
        start_P: Where the windows of the shard begin; changed in place.
        shared_P: See `sort_shard`; changed in place.
        at_A: Places in the shard of the windows to sort, ascending; the other windows keep their places.
        group_A: The same number for windows with the same first *depth* words. Ascending, except in the first call.
        depth: Number of first words that the groups already tell apart.
    """
    while depth < text.order and len(at_A):
        place_bits, word_bits = _bits(len(at_A)), _bits(text.vocabulary_size + 1)
        words = min((WORD_BITS - _bits(int(group_A.max()) + 1) - place_bits) // word_bits, text.order - depth)
        if words < 1:
            if depth == 1:
                order_A = np.argsort(group_A, kind="stable")
                start_P[at_A], group_A = start_P[at_A][order_A], group_A[order_A]
            middle = group_A[len(group_A) // 2]
            cut = int(np.searchsorted(group_A, middle if middle > group_A[0] else middle + 1))
            for part in (slice(cut), slice(cut, None)):
                _refine(text, start_P, shared_P, at_A[part], group_A[part] - group_A[part][0], depth)
            return
        key_A = _keys(text, start_P[at_A], group_A, depth, words, word_bits)
        key_A <<= np.uint64(place_bits)
        key_A |= np.arange(len(at_A), dtype=np.uint64)
        key_A.sort()
        start_P[at_A] = start_P[at_A][(key_A & np.uint64((1 << place_bits) - 1)).astype(np.int32)]
        key_A >>= np.uint64(place_bits)
        differs_A = _mark(shared_P, at_A, key_A, depth, words, word_bits)
        again_A = ~differs_A
        again_A[:-1] |= again_A[1:]
        again_A &= (key_A & np.uint64((1 << word_bits) - 1)) != 0  # 0 is after the document's end: no further words
        group_A = np.cumsum(differs_A, dtype=np.int32)[again_A]
        group_A = np.cumsum(np.diff(group_A, prepend=group_A[:1]) != 0, dtype=np.int32)
        at_A, depth = at_A[again_A], depth + words


def _bits(values: int) -> int:
    """Return the number of bits for *values* different numbers."""
    return max(values - 1, 0).bit_length()


def _keys(text: Text, start_A: np.ndarray, group_A: np.ndarray, depth: int, words: int, word_bits: int) -> np.ndarray:
    """Return group and words packed into one integer per window, (A,) uint64; after a document's end, words are 0."""
    key_A = group_A.astype(np.uint64)
    inside_A: np.ndarray | None = None
    for place in range(depth, depth + words):
        code_A = np.maximum(text.code_T.take(start_A + place), 0)
        if inside_A is not None:
            code_A *= inside_A
        inside_A = code_A > 0
        key_A <<= np.uint64(word_bits)
        key_A |= code_A.view(np.uint32)
    return key_A


def _mark(
    shared_P: np.ndarray, at_A: np.ndarray, key_A: np.ndarray, depth: int, words: int, word_bits: int
) -> np.ndarray:
    """Write the number of words shared with the window before into *shared_P*; return which differ from it (A,)."""
    differs_A = np.ones(len(key_A), bool)
    change_A = key_A[1:] ^ key_A[:-1]
    np.not_equal(change_A, 0, out=differs_A[1:])
    shared_A = np.full(len(change_A), depth + words, np.uint8)
    for word in range(words):
        shared_A -= change_A >= np.uint64(1 << (word * word_bits))
    within_A = (change_A < np.uint64(1 << (words * word_bits))) if words * word_bits < WORD_BITS else change_A >= 0
    if depth == 1:  # first call: the groups are first words and were not sorted before
        shared_A[~within_A] = 0
        within_A[:] = True
        shared_P[at_A[0]] = 0
    within_A &= differs_A[1:]
    shared_P[at_A[1:][within_A]] = shared_A[within_A]
    return differs_A


class DocumentLimit(NamedTuple):
    """The least number of documents of an n-gram, 2 or more, and where the documents begin (ascending; int32)."""

    least: int
    begin_D: np.ndarray

    def documents(self, start_P: np.ndarray) -> np.ndarray:
        """Return the number of each window's document, (P,)."""
        return np.searchsorted(self.begin_D, start_P, side="right")

    def reached(
        self, at_M: np.ndarray, raw_M: np.ndarray, start_P: np.ndarray, changed_P: np.ndarray
    ) -> np.ndarray:
        """Return whether each n-gram occurs in at least *least* documents; (M,) bool.

        Args:
            at_M: The first window of each n-gram; its occurrences are this window and those after it.
            raw_M: Number of its occurrences.
            start_P: Position in the text where each window begins.
            changed_P: From `changes`.
        """
        changes_P = np.cumsum(changed_P, dtype=np.int32)
        reached_M: np.ndarray = changes_P.take(at_M + raw_M - 1) - changes_P.take(at_M) >= self.least - 1
        if self.least > 2:
            maybe = np.flatnonzero(reached_M)
            reached_M[maybe] = self._distinct(at_M[maybe], raw_M[maybe], start_P) >= self.least
        return reached_M

    def _distinct(self, at_M: np.ndarray, raw_M: np.ndarray, start_P: np.ndarray) -> np.ndarray:
        """Return the number of documents of each n-gram, (M,)."""
        row_N = np.repeat(np.arange(len(raw_M)), raw_M)
        window_N = np.arange(len(row_N)) + np.repeat(at_M - (np.cumsum(raw_M) - raw_M), raw_M)
        pair_N = row_N.astype(np.uint64) << np.uint64(32) | self.documents(start_P.take(window_N)).astype(np.uint64)
        pair_N.sort()
        return np.bincount(row_N, weights=changes(pair_N), minlength=len(raw_M))  # sorted pairs are in the rows' order


def changes(document_P: np.ndarray) -> np.ndarray:
    """Return whether each window is in another document than the window before; (P,) bool, the first one True."""
    changed_P = np.ones(len(document_P), bool)
    np.not_equal(document_P[1:], document_P[:-1], out=changed_P[1:])
    return changed_P


def begins_new(shared_P: np.ndarray, length_P: np.ndarray, order: int) -> np.ndarray:
    """Return the mask of the windows at which a new n-gram of an order begins; (P,) bool."""
    return (shared_P < order) & (length_P >= order)


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
