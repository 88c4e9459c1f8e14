"""Policy and evidence of one decision, and what several rules need to know of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from evaluation.bootstrap import Interval
from evaluation.decision import RuleOutcome
from evaluation.evidence import Evidence
from evaluation.floor import floor_nats
from evaluation.metrics import LN2, Figures, figures_of
from evaluation.studentised import Ratio, studentised_intervals

if TYPE_CHECKING:
    from reviewlm.promotion_config import PromotionConfig

NO_CHAMPION = "there is no champion yet"


@dataclass(frozen=True)
class Gain:
    """1 − open bits per byte of the challenger / those of the champion, with the ends of its interval."""

    estimate: float
    low: float
    high: float
    confidence: float


@dataclass(frozen=True)
class Case:
    """A policy, evidence with its rows in the order of the review ids, and figures that follow from both."""

    policy: PromotionConfig
    evidence: Evidence

    @classmethod
    def of(cls, policy: PromotionConfig, evidence: Evidence) -> Case:
        """Sort the rows by review: their order must not decide which reviews are drawn, nor a last digit."""
        champion = None if evidence.champion is None else evidence.champion.sort("review_id")
        return cls(policy, replace(evidence, challenger=evidence.challenger.sort("review_id"), champion=champion))

    @property
    def identical(self) -> bool:
        """Whether the challenger is the champion itself, and not made again in the place of a lost one."""
        return self.evidence.challenger_digest == self.evidence.champion_digest and not self.lost

    @property
    def lost(self) -> str:
        """Why the champion that there is cannot be measured; empty where it can, or where there is none."""
        return self.evidence.champion_problem if self.evidence.champion_digest is not None else ""

    @cached_property
    def challenger(self) -> Figures:
        """Sums over the challenger's rows."""
        return figures_of(self.evidence.challenger)

    @cached_property
    def champion(self) -> Figures:
        """Sums over the champion's rows; only rules that know there are some ask."""
        return figures_of(self.champion_rows)

    @property
    def champion_rows(self) -> pl.DataFrame:
        """The champion's rows; none where it has none."""
        rows = self.evidence.champion
        return self.evidence.challenger.clear() if rows is None else rows

    @cached_property
    def gain(self) -> float:
        """Share of the champion's bits that the challenger saves."""
        return 1 - self.challenger.open_bits_per_byte / self.champion.open_bits_per_byte

    @cached_property
    def problem(self) -> str:
        """Why the two cannot be compared review by review; empty if they can."""
        evidence = self.evidence
        if evidence.champion is None:
            return self.lost or NO_CHAMPION
        if evidence.champion_test != evidence.challenger_test:
            return f"the test sets differ: {evidence.challenger_test} and {evidence.champion_test}"
        if evidence.challenger["review_id"].n_unique() != len(evidence.challenger):
            return "a review was scored twice"
        identity = ["review_id", "stars", "bytes"]
        ours, theirs = evidence.challenger.select(identity), evidence.champion.select(identity)
        if not ours.equals(theirs):
            return f"the scored reviews differ: {len(ours)} and {len(theirs)} rows that do not match one by one"
        return ""

    @cached_property
    def finite(self) -> bool:
        """Whether every score is a finite number."""
        return all(bool(np.isfinite(open_nats(rows)).all()) for rows in (self.evidence.challenger, self.champion_rows))

    @cached_property
    def beyond(self) -> str:
        """Why no interval is needed: the champion calls a test review impossible and the challenger none; else empty.

        A champion with a score that is no number at all (NaN) is not meant: of it nothing is known.
        """
        if self.problem or not np.isfinite(open_nats(self.evidence.challenger)).all():
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
    def interval(self) -> Gain | None:
        """The gain with its interval, paired by review; None where it cannot be computed, as of one review.

        Equal reviews have equal bytes, so the ratio of nats is the ratio of bits per byte. A gain is surely above a
        margin where the whole interval is, so that one interval serves every margin.
        """
        if self.problem or not self.finite:
            return None
        found = self._interval(open_nats(self.evidence.challenger), open_nats(self.champion_rows))
        if found is None:
            return None
        return Gain(1 - found.estimate, 1 - found.high, 1 - found.low, found.confidence)

    @cached_property
    def floor_gap(self) -> Interval | None:
        """Open bits per byte above the floor, paired by review; None without a floor or with scores not finite.

        Nor is there one where fewer than two reviews were judged.
        """
        ours_D = open_nats(self.evidence.challenger)
        if self.evidence.floor is None or not np.isfinite(ours_D).all():
            return None
        floor_D = floor_nats(self.evidence.floor, self.evidence.challenger)
        bits_D, size_D = (ours_D - floor_D) / LN2, self.evidence.challenger["bytes"].to_numpy()
        judged_D = ~np.isnan(floor_D)
        return self._interval(bits_D[judged_D], size_D[judged_D], judged_D)

    def _interval(
        self, numerator_D: np.ndarray, denominator_D: np.ndarray, chosen_D: np.ndarray | None = None
    ) -> Interval | None:
        """Return Σ numerator / Σ denominator over all reviews, or the chosen ones; None below two, without interval."""
        if len(numerator_D) < 2:
            return None
        bytes_D = self.evidence.challenger["bytes"].to_numpy()
        ratio = Ratio(numerator_D, denominator_D, bytes_D if chosen_D is None else bytes_D[chosen_D])
        options = {"confidence": self.policy.confidence, "resamples": self.evidence.resamples}
        return studentised_intervals([ratio], seed=self.evidence.seed, **options)[0]  # type: ignore[arg-type]


def open_nats(rows: pl.DataFrame) -> np.ndarray:
    """Return nats (D,) of each review, unknown words spelt out."""
    return (rows["nats"] + rows["spelling_nats"]).to_numpy()


def said(name: str, passed: bool | None, detail: str) -> RuleOutcome:
    """Return the outcome of a test that was made elsewhere; one that was not made has failed."""
    if passed is None:
        return RuleOutcome(name, False, detail or f"there is no result of the {name}")
    return RuleOutcome(name, passed, detail or f"{name}: {'passed' if passed else 'failed'}")


def at_most(name: str, value: float | None, limit: float | None, detail: str) -> RuleOutcome:
    """Hold a value against its limit: None of a limit decides nothing, of a value it has failed; so has NaN.

    *detail* says what was measured, or why nothing was.
    """
    if limit is None:
        return RuleOutcome(name, None, f"{detail}; the policy sets no limit", value)
    return RuleOutcome(name, value is not None and value <= limit, detail, value, limit)


def change(gain: float) -> str:
    """Return a gain in words that go before the name of a model."""
    if gain == 0:
        return "exactly as good as"
    return f"{abs(gain):.2%} {'better' if gain > 0 else 'worse'} than"
