"""Decide which texts of a bucket are compared, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from corpus.duplicates.jaccard import Comparison
from corpus.duplicates.keys import distinct
from models.threads import ordered

CROWD = 256
"""A bucket with more pairs than this is a crowd, which is compared block by block (see `Round`)."""

NEIGHBOURS = 16
"""Number of texts of its own side with which a text of a crowd is compared."""

STAYS, ABSENT = 255, 254
_PAIRS_AT_ONCE = 1 << 18
_SCOUTS = 4
_BLOCK = 512

Pairs = tuple[np.ndarray, np.ndarray]
Check = Callable[[Pairs], np.ndarray]
"""Returns a mask of the pairs (P,) that are worth comparing."""
Among = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Returns the pairs (2, K) that are worth comparing, of some texts (M,) with ranges of these texts (M,), (M,)."""
Near = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Texts a and b (P,) and their similarities (P,)."""


class Round:
    """One round of comparisons: the texts of one side with those of later sides, or each side within itself.

    A side is a split; sides have their rounds in order of priority. A near-duplicate of a text of an earlier side is
    dropped, and dropped texts are not compared any more. Crowds are compared block by block, with matrix products where
    many pairs of a block are worth it. The first block is small and already drops all similar texts, so ten thousand
    copies of a form letter cost about one comparison each. Within a side near-duplicates are kept and only counted;
    there a text of a crowd is compared with the next `NEIGHBOURS` texts of its bucket.

    Args:
        side_D: The side of each text as uint8, 0 for the highest priority, or `ABSENT`.
        near_D: For each text the side because of which it is dropped, `ABSENT`, or `STAYS`; updated during the round.
        side: The side of this round; None for each side within itself.
        comparison: Compares texts and decides which are near-duplicates.
    """

    def __init__(self, side_D: np.ndarray, near_D: np.ndarray, side: int | None, comparison: Comparison) -> None:
        self._side_D, self._near_D, self._side = side_D, near_D, side
        self._comparison = comparison
        self.examined = 0
        """Pairs compared so far."""
        self.skipped = 0
        """Number of passages that were skipped because too many texts share them."""

    def pairs(
        self, members: np.ndarray, starts: np.ndarray, worthwhile: Check
    ) -> Iterator[Near]:
        """Yield the near-duplicates among the texts that share buckets, some at a time.

        Args:
            members: (M,) texts, bucket by bucket.
            starts: (B + 1,) where the buckets begin and the last one ends.
            worthwhile: Returns a mask of the pairs to compare, without those compared before.
        """
        members, bucket, begin, end, _ = self._opposite(members, starts, self._near_D)
        crowded = _crowded(bucket, begin, end) if self._side is not None else np.zeros(len(bucket), bool)
        for pairs in _ranges(members, begin, np.where(crowded, begin, end)):
            chosen = worthwhile(pairs)
            yield from self._compared(pairs[0][chosen], pairs[1][chosen])
        for number in np.unique(bucket[crowded]):
            low, high = np.searchsorted(bucket, [number, number + 1])
            first = int(begin[low])
            yield from self._crowd(members[low:first], members[first:high], worthwhile)

    def passages(
        self, load: Callable[[int], Pairs], files: int, among: Among, most: int, threads: int
    ) -> Iterator[Near]:
        """Yield the near-duplicates among the texts that share passages, file by file.

        Pairs are checked and compared one by one, in threads: texts that share a passage are seldom similar, so no
        crowd of them leaves at once. Texts leave in the order of the files.

        Args:
            load: Returns the members and starts of one file, as `pairs` takes them.
            among: Returns the pairs to compare, see `corpus.duplicates.sketches.Sketches.pairs_among`.
            most: In a side's round, passages of more texts of that side are skipped and counted, so that each text is
                compared with at most so many others. Only the texts of that side count, because none of them leaves
                later. A second search of the texts that stay therefore skips the same passages.
            threads: Number of threads; they do not change the result.
        """
        near_D = self._near_D.copy()
        find = partial(self._candidates, load, among, most, near_D)
        for a, b, similarity, near, skipped in ordered(find, range(files), threads):
            self.skipped += skipped
            staying = (self._near_D[a] == STAYS) & (self._near_D[b] == STAYS)
            examined = int(staying.sum())
            yield from self._settled(a[staying], b[staying], similarity[staying], near[staying], examined)

    def _candidates(
        self, load: Callable[[int], Pairs], among: Among, most: int, near_D: np.ndarray, number: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
        """Return the pairs (P,), (P,) of one file that are worth it, their comparison, and the passages skipped."""
        members, _, begin, end, skipped = self._opposite(*load(number), near_D, most)
        a, b = among(members, begin, end).astype(np.uint64)
        pairs = distinct(a << np.uint64(32) | b).astype(np.int64)  # two texts can share several passages
        a, b = pairs >> 32, pairs & 0xFFFFFFFF
        return a, b, *self._comparison.pairs(a, b), skipped

    def _opposite(
        self, members: np.ndarray, starts: np.ndarray, near_D: np.ndarray, most: int | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
        """Return members, their buckets, for each the range of *members* with which it is compared, and the skipped.

        In the round of a side its texts are compared with those of later sides in the bucket, unless it has more than
        *most* texts of the side; such buckets are skipped. In the round within sides they are compared with the texts
        of their own side that follow them, in a crowd with `NEIGHBOURS` of them.
        """
        from corpus.duplicates import pair_kernels  # here, because numba's import takes half a second

        chosen = np.empty((4, len(members)), np.int64)
        if self._side is None:
            sides = 1 + int(self._side_D[self._side_D != ABSENT].max(initial=0))
            rule, skipped = (sides, CROWD, NEIGHBOURS), 0
            count = pair_kernels.following(members, starts, near_D, self._side_D, STAYS, *rule, *chosen)
        else:
            limits = self._side, len(members) if most is None else most
            count, skipped = pair_kernels.opposite(members, starts, near_D, self._side_D, STAYS, *limits, *chosen)
        return *chosen[:, :count], skipped

    def _crowd(
        self, sacred: np.ndarray, others: np.ndarray, worthwhile: Check
    ) -> Iterator[Near]:
        for start in (0, *range(_SCOUTS, len(sacred), _BLOCK)):
            some = sacred[start : start + _BLOCK] if start else sacred[:_SCOUTS]
            others = others[self._near_D[others] == STAYS]
            for first in range(0, len(others), _BLOCK):
                block = others[first : first + _BLOCK]
                a, b = np.repeat(some, len(block)), np.tile(block, len(some))
                chosen = worthwhile((a, b))
                if chosen.sum() <= len(block):
                    yield from self._compared(a[chosen], b[chosen])
                    continue
                similarity, near = self._comparison.table(some, block)
                best = (similarity + 2 * near).argmax(axis=0), np.arange(len(block))  # a near-duplicate has priority
                yield from self._settled(some[best[0]], block, similarity[best], near[best], similarity.size)

    def _compared(self, a: np.ndarray, b: np.ndarray) -> Iterator[Near]:
        yield from self._settled(a, b, *self._comparison.pairs(a, b), len(a))

    def _settled(
        self, a: np.ndarray, b: np.ndarray, similarity: np.ndarray, near: np.ndarray, examined: int
    ) -> Iterator[Near]:
        """Yield the pairs that are near-duplicates; in the round of a side, drop text b of each."""
        self.examined += examined
        if near.any():
            if self._side is not None:
                self._near_D[b[near]] = self._side
            yield a[near], b[near], similarity[near]


def _crowded(bucket: np.ndarray, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return a mask of the texts whose bucket has more than `CROWD` pairs."""
    return np.bincount(bucket, end - begin)[bucket] > CROWD if len(bucket) else np.zeros(0, bool)


def _ranges(members: np.ndarray, begin: np.ndarray, end: np.ndarray) -> Iterator[Pairs]:
    """Yield pairs of each member with the members in its range from begin to end, some at a time."""
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
