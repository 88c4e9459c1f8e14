"""Combine policy and evidence of one decision, and compute what the rules of any family of models need.

A family of models is a subclass of `GateCase`: its figures, the interval of a gain, and the list of its rules.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl

from reviewlm.core.figures import CHAMPION_GAIN
from reviewlm.evaluation.gate.decision import CHAMPIONS_LOSS, Decision, ends
from reviewlm.evaluation.gate.evidence import Evidence, ModelEvidence
from reviewlm.evaluation.gate.rule_table import (
    BETTER_THAN_CHAMPION,
    NOT_WORSE_THAN_BASELINE,
    GateRule,
    RuleOutcome,
    round_figure,
)
from reviewlm.evaluation.statistics.bootstrap import Interval
from reviewlm.evaluation.statistics.groups import effective_number

NO_CHAMPION = "there is no champion yet"
MORE_REVIEWS = (
    "to decide, test on more reviews; of a larger split.test, only those count that the champion "
    "has not learnt from"
)
IDENTITY = ("review_id", "stars", "bytes")
"""Columns that must be equal for two tables of scores to be of the same reviews."""


@dataclass(frozen=True)
class GateCase(ABC):
    """A policy, evidence with its rows in the order of the review ids, and figures that follow from both.

    Attributes:
        policy: A `reviewlm.core.config.sections.evaluation.GatePolicy`, with the limits of the family.
        SECTION: Name of the policy's section in the configuration, for remedies.
        METRIC: The figure that models are compared by.
        MIN_GAIN: Setting of the policy with the least gain over the champion.
        RULES: In the order in which they are applied and shown.
    """

    SECTION: ClassVar[str]
    METRIC: ClassVar[str]
    MIN_GAIN: ClassVar[str]
    RULES: ClassVar[tuple[Callable[[Any], RuleOutcome], ...]]

    policy: Any
    evidence: Evidence[Any]

    @classmethod
    def of(cls, policy: Any, evidence: Evidence[Any]) -> Self:
        """Sort the rows by review, because their order must not change which reviews are drawn, nor a last digit.

        Leave out reviews that the champion was trained on: its memory is no merit. If too few others are left, all stay,
        and nothing is judged against the champion (`remembered`).
        """
        ids = _ids(evidence.challenger.rows)
        learnt = ids.is_in(list(evidence.champion_learnt))
        if (~learnt).sum() >= policy.min_test_reviews:
            left_out = ids.filter(learnt)
        else:
            left_out = ids.clear()

        champion, baseline = (
            side and _order_rows(side, left_out) for side in (evidence.champion, evidence.baseline)
        )
        challenger = _order_rows(evidence.challenger, left_out)
        return cls(
            policy,
            replace(
                evidence,
                challenger=challenger,
                champion=champion,
                baseline=baseline,
            ),
        )

    @classmethod
    def judge(cls, policy: Any, evidence: Evidence[Any]) -> Decision:
        """Apply every rule and return the decision. Equal evidence gives an equal decision, to the byte.

        This is a pure function; the caller moves the alias. A challenger becomes champion only if no rule fails. A tie
        keeps the champion. A figure that is not a number never promotes. Missing evidence counts against the
        challenger. docs/concepts/registry/promotion.md explains the rules.
        """
        return cls.of(policy, evidence).decision

    @property
    def name_setting(self) -> str:
        """The setting with the name of the registered model, for remedies."""
        return f"{self.SECTION}.model_name"

    @property
    def identical(self) -> bool:
        """Whether the challenger is the champion itself, and not a rebuilt replacement of a lost champion."""
        champion = self.evidence.champion
        return (
            champion is not None
            and self.evidence.challenger.digest == champion.digest
            and not self.lost
        )

    @cached_property
    def same_scores(self) -> bool:
        """Whether the challenger does on each test review what the champion does: the same model, made again."""
        ours = self.evidence.challenger
        champion = self.evidence.champion
        if champion is None or champion.rows is None or self.problem:
            return False

        return self.digest_of(ours.rows) == self.digest_of(champion.rows)

    @property
    def lost(self) -> str:
        """Why the existing champion cannot be measured; empty if it can, or if there is none."""
        return self.evidence.champion.problem if self.evidence.champion else ""

    @property
    def reviews(self) -> int:
        """Number of test reviews."""
        rows: Any = self.evidence.challenger.rows
        return len(rows)

    @property
    def grouped(self) -> bool:
        """Whether some reviews are one group, because they are not independent."""
        return len(self.group_sizes) != self.reviews

    @property
    def champion_measured(self) -> bool:
        """Whether there are scores or answers of a champion."""
        return self.evidence.champion is not None and self.evidence.champion.rows is not None

    @property
    def faces_champion(self) -> bool:
        """Whether there is a champion that opens, so that the challenger must be better than it."""
        return self.evidence.champion is not None and not self.lost

    @cached_property
    def remembered(self) -> str:
        """Why nothing is judged against the champion: it has learnt from too many test reviews; otherwise empty."""
        learnt = _ids(self.evidence.challenger.rows).is_in(list(self.evidence.champion_learnt))
        count = int(learnt.sum())
        if not count or self.evidence.champion is None:
            return ""

        least = f"{self.policy.min_test_reviews} ({self.SECTION}.min_test_reviews)"
        return (
            f"not judged: the champion was trained on {count} of the {self.reviews} test reviews, and the "
            f"{self.reviews - count} others are fewer than {least}, so a difference would measure its memory; test on "
            "reviews that it has not learnt from: newer ones, or its own split (split.test, split.salt)"
        )

    @property
    def champion_memory(self) -> str:
        """Whether test reviews that the champion was trained on are left out; empty if there are none."""
        learnt = list(self.evidence.champion_learnt)
        if not learnt:
            return ""
        left_out = f"{len(learnt)} test reviews that the champion was trained on are left out of the decision"
        return self.remembered or left_out

    @property
    def champion_pair(self) -> tuple[Any, Any] | None:
        """The results of challenger and champion on the champion's own test reviews; None unless both have some."""
        own_reviews = self.evidence.champion_reviews
        if own_reviews is None or own_reviews.challenger is None or own_reviews.champion is None:
            return None
        return own_reviews.challenger, own_reviews.champion

    @cached_property
    def problem(self) -> str:
        """Why challenger and champion cannot be compared review by review; empty if they can."""
        if self.evidence.champion is None:
            return NO_CHAMPION
        return self.unlike(self.evidence.champion) or self.remembered

    def unlike(self, other: ModelEvidence[Any]) -> str:
        """Return why another model cannot be compared with the challenger review by review; empty if it can."""
        ours = self.evidence.challenger
        if other.rows is None:
            return other.problem or "it was not measured on the challenger's test reviews"
        if other.test != ours.test:
            return f"the test sets differ: {ours.test} and {other.test}"
        return self.mismatch(other.rows)

    @property
    def better_without_interval(self) -> str:
        """Why the challenger is better than the champion whatever its interval; empty if the interval decides."""
        return ""

    @property
    def effective_groups(self) -> float:
        """Number of groups of equal size that carry as much evidence."""
        if len(self.group_sizes):
            return effective_number(self.group_sizes)
        return 0.0

    @property
    def decision(self) -> Decision:
        """Outcome of every rule, and what follows from all of them."""
        outcomes = tuple(self._name_champion_of(rule(self)) for rule in self.RULES)
        failed = [rule for rule in outcomes if rule.passed is False]
        if self.identical:
            failed = failed[:1]  # that the challenger is the champion is enough

        challenger = self.evidence.challenger
        champion = self.evidence.champion
        pair = self.champion_pair
        clauses: dict[str, None] = {}  # each once, in the order of the rules
        for rule in failed:
            clauses |= dict.fromkeys(rule.detail.split("; "))

        passed = {rule.name for rule in outcomes if rule.passed}
        only_worse_than_baseline = [rule.name for rule in failed] == [NOT_WORSE_THAN_BASELINE.name]
        if only_worse_than_baseline and BETTER_THAN_CHAMPION.name in passed:
            praise = self._name_champion(self._praise())
            clauses[f"although {praise}, for sure"] = None  # a refusal must not hide that

        reason = "; ".join(sorted(clauses, key=MORE_REVIEWS.__eq__))  # what to do at the end
        champion_scores = None
        if champion and self.champion_measured:
            champion_scores = self.digest_of(champion.rows)

        champion_reviews = None
        if pair and len(pair[1]):
            challenger_rows, champion_rows = pair
            champion_reviews = {
                "challenger_scores": self.digest_of(challenger_rows),
                "champion_scores": self.digest_of(champion_rows),
            }

        figures = {name: round_figure(value) for name, value in self._figures().items()}
        return Decision(
            promote=not failed,
            reason=reason or self._name_champion(self._praise()),
            rules=outcomes,
            metric=self.METRIC,
            challenger=challenger.digest,
            champion=champion.digest if champion else None,
            test_set=challenger.test,
            figures=figures,
            challenger_scores=self.digest_of(challenger.rows),
            champion_scores=champion_scores,
            passed_over=self.evidence.passed_over,
            warnings=self.cautions(),
            champion_reviews=champion_reviews,
        )

    def _name_champion_of(self, outcome: RuleOutcome) -> RuleOutcome:
        return replace(outcome, detail=self._name_champion(outcome.detail))

    def _name_champion(self, sentence: str) -> str:
        """Return a sentence with the version of its champion: who reads it later has another champion."""
        champion = self.evidence.champion
        if champion is None or not champion.name:
            return sentence
        return re.sub(
            rf"\bthe champion\b(?!, {re.escape(champion.name)})",
            f"champion {champion.name}",
            sentence,
        )

    def _praise(self) -> str:
        if self.lost:
            return f"{self.lost}: the policy allows replacing it, and no rule failed"
        if not self.champion_measured:
            baseline = self.evidence.baseline
            if baseline is not None and baseline.digest == self.evidence.challenger.digest:
                return "first model; it is the baseline itself, so it was compared with no other"
            return "first model, no rule failed"
        return self.better_without_interval or self.praise(
            self.interval.estimate if self.interval else 0.0
        )

    def _figures(self) -> dict[str, float]:
        sides = {f"challenger{self.evidence.challenger.adapting}": self.evidence.challenger}
        champion = self.evidence.champion
        if champion and not self.problem:
            sides[f"champion{champion.adapting}"] = champion

        baseline = self.evidence.baseline
        if baseline and not self.unlike(baseline):
            sides["baseline"] = baseline

        named = {who: self.figures_of(side) for who, side in sides.items()}
        values = {
            f"{who}, {name}": value
            for who, figures in named.items()
            for name, value in figures.items()
        }
        values |= {
            "test reviews": float(self.reviews),
            "test reviews without copies": float(len(self.group_sizes)),
            "test reviews without copies, weighted by size": self.effective_groups,
        }
        if loss := self.champion_loss:
            values |= {
                "champion's reviews": float(loss.reviews),
                **ends(CHAMPIONS_LOSS, loss),
            }

        if gain := self.interval:
            name = CHAMPION_GAIN.words
            values |= {**ends(name, gain), f"{name}, confidence": gain.confidence}

        return values

    # What a family says

    @abstractmethod
    def mismatch(self, rows: Any) -> str:
        """Return why another model's rows are not of the challenger's reviews, one by one; empty if they are."""

    @property
    @abstractmethod
    def group_sizes(self) -> np.ndarray:
        """Size (C,) of each group of reviews; groups are treated as independent."""

    @abstractmethod
    def not_finite(self) -> list[str]:
        """Return a sentence about each model with figures that are not finite numbers."""

    @property
    @abstractmethod
    def interval(self) -> Interval | None:
        """The gain over the champion with its interval, paired by review; None if it cannot be computed."""

    @abstractmethod
    def surely_better_than(
        self,
        rule: GateRule,
        who: str,
        other: ModelEvidence[Any],
        limit: float,
    ) -> RuleOutcome:
        """Return whether the challenger is surely better than a comparable model by more than a limit.

        Args:
            rule: The rule that asks.
            who: "the champion", "the baseline 'kn5'".
        """

    @abstractmethod
    def not_surely_worse_than(
        self,
        rule: GateRule,
        who: str,
        other: ModelEvidence[Any],
        limit: float,
    ) -> RuleOutcome:
        """Return whether the gain over a comparable model may be above a limit: its interval reaches up to it.

        Arguments as in `surely_better_than`.
        """

    @abstractmethod
    def slice_losses(self) -> pl.DataFrame:
        """Return the loss on each slice, the largest first (`evaluation.statistics.slices.losses_by_slice`)."""

    @property
    @abstractmethod
    def champion_loss(self) -> Interval | None:
        """Loss on the champion's own test reviews; None if both were not measured on them one by one."""

    @abstractmethod
    def loss_in_words(self, loss: float, on_slice: bool = False) -> str:
        """Return a loss against the champion in words; that of a slice may be of another figure."""

    def loss_without_interval(self) -> RuleOutcome | None:
        """Return the outcome of "no forgetting" if scores that are not numbers decide it."""
        return None

    @abstractmethod
    def praise(self, gain: float) -> str:
        """Return in words by how much the challenger is better than the champion."""

    @abstractmethod
    def figures_of(self, side: ModelEvidence[Any]) -> Mapping[str, float]:
        """Return the figures of one model, by the names of `reviewlm.evaluation.gate.decision.FIGURES`."""

    @abstractmethod
    def digest_of(self, rows: Any) -> str:
        """Return the SHA-256 of what the decision uses of a model's rows, independent of the order of the reviews."""

    def cautions(self) -> tuple[str, ...]:
        """Return a sentence for each assumption of the gain's interval that these test reviews contradict."""
        return ()


def _ids(rows: Any) -> pl.Series:
    if isinstance(rows, pl.DataFrame):
        return rows["review_id"]
    return rows.review_ids


def _order_rows(side: ModelEvidence[Any], left_out: pl.Series) -> ModelEvidence[Any]:
    """Return a model with the rows of all reviews but these, in the order of the ids."""
    rows = side.rows
    if rows is None:
        return side

    row_N = np.flatnonzero(~_ids(rows).is_in(left_out.implode()))
    if isinstance(rows, pl.DataFrame):
        left = rows[row_N].sort("review_id")
    else:
        left = rows.take_rows(row_N).sort_by_review()

    return replace(side, rows=left)
