"""Hold the evidence of a gate decision about word vectors, and compute what several rules need."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from core.config.sections.embedding import EmbeddingPromotion
from core.lineage.family import NOT_KNOWN, Family
from evaluation.gate.evidence import GateEvidence
from evaluation.gate.rules.case import NO_CHAMPION
from evaluation.gate.rules.rivals import Rivals
from evaluation.statistics.bootstrap import Interval, ratio_interval
from evaluation.statistics.groups import groups_of
from evaluation.vectors.ranked_words import RankedReviews


@dataclass(frozen=True)
class RankedVectors:
    """Points of one set of word vectors on the test reviews, and facts about the vectors.

    Args:
        digest: Digest of their bundle.
        rows: Their points; None if they could not be measured.
        test: Digest of the test reviews.
        problem: Why they could not be measured (files are missing or damaged); empty if they could.
        family: Family of the data that they were trained on.
        cut: How their vocabulary cuts a text, such as "word, lower case"; empty: not known.
    """

    digest: str
    rows: RankedReviews | None = None
    test: str = ""
    problem: str = ""
    family: Family = NOT_KNOWN
    cut: str = ""


@dataclass(frozen=True)
class VectorsEvidence(GateEvidence[RankedReviews]):
    """All facts that the gate decides by.

    Args:
        challenger: The vectors that may become champion.
        champion: The registered champion; None if there is none yet.
        counts: Points of always choosing the word that is more frequent in training.
        by_output: Whether words were scored by output vectors; otherwise by the cosine of input vectors.
        data: Facts about the data; `data.reviews` has review_id and, as far as they are known, stars, words, date,
            categories and group.
    """

    challenger: RankedVectors
    champion: RankedVectors | None = None
    counts: RankedReviews | None = None
    by_output: bool = True


@dataclass(frozen=True)
class VectorsCase(Rivals):
    """A policy, evidence, and figures that follow from both."""

    SECTION: ClassVar[str] = "embedding.promotion"

    policy: EmbeddingPromotion
    evidence: VectorsEvidence

    @property
    def name_setting(self) -> str:
        """The setting with the name of the registered model, for remedies."""
        return "embedding.model_name"

    @property
    def measured(self) -> bool:
        """Whether the challenger has points on at least one review."""
        return bool(self.evidence.challenger.rows) and not self.evidence.challenger.problem

    @property
    def challenger(self) -> RankedReviews:
        """The challenger's points; used only by rules that know that there are some."""
        assert self.evidence.challenger.rows is not None
        return self.evidence.challenger.rows

    @property
    def champion(self) -> RankedReviews | None:
        """The champion's points; None if there are none, or they are not of the challenger's windows."""
        return self.evidence.champion.rows if self.evidence.champion and not self.problem else None

    @cached_property
    def problem(self) -> str:
        """Why the challenger cannot be compared with the champion window by window; empty if it can."""
        theirs = self.evidence.champion
        if theirs is None or self.lost or theirs.rows is None:
            return self.lost or NO_CHAMPION
        if self.other_cut:
            return self.other_cut
        if theirs.test != self.evidence.challenger.test:
            return f"the test sets differ: {self.evidence.challenger.test} and {theirs.test}"
        return "" if same_windows(self.challenger, theirs.rows) else "the windows of the test reviews differ"

    @property
    def other_cut(self) -> str:
        """Why the words of challenger and champion are not the same; empty if they are, or without a champion.

        The windows are cut by the challenger's vocabulary. Vectors of parts of words know few of its whole words, and
        vectors of words that keep their case cannot tell apart what it folds.
        """
        theirs = self.evidence.champion
        ours = self.evidence.challenger.cut
        if theirs is None or self.lost or self.identical or (ours and ours == theirs.cut):
            return ""
        told = f"the challenger has vectors of: {ours or 'not known'}; the champion of: {theirs.cut or 'not known'}"
        return f"{told}; these words are not the same, so a comparison is not fair"

    @cached_property
    def groups_D(self) -> np.ndarray | None:
        """Number of each review's group; None if each review is a separate group."""
        return groups_of(self.challenger.review_ids, self.evidence.data.reviews)

    @cached_property
    def group_sizes(self) -> np.ndarray:
        """Number of reviews of each group."""
        return np.ones(len(self.challenger)) if self.groups_D is None else np.bincount(self.groups_D)

    @cached_property
    def gain(self) -> Interval | None:
        """Gain over the champion, paired by review; None if the two cannot be compared."""
        return None if self.champion is None else self.gain_over(self.champion.points_D)

    def gain_over(self, points_D: np.ndarray) -> Interval:
        """Return the challenger's gain over other points on the same windows."""
        return self._interval(self.challenger.points_D - points_D, self.challenger.windows_D, self.groups_D)

    @cached_property
    def champion_loss(self) -> Interval | None:
        """Loss on the champion's own test reviews, paired by review; None if both did not rank the same windows."""
        found = self.evidence.champion_reviews
        if found is None or self.champion_pair is None:
            return None
        ours, theirs = self.champion_pair
        if not len(ours) or not same_windows(ours, theirs):
            return None
        return self._interval(
            theirs.points_D - ours.points_D, ours.windows_D, groups_of(ours.review_ids, found.documents)
        )

    def _interval(self, points_D: np.ndarray, windows_D: np.ndarray, groups_D: np.ndarray | None) -> Interval:
        return ratio_interval(
            points_D, windows_D, confidence=self.policy.confidence, resamples=self.evidence.resamples,
            seed=self.evidence.seed, groups=groups_D,
        )  # fmt: skip


def same_windows(one: RankedReviews, other: RankedReviews) -> bool:
    """Return whether two sets of vectors have points on the same reviews, and on as many windows of each."""
    return one.review_ids.equals(other.review_ids) and np.array_equal(one.windows_D, other.windows_D)
