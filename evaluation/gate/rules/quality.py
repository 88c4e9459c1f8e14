"""Check that the challenger is better by enough, and that its confidence interval proves it."""

from __future__ import annotations

import math

from evaluation.gate.decision import RuleOutcome
from evaluation.gate.rules.case import MORE_REVIEWS, GateCase, change
from evaluation.statistics.bootstrap import Interval

NO_INTERVAL = "no interval can be computed: there are fewer than two groups of reviews, or scores that are not finite"
ROUNDING = 1e-9
"""Rounding error allowed below the floor, in bits per byte."""


def not_below_floor(case: GateCase) -> RuleOutcome:
    """Refuse a model that surely needs fewer bits than the process that wrote the text: a correct model cannot.

    The rule does not apply to a model whose vocabulary folds case and spacing without a price, because its figures do
    not include all of the text.
    """
    name, gap = "not below the floor", case.floor_gap
    if gap is None:
        known = "these reviews have no known floor" if case.evidence.data.floor is None else NO_INTERVAL
        return RuleOutcome(name, None, known)
    detail = f"{gap.estimate:+.4f} bits per byte above the floor, the {100 * gap.confidence:.4g} % interval is "
    detail += f"{gap.low:+.4f} to {gap.high:+.4f}"
    below = gap.high < -ROUNDING
    if below and case.evidence.challenger.folds:
        return RuleOutcome(name, None, f"{detail}; its figures leave out case and spacing")
    if below:
        detail += ": no model can be below it, so the scores are wrong or the model was trained on test reviews"
    return RuleOutcome(name, not below, detail, gap.high, 0.0)


def better_than_baseline(case: GateCase) -> RuleOutcome:
    """Refuse a model that is not surely better than the baseline named in the configuration.

    Without a champion this rule decides about the first model, so it requires as much certainty as the others.
    """
    name, baseline, limit = "better than the baseline", case.evidence.baseline, case.policy.min_gain_over_baseline
    who = baseline.name if baseline else "baseline"
    if baseline and baseline.digest == case.evidence.challenger.digest:
        return RuleOutcome(name, None, f"the challenger is the baseline '{who}' itself")
    if baseline is None or baseline.rows is None or case.baseline is None:
        return RuleOutcome(name, False, f"there are no figures of the baseline '{who}'")
    if not case.same_reviews(baseline.rows):
        return RuleOutcome(name, False, f"the baseline '{who}' was scored on other reviews")
    if not math.isfinite(case.baseline.open_bits_per_byte):
        return RuleOutcome(name, False, f"the baseline '{who}' has no finite figures to compare with")
    if not math.isfinite(case.challenger.open_bits_per_byte) or (gain := case.gain_over(baseline.rows)) is None:
        return RuleOutcome(name, False, NO_INTERVAL)
    theirs, ours = baseline.adaptation, case.evidence.challenger.adaptation
    unlike = f", whose figures are {theirs}, the challenger's {ours}" if theirs != ours else ""
    detail = f"{change(gain.estimate)} the baseline '{who}' in open bits per byte{unlike}; "
    return RuleOutcome(name, gain.low > limit, detail + _interval(case, gain, limit), gain.low, limit)


def better_than_champion(case: GateCase) -> RuleOutcome:
    """Refuse a gain below the required one; a tie keeps the champion."""
    name, limit = "better than the champion", case.policy.min_relative_gain
    if case.problem:
        return RuleOutcome(name, None, case.problem)
    if case.beyond:
        return RuleOutcome(name, True, case.beyond)
    detail = f"{change(case.gain)} the champion in open bits per byte"
    return RuleOutcome(name, case.gain > 0 and case.gain >= limit, detail, case.gain, limit)


def surely_better(case: GateCase) -> RuleOutcome:
    """Refuse a gain whose interval includes gains at or below the required one, because it may be chance."""
    name, limit = "surely better", case.policy.min_relative_gain
    if case.problem:
        return RuleOutcome(name, None, case.problem)
    if case.beyond:
        return RuleOutcome(name, True, case.beyond)
    if case.interval is None:
        return RuleOutcome(name, False, NO_INTERVAL)
    gain = case.interval
    return RuleOutcome(name, gain.low > limit, _interval(case, gain, limit), gain.low, limit)


def _interval(case: GateCase, gain: Interval, limit: float) -> str:
    """Return how sure a gain is; if only more reviews could make it sure, add this remedy.

    The interval is wider than that of the tables, because it allows for reviews that the sample lacks.
    """
    detail = f"the cautious {100 * gain.confidence:.4g} % interval of the gain is {gain.low:+.2%} to {gain.high:+.2%}: "
    if not gain.low <= limit < gain.estimate:
        return detail + _verdict(gain, limit)
    least = f" (with these, no gain below {case.least_gain:.2%} is sure)" if gain.estimate < case.least_gain else ""
    return f"{detail}{_verdict(gain, limit)}; {MORE_REVIEWS}{least}"


def _verdict(gain: Interval, limit: float) -> str:
    if gain.estimate == 0:
        return "there is no gain"
    if gain.low > limit:
        return "the challenger is better" + (f" by more than {limit:.2%}" if limit else "")
    if gain.high < 0:
        return "the challenger is worse"
    return "it may be chance" if gain.low <= 0 else f"it may be less than {limit:.2%}"
