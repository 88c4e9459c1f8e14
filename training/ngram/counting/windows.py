"""Sort all windows of N tokens of a text, so that the n-grams of every order can be read from them.

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
from itertools import pairwise
from typing import NamedTuple

import numpy as np

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
