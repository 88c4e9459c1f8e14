"""Check that the challenger has not forgotten the champion's data in exchange for its gain.

Both models are scored on the challenger's test reviews, which come from the challenger's data. If this is other data
than the champion's, a model that knows nothing about the champion's data may be far better on these reviews. So both
models are also scored on the champion's own frozen test reviews.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from evaluation.gate.case import NO_CHAMPION, GateCase, Rivals, change, open_nats
from evaluation.gate.decision import RuleOutcome
from evaluation.gate.evidence import ChampionReviews

NAME = "no forgetting"


def no_forgetting(case: GateCase) -> RuleOutcome:
    """Refuse a challenger that is surely worse, by more than the limit, on the champion's own test reviews.

    "Surely" means that the whole interval of the loss is above the limit. So an equal model is hardly ever refused, and
    a much worse model is refused if there are enough reviews.
    """
    limit, found = case.policy.max_champion_loss, case.evidence.champion_reviews
    if outcome := without_loss(case):
        return outcome
    assert found is not None
    about = about_reviews(found)
    if outcome := _not_finite(case, about):
        return outcome
    loss = case.champion_loss
    if loss is None:
        return RuleOutcome(NAME, False, f"{about}: not the same reviews, or fewer than two groups of them", None, limit)
    sure = f"the {100 * loss.confidence:.4g} % interval of the loss is {loss.low:+.2%} to {loss.high:+.2%}"
    detail = f"{about}: {change(-loss.estimate)} the champion, {sure}"
    return RuleOutcome(NAME, limit is not None and loss.low <= limit, detail, loss.low, limit)


def without_loss(case: Rivals) -> RuleOutcome | None:
    """Return the outcome of *no forgetting* if it does not depend on a measured loss, for any family of models.

    Args:
        case: Its policy has `max_champion_loss` and `min_test_reviews`, its evidence `champion_reviews`.
    """
    limit, found = case.policy.max_champion_loss, case.evidence.champion_reviews
    if why := _not_applicable(case):
        return RuleOutcome(NAME, None, why, None, limit)
    if found is None:
        return RuleOutcome(NAME, False, "the models were not tried on the champion's own test reviews", None, limit)
    if found.problem:
        return RuleOutcome(NAME, False, found.problem, None, limit)
    if found.same:
        return RuleOutcome(NAME, True, "the champion's own test reviews are those of the challenger", None, limit)
    if found.tried < case.policy.min_test_reviews:
        return RuleOutcome(NAME, None, f"{about_reviews(found)}: too few to judge", None, limit)
    return None


def _not_applicable(case: Rivals) -> str:
    if case.evidence.champion is None:
        return NO_CHAMPION
    if case.identical:
        return "the challenger is the champion, so there is nothing to compare"
    if case.lost:
        return case.lost
    if case.policy.max_champion_loss is None:
        return "the policy sets no limit, so the models were not tried on the champion's own test reviews"
    return ""


def about_reviews(found: ChampionReviews[Any], chosen: str = "drawn") -> str:
    """Return which of the champion's own test reviews were used, and how many were left out.

    *chosen* says in which way only some of those were used that the challenger has not learnt from.
    """
    drawn = f"{found.tried} {chosen} of " if found.tried < found.left else ""
    about = f"on {drawn}{found.left} of the champion's own {found.reviews} test reviews"
    left_out = {"id": found.learnt_ids, "text": found.learnt_texts}
    said = [f"{count} by {what}" for what, count in left_out.items() if count]
    return f"{about} (the challenger learnt from the others: {', '.join(said)})" if said else about


def _not_finite(case: GateCase, about: str) -> RuleOutcome | None:
    """Refuse scores that are not numbers; pass if only the champion gives a review probability 0."""
    found = case.evidence.champion_reviews
    assert found is not None
    assert found.challenger is not None
    assert found.champion is not None
    if not np.isfinite(open_nats(found.challenger)).all():
        return RuleOutcome(NAME, False, f"{about}: the challenger has scores that are not finite numbers")
    theirs_D = open_nats(found.champion)
    if np.isfinite(theirs_D).all():
        return None
    passed = bool((np.isfinite(theirs_D) | np.isposinf(theirs_D)).all())
    what = "calls some impossible (probability 0), the challenger none" if passed else "has scores that are not numbers"
    return RuleOutcome(NAME, passed, f"{about}: the champion {what}")
