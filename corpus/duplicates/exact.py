"""Choose which reviews to drop because others have the same text, nearly the same, or passages that cover theirs.

Reviews have their numbers in the final order, in which the splits follow one another by priority. Of two equal texts
the one with the lower number is kept. Memory: 5 bytes per review, and during the search for equal texts 28.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
import polars as pl

from reviewlm.corpus.splitting.split import SPLITS

REASONS = (
    "of_test",
    "of_validation",
    "of_train",
    "near_test",
    "near_validation",
    "covered",
    "learnt",
    "crowd",
)
"""Reasons to drop a review: that split has the same text, or nearly the same; passages of train, or of data that start
weights have learnt from, cover the text; it is one of a crowd of copies. The code is 1 + the position here."""

STAYS = 0
OF_TEST = 1
OF_TRAIN = 3
NEAR_TEST = 4
NEAR_VALIDATION = 5
COVERED = 6
LEARNT = 7
CROWD = 8
TEST, VALIDATION, TRAIN = range(len(SPLITS))
LEAVES = {
    "test": ("covered", "crowd"),
    "validation": ("of_test", "near_test", "covered", "crowd"),
    "train": (*REASONS[:5], "crowd"),
}
"""Reasons in each split to which data without a past can lead."""

RANGES_PER_WORKER = 2
MOST_RANGES = 256


def hash_texts(texts: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Return the first 16 bytes of each text's SHA-256 as two columns, text_high and text_low (UInt64)."""
    sha256 = hashlib.sha256
    # As bytes there is nothing to encode.
    joined = b"".join([sha256(text).digest() for text in texts.cast(pl.Binary).to_list()])
    halves = np.frombuffer(joined, dtype=">u8").reshape(-1, 4)[:, :2].astype(np.uint64)
    return pl.Series("text_high", halves[:, 0]), pl.Series("text_low", halves[:, 1])


def ranges_for(workers: int) -> int:
    """Return into how many ranges hashes are cut for so many workers; each piece of the data has a result for each."""
    return min(RANGES_PER_WORKER * workers, MOST_RANGES)


def cut_ranges(hashes: np.ndarray, ranges: int) -> list[np.ndarray]:
    """Return where the hashes of each of some ranges stand, ascending; at most 65,536 ranges of equal width."""
    half = np.uint64(32)
    range_N = ((hashes >> half) * np.uint64(ranges) >> half).astype(np.uint16)
    ends = np.cumsum(np.bincount(range_N, minlength=ranges))
    return np.split(np.argsort(range_N, kind="stable"), ends[:-1])


class FingerprintIndex:
    """Look up where each of some fingerprints (N,) is first, in a hash table of at most 12 bytes for each, made once."""

    def __init__(self, fingerprints: np.ndarray) -> None:
        self._fingerprints = fingerprints
        self._table = _first_equal(fingerprints, fingerprints)[1]

    def find(self, fingerprints: np.ndarray) -> np.ndarray:
        """Return where each wanted fingerprint is first, as int64; -1: nowhere."""
        # Here, because numba's import takes half a second.
        from reviewlm.corpus.duplicates import kernels

        place = np.empty(len(fingerprints), np.int64)
        kernels.places_of(fingerprints, self._fingerprints, self._table, place)
        return place


def distinct(values: np.ndarray) -> np.ndarray:
    """Return the different values, ascending: `np.unique`, which takes twenty times as long among many numbers."""
    values = np.sort(values)
    new = np.ones(len(values), bool)
    np.not_equal(values[1:], values[:-1], out=new[1:])
    return values[new]


def first_equal(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """Return where each text's hash, of two halves, is first (N,) UInt32."""
    return _first_equal(high, low)[0]


def _first_equal(high: np.ndarray, low: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where each hash, of two halves, is first (N,) UInt32, and the hash table; see `kernels.first_equal`."""
    # Here, because numba's import takes half a second.
    from reviewlm.corpus.duplicates import kernels

    first = np.empty(len(high), np.uint32)
    table = np.zeros(1 << (len(high) * 3 // 2).bit_length(), np.uint32)
    kernels.first_equal(high, low, table, first)
    return first, table


class Families(NamedTuple):
    """Reviews that repeat each other, directly or by a chain.

    Args:
        members: Numbers (M,) UInt32 of the reviews that repeat another one, ascending.
        numbers: Number (M,) UInt32 of the family of each.
    """

    members: np.ndarray
    numbers: np.ndarray

    @classmethod
    def of(cls, edges: np.ndarray) -> Families:
        """Return the families of pairs (2, P) of reviews that repeat each other."""
        members, place = np.unique(edges, return_inverse=True)
        if not len(members):
            return cls(np.zeros(0, np.uint32), np.zeros(0, np.uint32))

        from scipy.sparse import coo_array  # here, because the import takes a third of a second
        from scipy.sparse.csgraph import connected_components

        left, right = place.reshape(edges.shape)
        graph = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(len(members),) * 2)
        numbers = connected_components(graph, directed=False)[1]
        return cls(members.astype(np.uint32), numbers.astype(np.uint32))


class ExactDuplicates:
    """The reviews to keep and to drop, in the order of the splits.

    Test and validation keep repeats within the split, because they are samples of real reviews. Validation loses the
    texts of test. Train loses the texts of both, and keeps only the first of equal texts within train.

    Args:
        first: The number (N,) UInt32 of the first review with the same text, in the final order.
        bounds: The numbers of the first review of the validation and of the train split.
    """

    def __init__(self, first: np.ndarray, bounds: tuple[int, int]) -> None:
        self.bounds = bounds
        self.first = first
        numbers = np.arange(len(first), dtype=np.uint32)
        ranks = self.ranks(numbers)
        best = self.ranks(self.first)
        self.code = np.where(ranks > best, np.uint8(OF_TEST) + best, np.uint8(STAYS))
        """The reason to drop each review (N,) UInt8: 0 for a kept one, otherwise 1 + the position in `REASONS`."""
        self.code[(best == TRAIN) & (self.first != numbers)] = OF_TRAIN
        self._near = np.zeros((2, 0), np.uint32)

    def ranks(self, numbers: np.ndarray) -> np.ndarray:
        """Return the split (UInt8, a position in `SPLITS`) of each review, given by its number."""
        validation, train = (numbers >= numbers.dtype.type(bound) for bound in self.bounds)
        return validation.view(np.uint8) + train.view(np.uint8)

    def distinct(self, start: int, stop: int) -> np.ndarray:
        """Return a mask of the reviews from *start* to *stop* that are the first with their text."""
        return self.first[start:stop] == np.arange(start, stop, dtype=np.uint32)

    def drop_near(self, pairs: pl.DataFrame) -> None:
        """Drop the review in the later split of each pair, with all reviews that have the same text.

        Pairs decide, not chains of pairs. If a test text is near to one train text, and that one to a second train
        text, only the first train text is dropped. A train text is kept if the validation text near to it is itself
        dropped because of test. The promise is that no near-duplicate pair is in two splits.

        Args:
            pairs: Columns a < b (UInt64), numbers of reviews chosen by `distinct`; pairs within a split are only
                counted.
        """
        self._near = a, b = np.stack(
            [pairs[name].to_numpy().astype(np.uint32) for name in ("a", "b")]
        )
        rank_a = self.ranks(a)
        rank_b = self.ranks(b)
        self.code[b[(rank_a == TEST) & (rank_b > TEST)]] = NEAR_TEST
        across = (rank_a == VALIDATION) & (rank_b == TRAIN)
        both_stay = (self.code[a] == STAYS) & (self.code[b] == STAYS)
        self.code[b[across & both_stay]] = NEAR_VALIDATION
        self._follow_first()

    def drop(self, numbers: np.ndarray, code: int) -> None:
        """Drop reviews chosen by `distinct`, with all reviews that have the same text."""
        self.code[numbers] = code
        self._follow_first()

    def _follow_first(self) -> None:
        """Drop the other reviews with the same text as a dropped first one."""
        inherited = self.code[self.first]
        follows = (self.code == STAYS) & (inherited >= NEAR_TEST)
        self.code[follows] = inherited[follows]

    @property
    def near_pairs(self) -> int:
        """Number of pairs of near-duplicates."""
        return self._near.shape[1]

    def _within(self) -> np.ndarray:
        """Return the near-duplicates (2, P) within one split that stay."""
        staying = (self.code[self._near] == STAYS).all(axis=0)
        return self._near[:, staying & (self.ranks(self._near[0]) == self.ranks(self._near[1]))]

    def families(self) -> Families:
        """Return the reviews of all splits that repeat each other, dropped or not, directly or by a chain."""
        exact = np.flatnonzero(self.first != np.arange(len(self.first))).astype(np.uint32)
        return Families.of(
            np.concatenate([np.stack([exact, self.first[exact]]), self._near], axis=1)
        )

    def copies(self) -> pl.DataFrame:
        """Return the kept reviews that repeat each other in one split, exactly or nearly, directly or by a chain.

        They are not independent evidence about the quality of models (`evaluation/statistics/groups.py`).

        Returns:
            split, row (position of the review among the kept reviews of all splits) and group (UInt32), ascending by
            row. A review that repeats no other is left out.
        """
        repeats = self.first != np.arange(len(self.first))
        exact = np.flatnonzero((self.code == STAYS) & repeats).astype(np.uint32)
        exact = exact[self.ranks(exact) == self.ranks(self.first[exact])]
        edges = np.concatenate([np.stack([exact, self.first[exact]]), self._within()], axis=1)
        families = Families.of(edges)
        row = np.cumsum(self.code == STAYS)[families.members] - 1
        names = pl.Series(SPLITS)[self.ranks(families.members)]
        return pl.DataFrame(
            {
                "split": names,
                "row": row.astype(np.uint32),
                "group": families.numbers,
            }
        )

    def near_within(self) -> dict[str, int]:
        """Return the number of kept reviews of each split that have a near-duplicate there."""
        marked = np.zeros(len(self.code), dtype=bool)
        marked[self._within()] = True
        staying = marked[self.first] & (self.code == STAYS)
        return self._count_by_split(staying)

    def _count_by_split(self, marked: np.ndarray) -> dict[str, int]:
        numbers = {}
        for rank, name in enumerate(SPLITS):
            numbers[name] = int(marked[self._side(rank)].sum())

        return numbers

    def _side(self, rank: int) -> slice:
        edges = (0, *self.bounds, len(self.code))
        return slice(edges[rank], edges[rank + 1])

    def left(self) -> dict[str, dict[str, int]]:
        """Return the number of dropped reviews of each split, by reason."""
        numbers: dict[str, dict[str, int]] = {}
        for name, reasons in LEAVES.items():
            numbers[name] = {}
            for reason in reasons:
                numbers[name][reason] = self.count_dropped(name, 1 + REASONS.index(reason))

        return numbers

    def count_dropped(self, split: str, code: int) -> int:
        """Return the number of reviews of a split that are dropped for one reason."""
        return int((self.code[self._side(SPLITS.index(split))] == code).sum())

    def kept(self) -> dict[str, int]:
        """Return the number of kept reviews of each split."""
        return self._count_by_split(self.code == STAYS)
