"""Map each review to the number of its label (stars, polarity or a field's value); refuse data with too few."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from reviewlm.core.errors import ConfigError, InputError
from reviewlm.models.streams import TokenStream

if TYPE_CHECKING:  # the process of a fit needs neither settings nor Prefect
    from reviewlm.core.config.sections.other_models import ClassificationConfig
    from reviewlm.tasks.data.prepare import Prepared

LEFT_OUT = -1
"""Number of reviews that have none of the labels."""
LABELS_FILE = "labels.parquet"
"""Table with the columns review_id and label, in the artifact of the stage `labels`."""

NAMES = {
    "train": "training",
    "validation": "validation",
    "test": "test",
}
MISSING = {"stars": "stars", "polarity": "stars, or 3"}
"""What reviews without a label lack, or have instead, by the value of `classification.label`."""


@dataclass(frozen=True)
class Labelling:
    """Names of the labels in the order of their numbers, and the label of each review.

    Args:
        names: The labels that are predicted; reviews with others are left out.
        table: The number of the label (`number`) by the first column: stars, or review_id.
    """

    names: tuple[str, ...]
    table: pl.DataFrame

    def numbers(self, reviews: pl.DataFrame) -> np.ndarray:
        """Return the number of the label of each review (int64); `LEFT_OUT` for a review that has none.

        Args:
            reviews: With the columns review_id and stars.
        """
        key = self.table.columns[0]
        keys = reviews.select(pl.col(key).cast(self.table.schema[key]))
        numbered = keys.join(
            self.table,
            on=key,
            how="left",
            maintain_order="left",
        )
        return numbered["number"].fill_null(LEFT_OUT).to_numpy().astype(np.int64)


def of_stars(names: tuple[str, ...], numbers: Mapping[int, int]) -> Labelling:
    """Return labels that follow from the stars: *numbers* has the label of each rating that has one."""
    table = pl.DataFrame({"stars": list(numbers), "number": list(numbers.values())})
    return Labelling(names, table)


def of_field(names: tuple[str, ...], folder: Path) -> Labelling:
    """Return labels that are values of a field of the files; *folder* is the artifact of the stage `labels`."""
    numbered = pl.DataFrame({"label": names, "number": range(len(names))})
    table = pl.read_parquet(folder / LABELS_FILE).join(numbered, on="label", how="inner")
    return Labelling(names, table.select("review_id", "number").unique("review_id"))


def drawn_rows(
    total: int,
    count: int,
    seed: int,
) -> np.ndarray:
    """Return the rows of *count* of *total* examples drawn at random, in their order; all if there are no more."""
    rows_N: np.ndarray = np.sort(np.random.default_rng([seed, 7]).permutation(total)[:count])
    return rows_N


LABELLINGS: dict[str, Labelling] = {
    "stars": of_stars(
        ("1", "2", "3", "4", "5"),
        {
            1: 0,
            2: 1,
            3: 2,
            4: 3,
            5: 4,
        },
    ),
    "polarity": of_stars(
        ("negative", "positive"),
        {
            1: 0,
            2: 0,
            4: 1,
            5: 1,
        },
    ),
}
"""Labels that follow from the stars, by the value of `classification.label`; any other value names a field."""


def require_classifiers(classification: ClassificationConfig, preset: str) -> None:
    """Refuse a configuration without classifiers.

    Raises:
        ConfigError: It says which preset has classifiers.
    """
    if not classification.models:
        raise ConfigError(
            "This configuration has no classifiers",
            where="classification.models",
            value=preset,
            remedy="use `--preset classify`, or a preset that extends it",
        )


def labelling_of(
    label: str,
    names: Sequence[str],
    folder: Path | None,
) -> Labelling:
    """Return the labels of reviews.

    Args:
        names: Names of the labels in the order of their numbers, as a classifier has them.

    Raises:
        InputError: The names are not those of this value.
    """
    if folder is None:
        labelling = LABELLINGS[label]
    else:
        labelling = of_field(tuple(names), folder)

    if labelling.names != tuple(names):
        raise InputError(
            "The classifier predicts other labels",
            where="classification.label",
            value=label,
            cause=f"its labels are {', '.join(names)}",
            remedy="name what it predicts: --set classification.label=NAME",
        )

    return labelling


def require_labelled_reviews(
    classification: ClassificationConfig,
    seed: int,
    prepared: Prepared,
) -> None:
    """Refuse prepared data with too few labels; see `require_labels`."""
    labels = prepared.labels
    # All vocabularies have the same reviews.
    tokens = prepared.tokens[classification.models[0].vocabulary]
    labelling = labelling_of(
        classification.label, prepared.label_names, labels.folder if labels else None
    )
    reviews = {split: TokenStream.open(tokens[split].folder).documents for split in NAMES}
    require_labels(classification, seed, labelling, reviews)


def require_labels(
    classification: ClassificationConfig,
    seed: int,
    labelling: Labelling,
    reviews: Mapping[str, pl.DataFrame],
) -> None:
    """Refuse data without a training review of each label, or without any labelled validation or test review.

    Classifiers cannot learn from such data, so this is checked before any fit.

    Raises:
        InputError: It names the split or the label, and says what helps.
    """
    labelled = {}
    for split, name in NAMES.items():
        numbers_D = labelling.numbers(reviews[split])
        labelled[split] = numbers_D[numbers_D != LEFT_OUT]
        if not len(labelled[split]):
            missing = f"usable value of the field '{classification.label}'"
            if classification.label in MISSING:
                missing = MISSING[classification.label]
            remedy = "more reviews with a label (--input)"
            if split != "train":
                remedy += f", or a larger share of this split: --set split.{split}=0.2"
            raise InputError(
                f"No {name} review has a label",
                where="classification.label",
                value=classification.label,
                cause=f"the {len(reviews[split]):,} {name} reviews have no {missing}",
                remedy=remedy,
            )

    all_N = labelled["train"]
    rows_N = drawn_rows(len(all_N), classification.train_reviews or len(all_N), seed)
    all_K = np.bincount(all_N, minlength=len(labelling.names))
    used_K = np.bincount(all_N[rows_N], minlength=len(labelling.names))
    if (used_K == 0).any():
        by_label = zip(labelling.names, used_K, strict=True)
        counts = ", ".join(f"{name}: {used:,}" for name, used in by_label)
        remedy = "more reviews of this label (--input): the training split has none"
        if all_K.all():
            remedy = f"a larger classification.train_reviews: all {len(all_N):,} labelled training reviews have every label"
        elif classification.label == "stars":
            remedy += "; or --set classification.label=polarity, which needs only negative (1, 2) and positive (4, 5) reviews"
        raise InputError(
            f"The label {labelling.names[int(used_K.argmin())]!r} has no training review",
            value=classification.label,
            where="classification.label",
            cause=f"a classifier needs one of each label; training reviews by label: {counts}",
            remedy=remedy,
        )
