"""Which texts that met in a bucket are near-duplicates: the order of comparison, and the exact comparison itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from corpus.shingles import SLICE_BYTES, Fingerprints

CROWD = 1 << 13
"""More pairs than this in one bucket are a crowd, where fewer comparisons have to do (see `Round`)."""

NEIGHBOURS = 16
"""With so many of its own side a text is compared in a crowd."""

STAYS = 255
_PAIRS_AT_ONCE = 1 << 18

Pairs = tuple[np.ndarray, np.ndarray]


class Round:
    """One of the rounds in which texts are compared: a side against the less sacred ones, or each side within itself.

    The sides have their rounds from the most sacred on. A text that turns out to be nearly one of a more sacred side
    leaves, and what leaves is not compared any more. So even among ten thousand texts that are all alike, each is
    compared about once. Within a side, where near-duplicates stay and are only counted, a text is compared in a crowd
    with the next `NEIGHBOURS` of the bucket.

    Args:
        side_D: The side of each text as uint8, 0 for the most sacred.
        near_D: The side for whose sake each text leaves, else `STAYS`; noted down by `found`.
        side: The side whose round it is; None for each side within itself.
    """

    def __init__(self, side_D: np.ndarray, near_D: np.ndarray, side: int | None) -> None:
        self._side_D, self._near_D, self._side = side_D, near_D, side

    def pairs(self, members: np.ndarray, starts: np.ndarray) -> Iterator[Pairs]:
        """Yield the pairs to compare, some at a time; who leaves after one yield is not in the next.

        Args:
            members: (M,) texts, bucket by bucket.
            starts: (B + 1,) where the buckets begin and the last one ends.
        """
        bucket = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        chosen = self._near_D[members] == STAYS
        if self._side is not None:
            chosen &= self._side_D[members] >= self._side
        members, bucket = members[chosen], bucket[chosen]
        sides = self._side_D[members]
        # Who is compared with whom: the one on the round's side with the others of the bucket, or with those behind it.
        group = bucket * 2 + (sides > self._side) if self._side is not None else bucket * 256 + sides
        order = np.lexsort((members, group))
        members, bucket, group = members[order], bucket[order], group[order]
        if self._side is None:
            begin = np.arange(1, len(members) + 1)
            end = np.searchsorted(group, group, side="right")
        else:
            begin = np.searchsorted(group, bucket * 2 + 1)
            end = np.where(group == bucket * 2, np.searchsorted(bucket, bucket, side="right"), begin)
        pairs_per_bucket = np.bincount(bucket, end - begin) if len(bucket) else np.zeros(0)
        crowded = pairs_per_bucket[bucket] > CROWD
        if self._side is None:
            end[crowded] = np.minimum(end, begin + NEIGHBOURS)[crowded]
            crowded[:] = False
        yield from _ranges(members, begin, np.where(crowded, begin, end))
        for number in np.unique(bucket[crowded]):
            low, high = np.searchsorted(bucket, [number, number + 1])
            first = begin[low]
            yield from self._crowd(members[low:first], members[first:high])

    def _crowd(self, sacred: np.ndarray, others: np.ndarray) -> Iterator[Pairs]:
        for text in sacred:
            others = others[self._near_D[others] == STAYS]
            if not len(others):
                return
            yield np.full(len(others), text), others

    def found(self, pairs: Pairs) -> None:
        """Take note of near-duplicates, given as they were yielded."""
        if self._side is not None:
            self._near_D[pairs[1]] = self._side


def _ranges(members: np.ndarray, begin: np.ndarray, end: np.ndarray) -> Iterator[Pairs]:
    """Yield pairs of each member with those from its begin to its end, some at a time."""
    counts = end - begin
    ends = np.cumsum(counts)
    start = 0
    while start < len(members):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _PAIRS_AT_ONCE, side="right")))
        some = counts[start:stop]
        if total := int(some.sum()):
            inside = np.arange(total) - np.repeat(np.cumsum(some) - some, some)
            yield np.repeat(members[start:stop], some), members[np.repeat(begin[start:stop], some) + inside]
        start = stop


class Comparison:
    """Compares texts exactly, reading their words back from files.

    Args:
        words: File of the word forms, one after another.
        offsets: File of D + 1 uint64: where each begins, and the last one ends.
        shingle: Words of a shingle.
    """

    def __init__(self, words: Path, offsets: Path, shingle: int) -> None:
        self._words, self._offsets, self._fingerprints = words, offsets, Fingerprints(shingle)

    def similarities(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the Jaccard similarity (P,) of the shingle sets of texts a and b (P,), as float32."""
        if not len(a):
            return np.zeros(0, np.float32)
        offsets = np.memmap(self._offsets, np.uint64, "r")
        ends = np.cumsum(offsets[a + 1] - offsets[a] + offsets[b + 1] - offsets[b])
        done, parts = 0, []
        while done < len(a):
            before = ends[done - 1] if done else 0
            stop = max(done + 1, int(np.searchsorted(ends, before + np.uint64(SLICE_BYTES), side="right")))
            parts.append(self._some(a[done:stop], b[done:stop]))
            done = stop
        return np.concatenate(parts)

    def _some(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        texts, where = np.unique(np.concatenate([a, b]), return_inverse=True)
        shingles, sizes = self._sets(texts)
        starts = np.cumsum(sizes) - sizes
        pair = np.concatenate([np.arange(len(a)), np.arange(len(b))])
        lengths = sizes[where]
        total = int(lengths.sum())
        inside = np.arange(total) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        keyed = shingles[np.repeat(starts[where], lengths) + inside] | (np.repeat(pair, lengths) << 32)
        keyed.sort()
        common = np.bincount(keyed[1:][keyed[1:] == keyed[:-1]] >> 32, minlength=len(a))
        return (common / (sizes[where[: len(a)]] + sizes[where[len(a) :]] - common)).astype(np.float32)

    def _sets(self, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the different shingles of each text, numbered within this call, and how many each has."""
        words = np.memmap(self._words, np.uint8, "r")  # mapped anew each time: pages that were read are given back
        offsets = np.memmap(self._offsets, np.uint64, "r")
        begin, end = offsets[texts].tolist(), offsets[texts + 1].tolist()
        data = np.concatenate([words[start:stop] for start, stop in zip(begin, end, strict=True)])
        bounds = np.concatenate([[0], np.cumsum(np.array(end) - np.array(begin))])
        fingerprints, shingle_offsets = self._fingerprints.of(data, bounds)
        _, numbers = np.unique(fingerprints, return_inverse=True)
        owner = np.repeat(np.arange(len(texts)), np.diff(shingle_offsets))
        keyed = np.unique((owner << 32) | numbers)
        return keyed & 0xFFFFFFFF, np.bincount(keyed >> 32, minlength=len(texts))
