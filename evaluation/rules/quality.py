"""Is the challenger better, by enough, and surely so?"""

from __future__ import annotations

import math

from evaluation.decision import RuleOutcome
from evaluation.rules.case import Case, Gain, change

NO_INTERVAL = "no interval can be computed: there are fewer than two reviews, or scores that are not finite"
ROUNDING = 1e-9
"""Bits per byte."""


def not_below_floor(case: Case) -> RuleOutcome:
    """Refuse a model that needs surely fewer bits than the process that wrote the text: no true model can.

    But one whose vocabulary folds case and spacing is not charged for all of the text.
    """
    name, gap = "not below the floor", case.floor_gap
    if gap is None:
        known = "these reviews have no known floor" if case.evidence.floor is None else NO_INTERVAL
        return RuleOutcome(name, None, known)
    detail = f"{gap.estimate:+.4f} bits per byte above the floor, the {100 * gap.confidence:.4g} % interval is "
    detail += f"{gap.low:+.4f} to {gap.high:+.4f}"
    below = gap.high < -ROUNDING
    if below and case.evidence.folds:
        return RuleOutcome(name, None, f"{detail}; its vocabulary folds case and spacing, which it need not pay for")
    if below:
        detail += ": no model can be below, so the scores are wrong or test reviews were learnt"
    return RuleOutcome(name, not below, detail, gap.high, 0.0)


def better_than_baseline(case: Case) -> RuleOutcome:
    """Refuse a model that is no better than the simple one named in the configuration."""
    name, who, limit = "better than the baseline", case.evidence.baseline_name, case.policy.min_gain_over_baseline
    if case.evidence.baseline_digest == case.evidence.challenger_digest:
        return RuleOutcome(name, None, f"the challenger is the baseline '{who}' itself")
    if case.evidence.baseline is None:
        return RuleOutcome(name, False, f"there are no figures of the baseline '{who}'")
    base = case.evidence.baseline
    if (base.reviews, base.bytes) != (case.challenger.reviews, case.challenger.bytes):
        return RuleOutcome(name, False, f"the baseline '{who}' was scored on other reviews")
    if not math.isfinite(base.open_bits_per_byte):
        return RuleOutcome(name, False, f"the baseline '{who}' has no finite figures that could be beaten")
    gain = 1 - case.challenger.open_bits_per_byte / base.open_bits_per_byte
    detail = f"{change(gain)} the baseline '{who}' in bits per byte"
    return RuleOutcome(name, gain > 0 and gain >= limit, detail, gain, limit)


def better_than_champion(case: Case) -> RuleOutcome:
    """Refuse a gain below the wanted one; a tie keeps the champion."""
    name, limit = "better than the champion", case.policy.min_relative_gain
    if case.problem:
        return RuleOutcome(name, None, case.problem)
    if case.beyond:
        return RuleOutcome(name, True, case.beyond)
    detail = f"{change(case.gain)} the champion in bits per byte"
    return RuleOutcome(name, case.gain > 0 and case.gain >= limit, detail, case.gain, limit)


def surely_better(case: Case) -> RuleOutcome:
    """Refuse a gain whose interval reaches down to the wanted one: chance alone may have done it."""
    name, limit = "surely better", case.policy.min_relative_gain
    if case.problem:
        return RuleOutcome(name, None, case.problem)
    if case.beyond:
        return RuleOutcome(name, True, case.beyond)
    if case.interval is None:
        return RuleOutcome(name, False, NO_INTERVAL)
    gain = case.interval
    detail = f"the {100 * gain.confidence:.4g} % interval of the gain is {gain.low:+.2%} to {gain.high:+.2%}: "
    return RuleOutcome(name, gain.low > limit, detail + _verdict(gain, limit), gain.low, limit)


def _verdict(gain: Gain, limit: float) -> str:
    if gain.low == gain.high == 0:
        return "there is none"
    if gain.low > limit:
        return "the challenger is better" + (f" by more than {limit:.2%}" if limit else "")
    if gain.high < 0:
        return "the challenger is worse"
    return "it may be luck" if gain.low <= 0 else f"it may be less than {limit:.2%}"
