"""Define the rules of the gate for classifiers, in the order in which they are applied and shown.

A rule is a function from a `ClassifierCase` to a `RuleOutcome`. To add one, write a function, add it to `RULES` or
`RULES_OF_ANSWERS`, its limit to `core/config/sections/classification.py` and its row to
docs/concepts/evaluation/classification.md. Gains and losses are differences of shares, shown in points of 100.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from operator import gt

from evaluation.classification.case import ClassifierCase, interval_text, points
from evaluation.classification.compare import ClassifierComparison
from evaluation.classification.figures import ROUNDING, ClassifierFigures
from evaluation.classification.forgetting import no_forgetting_of_labels
from evaluation.classification.predicted import Predicted
from evaluation.classification.slices import accuracy_losses
from evaluation.gate.decision import RuleOutcome
from evaluation.gate.rules import RULES_OF_ALL
from evaluation.gate.rules.case import MORE_REVIEWS
from evaluation.gate.rules.comparability import count_groups
from evaluation.gate.rules.serving import latency, size
from evaluation.gate.rules.slices import outcome_of_losses

ClassifierRule = Callable[[ClassifierCase], RuleOutcome]


def answers_at_hand(case: ClassifierCase) -> RuleOutcome:
    """Refuse a challenger whose registered bundle did not answer the test reviews."""
    name, challenger = "answers at hand", case.evidence.challenger
    if not case.answered:
        return RuleOutcome(name, False, challenger.problem or "the challenger did not answer the test reviews")
    return RuleOutcome(name, True, f"the challenger's bundle answered {len(case.challenger)} test reviews")


def same_reviews_answered(case: ClassifierCase) -> RuleOutcome:
    """Refuse unless both classifiers have the same labels and answered the same reviews."""
    name = "same test reviews"
    if case.evidence.champion is None or case.lost:
        return RuleOutcome(name, None, case.problem)
    match = f"both answered {case.evidence.challenger.test}, {len(case.challenger)} reviews, with the same labels"
    return RuleOutcome(name, not case.problem, case.problem or match)


def enough_groups(case: ClassifierCase) -> RuleOutcome:
    """Refuse to decide with too few independent groups of reviews."""
    grouped_by = None if case.challenger.groups_N is None else case.evidence.data.grouped_by
    return count_groups(len(case.challenger), case.group_sizes, grouped_by, case.policy.min_test_reviews)


def finite_classifier(case: ClassifierCase) -> RuleOutcome:
    """Refuse figures that are not finite numbers, of either classifier."""
    told = {"challenger": case.figures, "champion": case.champion_figures}
    bad = [f"the {who}'s {name} is not a number" for who, found in told.items() if found for name in _not_finite(found)]
    return RuleOutcome("finite figures", not bad, "; ".join(bad) or "all figures are finite")


def _not_finite(found: ClassifierFigures) -> Iterator[str]:
    values = {"accuracy": found.accuracy, "macro-F1": found.macro_f1, "log loss": found.log_loss,
              "calibration error": found.calibration_error}  # fmt: skip
    yield from (name for name, value in values.items() if value is not None and not math.isfinite(value))


def better_than_majority(case: ClassifierCase) -> RuleOutcome:
    """Refuse a classifier that is not surely better than always answering the most frequent label, in accuracy."""
    name, limit, gain = "better than the majority label", case.policy.min_gain_over_majority, case.over_majority
    detail = f"accuracy {case.figures.accuracy:.2%}, always '{case.figures.majority_label}' "
    detail += f"{case.figures.majority_accuracy:.2%}: {interval_text(gain, 'the gain over this label')}"
    return RuleOutcome.compared(name, detail, gain.low, limit, gt)


def better_than_baseline_classifier(case: ClassifierCase) -> RuleOutcome:
    """Refuse a classifier that is not surely better than the baseline classifier, in macro-F1."""
    name, baseline, limit = "better than the baseline", case.evidence.baseline, case.policy.min_gain_over_baseline
    if baseline is None:
        return RuleOutcome(name, False, "there are no answers of a baseline classifier")
    who = f"the baseline '{baseline.name}'"
    if baseline.digest == case.evidence.challenger.digest:
        return RuleOutcome(name, None, f"the challenger is {who} itself")
    if why := case.unlike(baseline):
        return RuleOutcome(name, False, f"{who}: {why}")
    assert baseline.predicted is not None
    found = case.compared_with(baseline.predicted)
    gain = found.macro_f1
    detail = f"macro-F1 {points(gain.estimate)}: {interval_text(gain, f'the gain over {who}')}"
    chance = _too_often_by_chance(case, baseline.predicted, found) if gain.low > limit else ""
    return RuleOutcome(name, gain.low > limit and not chance, detail + chance, gain.low, limit)


def better_than_champion_classifier(case: ClassifierCase) -> RuleOutcome:
    """Refuse a gain in macro-F1 below the required one; a tie keeps the champion."""
    name, limit = "better than the champion", case.policy.min_gain
    if case.comparison is None or case.champion_figures is None:
        return RuleOutcome(name, None, case.problem)
    gain = case.comparison.macro_f1.estimate
    detail = f"macro-F1 {case.figures.macro_f1:.2%}, the champion's {case.champion_figures.macro_f1:.2%}: "
    detail += "exactly as good" if gain == 0 else points(gain)
    return RuleOutcome(name, gain > 0 and gain >= limit, detail, gain, limit)


def surely_better_classifier(case: ClassifierCase) -> RuleOutcome:
    """Refuse a gain that may be chance, or at or below the required one."""
    name, limit, found = "surely better", case.policy.min_gain, case.comparison
    if found is None or case.champion is None:
        return RuleOutcome(name, None, case.problem)
    gain = found.macro_f1
    detail = f"macro-F1 {points(gain.estimate)}: {interval_text(gain, 'the gain over the champion')}; the challenger "
    detail += f"alone is right on {found.only_b} reviews, the champion alone on {found.only_a} (McNemar's exact test: "
    detail += f"p = {found.p_value:.2g})"
    if gain.low > limit:
        chance = _too_often_by_chance(case, case.champion, found)
        return RuleOutcome(name, not chance, detail + chance, gain.low, limit)
    near = gain.low <= limit < gain.estimate
    return RuleOutcome(name, False, detail + f"; it may be chance; {MORE_REVIEWS}" * near, gain.low, limit)


def _too_often_by_chance(case: ClassifierCase, other: Predicted, found: ClassifierComparison) -> str:
    """Return a remark if one of two equally good classifiers would gain as much too often; otherwise "".

    An interval is too sure if the gain rests on a few reviews, for example those of a rare label.
    """
    chance, most = case.chance_of_gain_over(other), (1 - case.policy.confidence) / 2
    if chance <= most + ROUNDING:
        return ""
    what = "groups of reviews" if case.challenger.groups_N is not None else "reviews"
    return (
        f"; it may be chance: their answers differ on {found.differ} {what}, and an equally good classifier would gain "
        f"as much with a probability of {100 * chance:.2f} %, above {100 * most:.4g} %; {MORE_REVIEWS}"
    )


def no_worse_slice(case: ClassifierCase) -> RuleOutcome:
    """Refuse a challenger that surely loses accuracy on a slice, and more than the limit."""
    name, limit, least = "no slice worse", case.policy.max_slice_loss, case.policy.min_slice_reviews
    if case.problem or case.champion is None:
        return RuleOutcome(name, None, case.problem)
    table = accuracy_losses(
        case.challenger, case.champion, case.evidence.data.reviews, dimensions=case.policy.slice_dimensions,
        min_reviews=least, confidence=case.policy.confidence,
    )  # fmt: skip
    return outcome_of_losses(table, limit, least, "accuracy")


def no_label_given_up(case: ClassifierCase) -> RuleOutcome:
    """Refuse a challenger that never finds a label that the champion finds at least once."""
    name = "no label given up"
    if case.problem or case.champion_figures is None:
        return RuleOutcome(name, None, case.problem)
    pairs = zip(case.figures.per_label, case.champion_figures.per_label, strict=True)
    lost = [ours.label for ours, theirs in pairs if ours.recall == 0 and theirs.recall > 0]
    never = f"never found by the challenger, but by the champion: {', '.join(lost)}"
    detail = never if lost else "every label that the champion finds is found"
    return RuleOutcome(name, not lost, detail, len(lost), 0)


RULES: tuple[ClassifierRule, ...] = (*RULES_OF_ALL, latency, size, answers_at_hand)
RULES_OF_ANSWERS: tuple[ClassifierRule, ...] = (
    same_reviews_answered, enough_groups, finite_classifier, better_than_majority, better_than_baseline_classifier,
    better_than_champion_classifier, surely_better_classifier, no_worse_slice, no_label_given_up,
    no_forgetting_of_labels,
)  # fmt: skip
"""Rules that are applied only if the challenger answered the test reviews."""
