"""Decide whether a challenger becomes champion: policy + evidence → decision.

This is a pure function; the caller moves the alias.

A challenger becomes champion only if no rule fails. Both models must have been scored in this run, on the same
frozen test reviews. They are compared by open bits per byte: a vocabulary cannot improve this figure by replacing words
with `<unk>` or by folding case (`models/tokens/surface.py` computes the price of the folded text). A tie keeps the
champion. A figure that is not a number never promotes. Missing evidence counts against the challenger. The rules are in
`evaluation/gate/`; docs/concepts/registry/promotion.md explains their purpose and how often they err.

Warn if the policy's stated chance of error is not guaranteed; a caution never refuses a challenger.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import polars as pl

from core.config.sections.promotion import PromotionConfig
from corpus.splitting.certificate import reviews_digest
from evaluation.gate.case import GateCase, open_nats
from evaluation.gate.decision import Decision, gain_figures, loss_figures
from evaluation.gate.evidence import Evidence
from evaluation.gate.rules import RULES
from evaluation.statistics.groups import design_effect, groups_of
from evaluation.statistics.studentised import Intervals, studentised_intervals

METRIC = "open bits per byte (lower is better)"

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


def decide(
    policy: PromotionConfig, evidence: Evidence, intervals: Intervals = studentised_intervals
) -> Decision:
    """Apply every rule and return the decision. Equal evidence gives an equal decision, to the byte.

    *intervals* returns what `studentised_intervals` does, maybe because it was computed before.
    """
    case = replace(GateCase.of(policy, evidence), intervals=intervals)
    return case.decide(
        RULES, _praise, _figures(case), metric=METRIC,
        challenger_scores=scores_digest(case.challenger_rows),
        champion_scores=scores_digest(case.champion_rows) if case.champion_scored else None,
        passed_over=evidence.passed_over, warnings=cautions(case), champion_reviews=_champion_reviews(case),
    )  # fmt: skip


def scores_digest(rows: pl.DataFrame) -> str:
    """Return the SHA-256 of the scores that a decision uses, independent of the order of the reviews.

    Args:
        rows: Columns review_id, stars, bytes, nats and spelling_nats; the last two are included with all their bits.
    """
    ordered = rows.sort("review_id")
    told = ordered.select(pl.format("{} {} {}", "review_id", "stars", "bytes")).to_series()
    digest = hashlib.sha256("\n".join(told).encode())
    for column in ("nats", "spelling_nats"):
        digest.update(ordered[column].cast(pl.Float64).to_numpy().astype("<f8").tobytes())
    return digest.hexdigest()


def _champion_reviews(case: GateCase) -> dict[str, str] | None:
    """Return digests that identify the scores on the champion's own test reviews; None if there are no scores."""
    if case.champion_pair is None or case.champion_pair[1].is_empty():
        return None
    ours, theirs = case.champion_pair
    digests = {"challenger_scores": scores_digest(ours), "champion_scores": scores_digest(theirs)}
    return {"test_set": reviews_digest(theirs), **digests}


def _praise(case: GateCase) -> str:
    if not case.champion_scored:
        return ""
    if case.beyond:
        return case.beyond
    but = f"; {other}" if (other := case.evidence.other_adaptation) else ""
    return f"it is better than the champion by {case.gain:.2%} of its open bits per byte{but}"


def _figures(case: GateCase) -> dict[str, float]:
    ours, theirs = case.evidence.challenger_named, case.evidence.champion_named
    figures = {
        f"{ours}, open bits per byte": case.challenger.open_bits_per_byte,
        f"{ours}, bits per byte": case.challenger.bits_per_byte,
        "test reviews": float(case.challenger.reviews),
        "test groups": float(case.groups),
        "test groups, effective": case.effective_groups,
    }
    if case.champion_scored:
        figures[f"{theirs}, open bits per byte"] = case.champion.open_bits_per_byte
        figures[f"{theirs}, bits per byte"] = case.champion.bits_per_byte
    if case.champion_loss:
        figures |= loss_figures(case.champion_loss)
    if case.interval:
        figures["difference"] = case.challenger.open_bits_per_byte - case.champion.open_bits_per_byte
        figures |= gain_figures(case.interval)
    return figures


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
