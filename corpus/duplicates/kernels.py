"""Compile the loops of the search for near-duplicates with numba: each reads its input once and holds no lock (GIL).

Their callers say what they compute: `corpus.duplicates.shingles`, `banding`, `anchors` and `sketches`.
Shapes: N bytes, D texts, W words, S shingles, P values of a signature, M members of buckets, K pairs.
Whole numbers are uint64 throughout, because numba makes a float of the sum of an int64 and a uint64.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from models.compiled import kernel

_U = np.uint64
_SPACE, _APOSTROPHE = np.uint8(32), np.uint8(39)
_MIX_1, _MIX_2 = _U(0xBF58476D1CE4E5B9), _U(0x94D049BB133111EB)
_ONES, _SEVENS, _HIGH = _U(0x0101010101010101), _U(0x7F7F7F7F7F7F7F7F), _U(56)
_HALF = _U(32)


@kernel
def mixed(value: Any) -> Any:
    """Return SplitMix64's finaliser of one number; see `corpus.duplicates.shingles.mix`."""
    value = (value ^ (value >> _U(30))) * _MIX_1
    value = (value ^ (value >> _U(27))) * _MIX_2
    return value ^ (value >> _U(31))


@kernel
def word_forms(data_N: Any, offsets_D: Any, table: Any, forms_N: Any, ends_D: Any, words_D: Any) -> None:
    """Write word forms one after another, where each one ends, and its number of words."""
    to = 0
    for d in range(len(ends_D)):
        words, inside = 0, False
        for n in range(offsets_D[d], offsets_D[d + 1]):
            byte = data_N[n]
            if byte == _APOSTROPHE:
                continue
            byte = table[byte]
            if byte == _SPACE:
                inside = False
                continue
            if not inside:
                if words:
                    forms_N[to] = _SPACE
                    to += 1
                words += 1
                inside = True
            forms_N[to] = byte
            to += 1
        ends_D[d], words_D[d] = to, words


@kernel
def fingerprints(
    forms_N: Any, offsets_D: Any, shingle: Any, values: Any, powers: Any, prefix: Any, starts: Any, ends: Any,
    found_S: Any, ends_D: Any
) -> None:
    """Write the fingerprints of the shingles of each text, and where those of each text end.

    powers: the base's powers and its inverse's (2, N); prefix (N + 1,), starts and ends (W,) are work space.
    """
    to = 0
    for d in range(len(ends_D)):
        begin, size = offsets_D[d], offsets_D[d + 1] - offsets_D[d]
        words = 0
        if size:
            starts[0], words = 0, 1
        total = _U(0)
        for n in range(size):
            byte = forms_N[begin + n]
            prefix[n] = total
            total += values[byte] * powers[0, n]
            if byte == _SPACE:
                ends[words - 1], starts[words] = n, n + 1
                words += 1
        prefix[size] = total
        if size:
            ends[words - 1] = size
        count = max(words - shingle + 1, 1) if words else 0
        for s in range(count):
            first, last = starts[s], ends[min(s + shingle, words) - 1]
            found_S[to] = mixed((prefix[last] - prefix[first]) * powers[1, first])
            to += 1
        ends_D[d] = to


@kernel
def signatures(fingerprints_S: Any, offsets_D: Any, factors_P: Any, terms_P: Any, least_P: Any, out_DP: Any) -> None:
    """Write the MinHash signature of each text: of the hash functions (a x + b) >> 32, the least values, mixed.

    x is the upper half of a fingerprint, so its product with a has 96 bits, of which bits 32 to 63 are kept.
    """
    P = len(factors_P)
    for d in range(len(out_DP)):
        for p in range(P):
            least_P[p] = np.uint32(0xFFFFFFFF)
        for s in range(offsets_D[d], offsets_D[d + 1]):
            x = fingerprints_S[s] >> _HALF
            for p in range(P):
                least_P[p] = min(least_P[p], np.uint32((factors_P[p] * x + terms_P[p]) >> _HALF))
        for p in range(P):
            out_DP[d, p] = mixed(_U(least_P[p]))


@kernel
def anchors(
    fingerprints_S: Any, offsets_D: Any, factors: Any, run: Any, window: Any, least: Any, runs_S: Any, found_A: Any,
    counts_D: Any
) -> int:
    """Write the smallest fingerprint of the runs in each window, without repeats in a row; return their number.

    runs_S is work space.
    """
    middle, last, width = run // 2, run - 1, window - run + 1
    to = 0
    for d in range(len(counts_D)):
        begin, count, before = offsets_D[d], offsets_D[d + 1] - offsets_D[d], to
        if count >= least:
            for s in range(count - last):
                f = fingerprints_S[begin + s :]
                runs_S[s] = mixed(f[0] * factors[0] + f[middle] * factors[1] + f[last] * factors[2])
            place = -1
            for s in range(count - window + 1):
                if place < s:  # the smallest one has left the window
                    place = s
                    for other in range(s + 1, s + width):
                        if runs_S[other] < runs_S[place]:
                            place = other
                elif runs_S[s + width - 1] < runs_S[place]:
                    place = s + width - 1
                if to == before or found_A[to - 1] != runs_S[place]:
                    found_A[to] = runs_S[place]
                    to += 1
        counts_D[d] = to - before
    return to


@kernel
def sets(fingerprints_S: Any, offsets_D: Any, table_T: Any, owner_T: Any, found_S: Any, ends_D: Any) -> None:
    """Write the different fingerprints of each text, and where those of each text end.

    table_T and owner_T (zeros) are a hash table with open addresses; T is a power of two above S of the longest text.
    """
    to, rest = 0, _U(len(table_T) - 1)
    for d in range(len(ends_D)):
        for s in range(offsets_D[d], offsets_D[d + 1]):
            value = fingerprints_S[s]
            slot = value & rest
            while owner_T[slot] == d + 1 and table_T[slot] != value:
                slot = (slot + _U(1)) & rest
            if owner_T[slot] != d + 1:
                owner_T[slot], table_T[slot] = d + 1, value
                found_S[to] = value
                to += 1
        ends_D[d] = to


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
def alike(
    coarse_MB: Any, sizes_M: Any, begin_M: Any, end_M: Any, least: Any, found_K: Any, start: Any, start_other: Any
) -> tuple[int, int, int]:
    """Write the pairs of each member with those from its begin to its end whose sketches agree in enough bytes.

    Args:
        coarse_MB: Sketches, eight bytes in a number.
        sizes_M: Sizes of the texts.
        begin_M: First partner of each member.
        end_M: End of its partners.
        least: Number of equal bytes wanted, by the ratio of the sizes in steps.
        found_K: Place for pairs (K, 2); the work stops when it is full.
        start: Member to begin with.
        start_other: Its partner to begin with, if that is above its begin.

    Returns:
        Number of pairs written, and the member and its partner to go on with.
    """
    to, steps = 0, _U(len(least) - 1)
    for m in range(start, len(begin_M)):
        size = _U(sizes_M[m])
        first = begin_M[m] if m > start else max(begin_M[m], start_other)
        for other in range(first, end_M[m]):
            if to == len(found_K):
                return to, m, other
            size_other = _U(sizes_M[other])
            wanted = least[min(size, size_other) * steps // max(size, size_other)]
            equal = _U(0)
            for b in range(coarse_MB.shape[1]):
                x = coarse_MB[m, b] ^ coarse_MB[other, b]
                # the highest bit of each byte that is not zero, then one in each byte that is
                x = ((x & _SEVENS) + _SEVENS | x | _SEVENS) ^ ~_U(0)
                equal += x >> _U(7)
            if (equal * _ONES) >> _HIGH >= wanted:
                found_K[to, 0], found_K[to, 1] = m, other
                to += 1
    return to, len(begin_M), 0


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
def gather(data_N: Any, begin_K: Any, end_K: Any, out: Any) -> None:
    """Write stretches of bytes one after another."""
    to = 0
    for k in range(len(begin_K)):
        size = end_K[k] - begin_K[k]
        out[to : to + size] = data_N[begin_K[k] : end_K[k]]
        to += size
