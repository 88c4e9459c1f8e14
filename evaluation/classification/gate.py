"""Decide whether a classifier becomes champion: policy + evidence → decision.

This is a pure function; the caller moves the alias. A challenger becomes champion only if no rule fails
(`evaluation/classification/gate.py`). Both classifiers must have answered the same frozen test reviews. They are
compared by macro-F1, because with unequal labels the accuracy hides a label that is never found. A tie keeps the
champion. A figure that is not a number never promotes. Missing evidence counts against the challenger.

Define the rules of the gate for classifiers, in the order in which they are applied and shown.

A rule is a function from a `ClassifierCase` to a `RuleOutcome`. To add one, write a function, add it to `RULES` or
`RULES_OF_ANSWERS`, its limit to `core/config/sections/classification.py` and its row to
docs/concepts/evaluation/classification.md. Gains and losses are differences of shares, shown in points of 100.

Check that a classifier has not forgotten the champion's data in exchange for its gain.

Both are compared on the challenger's test reviews. A classifier of other reviews, for example of hotels instead of
restaurants, may be far better on those. So both also answer the champion's own frozen test reviews.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from operator import gt

from core.config.sections.classification import ClassificationPromotion
from evaluation.classification.case import ClassifierCase, ClassifierEvidence, interval_text, points
from evaluation.classification.compare import ClassifierComparison
from evaluation.classification.figures import ROUNDING, ClassifierFigures, figures
from evaluation.classification.predicted import Predicted
from evaluation.classification.slices import accuracy_losses
from evaluation.gate.case import MORE_REVIEWS
from evaluation.gate.comparability import count_groups
from evaluation.gate.decision import Decision, RuleOutcome, gain_figures, loss_figures
from evaluation.gate.forgetting import NAME, about_reviews, without_loss
from evaluation.gate.quality import latency, size
from evaluation.gate.rules import RULES_OF_ALL
from evaluation.gate.slices import outcome_of_losses
from evaluation.statistics.bootstrap import Interval

METRIC = "macro-F1 (higher is better)"

ClassifierRule = Callable[[ClassifierCase], RuleOutcome]


def decide(policy: ClassificationPromotion, evidence: ClassifierEvidence) -> Decision:
    """Apply every rule and return the decision. Equal evidence gives an equal decision, to the byte."""
    case = ClassifierCase.of(policy, evidence)
    rules = (*RULES, *(RULES_OF_ANSWERS if case.answered else ()))
    return case.decide(
        rules, _praise, _figures(case) if case.answered else {}, metric=METRIC,
        challenger_scores=answers_digest(case.challenger) if case.answered else "",
        champion_scores=None if case.champion is None else answers_digest(case.champion),
        champion_reviews=_champion_reviews(case),
    )  # fmt: skip


def answers_digest(predicted: Predicted) -> str:
    """Return the SHA-256 of labels, answers, true labels and probabilities, independent of the order of the reviews."""
    rows = predicted.sorted()
    digest = hashlib.sha256("\n".join([*rows.labels, "", *rows.review_ids]).encode())
    for table in (rows.truth_N, rows.answers_N, rows.probabilities_NK):
        if table is not None:
            digest.update(table.astype("<f8").tobytes())
    return digest.hexdigest()


def _champion_reviews(case: ClassifierCase) -> dict[str, str] | None:
    """Return digests that identify the answers on the champion's own test reviews; None if there are none."""
    if case.champion_pair is None:
        return None
    ours, theirs = case.champion_pair
    return {"challenger_scores": answers_digest(ours), "champion_scores": answers_digest(theirs)}


def _praise(case: ClassifierCase) -> str:
    if case.comparison is None:
        return ""
    return f"its macro-F1 is {100 * case.comparison.macro_f1.estimate:.2f} points above the champion's"


def _figures(case: ClassifierCase) -> dict[str, float]:
    told = {"challenger": case.figures}
    if case.champion_figures is not None and not case.problem:
        told["champion"] = case.champion_figures
    baseline = case.evidence.baseline
    if baseline is not None and baseline.predicted is not None and not case.unlike(baseline):
        told["baseline"] = figures(baseline.predicted)
    found = {f"{who}, macro-F1": of.macro_f1 for who, of in told.items()}
    found |= {f"{who}, accuracy": of.accuracy for who, of in told.items()}
    found["majority label, accuracy"] = case.figures.majority_accuracy
    found |= {"test reviews": float(len(case.challenger)), "test groups": float(len(case.group_sizes)),
              "test groups, effective": case.effective_groups}  # fmt: skip
    if case.champion_loss is not None:
        found |= loss_figures(case.champion_loss)
    if case.comparison is not None:
        found |= {**gain_figures(case.comparison.macro_f1), "McNemar's p": case.comparison.p_value}
    return found


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
