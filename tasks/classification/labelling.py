"""Choose what a classifier predicts about a review: its stars, its polarity, or the value of a field of the files.

Count the labelled reviews of each split before any fit, and refuse data that classifiers cannot learn from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import polars as pl

from core.errors import InputError
from models.streams import TokenStream

if TYPE_CHECKING:  # the process of a fit needs neither settings nor Prefect
    from core.config.run_config import RunConfig
    from tasks.data.prepare import Prepared

LEFT_OUT = -1
"""Number of reviews that have none of the labels."""
LABELS_FILE = "labels.parquet"
"""Table with the columns review_id and label, in the artifact of the stage `labels`."""

NAMES = {"train": "training", "validation": "validation", "test": "test"}


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
        numbered = reviews.select("review_id").join(self._number_of, on="review_id", how="left", maintain_order="left")
        return numbered["number"].fill_null(LEFT_OUT).to_numpy().astype(np.int64)


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
    labelling: Labelling = LABELLINGS[label] if folder is None else FieldLabels(names, folder)
    if labelling.names != tuple(names):
        raise InputError(
            "The classifier predicts other labels", where="classification.label", value=label,
            cause=f"its labels are {', '.join(names)}", remedy="name what it predicts: --set classification.label=NAME",
        )
    return labelling


def require_labelled_reviews(config: RunConfig, prepared: Prepared) -> None:
    """Refuse prepared data with too few labels; see `require_labels`."""
    chosen, labels = config.classification, prepared.labels
    tokens = prepared.tokens[chosen.models[0].vocabulary]  # all vocabularies have the same reviews
    labelling = labelling_of(chosen.label, prepared.label_names, labels.folder if labels else None)
    reviews = {split: TokenStream.open(tokens[split].folder).documents for split in NAMES}
    require_labels(config, labelling, reviews)


def require_labels(config: RunConfig, labelling: Labelling, reviews: Mapping[str, pl.DataFrame]) -> None:
    """Refuse data without a training review of each label, or without any labelled validation or test review.

    Args:
        config: Says what is predicted, and how many training reviews are drawn.
        reviews: Those of each split.

    Raises:
        InputError: It names the split or the label, and says what helps.
    """
    chosen = config.classification
    numbers = {split: labelling.numbers(reviews[split]) for split in NAMES}
    labelled = {split: numbers_D[numbers_D != LEFT_OUT] for split, numbers_D in numbers.items()}
    for split, name in NAMES.items():
        if not len(labelled[split]):
            share = "" if split == "train" else f", or a larger share of this split: --set split.{split}=0.2"
            raise InputError(
                f"No {name} review has a label", where="classification.label", value=chosen.label,
                cause=f"the {len(reviews[split]):,} {name} reviews have no {_needed(chosen.label)}",
                remedy=f"more reviews with a label (--input){share}",
            )
    _require_each_label(config, labelling.names, labelled["train"])


def _needed(label: str) -> str:
    return {"stars": "stars", "polarity": "stars, or 3"}.get(label, f"usable value of the field '{label}'")


def _require_each_label(config: RunConfig, names: tuple[str, ...], labelled_N: np.ndarray) -> None:
    chosen = config.classification
    count = chosen.train_reviews or len(labelled_N)
    all_K, used_K = (
        np.bincount(numbers, minlength=len(names))
        for numbers in (labelled_N, labelled_N[drawn_rows(len(labelled_N), count, config.seed)])
    )
    missing = np.flatnonzero(used_K == 0)
    if not len(missing):
        return
    counts = ", ".join(f"{name}: {used:,}" for name, used in zip(names, used_K, strict=True))
    raise InputError(
        f"The label {names[missing[0]]!r} has no training review", where="classification.label", value=chosen.label,
        cause=f"a classifier needs one of each label; training reviews by label: {counts}",
        remedy=_remedy(chosen.label, int(all_K[missing].min()), len(labelled_N)),
    )


def _remedy(label: str, least: int, reviews: int) -> str:
    """Return what helps; *least* is the smallest number of a missing label among all labelled training reviews."""
    if least:
        return f"a larger classification.train_reviews: all {reviews:,} labelled training reviews have every label"
    other = "; or --set classification.label=polarity, which needs only negative (1, 2) and positive (4, 5) reviews"
    return "more reviews of this label (--input): the training split has none" + (other if label == "stars" else "")
