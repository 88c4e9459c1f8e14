"""The gate: policy + evidence → decision. Pure; whoever calls it moves the alias.

A challenger becomes champion only if no rule fails. Both models must have been scored now, on the same frozen test
reviews, and are compared by open bits per byte, which no vocabulary makes look better by hiding words behind `<unk>`
(what it folds away is not paid for, see `evaluation/metrics.py`). A tie keeps the champion; a figure that is not a
number never promotes; evidence that is missing counts against the challenger.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl

from evaluation.bootstrap import Interval, ratio_interval
from evaluation.decision import Decision, RuleOutcome, rounded
from evaluation.evidence import Evidence as Evidence
from evaluation.metrics import LN2, Figures, figures_of
from reviewlm.config import PromotionConfig

METRIC = "open bits per byte (lower is better)"


def decide(policy: PromotionConfig, evidence: Evidence) -> Decision:
    """Apply every rule and return the decision. Equal evidence gives an equal decision, to the byte."""
    case = _Case(policy, _in_order(evidence))
    rules = tuple(case.rules())
    # Of a challenger that is the champion there is nothing else to say.
    failed = [rule for rule in rules if rule.passed is False][: 1 if case.identical else None]
    return Decision(
        promote=not failed,
        reason="; ".join(rule.detail for rule in failed) or case.praise,
        rules=rules,
        metric=METRIC,
        challenger=evidence.challenger_digest,
        champion=evidence.champion_digest,
        test_set=evidence.challenger_test,
        figures={name: rounded(value) for name, value in case.figures.items()},
    )


@dataclass(frozen=True)
class _Case:
    policy: PromotionConfig
    evidence: Evidence

    def rules(self) -> Iterator[RuleOutcome]:
        yield self._another_model()
        yield self._same_test_set()
        yield self._same_reading()
        yield self._same_adaptation()
        yield self._enough_reviews()
        yield self._finite_figures()
        yield _said("data checks", self.evidence.checks_passed, self.evidence.checks_detail)
        yield self._no_leak()
        yield self._smoke_test()
        yield self._better_than_baseline()
        yield self._better_than_champion()
        yield self._surely_better()
        yield self._no_slice_worse()

    @property
    def identical(self) -> bool:
        return self.evidence.challenger_digest == self.evidence.champion_digest

    @property
    def praise(self) -> str:
        if self.evidence.champion is None:
            return "there was no champion, and no rule failed"
        but = f"; {said}" if (said := self.evidence.other_adaptation) else ""
        return f"it is better than the champion by {self.gain:.2%} of its bits per byte{but}"

    @cached_property
    def challenger(self) -> Figures:
        return figures_of(self.evidence.challenger)

    @cached_property
    def champion(self) -> Figures:
        return figures_of(self._champion_rows)

    @property
    def _champion_rows(self) -> pl.DataFrame:
        """The champion's rows; only rules that know there is a champion ask."""
        rows = self.evidence.champion
        return self.evidence.challenger.clear() if rows is None else rows

    @cached_property
    def gain(self) -> float:
        return 1 - self.challenger.open_bits_per_byte / self.champion.open_bits_per_byte

    @cached_property
    def problem(self) -> str:
        """Why the two cannot be compared review by review; empty if they can."""
        evidence = self.evidence
        if evidence.champion is None:
            return "there is no champion yet"
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
    def interval(self) -> Interval | None:
        """Challenger − champion in open bits per byte, paired by review; None where it cannot be computed."""
        if self.problem or not self._finite:
            return None
        bits = (open_nats(self.evidence.challenger) - open_nats(self._champion_rows)) / LN2
        size_D = self.evidence.challenger["bytes"].to_numpy()
        options = {"resamples": self.evidence.resamples, "seed": self.evidence.seed}
        return ratio_interval(bits, size_D, confidence=self.policy.confidence, **options)

    @property
    def figures(self) -> dict[str, float]:
        figures = {
            f"{self.evidence.challenger_named}, open bits per byte": self.challenger.open_bits_per_byte,
            f"{self.evidence.challenger_named}, bits per byte": self.challenger.bits_per_byte,
            "test reviews": float(self.challenger.reviews),
        }
        if self.evidence.champion is not None:
            figures[f"{self.evidence.champion_named}, open bits per byte"] = self.champion.open_bits_per_byte
            figures[f"{self.evidence.champion_named}, bits per byte"] = self.champion.bits_per_byte
        if self.interval:
            figures["difference"] = self.interval.estimate
            figures["difference, lower end"], figures["difference, upper end"] = self.interval.low, self.interval.high
            figures["difference, confidence"] = self.interval.confidence
        return figures

    @property
    def _finite(self) -> bool:
        tables = [self.evidence.challenger, self._champion_rows]
        return all(bool(np.isfinite(open_nats(rows)).all()) for rows in tables)

    def _another_model(self) -> RuleOutcome:
        name, digest = "another model", self.evidence.challenger_digest
        if self.evidence.champion_digest is None:
            return RuleOutcome(name, None, "there is no champion yet")
        if self.identical:
            return RuleOutcome(name, False, f"the challenger is identical to the champion ({digest})")
        return RuleOutcome(name, True, "challenger and champion are different bundles")

    def _same_test_set(self) -> RuleOutcome:
        name = "same test reviews"
        if self.evidence.champion is None and self.evidence.champion_digest is None:
            return RuleOutcome(name, None, self.problem)
        if self.evidence.champion is None:
            return RuleOutcome(name, False, "the champion was not scored on the challenger's test reviews")
        match = f"both were scored on {self.evidence.challenger_test}, {self.challenger.reviews} reviews, one by one"
        return RuleOutcome(name, not self.problem, self.problem or match)

    def _same_reading(self) -> RuleOutcome:
        name = "same reading of the text"
        if self.evidence.champion_digest is None:
            return RuleOutcome(name, None, "there is no champion yet")
        if self.evidence.unfair and self.policy.allow_other_reading:
            return RuleOutcome(name, None, f"{self.evidence.unfair}; the policy allows it")
        return RuleOutcome(
            name, not self.evidence.unfair, self.evidence.unfair or "the challenger models no less of the text"
        )

    def _same_adaptation(self) -> RuleOutcome:
        """Say whether both adapt alike; it decides nothing: each review is scored afresh, by a proper distribution."""
        name, ours = "same adaptation", self.evidence.challenger_adaptation
        if said := self.evidence.other_adaptation:
            return RuleOutcome(name, None, f"{said}; each review was scored from the fresh state")
        return RuleOutcome(name, True, f"all figures of the challenger are {ours}")

    def _enough_reviews(self) -> RuleOutcome:
        count, limit = self.challenger.reviews, self.policy.min_test_reviews
        return RuleOutcome(
            "enough reviews", count >= limit, f"{count} test reviews, at least {limit} are needed", count, limit
        )

    def _finite_figures(self) -> RuleOutcome:
        tables = {"challenger": self.evidence.challenger, "champion": self._champion_rows}
        bad = [_not_finite(who, rows) for who, rows in tables.items() if not np.isfinite(open_nats(rows)).all()]
        detail = "; ".join(bad) or "all scores are finite"
        return RuleOutcome("finite figures", not bad and math.isfinite(self.challenger.open_bits_per_byte), detail)

    def _no_leak(self) -> RuleOutcome:
        name, evidence = "leak certificate", self.evidence
        if not self.policy.require_leak_certificate:
            return RuleOutcome(name, None, f"the policy asks for none; {evidence.leak_detail or 'nothing is known'}")
        if evidence.leak_free is None:
            return RuleOutcome(name, False, evidence.leak_detail or "there is no leak certificate")
        if evidence.leak_free and evidence.leak_test != evidence.challenger_test:
            seen = f"the leak certificate is of the test set {evidence.leak_test}"
            return RuleOutcome(name, False, f"{seen}, but {evidence.challenger_test} was scored")
        return _said(name, evidence.leak_free, evidence.leak_detail)

    def _smoke_test(self) -> RuleOutcome:
        if self.identical and self.evidence.smoke_passed is None:
            return RuleOutcome("smoke test", None, "nothing new was registered")
        return _said("smoke test", self.evidence.smoke_passed, self.evidence.smoke_detail)

    def _better_than_baseline(self) -> RuleOutcome:
        name, who, limit = "better than the baseline", self.evidence.baseline_name, self.policy.min_gain_over_baseline
        if self.evidence.baseline_digest == self.evidence.challenger_digest:
            return RuleOutcome(name, None, f"the challenger is the baseline '{who}' itself")
        if self.evidence.baseline is None:
            return RuleOutcome(name, False, f"there are no figures of the baseline '{who}'")
        base = self.evidence.baseline
        if (base.reviews, base.bytes) != (self.challenger.reviews, self.challenger.bytes):
            return RuleOutcome(name, False, f"the baseline '{who}' was scored on other reviews")
        if not math.isfinite(base.open_bits_per_byte):
            return RuleOutcome(name, False, f"the baseline '{who}' has no finite figures that could be beaten")
        gain = 1 - self.challenger.open_bits_per_byte / base.open_bits_per_byte
        detail = f"{_change(gain)} the baseline '{who}' in bits per byte"
        return RuleOutcome(name, gain > 0 and gain >= limit, detail, gain, limit)

    def _better_than_champion(self) -> RuleOutcome:
        name, limit = "better than the champion", self.policy.min_relative_gain
        if self.problem:
            return RuleOutcome(name, None, self.problem)
        detail = f"{_change(self.gain)} the champion in bits per byte"
        return RuleOutcome(name, self.gain > 0 and self.gain >= limit, detail, self.gain, limit)

    def _surely_better(self) -> RuleOutcome:
        name = "surely better"
        if self.problem:
            return RuleOutcome(name, None, self.problem)
        if self.interval is None:
            return RuleOutcome(name, False, "no interval can be computed from scores that are not finite")
        low, high = self.interval.low, self.interval.high
        share, verdict = f"{self.interval.confidence:.0%}", _verdict(low, high)
        detail = f"the {share} interval of the difference is {low:+.5f} to {high:+.5f} bits per byte: {verdict}"
        return RuleOutcome(name, high < 0, detail, high, 0.0)

    def _no_slice_worse(self) -> RuleOutcome:
        name, limit = "no slice worse", self.policy.max_slice_loss
        if self.problem:
            return RuleOutcome(name, None, self.problem)
        losses = self._slice_losses()
        if not losses:
            return RuleOutcome(name, None, f"no star rating has {self.policy.min_test_reviews} test reviews")
        worst = max(losses, key=lambda stars: math.inf if math.isnan(losses[stars]) else losses[stars])
        seen = ", ".join(str(stars) for stars in sorted(losses))
        detail = f"worst at {worst} stars: {_change(-losses[worst])} the champion (looked at: {seen})"
        return RuleOutcome(name, losses[worst] <= limit, detail, losses[worst], limit)

    def _slice_losses(self) -> dict[int, float]:
        """Return the relative loss per star rating that has enough reviews."""
        losses = {}
        for stars in self.evidence.challenger["stars"].unique().sort():
            ours, theirs = (rows.filter(pl.col("stars") == stars)
                            for rows in (self.evidence.challenger, self._champion_rows))
            if len(ours) >= self.policy.min_test_reviews:
                # Equal reviews have equal bytes: the ratio of nats is the ratio of bits per byte.
                losses[int(stars)] = float(open_nats(ours).sum() / open_nats(theirs).sum() - 1)
        return losses


def _in_order(evidence: Evidence) -> Evidence:
    """Sort the rows by review: their order must not decide which reviews the bootstrap draws, nor a last digit."""
    champion = None if evidence.champion is None else evidence.champion.sort("review_id")
    return replace(evidence, challenger=evidence.challenger.sort("review_id"), champion=champion)


def open_nats(rows: pl.DataFrame) -> np.ndarray:
    """Return nats (D,) of each review, unknown words spelt out."""
    return (rows["nats"] + rows["spelling_nats"]).to_numpy()


def _not_finite(who: str, rows: pl.DataFrame) -> str:
    """Say of how many reviews the score is no finite number: probability 0, as maximum likelihood has it, or NaN."""
    nats_D = open_nats(rows)
    impossible, other = int(np.isinf(nats_D).sum()), int(np.isnan(nats_D).sum())
    said = [f"calls {impossible} of {len(rows)} test reviews impossible (probability 0)"] if impossible else []
    said += [f"has scores of {other} test reviews that are not a finite number"] if other else []
    return f"the {who} {' and '.join(said)}"


def _said(name: str, passed: bool | None, detail: str) -> RuleOutcome:
    if passed is None:
        return RuleOutcome(name, False, detail or f"there is no result of the {name}")
    return RuleOutcome(name, passed, detail or f"{name}: {'passed' if passed else 'failed'}")


def _verdict(low: float, high: float) -> str:
    if low == high == 0:
        return "there is none"
    if low <= 0 <= high:
        return "it may be luck"
    return "the challenger is better" if high < 0 else "the challenger is worse"


def _change(gain: float) -> str:
    if gain == 0:
        return "exactly as good as"
    return f"{abs(gain):.2%} {'better' if gain > 0 else 'worse'} than"
