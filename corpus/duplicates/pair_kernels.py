"""Compile the choice and comparison of pairs of texts with numba, without holding the GIL.

The callers say what is computed: `corpus.duplicates.banding`, `compare`, `sketches`, `jaccard` and `scattered`.
Shapes: D texts, B buckets, M members of buckets, K pairs, S fingerprints, T places of a hash table.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numba import config, types

from models.compiled import kernel

_U = np.uint64
_ONES, _SEVENS, _HIGH = _U(0x0101010101010101), _U(0x7F7F7F7F7F7F7F7F), _U(56)

# pread(2) of the C library, as a kernel calls it; without compilation a kernel is Python.
_pread: Any = types.ExternalFunction("pread", types.intp(types.intc, types.uintp, types.uintp, types.int64))
if config.DISABLE_JIT:  # type: ignore[attr-defined]
    _pread = ctypes.CDLL(None).pread
    _pread.argtypes, _pread.restype = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64), ctypes.c_ssize_t


@kernel
def maybe_shared(keys_D: Any, once: Any, again: Any, found_D: Any) -> int:
    """Write the numbers of the keys whose slot another key has too; return how many there are.

    Keys are random numbers. once and again (zeros) hold a bit for each slot; their size is a power of two.
    """
    rest, to = _U(64 * len(once) - 1), 0
    for d in range(len(keys_D)):
        slot = _U(keys_D[d]) & rest
        word, bit = slot >> _U(6), _U(1) << (slot & _U(63))
        again[word] |= once[word] & bit
        once[word] |= bit
    for d in range(len(keys_D)):
        slot = _U(keys_D[d]) & rest
        if (again[slot >> _U(6)] >> (slot & _U(63))) & _U(1):
            found_D[to] = d
            to += 1
    return to


@kernel
def opposite(
    members_M: Any, starts_B: Any, near_D: Any, side_D: Any, stays: Any, side: Any, most: Any, chosen_M: Any,
    bucket_M: Any, begin_M: Any, end_M: Any
) -> tuple[int, int]:
    """Write the members of the buckets with pairs, those of the side first, and the range of each one's partners.

    The partners of a text of the side are those of later sides in its bucket. Buckets with more than *most* texts of
    the side are left out; return the number of members, and of such buckets.
    """
    to, skipped = 0, 0
    for b in range(len(starts_B) - 1):
        low = to
        for m in range(starts_B[b], starts_B[b + 1]):
            d = members_M[m]
            if near_D[d] == stays and side_D[d] == side:
                chosen_M[to] = d
                to += 1
        first = to
        for m in range(starts_B[b], starts_B[b + 1]):
            d = members_M[m]
            if near_D[d] == stays and side_D[d] > side:
                chosen_M[to] = d
                to += 1
        if not low < first < to:
            to = low  # no pair
        elif first - low > most:
            to, skipped = low, skipped + 1
        for m in range(low, to):
            bucket_M[m], begin_M[m], end_M[m] = b, first, to if m < first else first
    return to, skipped


@kernel
def following(
    members_M: Any, starts_B: Any, near_D: Any, side_D: Any, stays: Any, sides: Any, crowd: Any, neighbours: Any,
    chosen_M: Any, bucket_M: Any, begin_M: Any, end_M: Any
) -> int:
    """Write the members of the buckets with pairs, side by side, and the range of each one's partners.

    The partners of a text are the texts of its side that follow it; in a bucket with more than *crowd* pairs, at most
    *neighbours* of them. Return the number of members.
    """
    to = 0
    for b in range(len(starts_B) - 1):
        low, pairs = to, 0
        for side in range(sides):
            first = to
            for m in range(starts_B[b], starts_B[b + 1]):
                d = members_M[m]
                if near_D[d] == stays and side_D[d] == side:
                    chosen_M[to], bucket_M[to], begin_M[to] = d, b, to + 1
                    to += 1
            pairs += (to - first) * (to - first - 1) // 2
            for m in range(first, to):
                end_M[m] = to
        if not pairs:
            to = low
        if pairs > crowd:
            for m in range(low, to):
                end_M[m] = min(end_M[m], begin_M[m] + neighbours)
    return to


@kernel
def alike(
    coarse_MB: Any, sizes_M: Any, begin_M: Any, end_M: Any, least: Any, found_K: Any, start: Any, start_other: Any
) -> tuple[int, int, int]:
    """Write the pairs of each member with those from its begin to its end whose sketches agree in enough bytes.

    Args:
        coarse_MB: Sketches, eight bytes in a number.
        begin_M: First partner of each member.
        end_M: End of its partners.
        least: Number of equal bytes wanted, by the ratio of the sizes in steps.
        found_K: Place for pairs (K, 2); the work stops when it is full.
        start: Member to begin with.
        start_other: Its partner to begin with, if that is above its begin.

    Returns:
        Number of pairs written, and the member and its partner to go on with.
    """
    to, steps, lowest = 0, _U(len(least) - 1), least.min()
    for m in range(start, len(begin_M)):
        size = _U(sizes_M[m])
        first = begin_M[m] if m > start else max(begin_M[m], start_other)
        for other in range(first, end_M[m]):
            if to == len(found_K):
                return to, m, other
            equal = _U(0)
            for b in range(coarse_MB.shape[1]):
                x = coarse_MB[m, b] ^ coarse_MB[other, b]
                # the highest bit of each byte that is not zero, then one in each byte that is
                x = ((x & _SEVENS) + _SEVENS | x | _SEVENS) ^ ~_U(0)
                equal += x >> _U(7)
            count = (equal * _ONES) >> _HIGH
            if count < lowest:  # nearly all pairs: no division for them
                continue
            size_other = _U(sizes_M[other])
            if count >= least[min(size, size_other) * steps // max(size, size_other)]:
                found_K[to, 0], found_K[to, 1] = m, other
                to += 1
    return to, len(begin_M), 0


@kernel
def common(sets_S: Any, offsets_D: Any, a_K: Any, b_K: Any, table_T: Any, owner_T: Any, common_K: Any) -> None:
    """Write the number of fingerprints that the sets of each pair of texts share; for the table see `sets`."""
    rest, owner = _U(len(table_T) - 1), 0
    for k in range(len(common_K)):
        a, b, count = a_K[k], b_K[k], 0
        if k == 0 or a != a_K[k - 1]:
            owner += 1
            for s in range(offsets_D[a], offsets_D[a + 1]):
                slot = sets_S[s] & rest
                while owner_T[slot] == owner:
                    slot = (slot + _U(1)) & rest
                owner_T[slot], table_T[slot] = owner, sets_S[s]
        for s in range(offsets_D[b], offsets_D[b + 1]):
            slot = sets_S[s] & rest
            while owner_T[slot] == owner and table_T[slot] != sets_S[s]:
                slot = (slot + _U(1)) & rest
            count += owner_T[slot] == owner
        common_K[k] = count


@kernel
def read(descriptor: Any, begin_K: Any, end_K: Any, out: Any) -> int:
    """Read stretches of a file one after another; return the number of bytes, fewer if a stretch cannot be read."""
    to, address = 0, out.ctypes.data
    for k in range(len(begin_K)):
        place = begin_K[k]
        while place < end_K[k]:
            count = _pread(descriptor, address + to, end_K[k] - place, place)
            if count <= 0:
                return to
            to, place = to + count, place + count
    return to
