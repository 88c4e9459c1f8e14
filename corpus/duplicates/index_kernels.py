"""Compile the look-up of texts in an index of few texts (`corpus.duplicates.shingle_index`) with numba.

Shapes: A texts that are looked up, D indexed texts, S different fingerprints of texts, G different ones in the index,
P pairs of an indexed text and one of its fingerprints, T places of a hash table.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from models.compiled import kernel

_U = np.uint64
_HALF, _COUNT, _LOWER, _FIRST = _U(32), _U(48), _U(0xFFFFFFFF), _U(0xFFFF)
_CONTAINED = 1 << 32


@kernel
def place_keys(keys_G: Any, entries_T: Any, bits_W: Any, places_G: Any) -> None:
    """Write different fingerprints to a hash table (zeros), and where each one is; set its bit in the filter."""
    rest, slots = _U(len(entries_T) - 1), _U(64 * len(bits_W) - 1)
    for g in range(len(keys_G)):
        value = keys_G[g]
        slot, place = (value >> _HALF) & slots, value & rest
        bits_W[slot >> _U(6)] |= _U(1) << (slot & _U(63))
        while entries_T[place, 1]:
            place = (place + _U(1)) & rest
        entries_T[place, 0], entries_T[place, 1], places_G[g] = value, 1, place


@kernel
def rarest(counts_P: Any, offsets_D: Any, wanted_D: Any, most: Any, chosen_P: Any) -> None:
    """Mark so many of each text's fingerprints, the rarest ones, without those of more than *most* texts."""
    found = np.empty(most + 2, np.int64)
    for d in range(len(wanted_D)):
        begin, end = offsets_D[d], offsets_D[d + 1]
        limit, ties = _limit(counts_P[begin:end], wanted_D[d], most, found)
        for p in range(begin, end):
            if counts_P[p] < limit:
                chosen_P[p] = 1
            elif counts_P[p] == limit and ties:
                chosen_P[p], ties = 1, ties - 1


@kernel
def _limit(counts: Any, wanted: Any, most: Any, found: Any) -> tuple[int, int]:
    """Return a number of texts, and how many fingerprints with this number to take beside all rarer ones."""
    found[:] = 0
    for count in counts:
        found[min(count, most + 1)] += 1
    for count in range(most + 1):
        if found[count] >= wanted:
            return count, wanted
        wanted -= found[count]
    return most + 1, 0


@kernel
def _look_up(set_S: Any, bits_W: Any, entries_T: Any, passed: Any, met: Any, hits: Any) -> int:
    """Write what the index has of the fingerprints of a text, a column for each hit; return their number.

    Each loop does one thing without branches, so that the processor waits for many places of the table at a time.
    passed (S,) and met (S, 2) are work space. The rows of *hits*: place in the table, where the texts begin, how many
    have it among the chosen ones, how many.
    """
    rest, slots = _U(len(entries_T) - 1), _U(64 * len(bits_W) - 1)
    some, count = np.int64(0), 0
    for value in set_S:
        slot = (value >> _HALF) & slots
        passed[some] = value
        some += np.int64((bits_W[slot >> _U(6)] >> (slot & _U(63))) & _U(1))
    for n in range(some):
        place = passed[n] & rest
        met[n, 0], met[n, 1] = entries_T[place, 0], entries_T[place, 1]
    for n in range(some):
        value, key, entry = passed[n], met[n, 0], met[n, 1]
        place = value & rest
        while entry and key != value:
            place = (place + _U(1)) & rest
            key, entry = entries_T[place, 0], entries_T[place, 1]
        hits[0, count], hits[1, count] = place, entry & _LOWER
        hits[2, count], hits[3, count] = (entry >> _HALF) & _FIRST, entry >> _COUNT
        count += entry != 0
    return count


@kernel
def _add(texts: Any, amount: Any, shared_D: Any, touched: Any, count: Any) -> int:
    """Add an amount to each of some texts; return how many texts have any, which are the first of *touched*."""
    for d in texts:
        touched[count] = d
        count += not shared_D[d]
        shared_D[d] += amount
    return count


@kernel
def _add_rarest(hits: Any, wanted: Any, most: Any, found: Any, texts_P: Any, shared_D: Any, touched: Any, count: Any
) -> tuple[int, int]:
    """Add one to the texts of each of so many hits, the rarest ones; return the number of texts, and of these hits."""
    limit, ties = _limit(hits[3], wanted, most, found)
    taken = 0
    for h in range(hits.shape[1]):
        begin, texts = hits[1, h], hits[3, h]
        if texts > min(limit, most) or (texts == limit and not ties):
            continue
        ties, taken = ties - (texts == limit), taken + 1
        count = _add(texts_P[begin : begin + texts], 1, shared_D, touched, count)
    return count, taken


@kernel
def _tally(
    hits: Any, size: Any, share: Any, needed: Any, most: Any, found: Any, texts_P: Any, shared_D: Any, touched: Any
) -> tuple[int, int]:
    """Count in *shared_D* what the indexed texts share with a text of this size: of some fingerprints, the rarest.

    Those of the text count one each, those of an indexed text, which may be a part of this one, `_CONTAINED` each.
    Return how many indexed texts share any, and how many of the former a text as long or longer must share.
    """
    count = 0
    for h in range(hits.shape[1]):
        count = _add(texts_P[hits[1, h] : hits[1, h] + hits[2, h]], _CONTAINED, shared_D, touched, count)
    least_common = int(np.ceil(share * size * (1 - 1e-6)))  # not above it by rounding
    wanted = min(needed, least_common)
    of_hits = hits.shape[1] - least_common + wanted  # those that are not in the index are the rarest ones
    if of_hits < wanted:
        return count, size + 1
    count, taken = _add_rarest(hits, of_hits, most, found, texts_P, shared_D, touched, count)
    return count, max(1, wanted - (of_hits - taken))


@kernel
def _least_common(size: Any, other: Any, similarity: Any, containment: Any, least: Any) -> Any:
    """Return how many fingerprints two sets of these sizes must share to be near; see `Nearness.judge`."""
    wanted = similarity / (1 + similarity) * (size + other)
    if min(size, other) >= least:
        wanted = min(wanted, containment * min(size, other))
    return wanted * (1 - 1e-6)  # not above it by rounding


@kernel
def _may_share(places: Any, filter_W: Any, wanted: Any) -> bool:
    """Return whether so many of some places may be in a filter of 4,096 bits."""
    lacking = len(places) - wanted
    for place in places:
        lacking -= 1 - np.int64((filter_W[(place >> 6) & 63] >> _U(place & 63)) & _U(1))
        if lacking < 0:
            return False
    return True


@kernel
def _common(places: Any, sorted_places: Any) -> int:
    """Return how many of some places are among others."""
    common = 0
    for place in places:
        h = np.searchsorted(sorted_places, place)
        common += h < len(sorted_places) and sorted_places[h] == place
    return common


@kernel
def _is_near(common: Any, size: Any, other: Any, similarity: Any, containment: Any, least: Any) -> bool:
    """Return whether two sets with so many fingerprints, some of them common, are near; see `Nearness.judge`."""
    if np.float32(common / (size + other - common)) >= similarity:
        return True
    return bool(min(size, other) >= least and common >= containment * min(size, other))


@kernel
def find_near(
    sets_S: Any, offsets_A: Any, side_A: Any, bits_W: Any, entries_T: Any, texts_P: Any, places_P: Any, offsets_D: Any,
    side_D: Any, needed_D: Any, share: Any, needed: Any, most: Any, similarity: Any, containment: Any, least: Any,
    shared_D: Any, touched: Any, near_D: Any
) -> int:
    """Mark the indexed texts that are near-duplicates of one of some texts; return how many pairs were compared.

    Args:
        sets_S: Different fingerprints of each text A, one after another.
        offsets_A: Where those of each text begin, and where the last ones end.
        side_A: Side of each text A; it is compared with indexed texts of earlier sides.
        bits_W: A bit for each slot of the fingerprints in the index; their number is a power of two.
        entries_T: Hash table of the fingerprints in the index (T, 2), with open addresses: the fingerprint; where its
            texts begin in *texts_P*, from bit 32 on how many of these, the first ones, have it among the chosen ones,
            and from bit 48 on how many there are, at most one more than *most*. 0: an empty place.
        texts_P: The indexed texts by fingerprint.
        places_P: The places in the table of the fingerprints of each indexed text, text by text.
        offsets_D: Where those of each indexed text begin, and where the last ones end.
        side_D: Side of each indexed text.
        needed_D: How many chosen ones of each indexed text a longer text has that contains it.
        share: Share of a text A's fingerprints that a near-duplicate as long as it, or longer, has.
        needed: How many of some of these are wanted before two texts are compared.
        most: Fingerprints of more indexed texts are not looked up.
        similarity: See `corpus.duplicates.jaccard.Nearness`, as containment and least.
        shared_D: Work space of zeros (D,).
        touched: Work space (D + 1,).
        near_D: Marks, zero or one, to add to. No other thread may use these three.
    """
    longest, compared = 1, 0
    for a in range(len(side_A)):
        longest = max(longest, offsets_A[a + 1] - offsets_A[a])
    filter_W = np.empty(64, np.uint64)
    all_hits, found = np.empty((4, longest + 1), np.int64), np.empty(most + 2, np.int64)
    passed, met = np.empty(longest + 1, np.uint64), np.empty((longest, 2), np.uint64)
    for a in range(len(side_A)):
        begin, end, marked = offsets_A[a], offsets_A[a + 1], False
        size = end - begin
        hits = all_hits[:, : _look_up(sets_S[begin:end], bits_W, entries_T, passed, met, all_hits)]
        count, wanted = _tally(hits, size, share, needed, most, found, texts_P, shared_D, touched)
        for d in touched[:count]:
            shared, shared_D[d] = shared_D[d], 0
            if (shared % _CONTAINED < wanted and shared // _CONTAINED < needed_D[d]) or near_D[d]:
                continue
            if side_A[a] <= side_D[d]:
                continue
            places = places_P[offsets_D[d] : offsets_D[d + 1]]
            enough = _least_common(size, len(places), similarity, containment, least)
            if enough > min(size, len(places)):
                continue
            if not marked:
                marked, filter_W[:] = True, 0
                for place in hits[0]:
                    filter_W[(place >> 6) & 63] |= _U(1) << _U(place & 63)
            if _may_share(places, filter_W, enough):
                compared += 1
                common = _common(places, np.sort(hits[0]))
                near_D[d] = _is_near(common, size, len(places), similarity, containment, least)
    return compared
