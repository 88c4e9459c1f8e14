"""Which texts that met in a bucket are near-duplicates: exact comparison of their sets of word shingles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np

from corpus.shingles import SLICE_BYTES, Fingerprints

CROWD = 1 << 13
"""More pairs than this in one bucket (129 texts) are not all compared, see `Straddling` and `Grouped`."""

_PAIRS_AT_ONCE = 1 << 18


class Rule(Protocol):
    """Says which pairs need a comparison, and learns from those that turned out to be near-duplicates."""

    def needed(self, a: np.ndarray, b: np.ndarray, crowd: bool) -> np.ndarray:
        """Return the mask of the pairs to compare."""

    def found(self, a: np.ndarray, b: np.ndarray) -> None:
        """Take note of near-duplicates."""


class Straddling:
    """Only pairs across sides count, and each text's most sacred counterpart suffices.

    A pair is compared unless its less sacred text is known to have a near-duplicate on a side as sacred as that of the
    other one. So a crowd of texts that are all alike takes one comparison each.
    """

    def __init__(self, side_D: np.ndarray) -> None:
        self._side_D = side_D
        self._near_D = np.full(len(side_D), 255, np.uint8)

    def needed(self, a: np.ndarray, b: np.ndarray, crowd: bool) -> np.ndarray:
        """Return the mask of the pairs to compare."""
        side_a, side_b = self._side_D[a], self._side_D[b]
        near = np.where(side_a < side_b, self._near_D[b], self._near_D[a])
        return (side_a != side_b) & (near > np.minimum(side_a, side_b))

    def found(self, a: np.ndarray, b: np.ndarray) -> None:
        """Take note of near-duplicates."""
        side_a, side_b = self._side_D[a], self._side_D[b]
        np.minimum.at(self._near_D, np.where(side_a < side_b, b, a), np.minimum(side_a, side_b))


class Grouped:
    """All pairs count, but in a crowd two texts that other pairs have joined already are not compared."""

    def __init__(self, texts: int) -> None:
        self._parent_D = np.arange(texts, dtype=np.uint32)

    def needed(self, a: np.ndarray, b: np.ndarray, crowd: bool) -> np.ndarray:
        """Return the mask of the pairs to compare."""
        return self._root(a) != self._root(b) if crowd else np.ones(len(a), bool)

    def found(self, a: np.ndarray, b: np.ndarray) -> None:
        """Take note of near-duplicates."""
        for one, other in zip(a.tolist(), b.tolist(), strict=True):
            low, high = sorted((int(self._root(np.array([one]))[0]), int(self._root(np.array([other]))[0])))
            self._parent_D[high] = low

    def _root(self, texts: np.ndarray) -> np.ndarray:
        root = self._parent_D[texts]
        while not np.array_equal(above := self._parent_D[root], root):
            root = above
        self._parent_D[texts] = root
        return root


def pairs_of(members: np.ndarray, starts: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, bool]]:
    """Yield the pairs within buckets, some at a time, and whether they are a crowd's.

    Args:
        members: (M,) texts, bucket by bucket.
        starts: (B + 1,) where the buckets begin and the last one ends.
    """
    sizes = np.diff(starts)
    crowds = sizes * (sizes - 1) // 2 > CROWD
    place = np.arange(len(members))
    after = np.repeat(starts[1:], sizes) - place - 1  # how many members of its bucket stand behind a member
    after[np.repeat(crowds, sizes)] = 0
    ends = np.cumsum(after)
    start = 0
    while start < len(members):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _PAIRS_AT_ONCE, side="right")))
        first = np.repeat(place[start:stop], after[start:stop])
        behind = np.arange(len(first)) - np.repeat(ends[start:stop] - after[start:stop] - before, after[start:stop])
        if len(first):
            yield members[first], members[first + 1 + behind], False
        start = stop
    for bucket in np.flatnonzero(crowds):
        crowd = members[starts[bucket] : starts[bucket + 1]]
        for number in range(len(crowd) - 1):
            others = crowd[number + 1 :]
            yield np.broadcast_to(crowd[number], others.shape), others, True


class Comparison:
    """Compares texts exactly, reading their words back from files.

    Args:
        words: File of the word forms, one after another.
        offsets: (D + 1,) uint64: where each begins, and the last one ends.
        shingle: Words of a shingle.
    """

    def __init__(self, words: Path, offsets: np.ndarray, shingle: int) -> None:
        self._words, self._offsets, self._fingerprints = words, offsets, Fingerprints(shingle)

    def similarities(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the Jaccard similarity (P,) of the shingle sets of texts a and b (P,), as float32."""
        if not len(a):
            return np.zeros(0, np.float32)
        offsets = self._offsets
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
        begin, end = self._offsets[texts].tolist(), self._offsets[texts + 1].tolist()
        data = np.concatenate([words[start:stop] for start, stop in zip(begin, end, strict=True)])
        offsets = np.concatenate([[0], np.cumsum(np.array(end) - np.array(begin))])
        fingerprints, shingle_offsets = self._fingerprints.of(data, offsets)
        _, numbers = np.unique(fingerprints, return_inverse=True)
        owner = np.repeat(np.arange(len(texts)), np.diff(shingle_offsets))
        keyed = np.unique((owner << 32) | numbers)
        return keyed & 0xFFFFFFFF, np.bincount(keyed >> 32, minlength=len(texts))
