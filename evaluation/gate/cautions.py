"""Warn of reviews on which the interval of a language model's gain relies, but which are unlike what it assumes.

A caution decides nothing: it stands beside the decision of the gate.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from reviewlm.evaluation.statistics.groups import design_effect, groups_of

IDS = {"user": "user_id", "business": "business_id"}
PLURAL = {"user": "users", "business": "businesses"}
RESEMBLANCE = 1.25
SURE = 2.0
"""Ratio of variances below which nothing is said (an interval that is wider by an eighth), and the number of standard
errors by which the ratio must be beyond chance.
"""


def worse_than_allowed_for(loss_D: np.ndarray, most: float) -> Iterator[str]:
    """Warn of reviews with a larger loss of the challenger than the policy assumes for unseen reviews.

    Args:
        loss_D: The challenger's nats as a share of the other model's, minus 1.
        most: `promotion.max_review_loss`.
    """
    if worse := int((loss_D > most).sum()):
        yield (
            f"on {worse} of {len(loss_D)} test reviews the challenger needs up to {1 + loss_D.max():.3g} times the "
            f"other model's bits; the interval allows for {1 + most:g} times on reviews unlike these "
            "(promotion.max_review_loss)"
        )


def drawn_apart(
    ours_D: np.ndarray,
    theirs_D: np.ndarray,
    ids: pl.Series,
    groups_D: np.ndarray | None,
    documents: pl.DataFrame | None,
) -> Iterator[str]:
    """Warn if reviews of one user, or of one business, resemble each other but are not one group.

    For two ways of grouping reviews, the variances add up, minus the variance of single reviews (Cameron, Gelbach and
    Miller 2011).

    Args:
        ours_D: Nats of each review under the challenger.
        theirs_D: The same under the other model.
        ids: The reviews.
        groups_D: Number of each review's group; None if each review is a separate group.
        documents: Facts about the reviews, with ids of users and businesses if they are known.
    """
    residual_D = ours_D - ours_D.sum() / theirs_D.sum() * theirs_D
    if documents is None or not residual_D.any():
        return

    drawn = 1.0
    if groups_D is not None:
        drawn = design_effect(residual_D, groups_D)[0]

    for who, column in IDS.items():
        if column not in documents.columns:
            continue
        alike = pl.when(pl.col(column) != "").then(pl.col(column)).alias("group")
        owners_D = groups_of(ids, documents.select("review_id", alike))
        if owners_D is None or _within(owners_D, groups_D):
            continue
        effect, error = design_effect(residual_D, owners_D)
        times = 1 + (effect - 1) / drawn
        if times > max(RESEMBLANCE, 1 + SURE * error / drawn):
            yield (
                f"reviews of one {who} resemble each other: for other {PLURAL[who]} the gain's variance is "
                f'{times:.2f} times as large; to decide for them, set split.by = "{who}"'
            )


def _within(inner_D: np.ndarray, outer_D: np.ndarray | None) -> bool:
    """Return whether every group of the first grouping is inside one group of the second grouping."""
    if outer_D is None:
        outer_D = np.arange(len(inner_D))

    return len(np.unique(np.stack([inner_D, outer_D]), axis=1).T) == inner_D.max() + 1
