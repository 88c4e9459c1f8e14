"""Check that a classifier has not forgotten the champion's data in exchange for its gain.

Both are compared on the challenger's test reviews. A classifier of other reviews, for example of hotels instead of
restaurants, may be far better on those. So both also answer the champion's own frozen test reviews.
"""

from __future__ import annotations

import math

from evaluation.classification.case import ClassifierCase, interval_text, points
from evaluation.gate.decision import RuleOutcome
from evaluation.gate.rules.forgetting import NAME, about_reviews, without_loss
from evaluation.statistics.bootstrap import Interval


def no_forgetting_of_labels(case: ClassifierCase) -> RuleOutcome:
    """Refuse a challenger that surely loses more macro-F1 than the limit on the champion's own test reviews.

    "Surely" means that the whole interval of the loss is above the limit.
    """
    limit, found = case.policy.max_champion_loss, case.evidence.champion_reviews
    if case.problem and not case.lost and case.evidence.champion is not None and not case.identical:
        return RuleOutcome(NAME, None, case.problem, None, limit)
    if outcome := without_loss(case):
        return outcome
    assert found is not None
    chosen = "drawn" if found.left > case.policy.champion_reviews else "with a label"
    return outcome_of_loss(about_reviews(found, chosen), "macro-F1", case.champion_loss, limit)


def outcome_of_loss(about: str, figure: str, loss: Interval | None, limit: float | None) -> RuleOutcome:
    """Return the outcome of the rule "no forgetting" for a share, such as macro-F1; *about* says on which reviews."""
    if loss is None or not math.isfinite(loss.low):
        return RuleOutcome(NAME, False, f"{about}: not the same reviews, or fewer than two groups of them", None, limit)
    detail = f"{about}: {figure} {points(-loss.estimate)} against the champion, {interval_text(loss, 'the loss')}"
    return RuleOutcome(NAME, limit is not None and loss.low <= limit, detail, loss.low, limit)
