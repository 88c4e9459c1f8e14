"""Warn if the policy's stated chance of error is not guaranteed; a caution never refuses a challenger."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import polars as pl

from evaluation.gate.rules.case import GateCase, open_nats
from evaluation.statistics.groups import design_effect, groups_of

IDS = {"user": "user_id", "business": "business_id"}
PLURAL = {"user": "users", "business": "businesses"}
RESEMBLANCE, SURE = 1.1, 2.0
"""Ratio of variances below which nothing is said (an interval that is wider by about 5 %), and the number of standard
errors by which the ratio must be beyond chance.
"""
MATTERS = 1.5
"""Ratio of variances from which a warning is given although the gain is sure there too: an interval that is wider by
more than a fifth.
"""


def cautions(case: GateCase) -> tuple[str, ...]:
    """Return a sentence for each assumption of the gain's interval that these test reviews contradict."""
    other = case.champion_rows if case.champion_scored else case.baseline_rows
    if other is None or not len(other) or not case.same_reviews(other):
        return ()
    ours_D, theirs_D = open_nats(case.challenger_rows), open_nats(other)
    if not np.isfinite(ours_D).all() or not np.isfinite(theirs_D).all() or not (theirs_D > 0).all():
        return ()
    return (*_worse_than_allowed_for(case, ours_D / theirs_D - 1), *_drawn_apart(case, ours_D, theirs_D, other))


def _worse_than_allowed_for(case: GateCase, loss_D: np.ndarray) -> Iterator[str]:
    """Warn of reviews with a larger loss of the challenger than the policy assumes for unseen reviews."""
    most = case.policy.max_review_loss
    if worse := int((loss_D > most).sum()):
        yield (
            f"on {worse} of {len(loss_D)} test reviews the challenger needs up to {1 + loss_D.max():.3g} times the "
            f"other model's bits; the interval allows for {1 + most:g} times on reviews unlike these "
            "(promotion.max_review_loss)"
        )


def _drawn_apart(case: GateCase, ours_D: np.ndarray, theirs_D: np.ndarray, other: pl.DataFrame) -> Iterator[str]:
    """Warn if reviews of one user, or of one business, resemble each other but are not one group.

    For two ways of grouping reviews, the variances add up, minus the variance of single reviews (Cameron, Gelbach and
    Miller 2011).
    """
    residual_D = ours_D - ours_D.sum() / theirs_D.sum() * theirs_D
    known = case.evidence.data.reviews
    if known is None or not residual_D.any():
        return
    drawn = 1.0 if case.groups_D is None else design_effect(residual_D, case.groups_D)[0]
    for who, column in IDS.items():
        if column not in known.columns:
            continue
        alike = pl.when(pl.col(column) != "").then(pl.col(column)).alias("group")
        groups_D = groups_of(case.challenger_rows["review_id"], known.select("review_id", alike))
        if groups_D is None or _within(groups_D, case.groups_D):
            continue
        effect, error = design_effect(residual_D, groups_D)
        times = 1 + (effect - 1) / drawn
        unsure = _not_sure(case, other, times)
        if times > max(RESEMBLANCE if unsure else MATTERS, 1 + SURE * error / drawn):
            yield (
                f"reviews of one {who} resemble each other: for other {PLURAL[who]} the gain's variance is "
                f"{times:.2f} times as large{unsure}; to decide for them, set "
                f'split.by = "{who}"'
            )


def _within(inner_D: np.ndarray, outer_D: np.ndarray | None) -> bool:
    """Return whether every group of the first grouping is inside one group of the second grouping."""
    outer_D = np.arange(len(inner_D)) if outer_D is None else outer_D
    return len(np.unique(np.stack([inner_D, outer_D]), axis=1).T) == inner_D.max() + 1


def _not_sure(case: GateCase, other: pl.DataFrame, times: float) -> str:
    """Return a remark if a sure gain would not be sure with *times* the variance; otherwise an empty text."""
    gain = case.interval if case.champion_scored else case.gain_over(other)
    margin = case.policy.min_relative_gain if case.champion_scored else case.policy.min_gain_over_baseline
    if gain is None or gain.low <= margin:
        return ""
    wider = gain.estimate - math.sqrt(times) * (gain.estimate - gain.low)
    return "" if wider > margin else ", and the gain is not sure there"
