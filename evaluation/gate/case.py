"""Combine policy and evidence of one decision, and compute the figures that several rules need.

Define what the gate of any family of models asks about challenger and champion.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from operator import le
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import polars as pl

from evaluation.gate.decision import Decision, RuleOutcome, rounded
from evaluation.gate.evidence import Evidence
from evaluation.scoring.metrics import LN2, Figures, figures_of
from evaluation.statistics.bootstrap import Bootstrap, Interval
from evaluation.statistics.floor import floor_nats
from evaluation.statistics.groups import effective_number, groups_of, least_sure_gain
from evaluation.statistics.studentised import Intervals, Ratio, gain_ratio, studentised_intervals

if TYPE_CHECKING:
    from core.config.sections.promotion import PromotionConfig

NO_CHAMPION = "there is no champion yet"
MORE_REVIEWS = "to decide, test on more reviews (more data, or a larger share: split.test)"
IDENTITY = ("review_id", "stars", "bytes")
"""Columns that must be equal for two tables of scores to be of the same reviews."""


class Rivals:
    """What the gate of any family of models asks about challenger and champion.

    Attributes:
        SECTION: Name of the policy's section in the configuration, for remedies.
        policy: A `GatePolicy`, with the limits of this family.
        evidence: A `GateEvidence` with `challenger` and `champion` (or None), each with `digest`, `problem`, `family`.
    """

    SECTION: ClassVar[str]
    policy: Any
    evidence: Any

    @classmethod
    def of(cls, policy: Any, evidence: Any) -> Self:
        """Sort the rows by review, because their order must not change which reviews are drawn, nor a last digit."""
        champion, baseline = (model and model.sorted() for model in (evidence.champion, evidence.baseline))
        challenger = evidence.challenger.sorted()
        ordered = replace(evidence, challenger=challenger, champion=champion, baseline=baseline)
        return cls(policy, ordered)  # type: ignore[call-arg]

    @property
    def name_setting(self) -> str:
        """The setting with the name of the registered model, for remedies."""
        return f"{self.SECTION}.model_name"

    @property
    def identical(self) -> bool:
        """Whether the challenger is the champion itself, and not a rebuilt replacement of a lost champion."""
        champion = self.evidence.champion
        return champion is not None and self.evidence.challenger.digest == champion.digest and not self.lost

    @property
    def lost(self) -> str:
        """Why the existing champion cannot be measured; empty if it can, or if there is none."""
        return self.evidence.champion.problem if self.evidence.champion else ""

    @property
    def champion_pair(self) -> tuple[Any, Any] | None:
        """What challenger and champion did on the champion's own test reviews; None unless both were tried on them."""
        found = self.evidence.champion_reviews
        if found is None or found.challenger is None or found.champion is None:
            return None
        return found.challenger, found.champion

    def decide(
        self, rules: Sequence[Callable[[Any], RuleOutcome]], praise: Callable[[Any], str],
        figures: Mapping[str, float], **known: Any,
    ) -> Decision:  # fmt: skip
        """Apply rules and return the decision; *known* are other fields.

        *praise* gives the reason if no rule fails and there is a champion at hand; empty: there is none.
        """
        outcomes = tuple(rule(self) for rule in rules)
        # If the challenger is the champion, the first failed rule is enough.
        failed = [rule for rule in outcomes if rule.passed is False][: 1 if self.identical else None]
        challenger, champion = self.evidence.challenger, self.evidence.champion
        reason = "; ".join(rule.detail for rule in failed) or self._praise(praise)
        return Decision(
            promote=not failed, reason=reason, rules=outcomes,
            challenger=challenger.digest, champion=champion.digest if champion else None, test_set=challenger.test,
            figures={name: rounded(value) for name, value in figures.items()}, **known,
        )  # fmt: skip

    def _praise(self, praise: Callable[[Any], str]) -> str:
        if self.lost:
            return f"{self.lost}: the policy allows replacing it, and all rules passed"
        return praise(self) or "first model, all rules passed"


@dataclass(frozen=True)
class GateCase(Rivals):
    """A policy, evidence with its rows in the order of the review ids, and figures that follow from both."""

    SECTION: ClassVar[str] = "promotion"

    policy: PromotionConfig
    evidence: Evidence
    intervals: Intervals = studentised_intervals

    @property
    def champion_scored(self) -> bool:
        """Whether there are scores of a champion."""
        return self.evidence.champion is not None and self.evidence.champion.rows is not None

    @cached_property
    def challenger(self) -> Figures:
        """Sums over the challenger's rows."""
        return figures_of(self.challenger_rows)

    @cached_property
    def champion(self) -> Figures:
        """Sums over the champion's rows; used only by rules that know that there are rows."""
        return figures_of(self.champion_rows)

    @property
    def challenger_rows(self) -> pl.DataFrame:
        """The challenger's rows."""
        assert self.evidence.challenger.rows is not None
        return self.evidence.challenger.rows

    @property
    def champion_rows(self) -> pl.DataFrame:
        """The champion's rows; an empty table if there are none."""
        rows = self.evidence.champion.rows if self.evidence.champion else None
        return self.challenger_rows.clear() if rows is None else rows

    @property
    def baseline_rows(self) -> pl.DataFrame | None:
        """The baseline's rows; None if there are none."""
        return self.evidence.baseline.rows if self.evidence.baseline else None

    @cached_property
    def baseline(self) -> Figures | None:
        """Sums over the baseline's rows; None if there are none."""
        return None if self.baseline_rows is None else figures_of(self.baseline_rows)

    @cached_property
    def groups_D(self) -> np.ndarray | None:
        """Number of each review's group; None if each review is a separate group."""
        return groups_of(self.challenger_rows["review_id"], self.evidence.data.reviews)

    @cached_property
    def group_bytes(self) -> np.ndarray:
        """Bytes (C,) of each group of reviews."""
        bytes_D = self._bytes
        return bytes_D if self.groups_D is None else np.bincount(self.groups_D, bytes_D)

    @property
    def groups(self) -> int:
        """Number of groups of reviews; groups are treated as independent."""
        return len(self.group_bytes)

    @cached_property
    def effective_groups(self) -> float:
        """Number of groups of equal size that carry as much evidence."""
        return effective_number(self.group_bytes) if self.groups else 0.0

    @cached_property
    def least_gain(self) -> float:
        """Smallest gain that can be sure with these groups."""
        return least_sure_gain(self.group_bytes, self.policy.confidence, self.policy.max_review_loss)

    @cached_property
    def gain(self) -> float:
        """Share of the champion's bits that the challenger saves."""
        return 1 - self.challenger.open_bits_per_byte / self.champion.open_bits_per_byte

    @cached_property
    def problem(self) -> str:
        """Why the two models cannot be compared review by review; empty if they can."""
        ours, theirs = self.evidence.challenger, self.evidence.champion
        if theirs is None or theirs.rows is None:
            return self.lost or NO_CHAMPION
        if theirs.test != ours.test:
            return f"the test sets differ: {ours.test} and {theirs.test}"
        if self.challenger_rows["review_id"].n_unique() != len(self.challenger_rows):
            return "a review was scored twice"
        if not self.same_reviews(theirs.rows):
            counts = f"{len(self.challenger_rows)} and {len(theirs.rows)}"
            return f"the scored reviews differ: {counts} rows that do not match one by one"
        return ""

    def same_reviews(self, rows: pl.DataFrame) -> bool:
        """Return whether another model's rows are of the challenger's reviews, one by one."""
        return rows.select(IDENTITY).equals(self.challenger_rows.select(IDENTITY))

    @cached_property
    def finite(self) -> bool:
        """Whether every score is a finite number."""
        return all(bool(np.isfinite(open_nats(rows)).all()) for rows in (self.challenger_rows, self.champion_rows))

    @cached_property
    def beyond(self) -> str:
        """Why no interval is needed: only the champion gives a test review probability 0; otherwise empty.

        Empty also if a score of the champion is not a number (NaN), because then the review's probability is unknown.
        """
        if self.problem or not np.isfinite(open_nats(self.challenger_rows)).all():
            return ""
        theirs_D = open_nats(self.champion_rows)
        impossible = int(np.isposinf(theirs_D).sum())
        if not impossible or not (np.isfinite(theirs_D) | np.isposinf(theirs_D)).all():
            return ""
        return (
            f"the champion calls {impossible} of {len(theirs_D)} test reviews impossible (probability 0), "
            "the challenger none"
        )

    @cached_property
    def interval(self) -> Interval | None:
        """The gain with its interval, paired by review; None if it cannot be computed (e.g. one group of reviews).

        Equal reviews have equal bytes, so the ratio of nats is the ratio of bits per byte. A gain is surely above a
        margin if the whole interval is above it, so one interval is enough for every margin.
        """
        return None if self.problem or not self.finite else self.gain_over(self.champion_rows)

    def gain_over(self, other: pl.DataFrame) -> Interval | None:
        """Return 1 − open bits per byte / those of another model.

        *other* are its finite scores of the same reviews, in the order of their ids. None if there are fewer than two
        groups of reviews, because then there is no interval.
        """
        columns = open_nats(self.challenger_rows), open_nats(other), self._bytes
        found = self._interval(gain_ratio(*columns, self.groups_D, self.policy.max_review_loss))
        return found and replace(found, estimate=1 - found.estimate, low=1 - found.high, high=1 - found.low)

    def plain_gain_over(self, other: pl.DataFrame) -> Interval:
        """Return `gain_over` as the report's tables show it: how sure it is on reviews like these. For words only."""
        columns = {"ours": open_nats(self.challenger_rows), "theirs": open_nats(other)}
        options = {"resamples": self.evidence.resamples, "seed": self.evidence.seed}
        drawn = Bootstrap(columns.items(), confidence=self.policy.confidence, groups=self.groups_D, **options)
        return drawn.interval(lambda sums: 1 - sums["ours"] / sums["theirs"])

    @cached_property
    def champion_loss(self) -> Interval | None:
        """Share of bits that the challenger needs in addition to the champion's, on the champion's own test reviews.

        None if there are no such scores, if they are not finite or not of the same reviews, or with fewer than two
        groups.
        """
        found = self.evidence.champion_reviews
        if found is None or self.champion_pair is None:
            return None
        ours, theirs = (rows.sort("review_id") for rows in self.champion_pair)
        if not ours.select(IDENTITY).equals(theirs.select(IDENTITY)):
            return None
        ours_D, theirs_D = open_nats(ours), open_nats(theirs)
        if not (np.isfinite(ours_D).all() and np.isfinite(theirs_D).all()):
            return None
        groups_D = groups_of(ours["review_id"], found.documents)
        level = self._interval(Ratio(ours_D, theirs_D, ours["bytes"].to_numpy(), groups_D))
        return level and replace(level, estimate=level.estimate - 1, low=level.low - 1, high=level.high - 1)

    @cached_property
    def floor_gap(self) -> Interval | None:
        """Open bits per byte above the floor, paired by review; None without a floor or if a score is not finite.

        Also None if fewer than two groups of reviews were judged.
        """
        ours_D = open_nats(self.challenger_rows)
        if self.evidence.data.floor is None or not np.isfinite(ours_D).all():
            return None
        floor_D = floor_nats(self.evidence.data.floor, self.challenger_rows)
        judged_D = ~np.isnan(floor_D)
        bits_D, bytes_D = ((ours_D - floor_D) / LN2)[judged_D], self._bytes[judged_D]
        groups_D = None if self.groups_D is None else np.unique(self.groups_D[judged_D], return_inverse=True)[1]
        return self._interval(Ratio(bits_D, bytes_D, bytes_D, groups_D))

    @property
    def _bytes(self) -> np.ndarray:
        return self.challenger_rows["bytes"].to_numpy()

    def _interval(self, ratio: Ratio) -> Interval | None:
        """Return Σ numerator / Σ denominator with its interval; None with fewer than two groups."""
        if len(ratio.by_group.numerator_D) < 2:
            return None
        options = {"confidence": self.policy.confidence, "resamples": self.evidence.resamples}
        return self.intervals([ratio], seed=self.evidence.seed, **options)[0]


def open_nats(rows: pl.DataFrame) -> np.ndarray:
    """Return nats (D,) of each review, with unknown words spelt out."""
    return (rows["nats"] + rows["spelling_nats"]).to_numpy()


def said(name: str, passed: bool | None, detail: str) -> RuleOutcome:
    """Return the outcome of a test that was run outside the gate; a test that was not run fails."""
    if passed is None:
        return RuleOutcome(name, False, detail or f"there is no result of the {name}")
    return RuleOutcome(name, passed, detail or f"{name}: {'passed' if passed else 'failed'}")


def at_most(name: str, value: float | None, limit: float | None, detail: str) -> RuleOutcome:
    """Require that a value is not above its limit; see `RuleOutcome.compared`."""
    return RuleOutcome.compared(name, detail, value, limit, le)


def change(gain: float) -> str:
    """Return a gain in words, to be followed by the name of a model."""
    if gain == 0:
        return "exactly as good as"
    return f"{abs(gain):.2%} {'better' if gain > 0 else 'worse'} than"
