"""Compile the loops of the duplicate search with numba: over texts, pairs of texts and hashes, without the GIL.

The callers say what is computed: the other files of this folder. Shapes: N bytes, D texts, W words, S shingles or runs,
P values of a signature, B buckets, M members of buckets, K pairs, T places of a hash table. Sums and products are
uint64 throughout, because numba makes a float of the sum of an int64 and a uint64.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from reviewlm.models.compiled import kernel

_U = np.uint64
_SPACE = np.uint8(32)
_APOSTROPHE = np.uint8(39)
_MIX_1 = _U(0xBF58476D1CE4E5B9)
_MIX_2 = _U(0x94D049BB133111EB)
_HALF = _U(32)


@kernel
def mix_number(value: Any) -> Any:
    """Return SplitMix64's finaliser of one number; see `reviewlm.corpus.duplicates.shingles.mix`."""
    value = (value ^ (value >> _U(30))) * _MIX_1
    value = (value ^ (value >> _U(27))) * _MIX_2
    return value ^ (value >> _U(31))


@partial(
    kernel,
    calls=[
        "const uint8[::1], int64[::1], uint8[::1], int64, uint8[::1], int64[::1], int64[::1]",
    ],
)
def word_forms(
    data_N: Any,
    offsets_D: Any,
    table: Any,
    least: Any,
    forms_N: Any,
    ends_D: Any,
    words_D: Any,
) -> None:
    """Write word forms of at least so many words one after another, where each one ends, and all numbers of words."""
    to = 0
    for d in range(len(ends_D)):
        first = to
        words = 0
        inside = False
        # Without branches, which a processor cannot foresee.
        for n in range(offsets_D[d], offsets_D[d + 1]):
            byte = table[data_N[n]]
            letter = byte != _SPACE
            dropped = data_N[n] == _APOSTROPHE
            forms_N[to] = byte
            to += (letter | inside) & ~dropped
            words += letter & ~inside & ~dropped
            inside = (letter & ~dropped) | (inside & dropped)

        to -= (to > first) & ~inside  # the space after the last word
        if words < least:
            to = first
        ends_D[d], words_D[d] = to, words


@partial(
    kernel,
    calls=[
        "uint8[::1], int64[::1], int64, int64, uint64[::1], uint64[:,::1], uint64[:,::1], int64[::1], "
        "uint64[::1], int64[::1]",
        "const uint8[::1], int64[::1], int64, int64, uint64[::1], uint64[:,::1], uint64[:,::1], int64[::1], "
        "uint64[::1], int64[::1]",
    ],
)
def fingerprints(
    forms_N: Any,
    offsets_D: Any,
    shingle: Any,
    least: Any,
    values: Any,
    powers: Any,
    sums: Any,
    starts: Any,
    found_S: Any,
    ends_D: Any,
) -> None:
    """Write the fingerprints of the shingles of each text, and where those of each text end.

    least: 1 if a text with fewer words than a shingle is one shingle, 0 if it has none.
    powers: the base's powers and its inverse's (2, N). Work space: the sums at the end and at the start of each word
    (2, N + 2), and where it starts (N + 2,).
    """
    to = 0
    for d in range(len(ends_D)):
        begin = offsets_D[d]
        size = offsets_D[d + 1] - offsets_D[d]
        words = 0
        total = _U(0)
        sums[1, 0], starts[0] = total, 0
        for n in range(size):  # without branches, which a processor cannot foresee
            byte = forms_N[begin + n]
            sums[0, words] = total
            total += values[byte] * powers[0, n]
            sums[1, words + 1], starts[words + 1] = total, n + 1
            words += byte == _SPACE

        sums[0, words] = total
        words += size > 0
        count = max(words - shingle + 1, least) if words else 0
        for s in range(count):
            found_S[to] = mix_number(
                (sums[0, min(s + shingle, words) - 1] - sums[1, s]) * powers[1, starts[s]]
            )
            to += 1

        ends_D[d] = to


@partial(
    kernel,
    calls=[
        "uint64[::1], int64[::1], uint64[::1], uint64[::1], uint32[::1], uint64[:,::1]",
    ],
)
def signatures(
    fingerprints_S: Any,
    offsets_D: Any,
    factors_P: Any,
    terms_P: Any,
    least_P: Any,
    out_DP: Any,
) -> None:
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
            out_DP[d, p] = mix_number(_U(least_P[p]))


@partial(
    kernel,
    calls=[
        "uint64[:,::1], uint64[::1], uint64[:,::1]",
    ],
)
def band_keys(
    signature_DP: Any,
    factors_R: Any,
    keys_BD: Any,
) -> None:
    """Write the key of each band of R values: their sum with factors, mixed."""
    R = len(factors_R)
    for d in range(keys_BD.shape[1]):
        for b in range(keys_BD.shape[0]):
            total = _U(0)
            for r in range(R):
                total += signature_DP[d, b * R + r] * factors_R[r]
            keys_BD[b, d] = mix_number(total)


@partial(
    kernel,
    calls=[
        "uint64[::1], int64[::1], uint64[::1], int64[::1], uint64[::1], int64[::1]",
    ],
)
def sets(
    fingerprints_S: Any,
    offsets_D: Any,
    table_T: Any,
    owner_T: Any,
    found_S: Any,
    ends_D: Any,
) -> None:
    """Write the different fingerprints of each text, and where those of each text end.

    table_T and owner_T (zeros) are a hash table with open addresses; T is a power of two above S of the longest text.
    """
    to = 0
    rest = _U(len(table_T) - 1)
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


@partial(
    kernel,
    calls=[
        "uint64[::1], uint64[::1], uint32[::1], uint32[::1]",
    ],
)
def first_equal(
    high_D: Any,
    low_D: Any,
    table_T: Any,
    first_D: Any,
) -> None:
    """Write for each text's hash, of two halves, the place of the first one equal to it.

    table_T: zeros, of a power of two of places that is above D; afterwards it has 1 + the place of each first hash.
    """
    rest = _U(len(table_T) - 1)
    for d in range(len(high_D)):
        at = mix_number(high_D[d]) & rest
        while table_T[at]:
            first = table_T[at] - 1
            if high_D[first] == high_D[d] and low_D[first] == low_D[d]:
                break
            at = (at + _U(1)) & rest
        if not table_T[at]:
            table_T[at] = d + 1
        first_D[d] = table_T[at] - 1


@partial(
    kernel,
    calls=[
        "uint64[::1], uint64[::1], uint32[::1], int64[::1]",
    ],
)
def places_of(
    wanted_W: Any,
    high_D: Any,
    table_T: Any,
    place_W: Any,
) -> None:
    """Write where `first_equal` found each wanted name first; -1: nowhere."""
    rest = _U(len(table_T) - 1)
    for w in range(len(wanted_W)):
        at = mix_number(wanted_W[w]) & rest
        while table_T[at] and high_D[table_T[at] - 1] != wanted_W[w]:
            at = (at + _U(1)) & rest
        place_W[w] = np.int64(table_T[at]) - 1


@partial(
    kernel,
    calls=[
        "uint64[::1], int64[::1], int64[::1], int64[::1], uint64[::1], int64[::1], int64[::1]",
    ],
)
def common(
    sets_S: Any,
    offsets_D: Any,
    a_K: Any,
    b_K: Any,
    table_T: Any,
    owner_T: Any,
    common_K: Any,
) -> None:
    """Write the number of fingerprints that the sets of each pair of texts share; for the table see `sets`."""
    rest = _U(len(table_T) - 1)
    owner = 0
    for k in range(len(common_K)):
        a = a_K[k]
        b = b_K[k]
        count = 0
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
def place_of_run(value: Any, runs_T: Any) -> Any:
    """Return the place of a run in a hash table with open addresses, or the empty place for it.

    An entry is 28 bits of the run's fingerprint and, in the lowest 4 bits, 1 + how often it was counted; 0: empty.
    """
    rest = _U(len(runs_T) - 1)
    tag = value >> _U(36)
    place = value & rest
    while runs_T[place] and runs_T[place] >> np.uint32(4) != tag:
        place = (place + _U(1)) & rest
    return place


@partial(
    kernel,
    calls=[
        "uint64[::1], uint32[::1]",
    ],
)
def add_runs(values_S: Any, runs_T: Any) -> None:
    """Add runs to the table, each counted 0 times."""
    for value in values_S:
        runs_T[place_of_run(value, runs_T)] = (value >> _U(36) << _U(4)) | _U(1)


@partial(
    kernel,
    calls=[
        "uint64[::1], int64, uint32[::1]",
    ],
)
def count_runs(
    values_S: Any,
    most: Any,
    runs_T: Any,
) -> None:
    """Count the runs that are in the table, each up to one more than *most*."""
    for value in values_S:
        place = place_of_run(value, runs_T)
        if runs_T[place]:
            runs_T[place] += np.uint32((runs_T[place] & np.uint32(15)) < most + 2)


@partial(
    kernel,
    calls=[
        "uint64[::1], int64, uint32[::1], boolean[::1]",
    ],
)
def mark_rare(
    values_S: Any,
    most: Any,
    runs_T: Any,
    rare_S: Any,
) -> None:
    """Of some marked runs, which are in the table, leave only those marked that were counted 1 to *most* times."""
    for s in range(len(values_S)):
        if rare_S[s]:
            count = np.int64(runs_T[place_of_run(values_S[s], runs_T)] & np.uint32(15)) - 1
            rare_S[s] = 1 <= count <= most


@partial(
    kernel,
    calls=[
        "int64[::1], int64[::1], int64[::1], uint64[::1], int64[::1], int64, int64, int64[::1], int64[::1], "
        "int64[::1], boolean[::1]",
    ],
)
def mark_sources(
    first_H: Any,
    place_H: Any,
    offsets_A: Any,
    names_P: Any,
    texts_P: Any,
    size: Any,
    least: Any,
    shared_D: Any,
    end_D: Any,
    touched_D: Any,
    covered_P: Any,
) -> None:
    """Mark the runs of texts D that also stand in a text A which has at least *least* words in common with D.

    Args:
        first_H: For those runs of the texts A that have any, where the first equal run is in *names_P*.
        place_H: Where each of these begins in its text, in words, ascending.
        offsets_A: Where those of each text A begin, and where the last ones end.
        names_P: Fingerprints of the runs of the texts D, equal ones one after another.
        texts_P: The text D of each.
        size: Words in a run.
        least: Words of a text A that lie in runs that it shares with a text D.
        shared_D: Work space of zeros (D,).
        end_D: Work space (D,).
        touched_D: Work space (D,).
        covered_P: Marks to add to.
    """
    for a in range(len(offsets_A) - 1):
        touched = 0
        most = 0
        for h in range(offsets_A[a], offsets_A[a + 1]):
            p = first_H[h]
            end = place_H[h] + size
            name = names_P[p]
            while p < len(names_P) and names_P[p] == name:
                d = texts_P[p]
                if not shared_D[d]:
                    touched_D[touched], end_D[d] = d, 0
                    touched += 1

                shared_D[d] += end - max(place_H[h], end_D[d])
                end_D[d] = end
                most = max(most, shared_D[d])
                p = p + 1

        if most >= least:
            for h in range(offsets_A[a], offsets_A[a + 1]):
                p = first_H[h]
                name = names_P[p]
                while p < len(names_P) and names_P[p] == name:
                    covered_P[p] |= shared_D[texts_P[p]] >= least
                    p += 1

        for t in range(touched):
            shared_D[touched_D[t]] = 0
