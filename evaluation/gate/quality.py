"""Check that the challenger is better by enough, and that its confidence interval proves it.

Check that the registered model answers, and is fast and small enough.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from evaluation.gate.case import MORE_REVIEWS, GateCase, Rivals, at_most, change, said
from evaluation.gate.decision import RuleOutcome
from evaluation.statistics.bootstrap import Interval

if TYPE_CHECKING:
    import polars as pl

NO_INTERVAL = "no interval can be computed: there are fewer than two groups of reviews, or scores that are not finite"
ROUNDING = 1e-9
"""Rounding error allowed below the floor, in bits per byte."""

NOTHING_NEW = "nothing new was registered"


def not_below_floor(case: GateCase) -> RuleOutcome:
    """Refuse a model that surely needs fewer bits than the process that wrote the text: a correct model cannot."""
    name, gap = "not below the floor", case.floor_gap
    if gap is None:
        known = "these reviews have no known floor" if case.evidence.data.floor is None else NO_INTERVAL
        return RuleOutcome(name, None, known)
    detail = f"{gap.estimate:+.4f} bits per byte above the floor, the {100 * gap.confidence:.4g} % interval is "
    detail += f"{gap.low:+.4f} to {gap.high:+.4f}"
    below = gap.high < -ROUNDING
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
    lead = f"{change(gain.estimate)} the baseline '{who}' in open bits per byte{unlike}"
    detail = _nearly(case, gain, limit, lead, baseline.rows) or f"{lead}; {_interval(gain, limit)}"
    return RuleOutcome(name, gain.low > limit, detail, gain.low, limit)


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
    """Refuse a gain whose cautious interval includes gains at or below the required one."""
    name, limit = "surely better", case.policy.min_relative_gain
    if case.problem:
        return RuleOutcome(name, None, case.problem)
    if case.beyond:
        return RuleOutcome(name, True, case.beyond)
    if case.interval is None:
        return RuleOutcome(name, False, NO_INTERVAL)
    gain, lead = case.interval, f"{change(case.gain)} the champion in open bits per byte"
    detail = _nearly(case, gain, limit, lead, case.champion_rows) or _interval(gain, limit, " over the champion")
    return RuleOutcome(name, gain.low > limit, detail, gain.low, limit)


def _nearly(case: GateCase, gain: Interval, limit: float, lead: str, other: pl.DataFrame) -> str:
    """Return why a gain above the limit is not sure enough, with the remedy; empty if it is sure, or not above.

    The cautious interval also allows for reviews that the sample lacks. So the plain one, which the tables show, tells
    whether the gain may be chance, or is only not proved for rare reviews.

    Args:
        lead: The gain in words.
        other: Scores of the other model.
    """
    if not gain.low <= limit < gain.estimate:
        return ""
    plain = case.plain_gain_over(other)
    sure, cautious = f"{100 * gain.confidence:.4g} % interval", f"{gain.low:+.2%} to {gain.high:+.2%}"
    if plain.low > limit:
        more = f" by more than {limit:.2%}" if limit else ""
        few = f"{case.groups:,} {'reviews' if case.groups_D is None else 'groups of reviews'} are too few"
        why = f", surely better{more} on reviews like these ({sure} {plain.low:+.2%} to {plain.high:+.2%}), but {few} "
        why += f"to exclude rare large losses (cautious interval {cautious})"
    else:
        why = f"; the {sure} of the gain is {plain.low:+.2%} to {plain.high:+.2%}, the cautious one {cautious}: "
        why += "it may be chance" if plain.low <= 0 else f"it may be less than {limit:.2%}"
    least = f" (with these, no gain below {case.least_gain:.2%} is sure)" if gain.estimate < case.least_gain else ""
    return f"{lead}{why}; {MORE_REVIEWS}{least}"


def _interval(gain: Interval, limit: float, over: str = "") -> str:
    """Return the cautious interval of a gain and its verdict."""
    sure = f"the cautious {100 * gain.confidence:.4g} % interval of the gain{over}"
    return f"{sure} is {gain.low:+.2%} to {gain.high:+.2%}: {_verdict(gain, limit)}"


def _verdict(gain: Interval, limit: float) -> str:
    if gain.estimate == 0:
        return "there is no gain"
    if gain.low > limit:
        return "the challenger is better" + (f" by more than {limit:.2%}" if limit else "")
    if gain.high < 0:
        return "the challenger is worse"
    return "there is no sure gain" if gain.estimate < 0 else f"it may be less than {limit:.2%}"


def smoke_test(case: Rivals) -> RuleOutcome:
    """Refuse a version that does not answer in a fresh process."""
    if case.identical and case.evidence.serving.smoke_passed is None:
        return RuleOutcome("smoke test", None, NOTHING_NEW)
    return said("smoke test", case.evidence.serving.smoke_passed, case.evidence.serving.smoke_detail)


def latency(case: Rivals) -> RuleOutcome:
    """Refuse a model that is too slow with its answers."""
    name, found, limit = "latency", case.evidence.serving.latency, case.policy.max_latency_ms
    if found is None and case.identical:
        return RuleOutcome(name, None, NOTHING_NEW)
    if found is None:
        return at_most(name, None, limit, "the time that an answer takes was not measured")
    what = "an answer" if found.word is None else "a suggestion"
    detail = f"{what} takes {found.p50:.1f} ms (median), 95 % come within {found.p95:.1f} ms"
    detail += "" if found.word is None else f"; a written word takes {found.word:.1f} ms"
    if limit is not None and not found.p95 <= limit:
        detail += (
            f". At most {limit:g} ms are allowed: fit a smaller model, or repeat the command with "
            f"`--set {case.SECTION}.max_latency_ms={_above(found.p95)}`"
        )
    return at_most(name, found.p95, limit, detail)


def _above(value: float) -> str:
    """Return a limit with two significant digits, a fifth above a measured value."""
    return f"{float(f'{1.2 * value:.2g}'):.0f}" if 1 <= value < math.inf else "none"


def size(case: Rivals) -> RuleOutcome:
    """Refuse a bundle that is larger than the limit."""
    found = case.evidence.serving.megabytes
    detail = "the size of the bundle is not known" if found is None else f"the bundle has {found:.1f} MB"
    return at_most("size", found, case.policy.max_megabytes, detail)
