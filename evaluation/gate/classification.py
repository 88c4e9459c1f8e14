"""Gate of classifiers: macro-F1, with a bootstrap interval of the gain and a randomisation test.

They are compared by macro-F1, because with unequal labels the accuracy hides a label that is never found. Gains and
losses are differences of shares, shown in points of 100.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from operator import gt
from typing import ClassVar

import numpy as np
import polars as pl

from reviewlm.core.config.sections.other_models import ClassificationPromotion
from reviewlm.evaluation.classification.answers import Predicted
from reviewlm.evaluation.classification.compare import (
    ClassifierComparison,
    chance_of_gain,
    compare,
    mismatch,
)
from reviewlm.evaluation.classification.figures import ROUNDING, ClassifierFigures, figures
from reviewlm.evaluation.classification.slices import accuracy_losses
from reviewlm.evaluation.gate import rules
from reviewlm.evaluation.gate.case import MORE_REVIEWS, GateCase
from reviewlm.evaluation.gate.evidence import Evidence, ModelEvidence
from reviewlm.evaluation.gate.rule_table import (
    ANSWERS_AT_HAND,
    BETTER_THAN_MAJORITY,
    NO_LABEL_GIVEN_UP,
    GateRule,
    RuleOutcome,
)
from reviewlm.evaluation.statistics.bootstrap import Interval, ratio_interval


def answers_at_hand(case: ClassifierCase) -> RuleOutcome:
    """Refuse a challenger whose registered bundle does not open, although its fit answered the test reviews."""
    detail = f"the challenger's bundle answered {len(case.challenger)} test reviews"
    problem = case.evidence.challenger.problem
    return ANSWERS_AT_HAND.outcome(not problem, problem or detail)


def better_than_majority(case: ClassifierCase) -> RuleOutcome:
    """Refuse a classifier that is not surely better than always answering the most frequent label, in accuracy."""
    limit = case.policy.min_gain_over_majority
    rows = case.challenger
    measured = case.figures
    majority_N = rows.truth_N == rows.labels.index(measured.majority_label)
    gained_N = rows.correct_N.astype(float) - majority_N
    evidence = case.evidence
    gain = ratio_interval(
        gained_N,
        np.ones(len(rows)),
        confidence=case.policy.confidence,
        resamples=evidence.resamples,
        seed=evidence.seed,
        groups=rows.groups_N,
    )
    detail = f"accuracy {measured.accuracy:.2%}, always '{measured.majority_label}' {measured.majority_accuracy:.2%}: "
    return BETTER_THAN_MAJORITY.compare(
        detail + interval_text(gain, "the gain over this label"), gain.low, limit, gt
    )


def no_label_given_up(case: ClassifierCase) -> RuleOutcome:
    """Refuse a challenger that never finds a label that the champion finds at least once."""
    theirs = case.champion_figures
    if case.problem or theirs is None:
        return NO_LABEL_GIVEN_UP.outcome(None, case.problem)

    pairs = zip(case.figures.per_label, theirs.per_label, strict=True)
    lost = [ours.label for ours, other in pairs if ours.recall == 0 and other.recall > 0]
    never = f"never found by the challenger, but by the champion: {', '.join(lost)}"
    return NO_LABEL_GIVEN_UP.outcome(
        not lost,
        never if lost else "every label that the champion finds is found",
        len(lost),
        0,
    )


@dataclass(frozen=True)
class ClassifierCase(GateCase):
    """Two classifiers on the same reviews.

    `evidence.reviews` has review_id and, as far as they are known, words, date and categories. Groups of dependent
    reviews are those of the answers; `evidence.grouped_by` describes them.
    """

    SECTION: ClassVar[str] = "classification.promotion"
    METRIC: ClassVar[str] = "macro-F1 (higher is better)"
    MIN_GAIN: ClassVar[str] = "min_gain"
    OTHER_NAME: ClassVar[str] = f"register it under another name ({SECTION}.model_name)"
    RULES = (
        rules.another_model,
        rules.not_rolled_back,
        rules.champion_at_hand,
        rules.same_family,
        rules.data_checks,
        rules.leak_certificate,
        rules.smoke_test,
        rules.latency,
        rules.size,
        answers_at_hand,
        rules.same_test_reviews,
        rules.enough_reviews,
        rules.finite_figures,
        better_than_majority,
        rules.better_than_baseline,
        rules.not_worse_than_baseline,
        rules.better_than_champion,
        rules.no_slice_worse,
        no_label_given_up,
        rules.no_forgetting,
    )

    policy: ClassificationPromotion
    evidence: Evidence[Predicted]

    @property
    def challenger(self) -> Predicted:
        """The challenger's answers."""
        assert self.evidence.challenger.rows is not None
        return self.evidence.challenger.rows

    @property
    def champion(self) -> Predicted | None:
        """The champion's answers; None if there are none."""
        if self.evidence.champion and not self.lost:
            return self.evidence.champion.rows
        return None

    @cached_property
    def figures(self) -> ClassifierFigures:
        """Figures of the challenger."""
        return figures(self.challenger)

    @cached_property
    def champion_figures(self) -> ClassifierFigures | None:
        """Figures of the champion; None without answers."""
        if self.champion is None:
            return None
        return figures(self.champion)

    @cached_property
    def group_sizes(self) -> np.ndarray:
        """Number of reviews (C,) of each group."""
        groups_N = self.challenger.groups_N
        if groups_N is None:
            return np.ones(len(self.challenger))
        return np.bincount(groups_N)

    def unlike(self, other: ModelEvidence[Predicted]) -> str:
        """See `GateCase`; a classifier of other labels is whole, but has no answers to compare."""
        if other.labels and other.labels != self.challenger.labels:
            ours, theirs = (", ".join(labels) for labels in (self.challenger.labels, other.labels))
            return f"the labels differ: {theirs}, and the challenger's {ours}; {self.OTHER_NAME}"
        return super().unlike(other)

    def mismatch(self, rows: Predicted) -> str:
        """See `GateCase`."""
        return mismatch(rows, self.challenger)

    def not_finite(self) -> list[str]:
        """See `GateCase`."""
        sides = {"challenger": self.figures, "champion": self.champion_figures}
        return [
            f"the {who}'s {name} is not a number"
            for who, side in sides.items()
            if side
            for name in _nans(side)
        ]

    @cached_property
    def comparison(self) -> ClassifierComparison | None:
        """Champion (a) and challenger (b), paired by review; None if they cannot be compared."""
        if self.problem or self.champion is None:
            return None
        return self._compare(self.champion, self.challenger)

    @property
    def interval(self) -> Interval | None:
        """See `GateCase`."""
        return None if self.comparison is None else self.comparison.macro_f1

    def surely_better_than(
        self,
        rule: GateRule,
        who: str,
        other: ModelEvidence[Predicted],
        limit: float,
    ) -> RuleOutcome:
        """See `GateCase`: the interval must be above the limit, and an equal classifier must hardly ever gain as much.

        An interval is too sure if the gain rests on a few reviews, for example those of a rare label.
        """
        assert other.rows is not None
        if other is self.evidence.champion:
            comparison = self.comparison
        else:
            comparison = self._compare(other.rows, self.challenger)

        assert comparison is not None
        gain = comparison.macro_f1
        detail = f"macro-F1 {points(gain.estimate)}: {interval_text(gain, f'the gain over {who}')}; the challenger "
        detail += (
            f"alone is right on {comparison.only_b} reviews, {who} alone on {comparison.only_a}"
        )
        if gain.low > limit:
            chance = self._too_often_by_chance(other.rows, comparison)
            return rule.outcome(
                not chance and gain.estimate > limit, detail + chance, gain.low, limit
            )

        near = gain.low <= limit < gain.estimate
        return rule.outcome(
            False, detail + f"; it may be chance; {MORE_REVIEWS}" * near, gain.low, limit
        )

    def not_surely_worse_than(
        self,
        rule: GateRule,
        who: str,
        other: ModelEvidence[Predicted],
        limit: float,
    ) -> RuleOutcome:
        """See `GateCase`."""
        assert other.rows is not None
        gain = self._compare(other.rows, self.challenger).macro_f1
        ends = interval_text(gain, f"the gain over {who}")
        detail = f"macro-F1 {points(gain.estimate)}: {ends}"
        return rule.outcome(gain.high >= limit, detail, gain.high, limit)

    def _too_often_by_chance(self, other: Predicted, comparison: ClassifierComparison) -> str:
        """Return a remark if one of two equally good classifiers would gain as much too often; otherwise ""."""
        chance = chance_of_gain(
            other, self.challenger, resamples=self.evidence.resamples, seed=self.evidence.seed
        )
        if chance <= (most := (1 - self.policy.confidence) / 2) + ROUNDING:
            return ""

        what = "groups of reviews" if self.grouped else "reviews"
        return (
            f"; it may be chance: their answers differ on {comparison.differ} {what}, and an equally good classifier "
            f"would gain as much with a probability of {100 * chance:.2f} %, above {100 * most:.4g} %; {MORE_REVIEWS}"
        )

    def slice_losses(self) -> pl.DataFrame:
        """See `GateCase`: losses of accuracy."""
        assert self.champion is not None
        return accuracy_losses(
            self.challenger,
            self.champion,
            self.evidence.reviews,
            dimensions=self.policy.slice_dimensions,
            min_reviews=self.policy.min_slice_reviews,
            confidence=self.policy.confidence,
        )

    @cached_property
    def champion_loss(self) -> Interval | None:
        """Loss of macro-F1 on the champion's own test reviews."""
        if self.champion_pair is None or mismatch(*self.champion_pair):
            return None
        return self._compare(*self.champion_pair).macro_f1

    def loss_in_words(self, loss: float, on_slice: bool = False) -> str:
        """See `GateCase`."""
        return f"{'accuracy' if on_slice else 'macro-F1'} {points(-loss)} against the champion"

    def praise(self, gain: float) -> str:
        """See `GateCase`."""
        return f"its macro-F1 is {100 * gain:.2f} points above the champion's"

    def figures_of(self, side: ModelEvidence[Predicted]) -> Mapping[str, float]:
        """See `GateCase`."""
        assert side.rows is not None
        measured = figures(side.rows)
        return {"macro-F1": measured.macro_f1, "accuracy": measured.accuracy}

    def digest_of(self, rows: Predicted) -> str:
        """Return the SHA-256 of labels, answers, true labels and probabilities."""
        ordered = rows.sort_by_review()
        digest = hashlib.sha256("\n".join([*ordered.labels, "", *ordered.review_ids]).encode())
        for table in (ordered.truth_N, ordered.answers_N, ordered.probabilities_NK):
            if table is not None:
                digest.update(table.astype("<f8").tobytes())
        return digest.hexdigest()

    def _compare(self, a: Predicted, b: Predicted) -> ClassifierComparison:
        return compare(
            a,
            b,
            confidence=self.policy.confidence,
            resamples=self.evidence.resamples,
            seed=self.evidence.seed,
        )


def _nans(measured: ClassifierFigures) -> Iterator[str]:
    values = {
        "accuracy": measured.accuracy,
        "macro-F1": measured.macro_f1,
        "log loss": measured.log_loss,
        "calibration error": measured.calibration_error,
    }
    yield from (
        name for name, value in values.items() if value is not None and not math.isfinite(value)
    )


def points(gain: float) -> str:
    """Return a difference of shares in points of 100: "+1.50 points"."""
    return f"{100 * gain:+.2f} points"


def interval_text(interval: Interval, what: str) -> str:
    """Return the interval of *what*, a difference of shares, as text."""
    if not math.isfinite(interval.low + interval.high):
        return f"{what} has no interval: there are fewer than two groups of reviews"
    ends = f"{100 * interval.low:+.2f} to {100 * interval.high:+.2f} points"
    return f"the {100 * interval.confidence:.4g} % interval of {what} is {ends}"
