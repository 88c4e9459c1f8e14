"""Compile the split of texts into chunks with numba: eight bytes at a time, without holding the GIL.

`models.tokens.chunks` says what a chunk is. Shapes: B bytes, D texts, N chunks, M distinct ones, T places of a hash
table with open addresses.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..compiled import kernel

WORD = 8
"""Bytes that are looked at together; as many must follow the last text."""
_U = np.uint64
_ONE, _32, _56 = _U(1), _U(32), _U(56)
_ONES, _SPACES, _HIGHEST = _U(0x0101010101010101), _U(0x2020202020202020), _U(0x8080808080808080)
_FACTORS = _U(0x9E3779B97F4A7C15), _U(0xD1342543DE82EF95)
PLACES = 1 << 13
"""Places of the first table; it grows when half of them are taken."""
_SPACE, _FIRST, _LAST = 32, 33, 126
"""The space, and the printable ASCII characters."""


@kernel
def _space(words_B: Any, at: Any, end: Any) -> Any:
    """Return the place of the first space from a place on; *end* if there is none before."""
    while at < end:
        other = words_B[at] ^ _SPACES
        spaces = (other - _ONES) & ~other & _HIGHEST  # its lowest bit is that of the first byte that is a space
        if spaces:
            below = (spaces - _ONE) & ~spaces  # 7 bits, and 8 more for each byte before
            return min(end, at + np.int64((below & _ONES) * _ONES >> _56) - 1)
        at += WORD
    return end


@kernel
def _end(data_B: Any, words_B: Any, at: Any, end: Any) -> Any:
    """Return where the chunk ends that contains the byte before a place of a text with this end."""
    while True:
        at = _space(words_B, at, end)
        if at + 1 >= end:
            return end
        if _FIRST <= data_B[at - 1] <= _LAST and _FIRST <= data_B[at + 1] <= _LAST:
            return at
        at += 1


@kernel
def _head(words_B: Any, begin: int, end: int) -> Any:
    """Return the bytes from begin to end, at most eight, as a number."""
    size = end - begin
    return words_B[begin] if size >= WORD else words_B[begin] & ((_ONE << _U(8 * size)) - _ONE)


@kernel
def _same(data_B: Any, left: int, right: int, size: int) -> bool:
    n = WORD  # the head has been compared
    while n < size and data_B[left + n] == data_B[right + n]:
        n += 1
    return n >= size


@kernel
def _hash(words_B: Any, begin: int, end: int, head: Any) -> Any:
    """Return a hash of the bytes from begin to end; *head* is the first eight of them."""
    mixed = head * _FACTORS[0]
    for place in range(begin + WORD, end, WORD):
        mixed = (mixed ^ mixed >> _32 ^ _head(words_B, place, end)) * _FACTORS[1]
    return (mixed ^ mixed >> _32) * _FACTORS[1] >> _32  # bits that depend on all bytes


@kernel
def fill(words_B: Any, bounds_M: Any, heads_T: Any, codes_T: Any) -> None:
    """Write the first eight bytes of each distinct chunk, and 1 + its number, into an empty table (zeros)."""
    rest = _U(len(codes_T) - 1)
    for code in range(len(bounds_M)):
        begin, end = bounds_M[code, 0], bounds_M[code, 1]
        head = _head(words_B, begin, end)
        slot = _hash(words_B, begin, end, head) & rest
        while codes_T[slot]:
            slot = (slot + _ONE) & rest
        heads_T[slot], codes_T[slot] = head, code + 1


@kernel
def split(
    data_B: Any, words_B: Any, starts_D: Any, whole_D: Any, heads_T: Any, codes_T: Any, bounds_M: Any, code_N: Any,
    offsets_D: Any, done: Any,
) -> bool:
    """Write the number of each chunk, in the order in which they first appear, and where the chunks of texts begin.

    Args:
        data_B: UTF-8 bytes of all texts, and `WORD` more.
        words_B: The eight bytes that begin at each place of these, as numbers.
        starts_D: (D + 1,) where each text begins, and where the last one ends.
        whole_D: The texts that are one chunk.
        heads_T: Table of the distinct chunks, see `fill`; T is a power of two.
        codes_T: The same.
        bounds_M: Place for begin and end of each distinct chunk where it is first, for at most T / 2.
        code_N: Place for the numbers.
        offsets_D: (D + 1,) for where the chunks of each text begin, and the end.
        done: Texts, chunks and distinct chunks so far, and where the next chunk begins; zeros at first.

    Returns:
        Whether all is done. Otherwise the table is full: call again with a larger one.
    """
    rest, chunks, distinct = _U(len(codes_T) - 1), done[1], done[2]
    begin = done[3]
    for d in range(done[0], len(starts_D) - 1):
        last = starts_D[d + 1]
        if begin == starts_D[d]:
            offsets_D[d] = chunks
        while begin < last:
            end = last if whole_D[d] else _end(data_B, words_B, begin + 1, last)
            head = _head(words_B, begin, end)
            slot = _hash(words_B, begin, end, head) & rest
            code = np.int64(codes_T[slot]) - 1
            while code >= 0:
                if heads_T[slot] == head:
                    first, size = bounds_M[code, 0], bounds_M[code, 1] - bounds_M[code, 0]
                    if size == end - begin and _same(data_B, first, begin, size):
                        break
                slot = (slot + _ONE) & rest
                code = np.int64(codes_T[slot]) - 1
            if code < 0:
                if distinct == len(bounds_M):
                    done[0], done[1], done[2], done[3] = d, chunks, distinct, begin
                    return False
                code, distinct = distinct, distinct + 1
                heads_T[slot], codes_T[slot] = head, distinct
                bounds_M[code, 0], bounds_M[code, 1] = begin, end
            code_N[chunks] = code
            chunks, begin = chunks + 1, end
    offsets_D[len(starts_D) - 1] = chunks
    done[1], done[2] = chunks, distinct
    return True


@kernel
def gathered(data_B: Any, bounds_M: Any, out: Any, ends_M: Any) -> None:
    """Write stretches of bytes one after another, and where each one ends."""
    to = 0
    for m in range(len(ends_M)):
        for n in range(bounds_M[m, 0], bounds_M[m, 1]):
            out[to] = data_B[n]
            to += 1
        ends_M[m] = to
