"""Cut labelled reviews into slices, and compute the accuracy of classifiers on each of them.

Slices are those of `evaluation/statistics/slices.py` (length, month or year, category), and one for each true label;
there the accuracy is the recall of the label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from reviewlm.evaluation.classification.answers import Predicted
from reviewlm.evaluation.statistics.slices import (
    Slicing,
    losses_by_slice,
    ratios_by_slice,
    review_slicings,
)

ACCURACIES = pl.Schema(
    {
        **dict.fromkeys(("model", "dimension", "slice"), pl.String()),
        "reviews": pl.Int64(),
        **dict.fromkeys(("accuracy", "lo", "hi"), pl.Float64()),
    }
)


def label_slicings(
    predicted: Predicted,
    documents: pl.DataFrame | None,
    min_reviews: int,
) -> list[Slicing]:
    """Cut reviews by true label, length, month and category.

    Args:
        predicted: The reviews, in the order of the result.
        documents: Facts about the reviews, if there are any: review_id and words, date and categories, as far as they
            are known.
        min_reviews: Minimum number of reviews in a slice.

    Returns:
        One slicing per dimension that has a slice.
    """
    member_NK = predicted.truth_N[:, None] == np.arange(len(predicted.labels))
    large_K = member_NK.sum(0) >= min_reviews
    names = tuple(label for label, large in zip(predicted.labels, large_K, strict=True) if large)
    slicings = [Slicing("label", names, member_NK[:, large_K])]
    if documents is not None:
        documents_N = predicted.review_ids.to_frame().join(
            documents.unique("review_id").drop("stars", strict=False),
            on="review_id",
            how="left",
            maintain_order="left",
        )
        if "words" in documents_N.columns and documents_N["words"].null_count():
            documents_N = documents_N.drop("words")
        slicings += review_slicings(documents_N, min_reviews)

    return [slicing for slicing in slicings if slicing.names]


def accuracy_by_slice(
    classifiers: Mapping[str, Predicted],
    documents: pl.DataFrame | None,
    *,
    min_reviews: int,
    confidence: float,
) -> pl.DataFrame:
    """Return the accuracy of each classifier on each slice, with its interval (columns `ACCURACIES`).

    Args:
        classifiers: Answers by name of classifier, all on the same reviews.
        documents: See `label_slicings`.
        min_reviews: Minimum number of reviews in a slice.
    """
    frames = [ACCURACIES.to_frame()]
    for name, predicted in classifiers.items():
        rows = predicted.sort_by_review()
        slicings = label_slicings(rows, documents, min_reviews)
        right_N = rows.correct_N.astype(float)
        ratios = ratios_by_slice(
            slicings,
            right_N,
            np.ones(len(rows)),
            rows.groups_N,
            (1 - confidence) / 2,
        )
        accuracy = pl.col("ratio")
        reach = pl.when(pl.col("reach").is_finite()).then("reach")
        figures_of_slices = ratios.select(
            pl.lit(name).alias("model"),
            "dimension",
            "slice",
            "reviews",
            accuracy=accuracy,
            lo=accuracy - reach,
            hi=accuracy + reach,
        )
        frames.append(figures_of_slices)

    return pl.concat(frames)


def accuracy_losses(
    challenger: Predicted,
    champion: Predicted,
    documents: pl.DataFrame | None,
    *,
    dimensions: Sequence[str],
    min_reviews: int,
    confidence: float,
) -> pl.DataFrame:
    """Return how much accuracy the challenger loses on each slice, the largest loss first (`losses_by_slice`).

    Args:
        challenger: Its answers, in the order of the review ids.
        champion: Answers of the other classifier on the same reviews, in the same order.
        documents: See `label_slicings`.
        dimensions: Dimensions of the slices: label, length, month, category.
        min_reviews: Minimum number of reviews in a slice.
        confidence: Confidence of the policy.
    """
    slicings = [
        one
        for one in label_slicings(challenger, documents, min_reviews)
        if one.dimension in dimensions
    ]
    loss_N = champion.correct_N.astype(float) - challenger.correct_N
    return losses_by_slice(
        slicings,
        loss_N,
        np.ones(len(loss_N)),
        challenger.groups_N,
        confidence,
    )
