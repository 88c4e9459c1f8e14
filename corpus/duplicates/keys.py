"""Which reviews leave because their text, or nearly their text, stands elsewhere too.

Reviews are known here by their number in the final order, in which the splits follow one another from the most sacred
to the least: of two equal texts the one with the lower number stays. About 40 bytes a review are held while sorting,
afterwards 5.
"""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from corpus.splitting.split import SPLITS

REASONS = ("of_test", "of_validation", "of_train", "near_test", "near_validation")
"""Why a review leaves: the same text stands in that split, or nearly the same. A review's code is 1 + the position."""

STAYS, OF_TEST, OF_TRAIN, NEAR_TEST, NEAR_VALIDATION = 0, 1, 3, 4, 5
TEST, VALIDATION, TRAIN = range(len(SPLITS))
LEAVES = {"validation": ("of_test", "near_test"), "train": REASONS}
"""The reasons that there can be in each split. The test is never touched."""


def hash_texts(texts: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Return the first 16 bytes of each text's SHA-256 as two columns, text_high and text_low (UInt64)."""
    joined = b"".join([hashlib.sha256(text.encode()).digest()[:16] for text in texts.to_list()])
    halves = np.frombuffer(joined, dtype=">u8").astype(np.uint64).reshape(-1, 2)
    return pl.Series("text_high", halves[:, 0]), pl.Series("text_low", halves[:, 1])


class Repeats:
    """Who stays and who leaves, of reviews in the order of the splits.

    Test and validation keep what repeats within them: they are samples of what is really written. Validation loses
    the texts of the test; train loses the texts of both, and of what repeats within it keeps the first.

    Args:
        high: One half of each text's hash (N,) UInt64, in the final order.
        low: The other half.
        bounds: The numbers of the first review of the validation and of the train split.
    """

    def __init__(self, high: np.ndarray, low: np.ndarray, bounds: tuple[int, int]) -> None:
        self.bounds = bounds
        self.first = _first_with_this_text(high, low)
        """The number (N,) UInt32 of the first review with the same text."""
        numbers = np.arange(len(high), dtype=np.uint32)
        own, best = self.ranks(numbers), self.ranks(self.first)
        self.code = np.where(own > best, np.uint8(OF_TEST) + best, np.uint8(STAYS))
        """Why each review leaves (N,) UInt8: 0 for one that stays, else 1 + the position in `REASONS`."""
        self.code[(best == TRAIN) & (self.first != numbers)] = OF_TRAIN
        self.near_within = dict.fromkeys(SPLITS, 0)
        self.near_pairs = 0
        self._within = np.zeros((2, 0), np.uint32)

    def ranks(self, numbers: np.ndarray) -> np.ndarray:
        """Return the split (UInt8, a position in `SPLITS`) of each review, given by its number."""
        validation, train = (numbers >= numbers.dtype.type(bound) for bound in self.bounds)
        return validation.view(np.uint8) + train.view(np.uint8)

    def distinct(self, start: int, stop: int) -> np.ndarray:
        """Return which of the reviews from *start* to *stop* are the first with their text: each text once."""
        return self.first[start:stop] == np.arange(start, stop, dtype=np.uint32)

    def drop_near(self, pairs: pl.DataFrame) -> None:
        """Let the less sacred side of each pair leave, with all reviews of the same text.

        It is pairs that decide, not chains of them: where a test text is near to one of train, and that to a second
        one of train, only the first leaves; and a train text stays that is near to a validation text which leaves
        itself for the test's sake. What is promised is that no near pair stands in two splits.

        Args:
            pairs: Columns a < b (UInt64), the numbers of reviews that `distinct` named; those of pairs within a split
                only serve for counting.
        """
        a, b = (pairs[name].to_numpy().astype(np.uint32) for name in ("a", "b"))
        rank_a, rank_b = self.ranks(a), self.ranks(b)
        self.code[b[(rank_a == TEST) & (rank_b > TEST)]] = NEAR_TEST
        losing = (rank_a == VALIDATION) & (rank_b == TRAIN) & (self.code[a] == STAYS) & (self.code[b] == STAYS)
        self.code[b[losing]] = NEAR_VALIDATION
        self._follow_first()
        within = (rank_a == rank_b) & (self.code[a] == STAYS) & (self.code[b] == STAYS)
        self._within = np.stack([a[within], b[within]])
        self._count_within(self._within.ravel())
        self.near_pairs = len(a)

    def _follow_first(self) -> None:
        """Let the other reviews of a text leave with the first one."""
        inherited = self.code[self.first]
        follows = (self.code == STAYS) & (inherited >= NEAR_TEST)
        self.code[follows] = inherited[follows]

    def copies(self) -> pl.DataFrame:
        """Return which reviews that stay in one split repeat each other, exactly or nearly, alone or by a chain.

        They are no independent evidence of what models are worth (`evaluation/statistics/groups.py`).

        Returns:
            split, row (a review's place among those that stay, in all splits together) and group (UInt32); a review
            that repeats no other is left out. Ascending by row.
        """
        exact = np.flatnonzero((self.code == STAYS) & (self.first != np.arange(len(self.first)))).astype(np.uint32)
        exact = exact[self.ranks(exact) == self.ranks(self.first[exact])]
        edges = np.concatenate([np.stack([exact, self.first[exact]]), self._within], axis=1)
        members, place = np.unique(edges, return_inverse=True)
        left, right = place.reshape(edges.shape)
        graph = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(len(members),) * 2)
        group = connected_components(graph, directed=False)[1] if len(members) else np.zeros(0)
        row = np.cumsum(self.code == STAYS)[members] - 1
        names = pl.Series(SPLITS)[self.ranks(members)]
        return pl.DataFrame({"split": names, "row": row.astype(np.uint32), "group": group.astype(np.uint32)})

    def _count_within(self, numbers: np.ndarray) -> None:
        marked = np.zeros(len(self.code), dtype=bool)
        marked[numbers] = True
        staying = marked[self.first] & (self.code == STAYS)
        self.near_within = {name: int(staying[self._side(rank)].sum()) for rank, name in enumerate(SPLITS)}

    def _side(self, rank: int) -> slice:
        edges = (0, *self.bounds, len(self.code))
        return slice(edges[rank], edges[rank + 1])

    def left(self) -> dict[str, dict[str, int]]:
        """Return how many reviews leave each split, by reason."""
        counts = {}
        for name, reasons in LEAVES.items():
            found = np.bincount(self.code[self._side(SPLITS.index(name))], minlength=len(REASONS) + 1)
            counts[name] = {reason: int(found[1 + REASONS.index(reason)]) for reason in reasons}
        return counts

    def kept(self) -> dict[str, int]:
        """Return how many reviews each split keeps."""
        return {name: int((self.code[self._side(rank)] == STAYS).sum()) for rank, name in enumerate(SPLITS)}


def _first_with_this_text(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    order = np.lexsort((low, high)).astype(np.uint32)  # stable: of equal texts the lowest number comes first
    new = np.ones(len(order), dtype=bool)
    new[1:] = False
    for half in (high, low):
        arranged = half[order]
        new[1:] |= arranged[1:] != arranged[:-1]
    start = np.where(new, np.arange(len(order), dtype=np.uint32), np.uint32(0))
    np.maximum.accumulate(start, out=start)  # where the run of equal texts begins that each stands in
    first = np.empty(len(order), dtype=np.uint32)
    first[order] = order[start]
    return first
