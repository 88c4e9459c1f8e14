"""Cut labelled reviews into slices, and compute the accuracy of classifiers on each of them.

Slices are those of `evaluation/statistics/slices.py` (length, month or year, category), and one for each true label;
there the accuracy is the recall of the label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from evaluation.classification.figures import Formula
from evaluation.classification.predicted import Predicted
from evaluation.statistics.bootstrap import Bootstrap
from evaluation.statistics.slices import Slicing, losses_by_slice, members_of, review_slicings

LENGTH_BINS = 5
ACCURACIES = pl.Schema(
    {
        **dict.fromkeys(("model", "dimension", "slice"), pl.String()),
        "reviews": pl.Int64(),
        **dict.fromkeys(("accuracy", "lo", "hi"), pl.Float64()),
    }
)


def label_slicings(
    predicted: Predicted, documents: pl.DataFrame | None, min_reviews: int, length_bins: int = LENGTH_BINS
) -> list[Slicing]:
    """Cut reviews by true label, length, month and category.

    Args:
        predicted: The reviews, in the order of the result.
        documents: Facts about the reviews, if there are any: review_id and words, date and categories, as far as they
            are known.
        min_reviews: Minimum number of reviews in a slice.
        length_bins: Number of length bins, each with about the same number of reviews.

    Returns:
        One slicing per dimension that has a slice.
    """
    member_NK = predicted.truth_N[:, None] == np.arange(len(predicted.labels))
    large_K = member_NK.sum(0) >= min_reviews
    names = tuple(label for label, large in zip(predicted.labels, large_K, strict=True) if large)
    slicings = [Slicing("label", names, member_NK[:, large_K])]
    if documents is not None:
        documents_N = predicted.review_ids.to_frame().join(
            documents.unique("review_id").drop("stars", strict=False), on="review_id", how="left", maintain_order="left"
        )
        if "words" in documents_N.columns and documents_N["words"].null_count():
            documents_N = documents_N.drop("words")
        slicings += review_slicings(documents_N, min_reviews, length_bins)
    return [slicing for slicing in slicings if slicing.names]


def accuracy_by_slice(
    classifiers: Mapping[str, Predicted], documents: pl.DataFrame | None, *, min_reviews: int, confidence: float,
    resamples: int, seed: int, length_bins: int = LENGTH_BINS,
) -> pl.DataFrame:  # fmt: skip
    """Return the accuracy of each classifier on each slice, with its bootstrap interval (columns `ACCURACIES`).

    Args:
        classifiers: Answers by name of classifier, all on the same reviews.
        documents: See `label_slicings`.
        min_reviews: Minimum number of reviews in a slice.
    """
    rows = {name: predicted.sorted() for name, predicted in classifiers.items()}
    first = next(iter(rows.values()))
    slices = list(members_of(label_slicings(first, documents, min_reviews, length_bins)))
    columns = {("reviews", place): member_N for place, (*_, member_N) in enumerate(slices)}
    for name, predicted in rows.items():
        columns |= {(name, place): member_N & predicted.correct_N for place, (*_, member_N) in enumerate(slices)}
    if not columns:
        return ACCURACIES.to_frame()
    boot = Bootstrap(columns.items(), confidence=confidence, resamples=resamples, seed=seed, groups=first.groups_N)
    accuracies = []
    for name in rows:
        for place, (dimension, label, member_N) in enumerate(slices):
            interval = boot.interval(_accuracy(name, place))
            ends = interval.estimate, interval.low, interval.high
            accuracies.append((name, dimension, label, int(member_N.sum()), *ends))
    return pl.DataFrame(accuracies, ACCURACIES, orient="row").with_columns(pl.col("lo", "hi").fill_nan(None))


def accuracy_losses(
    challenger: Predicted, champion: Predicted, documents: pl.DataFrame | None, *, dimensions: Sequence[str],
    min_reviews: int, confidence: float,
) -> pl.DataFrame:  # fmt: skip
    """Return how much accuracy the challenger loses on each slice, the largest loss first (`losses_by_slice`).

    Args:
        challenger: Its answers, in the order of the review ids.
        champion: Answers of the other classifier on the same reviews, in the same order.
        documents: See `label_slicings`.
        dimensions: Dimensions of the slices: label, length, month, category.
        min_reviews: Minimum number of reviews in a slice.
        confidence: Confidence of the policy.
    """
    slicings = [one for one in label_slicings(challenger, documents, min_reviews) if one.dimension in dimensions]
    loss_N = champion.correct_N.astype(float) - challenger.correct_N
    return losses_by_slice(slicings, loss_N, np.ones(len(loss_N)), challenger.groups_N, confidence)


def _accuracy(name: str, place: int) -> Formula:
    return lambda sums: sums[name, place] / sums["reviews", place]
