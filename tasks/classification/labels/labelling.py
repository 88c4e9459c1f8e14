"""Choose what a classifier predicts about a review: its stars, its polarity, or the value of a field of the files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import polars as pl

from core.errors import InputError

LEFT_OUT = -1
"""Number of reviews that have none of the labels."""
LABELS_FILE = "labels.parquet"
"""Table with the columns review_id and label, in the artifact of the stage `labels`."""


class Labelling(Protocol):
    """Names of the labels in the order of their numbers, and the label of each review."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the labels."""
        ...

    def numbers(self, reviews: pl.DataFrame) -> np.ndarray:
        """Return the number of the label of each review (int64); `LEFT_OUT` for a review that has none.

        Args:
            reviews: With the columns review_id and stars.
        """
        ...


@dataclass(frozen=True)
class StarLabels:
    """Labels that follow from the stars: the number for each rating from 0 (unknown) to 5."""

    names: tuple[str, ...]
    by_stars: tuple[int, ...]

    def numbers(self, reviews: pl.DataFrame) -> np.ndarray:
        """See `Labelling`."""
        return np.array(self.by_stars, np.int64)[reviews["stars"].fill_null(0).to_numpy().astype(np.int64)]


class FieldLabels:
    """Labels that are values of a field of the files (stage `labels`).

    Args:
        names: The labels that are predicted; reviews with others are left out.
        folder: Folder with the label of each review.
    """

    def __init__(self, names: Sequence[str], folder: Path) -> None:
        self.names = tuple(names)
        numbered = pl.DataFrame({"label": self.names, "number": range(len(self.names))})
        table = pl.read_parquet(folder / LABELS_FILE).join(numbered, on="label", how="inner")
        self._number_of = table.select("review_id", "number").unique("review_id")

    def numbers(self, reviews: pl.DataFrame) -> np.ndarray:
        """See `Labelling`."""
        found = reviews.select("review_id").join(self._number_of, on="review_id", how="left", maintain_order="left")
        return found["number"].fill_null(LEFT_OUT).to_numpy().astype(np.int64)


def drawn_rows(total: int, count: int, seed: int) -> np.ndarray:
    """Return the rows of *count* of *total* examples drawn at random, in their order; all if there are no more."""
    rows_N: np.ndarray = np.sort(np.random.default_rng([seed, 7]).permutation(total)[:count])
    return rows_N


LABELLINGS: dict[str, Labelling] = {
    "stars": StarLabels(("1", "2", "3", "4", "5"), (LEFT_OUT, 0, 1, 2, 3, 4)),
    "polarity": StarLabels(("negative", "positive"), (LEFT_OUT, 0, 0, LEFT_OUT, 1, 1)),
}
"""Labels that follow from the stars, by the value of `classification.label`; any other value names a field."""


def labelling_of(label: str, names: Sequence[str], folder: Path | None) -> Labelling:
    """Return the labels of reviews.

    Args:
        label: Value of `classification.label`.
        names: Names of the labels in the order of their numbers, as a classifier has them.
        folder: Folder of the stage `labels` if it is a field of the files.

    Raises:
        InputError: The names are not those of this value.
    """
    found: Labelling = LABELLINGS[label] if folder is None else FieldLabels(names, folder)
    if found.names != tuple(names):
        raise InputError(
            "The classifier predicts other labels", where="classification.label", value=label,
            cause=f"its labels are {', '.join(names)}", remedy="name what it predicts: --set classification.label=NAME",
        )
    return found
