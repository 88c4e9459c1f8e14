"""Combine policy and evidence of one decision about classifiers, and compute what several rules need.

Hold the evidence of a gate decision about classifiers: answers of all of them, and facts about data and service.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np

from core.config.sections.classification import ClassificationPromotion
from core.lineage.family import NOT_KNOWN, Family
from evaluation.classification.compare import ClassifierComparison, chance_of_gain, compare, mismatch
from evaluation.classification.figures import ClassifierFigures, figures
from evaluation.classification.predicted import Predicted
from evaluation.gate.case import NO_CHAMPION, Rivals
from evaluation.gate.evidence import GateEvidence
from evaluation.statistics.bootstrap import Interval, ratio_interval
from evaluation.statistics.groups import effective_number


@dataclass(frozen=True)
class AnsweredReviews:
    """Answers of one classifier on the test reviews, and facts about the classifier.

    Args:
        digest: Digest of its bundle.
        predicted: Its answers, of this bundle to these reviews: given in this run, or in an earlier one and read from
            the store, which checks its files; None if it could not answer.
        test: Digest of the test reviews that it answered.
        problem: Why it could not answer (its files are missing or damaged); empty if it could.
        name: Name of the classifier.
        family: Family of the data that it was made from.
        labels: Its labels, if they are known although there are no answers.
    """

    digest: str
    predicted: Predicted | None = None
    test: str = ""
    problem: str = ""
    name: str = ""
    family: Family = NOT_KNOWN
    labels: tuple[str, ...] = ()

    def sorted(self) -> AnsweredReviews:
        """Return the same evidence with the answers in the order of the review ids."""
        return self if self.predicted is None else replace(self, predicted=self.predicted.sorted())


@dataclass(frozen=True)
class ClassifierEvidence(GateEvidence[Predicted]):
    """All facts that the gate decides by.

    Args:
        challenger: The classifier that may become champion.
        champion: The registered champion; None if there is none yet.
        baseline: The simple classifier named in the configuration; None if there is none.
        data: Facts about the data; `data.reviews` has review_id and, as far as they are known, words, date and
            categories. Groups of dependent reviews are those of the answers; `data.grouped_by` describes them.
    """

    challenger: AnsweredReviews
    champion: AnsweredReviews | None = None
    baseline: AnsweredReviews | None = None


@dataclass(frozen=True)
class ClassifierCase(Rivals):
    """A policy, evidence with its answers in the order of the review ids, and figures that follow from both."""

    SECTION: ClassVar[str] = "classification.promotion"
    OTHER_NAME: ClassVar[str] = f"register it under another name ({SECTION}.model_name)"

    policy: ClassificationPromotion
    evidence: ClassifierEvidence

    @property
    def answered(self) -> bool:
        """Whether the challenger answered the test reviews."""
        return self.evidence.challenger.predicted is not None and not self.evidence.challenger.problem

    @property
    def challenger(self) -> Predicted:
        """The challenger's answers; used only by rules that know that there are some."""
        assert self.evidence.challenger.predicted is not None
        return self.evidence.challenger.predicted

    @property
    def champion(self) -> Predicted | None:
        """The champion's answers; None if there are none."""
        return self.evidence.champion.predicted if self.evidence.champion and not self.lost else None

    @cached_property
    def figures(self) -> ClassifierFigures:
        """Figures of the challenger."""
        return figures(self.challenger)

    @cached_property
    def champion_figures(self) -> ClassifierFigures | None:
        """Figures of the champion; None without answers."""
        return None if self.champion is None else figures(self.champion)

    @cached_property
    def group_sizes(self) -> np.ndarray:
        """Number of reviews of each group."""
        groups_N = self.challenger.groups_N
        return np.ones(len(self.challenger)) if groups_N is None else np.bincount(groups_N)

    @property
    def effective_groups(self) -> float:
        """Number of groups of equal size that carry as much evidence."""
        return effective_number(self.group_sizes)

    @cached_property
    def problem(self) -> str:
        """Why the challenger cannot be compared with the champion review by review; empty if it can."""
        if self.evidence.champion is None or self.lost:
            return self.lost or NO_CHAMPION
        return self.unlike(self.evidence.champion)

    def unlike(self, other: AnsweredReviews) -> str:
        """Return why another classifier's answers cannot be compared with the challenger's; empty if they can."""
        if other.labels and other.labels != self.challenger.labels:
            ours, theirs = (", ".join(labels) for labels in (self.challenger.labels, other.labels))
            return f"the labels differ: {theirs}, and the challenger's {ours}; {self.OTHER_NAME}"
        if other.predicted is None:
            return other.problem or "the challenger's test reviews were not answered"
        if other.test != self.evidence.challenger.test:
            return f"the test sets differ: {self.evidence.challenger.test} and {other.test}"
        return mismatch(other.predicted, self.challenger)

    @cached_property
    def comparison(self) -> ClassifierComparison | None:
        """Champion (a) and challenger (b), paired by review; None if they cannot be compared."""
        return None if self.problem or self.champion is None else self.compared_with(self.champion)

    def compared_with(self, other: Predicted) -> ClassifierComparison:
        """Return the comparison of another classifier (a) with the challenger (b)."""
        return compare(other, self.challenger, confidence=self.policy.confidence, resamples=self.evidence.resamples,
                       seed=self.evidence.seed)  # fmt: skip

    def chance_of_gain_over(self, other: Predicted) -> float:
        """Return the probability of the challenger's gain over another classifier if the two are equally good."""
        return chance_of_gain(other, self.challenger, resamples=self.evidence.resamples, seed=self.evidence.seed)

    @cached_property
    def over_majority(self) -> Interval:
        """Gain in accuracy over always answering the most frequent label."""
        rows = self.challenger
        majority_N = rows.truth_N == rows.labels.index(self.figures.majority_label)
        return ratio_interval(
            rows.correct_N.astype(float) - majority_N, np.ones(len(rows)), confidence=self.policy.confidence,
            resamples=self.evidence.resamples, seed=self.evidence.seed, groups=rows.groups_N,
        )  # fmt: skip

    @cached_property
    def champion_loss(self) -> Interval | None:
        """Loss of macro-F1 on the champion's own test reviews; None if both did not answer them one by one."""
        if self.champion_pair is None or mismatch(*self.champion_pair):
            return None
        return compare(*self.champion_pair, confidence=self.policy.confidence,
                       resamples=self.evidence.resamples, seed=self.evidence.seed).macro_f1  # fmt: skip


def points(gain: float) -> str:
    """Return a difference of shares in points of 100: "+1.50 points"."""
    return f"{100 * gain:+.2f} points"


def interval_text(found: Interval, what: str) -> str:
    """Return the interval of *what*, a difference of shares, as text."""
    if not math.isfinite(found.low + found.high):
        return f"{what} has no interval: there are fewer than two groups of reviews"
    ends = f"{100 * found.low:+.2f} to {100 * found.high:+.2f} points"
    return f"the {100 * found.confidence:.4g} % interval of {what} is {ends}"
