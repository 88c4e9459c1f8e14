"""Limit how many reviews of a split may be copies of one text: form letters, templates of a machine, stock praise.

A crowd is a family of equal and near-duplicate texts (`reviewlm.corpus.duplicates.exact.Families`). As near-duplicates
may not be in two splits, a whole crowd stays where its first member in the order of the splits is: nearly always in
test. There it would decide the figures of all models. So of each crowd only so many stay in a split, the first ones in
its order, which is that of a hash.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reviewlm.corpus.duplicates.exact import CROWD, STAYS, ExactDuplicates
from reviewlm.corpus.splitting.split import SPLITS

COPIES_ALLOWED = 10
"""So many copies of a text may stay in any split, however small it is."""
WORTH_NAMING = 0.01
"""Share of all reviews from which on a crowd is named, even if it fits into the limit."""


@dataclass(frozen=True)
class Crowd:
    """A family of copies that is worth naming.

    Args:
        reviews: Number of its reviews in all splits, those that were dropped included.
        share: This number as a share of all reviews.
        first: Number of its first review that stays.
    """

    reviews: int
    share: float
    first: int


def limit_crowds(repeats: ExactDuplicates, most: float) -> list[Crowd]:
    """Drop what is too much of each crowd, and return the crowds that are worth naming, the largest first.

    Args:
        most: How many reviews of a crowd may stay in a split, as a share of the other reviews of that split.
    """
    families = repeats.families()
    sizes = np.bincount(families.numbers)
    large = np.flatnonzero(sizes > COPIES_ALLOWED)
    reviews = repeats.kept()
    named: list[Crowd] = []

    by_family = np.argsort(families.numbers, kind="stable")
    ends = np.cumsum(sizes)
    for family in large.tolist():
        rows = families.members[by_family[ends[family] - sizes[family] : ends[family]]]
        too_many = _too_many(repeats, rows, reviews, most)
        repeats.code[too_many] = CROWD
        staying = rows[repeats.code[rows] == STAYS]
        share = len(rows) / len(repeats.code)
        if len(staying) and (len(too_many) or share >= WORTH_NAMING):
            named.append(Crowd(len(rows), share, int(staying[0])))

    return sorted(named, key=lambda crowd: (-crowd.reviews, crowd.first))


def _too_many(
    repeats: ExactDuplicates,
    rows: np.ndarray,
    reviews: dict[str, int],
    most: float,
) -> np.ndarray:
    """Return the reviews of a crowd that are above the limit of their split."""
    staying = rows[repeats.code[rows] == STAYS]
    ranks = repeats.ranks(staying)
    above = [np.zeros(0, np.uint32)]
    for rank, name in enumerate(SPLITS):
        own = staying[ranks == rank]
        others = reviews[name] - len(own)
        above.append(own[max(COPIES_ALLOWED, int(most * others)) :])
    return np.concatenate(above)
