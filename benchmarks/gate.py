"""How often the gate errs: equal, better and worse challengers, simulated, and what whole decisions make of them.

    python -m benchmarks.gate --quick --write

Each trial draws test reviews and two models' scores of them, with nothing else against the challenger. What is random
is what is random in life: which reviews are in the test set, and on which of them which model happens to be better.
A challenger that is surely better may still fall by another rule, so the shares of equal challengers are upper bounds
for the whole policy; what the rule of the slices costs a better one is measured by whole decisions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import beta, norm

from benchmarks.harness import Ratio as Reached
from benchmarks.harness import Report, arguments, finish, say
from evaluation.decision import Decision
from evaluation.evidence import Evidence, Latency
from evaluation.gate import decide
from evaluation.metrics import LN2
from evaluation.rules.case import open_nats
from evaluation.studentised import Ratio, studentised_intervals
from reviewlm.promotion_config import PromotionConfig

POLICY = PromotionConfig()
ALPHA = (1 - POLICY.confidence) / 2
RESAMPLES, SEED = 1_000, 1
STARS = (0.11, 0.08, 0.12, 0.25, 0.44)
"""Shares of the ratings 1 to 5 among the first 5,000 reviews of the Yelp open dataset."""
MEDIAN, SPREAD, LONGEST = 420, 0.80, 5_000
"""Of the log-normal lengths in bytes: so their mean is 577 and their coefficient of variation 0.92."""
CATEGORIES, MONTHS = 12, 24
AUDITED = ("copied_8", "real_copied_8", "longest_copied", "real_longest_copied", "private_patterns")
Pair = tuple[np.ndarray, np.ndarray]

NOTES = (
    "Lengths are log-normal and cut at 5,000 bytes: mean 577, coefficient of variation 0.92 (first 5,000 reviews of "
    "the Yelp open dataset: 545 and 0.90). A review costs 1 bit a byte, give or take 15 % for both models alike. "
    "Between two models it differs by a part that grows with its length and a part that grows with its square root; "
    "the standard deviation is 12 % of an average review's bits. Of 36 pairs of our own models on the embedded corpus "
    "it was 0.6 to 16 %, with a kurtosis of 4 to 8 (25 where one model is a part of the other).",
    "equal: the deviations of both models are Student's t with 5 degrees of freedom, independent, of one distribution; "
    "the kurtosis of the difference is 25. skewed: the champion is a little better on most reviews and much worse on "
    "few, or (reversed) a little worse on most; the means are equal, the skewness is 2.5 (own pairs: up to 1.6, and 4 "
    "where one model is a part of the other).",
    "low and high are the ends of the exact 95 % interval of the share (Clopper and Pearson 1934). "
    f"The bootstrap draws {RESAMPLES:,} times instead of 10,000.",
    "Many tries: worked out for errors that are normal, 20,000 histories each.",
)


@dataclass(frozen=True)
class Drawn:
    """Lengths of reviews in bytes, and the nats that two models need for them."""

    bytes_D: np.ndarray
    champion_D: np.ndarray
    challenger_D: np.ndarray


@dataclass(frozen=True)
class World:
    """What a review costs two models.

    Args:
        name: As shown.
        deviations: From a generator and a number of reviews to two arrays with mean 0 and variance 1/2 each: the
            deviations of champion and challenger.
        spread: Standard deviation of the difference, in average reviews' bits.
    """

    name: str
    deviations: Callable[[np.random.Generator, int], Pair]
    spread: float = 0.10

    def draw(self, generator: np.random.Generator, reviews: int, gain: float) -> Drawn:
        """Return scores of which the challenger's are (1 − gain) of the champion's on average."""
        bytes_D = np.clip(generator.lognormal(math.log(MEDIAN), SPREAD, reviews), 20, LONGEST).astype(np.int64)
        length_D = bytes_D / 570.0
        hard_D = np.maximum(1 + 0.15 * generator.normal(size=reviews), 0.3)
        long, short = self.deviations(generator, reviews), self.deviations(generator, reviews)
        sides = []
        for style_D, chance_D in zip(long, short, strict=True):
            moved_D = self.spread * math.sqrt(0.5) * (style_D + chance_D / np.sqrt(np.maximum(length_D, 0.25)))
            sides.append(bytes_D * LN2 * hard_D * np.maximum(1 + moved_D, 0.05))
        return Drawn(bytes_D, sides[0], sides[1] * (1 - gain))


def equal_deviations(generator: np.random.Generator, reviews: int) -> Pair:
    """Two independent draws of one distribution with heavy tails."""
    one, other = generator.standard_t(5, (2, reviews)) / math.sqrt(2 * 5 / 3)
    return one, other


def skewed_deviations(generator: np.random.Generator, reviews: int, sign: int) -> Pair:
    """The champion's deviations are lopsided, the challenger has none; with mean 0, and so their difference."""
    cut = 5.0  # so that no review costs less than nothing, which would have to be mended on one side only
    mean, square = 1 - math.exp(-cut), 2 * (1 - (1 + cut) * math.exp(-cut))
    drawn = np.minimum(generator.exponential(size=reviews), cut)
    lopsided = sign * (drawn - mean) / math.sqrt(square - mean**2)
    return lopsided, np.zeros(reviews)


WORLDS = (
    World("equal", equal_deviations),
    World("skewed", partial(skewed_deviations, sign=1)),
    World("skewed, reversed", partial(skewed_deviations, sign=-1)),
)


@dataclass(frozen=True)
class StoredWorld:
    """Two real models' scores of the same reviews: which is whose is tossed for each review.

    So both are equally good, and differ as those two do.
    """

    bytes_D: np.ndarray
    nats_2D: np.ndarray
    name: str = "real scores"

    @classmethod
    def load(cls, one: Path, other: Path) -> StoredWorld:
        """Read two `scores.parquet`; the second model's nats are scaled to the first one's sum."""
        columns = ["review_id", "bytes", "nats", "spelling_nats"]
        tables = [pl.read_parquet(file, columns=columns).sort("review_id") for file in (one, other)]
        if not tables[0].select("review_id", "bytes").equals(tables[1].select("review_id", "bytes")):
            raise SystemExit("the two files are not scores of the same reviews")
        nats_2D = np.stack([open_nats(rows) for rows in tables])
        return cls(tables[0]["bytes"].to_numpy(), nats_2D * (nats_2D[0].sum() / nats_2D.sum(axis=1))[:, None])

    def draw(self, generator: np.random.Generator, reviews: int, gain: float) -> Drawn:
        """See `World.draw`; reviews are drawn with replacement."""
        drawn_D = generator.integers(0, len(self.bytes_D), reviews)
        side_D = generator.integers(0, 2, reviews)
        ours_D, theirs_D = self.nats_2D[1 - side_D, drawn_D], self.nats_2D[side_D, drawn_D]
        return Drawn(self.bytes_D[drawn_D], theirs_D, ours_D * (1 - gain))


def judge(drawn: Drawn, stars_D: np.ndarray, about: pl.DataFrame | None = None, resamples: int = RESAMPLES) -> Decision:
    """Return the gate's decision on scores; nothing else is against the challenger."""
    count, words_D = len(drawn.bytes_D), np.maximum(drawn.bytes_D // 5, 1)
    table = pl.DataFrame({
        "review_id": review_ids(count), "bytes": drawn.bytes_D, "words": words_D, "stars": stars_D,
        "tokens": words_D + 1, "oov": np.zeros(count, np.int64), "spelling_nats": np.zeros(count),
    })
    return decide(POLICY, Evidence(
        challenger=table.with_columns(nats=drawn.challenger_D), challenger_digest="challenger", challenger_test="test",
        champion=table.with_columns(nats=drawn.champion_D), champion_digest="champion", champion_test="test",
        baseline_digest="challenger", reviews=about, challenger_departure=0.0, champion_departure=0.0,
        checks_passed=True, leak_free=True, leak_test="test", smoke_passed=True, latency=Latency(1, 1, 1),
        audit=dict.fromkeys(AUDITED, 0.0), resamples=resamples, seed=SEED,
    ))


def review_ids(count: int) -> list[str]:
    """Return ids that stand in their own order."""
    return [f"{number:07d}" for number in range(count)]


def lower_ends(draws: Sequence[Drawn], resamples: int = RESAMPLES, seed: int = SEED) -> np.ndarray:
    """Return for each trial the lower end of the gain's interval, as the rule "surely better" has it.

    A decision draws positions of reviews by its seed alone, so that trials of one seed are one product of matrices.
    `tests/benchmarks/test_gate_benchmark.py` compares the outcome with whole decisions.
    """
    ratios = [Ratio(drawn.challenger_D, drawn.champion_D, drawn.bytes_D) for drawn in draws]
    found = studentised_intervals(ratios, confidence=POLICY.confidence, resamples=resamples, seed=seed)
    return np.array([1 - interval.high for interval in found])


def promoted(world: World | StoredWorld, reviews: int, gain: float, trials: int, seed: int) -> int:
    """Return how many of so many challengers are surely better than the champion.

    Every hundred of them have draws of their own: what 1,000 draws tell of a tail would be wrong for all alike.
    """
    found, at_once = 0, 100
    for first in range(0, trials, at_once):
        numbers = range(first, min(trials, first + at_once))
        draws = [world.draw(np.random.default_rng([seed, reviews, trial]), reviews, gain) for trial in numbers]
        found += int((lower_ends(draws, seed=first) > POLICY.min_relative_gain).sum())
    say(f"{world.name}, {reviews} reviews, gain {gain:.2%}: {found} of {trials} promoted")
    return found


def share(found: int, trials: int) -> dict[str, Any]:
    """Return the share with the exact 95 % interval of its true value."""
    low = float(beta.ppf(0.025, found, trials - found + 1)) if found else 0.0
    high = float(beta.ppf(0.975, found + 1, trials - found)) if found < trials else 1.0
    return {"trials": trials, "promoted": found, "share": round(found / trials, 4), "low": round(low, 4),
            "high": round(high, 4)}  # fmt: skip


def about_reviews(generator: np.random.Generator, count: int) -> pl.DataFrame:
    """Return months and categories of reviews, of which some are rare."""
    months = generator.integers(0, MONTHS, count)
    categories = np.minimum(generator.geometric(0.25, count), CATEGORIES)
    dates = [date(2019 + int(month) // 12, int(month) % 12 + 1, 15) for month in months]
    kinds = [f"kind {number}" for number in categories]
    return pl.DataFrame({"review_id": review_ids(count), "date": dates, "categories": kinds})


def slice_errors(reviews: int, loss: float, trials: int, seed: int) -> dict[str, Any]:
    """Return how often a challenger that is 3 % better is refused for its slices, by whole decisions.

    Args:
        reviews: Of the test set.
        loss: By how much it is worse on reviews of one star; 0 for no worse slice at all.
        trials: Decisions.
        seed: Of the draws.
    """
    refused = by_stars = 0
    for trial in range(trials):
        generator = np.random.default_rng([seed, reviews, trial])
        drawn, stars_D = WORLDS[0].draw(generator, reviews, 0.03), generator.choice(np.arange(1, 6), reviews, p=STARS)
        worse_D = np.where(stars_D == 1, (1 + loss) / 0.97, 1.0) if loss else np.ones(reviews)
        drawn = replace(drawn, challenger_D=drawn.challenger_D * worse_D)
        decision = judge(drawn, stars_D, about_reviews(generator, reviews), resamples=100)
        rule = next(rule for rule in decision.rules if rule.name == "no slice worse")
        refused += rule.passed is False
        by_stars += rule.passed is False and rule.detail.startswith("worst at stars 1 ")
    say(f"slices, {reviews} reviews, 1 star worse by {loss:.0%}: {refused} of {trials} refused, {by_stars} for it")
    return {"trials": trials, "refused": refused, "for 1 star": by_stars, "share": round(refused / trials, 4)}


def many_tries(tries: int, confidence: float, runs: int = 20_000, seed: int = 1) -> dict[str, Any]:
    """Return what comes of so many equally good challengers, one after the other, of which none is better.

    On new test reviews each time, every try has the same chance. On one frozen test set a champion that was lucky stays
    so, and is harder to beat: each model's error is drawn once, N(0, σ²), and the difference of two has √2 σ.
    """
    critical = math.sqrt(2) * norm.ppf(1 - (1 - confidence) / 2)
    generator = np.random.default_rng(seed)
    champion_R, moves_R = generator.normal(size=runs), np.zeros(runs, np.int64)
    for _ in range(tries):
        challenger_R = generator.normal(size=runs)
        better_R = champion_R - challenger_R > critical
        moves_R += better_R
        champion_R = np.where(better_R, challenger_R, champion_R)
    alpha = (1 - confidence) / 2
    return {
        "tries": tries, "confidence": confidence, "any on new reviews": round(1 - (1 - alpha) ** tries, 4),
        "any on one test set": round(float((moves_R > 0).mean()), 4), "moves on one test set": round(moves_R.mean(), 3),
    }


@dataclass(frozen=True)
class Plan:
    """How much is simulated: trials by number of reviews without a gain, and of everything else."""

    equal: Mapping[int, int]
    other: Mapping[int, int]
    power: Sequence[int]
    gains: Sequence[float]
    losses: Sequence[float]
    trials: int


QUICK = Plan({300: 1_000}, {300: 1_000}, (1_000, 5_000), (0.01,), (0.0, 0.10), 100)
FULL = Plan(
    {100: 4_000, 300: 4_000, 1_000: 4_000, 5_000: 1_000}, {100: 4_000, 300: 4_000, 1_000: 4_000},
    (300, 1_000, 2_000, 5_000), (0.0025, 0.005, 0.01, 0.02), (0.0, 0.06, 0.10, 0.20), 200,
)  # fmt: skip


def tables(quick: bool, worlds: Sequence[World | StoredWorld], seed: int = 1) -> dict[str, dict[str, Any]]:
    """Return all measurements by name."""
    plan = QUICK if quick else FULL
    found: dict[str, dict[str, Any]] = {}
    for world in worlds:
        for reviews, trials in plan.equal.items() if world.name == "equal" else plan.other.items():
            count = promoted(world, reviews, 0.0, trials, seed)
            found[f"no gain, {world.name}, {reviews} reviews"] = share(count, trials)
    for reviews in plan.power:
        for gain in plan.gains:
            count = promoted(WORLDS[0], reviews, gain, plan.trials, seed + 1)
            found[f"gain {gain:.2%}, {reviews} reviews"] = share(count, plan.trials)
    for loss in plan.losses:
        name = f"slices, 1 star worse by {loss:.0%}, 1000 reviews"
        found[name] = slice_errors(1_000, loss, plan.trials // 2, seed + 2)
    for confidence in (0.95, 0.99, 0.999):
        for tries in (1, 12, 52):
            found[f"{tries} tries, confidence {confidence}"] = many_tries(tries, confidence)
    return found


def main() -> None:
    """Simulate, and show the shares."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--scores", nargs=2, type=Path, help="scores.parquet of two models on the same reviews")
    args = parser.parse_args()
    worlds: list[World | StoredWorld] = [*WORLDS, StoredWorld.load(*args.scores)] if args.scores else list(WORLDS)
    found = tables(args.quick, worlds)
    equal = max(row["share"] for name, row in found.items() if name.startswith("no gain, equal"))
    power = found["gain 1.00%, 5000 reviews"]["share"]
    ratios = {
        "gate.alpha": Reached(round(ALPHA / max(equal, 1e-4), 3), 1.0, "stated share of equal models promoted"),
        "gate.power": Reached(round(power / 0.9, 3), 1.0, "90 % of gains of 1 % on 5,000 reviews promoted"),
    }
    finish(args, Report("gate", "How often the gate errs", found, ratios, ("numpy", "polars", "scipy"), NOTES))


if __name__ == "__main__":
    main()
