"""Compile the hashing of texts and names with numba: each loop reads its input once, without holding the GIL.

The callers say what is computed: `corpus.duplicates.shingles`, `banding`, `anchors` and `keys`. The loops over pairs of
texts are in `corpus.duplicates.pair_kernels`. Shapes: N bytes, D texts, W words, S shingles, P values of a signature.
Sums and products are uint64 throughout, because numba makes a float of the sum of an int64 and a uint64.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from models.compiled import kernel

_U = np.uint64
_LINE_BREAK, _SPACE, _APOSTROPHE = np.uint8(10), np.uint8(32), np.uint8(39)
_MIX_1, _MIX_2 = _U(0xBF58476D1CE4E5B9), _U(0x94D049BB133111EB)
_HALF = _U(32)


@kernel
def mixed(value: Any) -> Any:
    """Return SplitMix64's finaliser of one number; see `corpus.duplicates.shingles.mix`."""
    value = (value ^ (value >> _U(30))) * _MIX_1
    value = (value ^ (value >> _U(27))) * _MIX_2
    return value ^ (value >> _U(31))


@kernel
def words(data_N: Any, offsets_D: Any, words_D: Any) -> None:
    """Write the number of words of each text: the pieces between spaces and line breaks."""
    for d in range(len(words_D)):
        begin, end, found = offsets_D[d], offsets_D[d + 1], 0
        if begin < end:
            found += (data_N[begin] != _SPACE) & (data_N[begin] != _LINE_BREAK)
        for n in range(begin + 1, end):  # without branches: the compiler takes many bytes at once
            byte, before = data_N[n], data_N[n - 1]
            found += (byte != _SPACE) & (byte != _LINE_BREAK) & ((before == _SPACE) | (before == _LINE_BREAK))
        words_D[d] = found


@kernel
def word_forms(
    data_N: Any, offsets_D: Any, table: Any, least: Any, forms_N: Any, ends_D: Any, words_D: Any
) -> None:
    """Write word forms of at least so many words one after another, where each one ends, and all numbers of words."""
    to = 0
    for d in range(len(ends_D)):
        first, words, inside = to, 0, False
        for n in range(offsets_D[d], offsets_D[d + 1]):  # without branches, which a processor cannot foresee
            byte = table[data_N[n]]
            letter, dropped = byte != _SPACE, data_N[n] == _APOSTROPHE
            forms_N[to] = byte
            to += (letter | inside) & ~dropped
            words += letter & ~inside & ~dropped
            inside = (letter & ~dropped) | (inside & dropped)
        to -= (to > first) & ~inside  # the space after the last word
        if words < least:
            to = first
        ends_D[d], words_D[d] = to, words


@kernel
def fingerprints(
    forms_N: Any, offsets_D: Any, shingle: Any, values: Any, powers: Any, sums: Any, starts: Any, found_S: Any,
    ends_D: Any
) -> None:
    """Write the fingerprints of the shingles of each text, and where those of each text end.

    powers: the base's powers and its inverse's (2, N). Work space: the sums at the end and at the start of each word
    (2, N + 2), and where it starts (N + 2,).
    """
    to = 0
    for d in range(len(ends_D)):
        begin, size = offsets_D[d], offsets_D[d + 1] - offsets_D[d]
        words, total = 0, _U(0)
        sums[1, 0], starts[0] = total, 0
        for n in range(size):  # without branches, which a processor cannot foresee
            byte = forms_N[begin + n]
            sums[0, words] = total
            total += values[byte] * powers[0, n]
            sums[1, words + 1], starts[words + 1] = total, n + 1
            words += byte == _SPACE
        sums[0, words] = total
        words += size > 0
        count = max(words - shingle + 1, 1) if words else 0
        for s in range(count):
            found_S[to] = mixed((sums[0, min(s + shingle, words) - 1] - sums[1, s]) * powers[1, starts[s]])
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
def band_keys(signature_DP: Any, factors_R: Any, keys_BD: Any) -> None:
    """Write the key of each band of R values: the upper half of their sum with factors, mixed."""
    R = len(factors_R)
    for d in range(keys_BD.shape[1]):
        for b in range(keys_BD.shape[0]):
            total = _U(0)
            for r in range(R):
                total += signature_DP[d, b * R + r] * factors_R[r]
            keys_BD[b, d] = mixed(total) >> _HALF


@kernel
def lowest_bytes(signature_DP: Any, chosen_S: Any, out_DS: Any) -> None:
    """Write the lowest byte of the chosen values of each signature."""
    for d in range(out_DS.shape[0]):
        for s in range(out_DS.shape[1]):
            out_DS[d, s] = signature_DP[d, chosen_S[s]] & _U(0xFF)


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
def first_equal(high_D: Any, low_D: Any, table_T: Any, first_D: Any) -> None:
    """Write for each name, of two halves, the place of the first one equal to it.

    table_T: zeros, of a power of two of places that is above D; afterwards it has 1 + the place of each first name.
    """
    rest = _U(len(table_T) - 1)
    for d in range(len(high_D)):
        at = mixed(high_D[d]) & rest
        while table_T[at]:
            known = table_T[at] - 1
            if high_D[known] == high_D[d] and low_D[known] == low_D[d]:
                break
            at = (at + _U(1)) & rest
        if not table_T[at]:
            table_T[at] = d + 1
        first_D[d] = table_T[at] - 1


@kernel
def places_of(wanted_W: Any, high_D: Any, table_T: Any, place_W: Any) -> None:
    """Write where `first_equal` found each wanted name first; -1: nowhere."""
    rest = _U(len(table_T) - 1)
    for w in range(len(wanted_W)):
        at = mixed(wanted_W[w]) & rest
        while table_T[at] and high_D[table_T[at] - 1] != wanted_W[w]:
            at = (at + _U(1)) & rest
        place_W[w] = np.int64(table_T[at]) - 1
