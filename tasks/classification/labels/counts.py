"""Count the labelled reviews of each split before any fit, and refuse data that classifiers cannot learn from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from core.config.run_config import RunConfig
from core.errors import InputError
from models.streams import TokenStream
from tasks.classification.labels.labelling import LEFT_OUT, Labelling, drawn_rows, labelling_of
from tasks.data.prepare import Prepared

NAMES = {"train": "training", "validation": "validation", "test": "test"}


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
