"""Unite test reviews that depend on each other into groups, and measure how much evidence the groups carry.

Reviews of one business, or copies of one text, resemble each other: 60 businesses with ten reviews each are not 600
independent observations. The caller gives a key for each review. Reviews that share a key of any kind are one group,
directly or through a chain of such pairs (`connect_groups`).

The stages exchange groups as one optional column `group` in the table of facts about the test reviews
(`tasks/data/documents.py`): an integer, equal in reviews of one group. If it is null, or the column is missing, a
review is a separate group.
"""

from __future__ import annotations

import math

import numpy as np
import polars as pl

GROUP = "group"
"""Name of the column."""
LEAST_SHARED = 0.39
"""Least share of one review's loss that all reviews of an unseen group are assumed to have. With it, at most 2.5 % of equal
models pass of which all reviews of 2 % of the groups are 50 % worse, and 80 % of the power of a z-test are left with 100
groups of ten (`python -m benchmarks.evaluation.gate`)."""
UNSEEN_ERROR = 0.8
"""Share of the allowed error with which a kind of loss may be missing among the reviews."""


def connect_groups(*keys: pl.Series) -> pl.Series:
    """Return the group of each review: the connected components of "shares a key".

    Args:
        keys: One value per review in each series, e.g. the business, or the number of a set of copies. Null is no key.

    Raises:
        ValueError: There is no series of keys, or they do not have the same length.
    """
    if not keys or len({len(series) for series in keys}) > 1:
        raise ValueError("groups need at least one series of keys, all of the same length")

    from scipy.sparse import coo_array  # a third of a second, which most commands do not need
    from scipy.sparse.csgraph import connected_components

    reviews = len(keys[0])
    rows = [np.zeros(0, np.int64)]
    columns = [np.zeros(0, np.int64)]
    nodes = reviews
    for series in keys:  # a node for each review, then one for each key
        present = series.is_not_null()
        number_N = (series.filter(present).rank("dense").cast(pl.Int64) - 1).to_numpy()
        rows.append(np.flatnonzero(present.to_numpy()))
        columns.append(nodes + number_N)
        nodes += int(number_N.max(initial=-1)) + 1

    row_E = np.concatenate(rows)
    column_E = np.concatenate(columns)
    edges = coo_array((np.ones(len(row_E), bool), (row_E, column_E)), shape=(nodes, nodes))
    _, first, inverse = np.unique(
        connected_components(edges)[1][:reviews], return_index=True, return_inverse=True
    )
    return pl.Series(GROUP, np.unique(first[inverse], return_inverse=True)[1].astype(np.int64))


def groups_of(review_ids: pl.Series, documents: pl.DataFrame | None) -> np.ndarray | None:
    """Return the number of each review's group, 0, 1, 2 …; None if groups are unknown.

    Args:
        review_ids: In the order of the result.
        documents: review_id and, if groups are known, `group`; for these reviews and any others. A review that is
            missing, or has no group, is a separate group.
    """
    if documents is None or GROUP not in documents.columns:
        return None
    keys = review_ids.to_frame("review_id").join(
        documents.select("review_id", GROUP).unique("review_id"),
        on="review_id",
        how="left",
        maintain_order="left",
    )
    return connect_groups(keys[GROUP]).to_numpy()


def effective_number(sizes: np.ndarray) -> float:
    """Return how many groups of equal size carry as much evidence as these: (Σ s)² / Σ s² (Kish 1965, section 8.2).

    Args:
        sizes: Bytes of each group, or of each review.
    """
    sizes_C = np.asarray(sizes, np.float64)
    return float(sizes_C.sum() ** 2 / (sizes_C**2).sum())


def design_effect(residual_D: np.ndarray, groups_D: np.ndarray) -> tuple[float, float]:
    """Return the variance of a sum relative to that of independent reviews, and its standard error if it is 1.

    (Σ over groups of (Σ e)²) / Σ e² (Kish 1965, section 5.4).

    Args:
        residual_D: Deviations e of the reviews, with mean 0.
        groups_D: Number of each review's group.
    """
    squares_D = np.asarray(residual_D, np.float64) ** 2
    sums_C, squares_C, fourths_C = (
        np.bincount(groups_D, column_D) for column_D in (residual_D, squares_D, squares_D**2)
    )
    pairs = float((squares_C**2 - fourths_C).sum())  # Σ e² e'² over the ordered pairs of each group
    squares = squares_D.sum()
    effect = float((sums_C**2).sum() / squares)
    error = math.sqrt(2 * max(pairs, 0.0)) / float(squares)
    return effect, error


def resemblance(
    residual_D: np.ndarray,
    size_D: np.ndarray,
    groups_D: np.ndarray,
) -> float:
    """Return how much reviews of one group resemble each other, from 0 to 1 (an intra-class correlation).

    (Design effect − 1) / (the design effect if all reviews of a group deviated by one share of their size − 1).

    Args:
        residual_D: Deviations of the reviews, with mean 0.
        size_D: The other model's nats of each review.
        groups_D: Number of each review's group.
    """
    if not np.any(residual_D):
        return 1.0
    measured, _ = design_effect(residual_D, groups_D)
    largest, _ = design_effect(size_D, groups_D)
    if largest <= 1:
        return 0.0
    return float(np.clip((measured - 1) / (largest - 1), 0.0, 1.0))


def independent_reviews(counts_C: np.ndarray, alike: float = 0.0) -> float:
    """Return in how many independent reviews a kind of loss would be missing as rarely as in these groups.

    The mean of a group of m reviews keeps the share r + (1 − r) / m of what one review loses, if the others lose the
    share r with it. At least `LEAST_SHARED` is assumed, because a loss that was not seen may be one of whole groups.
    Unequal groups count as (Σ m)² / Σ m² equal ones.

    Args:
        counts_C: Number of reviews of each group.
        alike: The share r, see `resemblance`.
    """
    groups = effective_number(counts_C)
    mean = float(counts_C.sum()) / groups
    shared = max(LEAST_SHARED, alike + (1 - alike) / mean)
    return groups / shared


def unseen_weight(number: float, confidence: float) -> float:
    """Return the share of the text that may be of a kind that so many independent reviews do not show.

    A kind with the share w is missing in n reviews with the probability (1 − w)^n, which must not be above α. A part of
    α, 1 − `UNSEEN_ERROR`, is left for the luck of the other reviews, which helps if the kind is missing.
    """
    return float(1 - (UNSEEN_ERROR * (1 - confidence) / 2) ** (1 / number))


def least_sure_gain(
    number: float,
    confidence: float,
    max_review_loss: float,
    limit: float = 0.0,
) -> float:
    """Return the smallest gain that is surely above a limit, if it is equal on all reviews.

    A share w (`unseen_weight`) of the text may be worse by *max_review_loss*: a gain g is sure if
    (1 − w) g − w max_review_loss > limit.

    Args:
        number: Number of independent reviews.
    """
    if not number:
        return 1.0
    weight = unseen_weight(number, confidence)
    return min(1.0, (limit + weight * max_review_loss) / (1 - weight))


def reviews_for_gain(
    gain: float,
    confidence: float,
    max_review_loss: float,
    limit: float = 0.0,
) -> float:
    """Return the number of independent reviews for which `least_sure_gain` is *gain*, which must be above the limit."""
    return math.log(UNSEEN_ERROR * (1 - confidence) / 2) / math.log(
        (limit + max_review_loss) / (gain + max_review_loss)
    )
