"""Sort the windows of a shard by their words, with what neighbours share, for `window_counts.py`.

A window has N codes, one in each array: id + 1 of each token, −(id + 1) of a begin token, 0 after the end of the text.
So a code of 0 or below after the first one is after the document's end. Each pass sorts by as many words as fit into
one 64-bit integer together with the window's place. A window whose words so far occur only once is finished.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

_BLOCK = 1 << 20
WORD_BITS = 64


def sort_windows(
    code_NP: Sequence[np.ndarray],
    vocabulary_size: int,
    most: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Sort P windows of N words by their words; equal windows keep their order.

    Args:
        code_NP: Their words, N arrays (P,) of integers with 32 bits, or of a type without signs.
        vocabulary_size: V.
        most: Maximum number of windows sorted at a time, or those with one first word if they are more.

    Returns:
        The number of the window at each place, (P,) int32; and how many first words it shares with the window before,
        (P,) uint8: N if the two are equal, 0 for the first window.
    """
    order = len(code_NP)
    windows = len(code_NP[0])
    order_P = np.arange(windows, dtype=np.int32)
    shared_P = np.full(windows, order, np.uint8)
    if windows > most:
        same = int(bool((code_NP[0] == code_NP[0][0]).all()))  # words known to be equal
        _sort_piece(
            code_NP,
            vocabulary_size,
            order_P,
            shared_P,
            same,
            most,
        )
        shared_P[0] = 0
    elif windows:
        group_P = np.abs(code_NP[0])
        _refine(
            code_NP,
            vocabulary_size,
            order_P,
            shared_P,
            np.arange(windows),
            group_P - group_P.min(),
            1,
        )

    return order_P, shared_P


def _sort_piece(
    code_NP: Sequence[np.ndarray],
    vocabulary_size: int,
    order_P: np.ndarray,
    shared_P: np.ndarray,
    depth: int,
    most: int,
) -> None:
    """Sort windows that share their first *depth* words, in place.

    shared_P[0] becomes *depth*: only the caller knows the window before.
    """
    for first, last in pairwise(_sort_by_word(code_NP[depth], order_P, most)):
        piece = slice(first, last)
        if last - first <= most:
            at_A = np.arange(last - first)
            group_A = np.zeros(len(at_A), np.int32)
            _refine(
                code_NP,
                vocabulary_size,
                order_P[piece],
                shared_P[piece],
                at_A,
                group_A,
                depth,
            )
        elif depth + 1 < len(code_NP) and code_NP[depth][order_P[first]] > 0:
            _sort_piece(
                code_NP,
                vocabulary_size,
                order_P[piece],
                shared_P[piece],
                depth + 1,
                most,
            )

        shared_P[first] = depth


def _sort_by_word(
    code_P: np.ndarray,
    order_P: np.ndarray,
    most: int,
) -> list[int]:
    """Sort windows by one of their words, in place; return edges of pieces with at most *most* windows if possible.

    A piece is larger if it is of one word. Needs 8 bytes per window; a full sort needs about 100.
    """
    key_P = np.empty(len(order_P), np.uint64)
    for first in range(0, len(key_P), _BLOCK):
        key_P[first : first + _BLOCK] = np.maximum(code_P.take(order_P[first : first + _BLOCK]), 0)

    key_P <<= np.uint64(32)
    key_P |= order_P.view(np.uint32)
    key_P.sort()
    for first in range(0, len(key_P), _BLOCK):
        order_P[first : first + _BLOCK] = key_P[first : first + _BLOCK] & np.uint64(0xFFFFFFFF)

    key_P >>= np.uint64(32)
    edges = [0]
    while len(key_P) - edges[-1] > most:
        cut = int(np.searchsorted(key_P, key_P[edges[-1] + most]))
        if cut == edges[-1]:  # one word has more windows than *most*
            cut = int(np.searchsorted(key_P, key_P[cut], side="right"))
        edges.append(cut)

    if edges[-1] < len(key_P):
        return [*edges, len(key_P)]
    return edges


def _refine(
    code_NP: Sequence[np.ndarray],
    vocabulary_size: int,
    order_P: np.ndarray,
    shared_P: np.ndarray,
    at_A: np.ndarray,
    group_A: np.ndarray,
    depth: int,
) -> None:
    """Sort windows by their group, then by the words from place *depth* on.

    Args:
        order_P: The numbers of the windows; changed in place.
        shared_P: See `sort_windows`; changed in place.
        at_A: Places of the windows to sort, ascending; the other windows keep their places.
        group_A: The same number for windows with the same first *depth* words. Ascending, except in the first call.
        depth: Number of first words that the groups already tell apart.
    """
    order = len(code_NP)
    while depth < order and len(at_A):
        place_bits = _bits(len(at_A))
        word_bits = _bits(vocabulary_size + 1)
        words = min(
            (WORD_BITS - _bits(int(group_A.max()) + 1) - place_bits) // word_bits, order - depth
        )
        if words < 1:
            if depth == 1:
                sorted_A = np.argsort(group_A, kind="stable")
                order_P[at_A], group_A = order_P[at_A][sorted_A], group_A[sorted_A]

            middle = group_A[len(group_A) // 2]
            cut = int(np.searchsorted(group_A, middle if middle > group_A[0] else middle + 1))
            for part in (slice(cut), slice(cut, None)):
                group_B = group_A[part] - group_A[part][0]
                _refine(
                    code_NP,
                    vocabulary_size,
                    order_P,
                    shared_P,
                    at_A[part],
                    group_B,
                    depth,
                )

            return

        key_A = _keys(code_NP[depth : depth + words], order_P[at_A], group_A, word_bits)
        key_A <<= np.uint64(place_bits)
        key_A |= np.arange(len(at_A), dtype=np.uint64)
        key_A.sort()
        order_P[at_A] = order_P[at_A][(key_A & np.uint64((1 << place_bits) - 1)).astype(np.int32)]
        key_A >>= np.uint64(place_bits)
        differs_A = _mark(
            shared_P,
            at_A,
            key_A,
            depth,
            words,
            word_bits,
        )
        again_A = ~differs_A
        again_A[:-1] |= again_A[1:]
        # 0 is after the document's end: no further words.
        again_A &= (key_A & np.uint64((1 << word_bits) - 1)) != 0
        group_A = np.cumsum(differs_A, dtype=np.int32)[again_A]
        group_A = np.cumsum(np.diff(group_A, prepend=group_A[:1]) != 0, dtype=np.int32)
        at_A = at_A[again_A]
        depth = depth + words


def _bits(values: int) -> int:
    """Return the number of bits for *values* different numbers."""
    return max(values - 1, 0).bit_length()


def _keys(
    code_KP: Sequence[np.ndarray],
    order_A: np.ndarray,
    group_A: np.ndarray,
    word_bits: int,
) -> np.ndarray:
    """Return group and words packed into one integer per window, (A,) uint64; after a document's end, words are 0."""
    key_A = group_A.astype(np.uint64)
    inside_A: np.ndarray | None = None
    for code_P in code_KP:
        code_A = np.maximum(code_P.take(order_A), 0)
        if inside_A is not None:
            code_A *= inside_A
        inside_A = code_A > 0
        key_A <<= np.uint64(word_bits)
        key_A |= code_A.view(f"u{code_A.itemsize}")

    return key_A


def _mark(
    shared_P: np.ndarray,
    at_A: np.ndarray,
    key_A: np.ndarray,
    depth: int,
    words: int,
    word_bits: int,
) -> np.ndarray:
    """Write the number of words shared with the window before into *shared_P*; return which differ from it (A,)."""
    differs_A = np.ones(len(key_A), bool)
    change_A = key_A[1:] ^ key_A[:-1]
    np.not_equal(change_A, 0, out=differs_A[1:])
    shared_A = np.full(len(change_A), depth + words, np.uint8)
    for word in range(words):
        shared_A -= change_A >= np.uint64(1 << (word * word_bits))

    if words * word_bits < WORD_BITS:
        within_A = change_A < np.uint64(1 << (words * word_bits))
    else:
        within_A = change_A >= 0

    if depth == 1:  # first call: the groups are first words and were not sorted before
        shared_A[~within_A] = 0
        within_A[:] = True
        shared_P[at_A[0]] = 0

    within_A &= differs_A[1:]
    shared_P[at_A[1:][within_A]] = shared_A[within_A]
    return differs_A
