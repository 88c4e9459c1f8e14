"""Judge language models: the rules of their gate alone, by open bits per byte and a cautious interval of the gain.

Open bits per byte cannot be improved by a vocabulary that replaces words with `<unk>` or folds case
(`models/tokens/surface.py` computes the price of the folded text). Both models must have been scored in this run, on
the same frozen test reviews.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import ClassVar

import numpy as np
import polars as pl

from reviewlm.core.config.sections.evaluation import PromotionConfig
from reviewlm.evaluation.gate import rules
from reviewlm.evaluation.gate.case import IDENTITY, MORE_REVIEWS, NO_CHAMPION, GateCase
from reviewlm.evaluation.gate.cautions import drawn_apart, worse_than_allowed_for
from reviewlm.evaluation.gate.evidence import Evidence, ModelEvidence
from reviewlm.evaluation.gate.memorisation import copied_span, exposure, novelty, private_patterns
from reviewlm.evaluation.gate.rule_table import (
    DRIFT,
    NOT_BELOW_FLOOR,
    SAME_ADAPTATION,
    SAME_READING,
    SCORED_NOW,
    GateRule,
    RuleOutcome,
)
from reviewlm.evaluation.scoring.metrics import LN2, figures_of
from reviewlm.evaluation.statistics.bootstrap import Interval
from reviewlm.evaluation.statistics.floor import floor_nats
from reviewlm.evaluation.statistics.gain_interval import (
    Ratio,
    cautious_gain,
    cautious_intervals,
    gain_ratio,
)
from reviewlm.evaluation.statistics.groups import groups_of, least_sure_gain
from reviewlm.evaluation.statistics.slices import losses_by_slice, review_labels, slicing_of
from reviewlm.models.base import STATIC

DEPARTURE = 1e-3
"""Largest allowed difference, relative to the nats of one review, between two scorings of one bundle; the same as
`PROBE_TOLERANCE` of bundles. Number formats round differently from machine to machine; a changed rule or
weight makes a larger difference.
"""
NO_INTERVAL = "no interval can be computed: there are fewer than two groups of reviews, or scores that are not finite"
ROUNDING = 1e-9
"""Rounding error allowed below the floor, in bits per byte."""
BANDS = (25, 50, 100, 200)
"""Upper ends of the bands of length, in words."""
BAND_NAMES = (
    f"1 to {BANDS[0]} words",
    *(f"{low + 1} to {high} words" for low, high in pairwise(BANDS)),
    f"over {BANDS[-1]} words",
)


def open_nats(rows: pl.DataFrame) -> np.ndarray:
    """Return nats (D,) of each review, with unknown words spelt out."""
    return (rows["nats"] + rows["spelling_nats"]).to_numpy()


def describe_gain(gain: float) -> str:
    """Return a gain in words, to be followed by the name of a model."""
    if gain == 0:
        return "exactly as good as"
    return f"{abs(gain):.2%} {'better' if gain > 0 else 'worse'} than"


def scored_now(case: LanguageCase) -> RuleOutcome:
    """Refuse figures that were not computed in this run, or that differ from those in the store."""
    evidence = case.evidence
    if case.identical:
        return SCORED_NOW.outcome(
            None, "the challenger is the champion, so it was not scored again"
        )
    if evidence.challenger.problem:
        return SCORED_NOW.outcome(False, evidence.challenger.problem)

    sides = {"challenger": evidence.challenger}
    if evidence.champion is not None and case.champion_measured:
        sides["champion"] = evidence.champion

    departures = {who: side.departure for who, side in sides.items() if side.departure is not None}
    if stored := [who for who in sides if who not in departures]:
        detail = f"the scores of the {' and the '.join(stored)} were read from the store, not computed now"
        return SCORED_NOW.outcome(False, detail)

    worst = max(departures, key=lambda who: np.nan_to_num(departures[who], nan=math.inf))
    departure = departures[worst]
    detail = f"{' and '.join(departures)} scored in this run"
    detail += (
        f"; the {worst}'s scores differ from the stored ones by at most {departure:.1e} of a review's nats"
        if departure
        else ", with equal scores as before"
    )
    return SCORED_NOW.outcome(departure <= DEPARTURE, detail, departure, DEPARTURE)


def same_reading(case: LanguageCase) -> RuleOutcome:
    """Refuse a challenger trained on text that was cleaned in another way, unless the policy allows it."""
    reason = case.evidence.unfair_because
    if case.evidence.champion is None:
        return SAME_READING.outcome(None, NO_CHAMPION)
    if reason and case.policy.allow_other_reading:
        return SAME_READING.outcome(None, f"{reason}; the policy allows it")
    if reason:
        return SAME_READING.outcome(
            False, f"{reason}; it passes only with promotion.allow_other_reading"
        )

    return SAME_READING.outcome(True, "both learnt from text that was cleaned in the same way")


def same_adaptation(case: LanguageCase) -> RuleOutcome:
    """Refuse a challenger that adapts in another way than the policy names; report if the champion adapts differently.

    A difference from the champion does not fail the rule: each review is scored from the fresh state, by a proper
    distribution.
    """
    way = case.evidence.challenger.adaptation
    if why := unwanted_adaptation(way, case.policy.adaptation):
        return SAME_ADAPTATION.outcome(False, why)
    if other := case.evidence.other_adaptation:
        return SAME_ADAPTATION.outcome(
            None, f"{other}; what one learns from a review is forgotten before the next"
        )

    does = "does not adapt to the review that it is measured on"
    if way != STATIC:
        does = f"adapts as asked for ({way})"

    return SAME_ADAPTATION.outcome(True, f"it {does}")


def unwanted_adaptation(way: str, allowed: str) -> str:
    """Return why a model that adapts in this way may not be challenger; empty if it may.

    Args:
        way: "static", or how it adapts to the review that it is measured on.
        allowed: `promotion.adaptation`.
    """
    if allowed in ("any", way):
        return ""
    reason = "it is a static model"
    if way != STATIC:
        reason = f"it adapts to the text that it is measured on ({way})"

    return f"{reason}; {adaptation_wanted(allowed)}"


def adaptation_wanted(allowed: str) -> str:
    """Return which models may become champion, as a sentence with the name of the setting."""
    which = "that do not adapt while they read" if allowed == STATIC else f"that adapt by {allowed}"
    return f"only models {which} may become champion (promotion.adaptation={allowed})"


def drift(case: LanguageCase) -> RuleOutcome:
    """Report whether the new reviews differ from those that the champion was trained on; never fails.

    Drift is a reason to retrain, not a reason to keep an old champion.
    """
    return DRIFT.outcome(
        None, case.evidence.drift or "it is not known whether the reviews have drifted"
    )


def not_below_floor(case: LanguageCase) -> RuleOutcome:
    """Refuse a model that surely needs fewer bits than the process that wrote the text: a correct model cannot."""
    gap = case.floor_gap
    if gap is None:
        reason = "these reviews have no known floor" if case.evidence.floor is None else NO_INTERVAL
        return NOT_BELOW_FLOOR.outcome(None, reason)

    detail = (
        f"{gap.estimate:+.4f} bits per byte above the floor "
        f"({100 * gap.confidence:.4g} % interval: {gap.low:+.4f} to {gap.high:+.4f})"
    )
    below = gap.high < -ROUNDING
    if below:
        detail += ": no model can be below it, so the scores are wrong or the model was trained on test reviews"

    return NOT_BELOW_FLOOR.outcome(not below, detail, gap.high, 0.0)


@dataclass(frozen=True)
class LanguageCase(GateCase):
    """Two language models on the same reviews."""

    SECTION: ClassVar[str] = "promotion"
    METRIC: ClassVar[str] = "open bits per byte (lower is better)"
    MIN_GAIN: ClassVar[str] = "min_relative_gain"
    RULES = (
        rules.another_model,
        rules.not_rolled_back,
        rules.champion_at_hand,
        scored_now,
        rules.same_test_reviews,
        rules.same_family,
        same_reading,
        same_adaptation,
        rules.enough_reviews,
        rules.finite_figures,
        not_below_floor,
        rules.data_checks,
        rules.leak_certificate,
        drift,
        rules.smoke_test,
        rules.latency,
        rules.size,
        rules.better_than_baseline,
        rules.not_worse_than_baseline,
        rules.better_than_champion,
        rules.no_slice_worse,
        rules.no_forgetting,
        novelty,
        copied_span,
        exposure,
        private_patterns,
    )

    policy: PromotionConfig
    evidence: Evidence[pl.DataFrame]

    @property
    def challenger_rows(self) -> pl.DataFrame:
        """The challenger's rows."""
        assert self.evidence.challenger.rows is not None
        return self.evidence.challenger.rows

    @property
    def champion_rows(self) -> pl.DataFrame:
        """The champion's rows; an empty table if there are none."""
        rows = self.evidence.champion.rows if self.evidence.champion else None
        if rows is None:
            return self.challenger_rows.clear()
        return rows

    @cached_property
    def groups_D(self) -> np.ndarray | None:
        """Number of each review's group; None if each review is a separate group."""
        return groups_of(self.challenger_rows["review_id"], self.evidence.reviews)

    @cached_property
    def group_sizes(self) -> np.ndarray:
        """Bytes (C,) of each group of reviews."""
        if self.groups_D is None:
            return self._bytes
        return np.bincount(self.groups_D, self._bytes)

    def mismatch(self, rows: pl.DataFrame) -> str:
        """See `GateCase`."""
        ours = self.challenger_rows
        if ours["review_id"].n_unique() != len(ours):
            return "a review was scored twice"
        if rows.select(IDENTITY).equals(ours.select(IDENTITY)):
            return ""
        return f"the scored reviews differ: {len(ours)} and {len(rows)} rows that do not match one by one"

    def not_finite(self) -> list[str]:
        """See `GateCase`."""
        tables = {"challenger": self.challenger_rows, "champion": self.champion_rows}
        bad = []
        for who, rows in tables.items():
            if not np.isfinite(open_nats(rows)).all():
                bad.append(_not_finite(who, rows))

        if not bad and not self._bytes.sum():
            bad.append("there is no figure")

        return bad

    @cached_property
    def better_without_interval(self) -> str:
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
        """The gain over the champion, see `gain_over`."""
        if self.problem:
            return None
        return self.gain_over(self.champion_rows)

    def gain_over(self, other: pl.DataFrame) -> Interval | None:
        """Return 1 − open bits per byte / those of another model, with its interval, paired by review.

        Equal reviews have equal bytes, so the ratio of nats is the ratio of bits per byte. A gain is surely above a
        margin if the whole interval is above it, so one interval is enough for every margin. *other* are its scores of
        the same reviews, in the order of their ids. None if scores are not finite, or with fewer than two groups of
        reviews.
        """
        ratio = self._ratio_to(other)
        if ratio is None:
            return None
        return cautious_gain(
            ratio,
            confidence=self.policy.confidence,
            resamples=self.evidence.resamples,
            seed=self.evidence.seed,
        )

    def least_gain_over(self, other: pl.DataFrame) -> float:
        """Return the smallest gain over another model that these reviews can prove; 1 if scores are not finite."""
        ratio = self._ratio_to(other)
        if ratio is None:
            return 1.0
        return least_sure_gain(
            ratio.independent_reviews, self.policy.confidence, self.policy.max_review_loss
        )

    def _ratio_to(self, other: pl.DataFrame) -> Ratio | None:
        """Return the ratio of the challenger's nats to another model's; None if scores are not finite."""
        columns = open_nats(self.challenger_rows), open_nats(other), self._bytes
        if not all(np.isfinite(column_D).all() for column_D in columns):
            return None
        return gain_ratio(*columns, self.groups_D, self.policy.max_review_loss)

    def surely_better_than(
        self,
        rule: GateRule,
        who: str,
        other: ModelEvidence[pl.DataFrame],
        limit: float,
    ) -> RuleOutcome:
        """See `GateCase`: the cautious interval must be above the limit."""
        assert other.rows is not None
        if other is self.evidence.champion:
            gain = self.interval
        else:
            gain = self.gain_over(other.rows)

        if gain is None:
            finite = np.isfinite(open_nats(other.rows)).all()
            return rule.outcome(
                False,
                NO_INTERVAL if finite else f"{who} has no finite figures to compare with",
            )

        theirs = other.adaptation
        ours = self.evidence.challenger.adaptation
        unlike = f", whose figures are {theirs}, the challenger's {ours}" if theirs != ours else ""
        least = self.least_gain_over(other.rows)
        certainty = self._describe_certainty(gain, limit, least)
        detail = f"{describe_gain(gain.estimate)} {who} in open bits per byte{unlike}{certainty}"
        return rule.outcome(gain.low > limit, detail, gain.low, limit)

    def not_surely_worse_than(
        self,
        rule: GateRule,
        who: str,
        other: ModelEvidence[pl.DataFrame],
        limit: float,
    ) -> RuleOutcome:
        """See `GateCase`: the cautious interval must not be below the limit as a whole."""
        assert other.rows is not None
        gain = self.gain_over(other.rows)
        if gain is None:
            theirs_D = open_nats(other.rows)
            impossible = bool(np.isposinf(theirs_D).any() and not np.isnan(theirs_D).any())
            passed = impossible and bool(np.isfinite(open_nats(self.challenger_rows)).all())
            reason = f"{who} calls some test reviews impossible (probability 0)"
            return rule.outcome(passed, reason if impossible else NO_INTERVAL)

        detail = f"{describe_gain(gain.estimate)} {who} in open bits per byte{_ends(gain)}"
        passed = gain.high >= limit
        verdict = f"not surely below {limit:.2%}" if passed else f"surely below {limit:.2%}"
        return rule.outcome(passed, f"{detail}: {verdict}", gain.high, limit)

    def _describe_certainty(
        self,
        gain: Interval,
        limit: float,
        least: float,
    ) -> str:
        """Return the end of the sentence about a gain: how sure it is, or its interval and the remedy."""
        confidence = f"{100 * gain.confidence:.4g} %"
        if gain.low > limit:
            return f", at least {gain.low:.2%} by the cautious {confidence} interval"
        if gain.high < 0:
            return f", at least {-gain.high:.2%} by the cautious {confidence} interval"

        ends = _ends(gain)
        if gain.estimate <= limit:
            return f"{ends}: no sure gain"

        few = ""
        if gain.estimate < least:
            few = f"; with these reviews no gain below {least:.2%} is sure"

        return f"{ends}: not surely above {limit:.2%}{few}; {MORE_REVIEWS}"

    def slice_losses(self) -> pl.DataFrame:
        """See `GateCase`: a loss of 0.1 means 10 % more bits than the champion needs."""
        reviews = self.challenger_rows.select("review_id", "stars", "words")
        least = self.policy.min_slice_reviews
        documents = self.evidence.reviews
        if documents is not None:
            reviews = reviews.join(
                documents.unique("review_id"),
                on="review_id",
                how="left",
                maintain_order="left",
            )

        labels = review_labels(reviews, least)
        labels["length"] = pl.Series(
            np.array(BAND_NAMES)[np.searchsorted(BANDS, reviews["words"].to_numpy())]
        )
        if "month" in labels:
            labels["month"] = reviews["date"].dt.strftime("%Y-%m")

        slicings = []
        for name in self.policy.slice_dimensions:
            if name in labels:
                slicings.append(slicing_of(name, labels[name], least, most=None))

        ours_D = open_nats(self.challenger_rows)
        theirs_D = open_nats(self.champion_rows)
        return losses_by_slice(
            slicings,
            ours_D - theirs_D,
            theirs_D,
            self.groups_D,
            self.policy.confidence,
        )

    @cached_property
    def champion_loss(self) -> Interval | None:
        """Share of bits that the challenger needs in addition to the champion's, on the champion's own test reviews.

        None if there are no such scores, if they are not finite or not of the same reviews, or with fewer than two
        groups.
        """
        own_reviews = self.evidence.champion_reviews
        if own_reviews is None or self.champion_pair is None:
            return None

        ours, theirs = (rows.sort("review_id") for rows in self.champion_pair)
        if not ours.select(IDENTITY).equals(theirs.select(IDENTITY)):
            return None

        ours_D = open_nats(ours)
        theirs_D = open_nats(theirs)
        if not (np.isfinite(ours_D).all() and np.isfinite(theirs_D).all()):
            return None

        groups_D = groups_of(ours["review_id"], own_reviews.documents)
        ratio = self._interval(Ratio(ours_D, theirs_D, ours["bytes"].to_numpy(), groups_D))
        if ratio is None:
            return None

        return replace(
            ratio,
            estimate=ratio.estimate - 1,
            low=ratio.low - 1,
            high=ratio.high - 1,
        )

    def loss_in_words(self, loss: float, on_slice: bool = False) -> str:
        """See `GateCase`."""
        return f"{describe_gain(-loss)} the champion"

    def loss_without_interval(self) -> RuleOutcome | None:
        """Refuse scores that are not numbers; pass if only the champion gives a review probability 0.

        The outcome has no name yet: the rule that asks gives its own.
        """
        assert self.champion_pair is not None
        ours_D, theirs_D = map(open_nats, self.champion_pair)
        if not np.isfinite(ours_D).all():
            return RuleOutcome("", False, "the challenger has scores that are not finite numbers")
        if np.isfinite(theirs_D).all():
            return None

        passed = bool((np.isfinite(theirs_D) | np.isposinf(theirs_D)).all())
        what = "has scores that are not numbers"
        if passed:
            what = "calls some impossible (probability 0), the challenger none"

        return RuleOutcome("", passed, f"the champion {what}")

    @cached_property
    def floor_gap(self) -> Interval | None:
        """Open bits per byte above the floor, paired by review; None without a floor or if a score is not finite.

        Also None if fewer than two groups of reviews were judged.
        """
        ours_D = open_nats(self.challenger_rows)
        if self.evidence.floor is None or not np.isfinite(ours_D).all():
            return None

        floor_D = floor_nats(self.evidence.floor, self.challenger_rows)
        judged_D = ~np.isnan(floor_D)
        bits_D = ((ours_D - floor_D) / LN2)[judged_D]
        bytes_D = self._bytes[judged_D]
        groups_D = None
        if self.groups_D is not None:
            groups_D = np.unique(self.groups_D[judged_D], return_inverse=True)[1]

        return self._interval(Ratio(bits_D, bytes_D, bytes_D, groups_D))

    def praise(self, gain: float) -> str:
        """See `GateCase`."""
        but = f"; {other}" if (other := self.evidence.other_adaptation) else ""
        return f"it is better than the champion by {gain:.2%} of its open bits per byte{but}"

    def figures_of(self, side: ModelEvidence[pl.DataFrame]) -> Mapping[str, float]:
        """See `GateCase`."""
        assert side.rows is not None
        return {"open bits per byte": figures_of(side.rows).open_bits_per_byte}

    def digest_of(self, rows: pl.DataFrame) -> str:
        """See `scores_digest`."""
        return scores_digest(rows)

    def cautions(self) -> tuple[str, ...]:
        """See `GateCase`."""
        other = self.evidence.champion if self.champion_measured else self.evidence.baseline
        if other is None or other.rows is None or not len(other.rows) or self.mismatch(other.rows):
            return ()

        ours_D = open_nats(self.challenger_rows)
        theirs_D = open_nats(other.rows)
        if (
            not np.isfinite(ours_D).all()
            or not np.isfinite(theirs_D).all()
            or not (theirs_D > 0).all()
        ):
            return ()

        ids = self.challenger_rows["review_id"]
        documents = self.evidence.reviews
        worse = worse_than_allowed_for(ours_D / theirs_D - 1, self.policy.max_review_loss)
        apart = drawn_apart(
            ours_D,
            theirs_D,
            ids,
            self.groups_D,
            documents,
        )
        return (*worse, *apart)

    @property
    def _bytes(self) -> np.ndarray:
        return self.challenger_rows["bytes"].to_numpy()

    def _interval(self, ratio: Ratio) -> Interval | None:
        """Return Σ numerator / Σ denominator with its interval; None with fewer than two groups."""
        if len(ratio.by_group.numerator_D) < 2:
            return None
        [interval] = cautious_intervals(
            [ratio],
            confidence=self.policy.confidence,
            resamples=self.evidence.resamples,
            seed=self.evidence.seed,
        )
        return interval


def _ends(gain: Interval) -> str:
    """Return the cautious interval of a gain, in brackets."""
    confidence = f"{100 * gain.confidence:.4g} %"
    return f" (cautious {confidence} interval: {gain.low:+.2%} to {gain.high:+.2%})"


def _not_finite(who: str, rows: pl.DataFrame) -> str:
    """Say how many reviews have no finite score: probability 0 (possible with maximum likelihood) or NaN."""
    nats_D = open_nats(rows)
    impossible = int(np.isinf(nats_D).sum())
    other = int(np.isnan(nats_D).sum())
    counts = []
    if impossible:
        counts = [f"calls {impossible} of {len(rows)} test reviews impossible (probability 0)"]

    counts += [f"has scores of {other} test reviews that are not a finite number"] if other else []
    return f"the {who} {' and '.join(counts)}"


def scores_digest(rows: pl.DataFrame) -> str:
    """Return the SHA-256 of the scores that a decision uses, independent of the order of the reviews.

    Args:
        rows: Columns review_id, stars, bytes, nats and spelling_nats; the last two are included with all their bits.
    """
    ordered = rows.sort("review_id")
    lines = ordered.select(pl.format("{} {} {}", "review_id", "stars", "bytes")).to_series()
    digest = hashlib.sha256("\n".join(lines).encode())
    for column in ("nats", "spelling_nats"):
        digest.update(ordered[column].cast(pl.Float64).to_numpy().astype("<f8").tobytes())
    return digest.hexdigest()
