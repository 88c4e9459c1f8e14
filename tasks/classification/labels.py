"""Choose what a classifier predicts about a review: its stars, or whether it is negative or positive."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

LEFT_OUT = -1
"""Number of reviews that have none of the labels."""


@dataclass(frozen=True)
class Labelling:
    """Names of the labels in the order of their numbers, and the number for each rating from 0 (unknown) to 5."""

    names: tuple[str, ...]
    by_stars: tuple[int, ...]

    def numbers(self, stars: pl.Series) -> np.ndarray:
        """Return the number of the label of each review (int64); `LEFT_OUT` for a review that has none."""
        return np.array(self.by_stars, np.int64)[stars.fill_null(0).to_numpy().astype(np.int64)]


def drawn_rows(total: int, count: int, seed: int) -> np.ndarray:
    """Return the rows of *count* of *total* examples drawn at random, in their order; all if there are no more."""
    rows_N: np.ndarray = np.sort(np.random.default_rng([seed, 7]).permutation(total)[:count])
    return rows_N


LABELLINGS = {
    "stars": Labelling(("1", "2", "3", "4", "5"), (LEFT_OUT, 0, 1, 2, 3, 4)),
    "polarity": Labelling(("negative", "positive"), (LEFT_OUT, 0, 0, LEFT_OUT, 1, 1)),
}
"""By the value of `classification.label`."""
