"""Simulate how often the gate errs on equal, better and worse challengers, partly by whole decisions.

    python -m benchmarks.evaluation.gate --write

Each trial draws test reviews and the scores of two models on them; no other rule is against the challenger. Random are
the same things as in practice: which reviews are in the test set, and which model happens to be better on which review.
A challenger that is surely better may still fail another rule. So the shares of equal challengers are upper bounds for
the whole policy. The cost of the rule on slices for a better challenger is measured by whole decisions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import beta, norm

from benchmarks.evaluation.gate_worlds import (
    CLUSTERS,
    LAYOUTS,
    LOPSIDED,
    WORLDS,
    Clustered,
    Drawing,
    Drawn,
    StoredWorld,
    texts,
)
from benchmarks.harness import Ratio as Reached
from benchmarks.harness import Report, arguments, finish, say
from reviewlm.core.config.sections.evaluation import PromotionConfig
from reviewlm.core.lineage import Family
from reviewlm.evaluation.gate.decision import Decision
from reviewlm.evaluation.gate.evidence import (
    ChampionReviews,
    Evidence,
    Latency,
    Leaks,
    ModelEvidence,
)
from reviewlm.evaluation.gate.language import LanguageCase
from reviewlm.evaluation.statistics.bootstrap import Bootstrap, expanded_tail
from reviewlm.evaluation.statistics.gain_interval import (
    Ratio,
    cautious_intervals,
    effective_reviews,
    gain_ratio,
    studentised_ends,
)

POLICY = PromotionConfig()
FAMILY = Family("reviews")
ALPHA = (1 - POLICY.confidence) / 2
RESAMPLES = 1_000
SEED = 1
STARS = (0.11, 0.08, 0.12, 0.25, 0.44)
"""Shares of the ratings 1 to 5 among the first 5,000 reviews of the Yelp open dataset."""
CATEGORIES = 12
MONTHS = 24
AUDITED = (
    "copied_passages",
    "real_copied_passages",
    "longest_copied",
    "real_longest_copied",
    "private_patterns",
)
Ends = Callable[..., np.ndarray]
"""Function from trials, resamples and seed to the lower end of each trial's gain."""

NOTES = (
    "z: of the same trials, passed by a z-test of the groups' sums (of single reviews where there are no groups), which "
    "knows nothing of rare losses. low and high are the ends of the exact 95 % interval of the share (Clopper and "
    f"Pearson 1934). The bootstrap draws {RESAMPLES:,} times instead of 10,000.",
    "Lengths are log-normal and cut at 5,000 bytes: mean 577, coefficient of variation 0.92 (first 5,000 reviews of "
    "the Yelp open dataset: 545 and 0.90). A review costs 1 bit a byte, give or take 15 % for both models alike. "
    "Between two models it differs by a part that grows with its length and a part that grows with its square root; "
    "the standard deviation is 12 % of an average review's bits. Of 36 pairs of our own models on the embedded corpus "
    "it was 0.6 to 16 %, with a kurtosis of 4 to 8 (25 where one model is a part of the other).",
    "equal: the deviations of both models are Student's t with 5 degrees of freedom, independent, of one distribution; "
    "the kurtosis of the difference is 25. skewed: the champion is a little better on most reviews and much worse on "
    "few, or (reversed) a little worse on most; the means are equal, the skewness is 2.5 (own pairs: up to 1.6, and 4 "
    "where one model is a part of the other).",
    "lopsided: the challenger is better by the same on most reviews and worse by so much on the rest that it is no "
    "better on the whole; a review's difference has a noise of 1 % besides. Of ten pairs of models of 1,928 real "
    "reviews (n-grams of words and characters, an LSTM, mixtures) the better one was worse by 56 % at most on a single "
    "review, and the worse one by 84 %.",
    "clusters: the difference of a review is a part that all reviews of its group share and a part of its own; the "
    "first has the share ICC of the variance; both are normal, heavy (Student's t with 3.5 degrees of freedom) or "
    "skewed. rare reviews, rare groups: of so many reviews, or of all reviews of so many groups, the challenger is "
    "worse. 60 unequal: sizes are log-normal, 1 to 33 reviews, mean 5.",
    "best of nine: one champion and nine challengers, all equally good; the one that is best on as many validation "
    "reviews is tried on the test reviews, or, as nobody should, the one that is best on the test reviews themselves.",
    "Many tries: worked out for errors that are normal, 20,000 histories each.",
)


def judge(
    drawn: Drawn,
    stars_D: np.ndarray,
    about: pl.DataFrame | None = None,
    resamples: int = RESAMPLES,
) -> Decision:
    """Return the gate's decision on scores; no other evidence is against the challenger."""
    count = len(drawn.bytes_D)
    words_D = np.maximum(drawn.bytes_D // 5, 1)
    table = pl.DataFrame(
        {
            "review_id": review_ids(count),
            "bytes": drawn.bytes_D,
            "words": words_D,
            "stars": stars_D,
            "tokens": words_D + 1,
            "oov": np.zeros(count, np.int64),
            "spelling_nats": np.zeros(count),
        }
    )
    challenger, champion = (
        ModelEvidence(
            name,
            table.with_columns(nats=nats_D),
            "test",
            family=FAMILY,
            departure=0.0,
        )
        for name, nats_D in (("challenger", drawn.challenger_D), ("champion", drawn.champion_D))
    )
    return LanguageCase.judge(
        POLICY,
        Evidence(
            challenger,
            champion,
            ModelEvidence("challenger"),
            reviews=_known(drawn, about),
            checks_passed=True,
            leaks=Leaks(True, test="test"),
            smoke_passed=True,
            latency=Latency(1, 1, 1),
            champion_reviews=ChampionReviews(same=True),
            audit=dict.fromkeys(AUDITED, 0.0),
            resamples=resamples,
            seed=SEED,
        ),
    )


def _known(drawn: Drawn, about: pl.DataFrame | None) -> pl.DataFrame | None:
    """Return the known columns of the reviews, with their groups if there are any."""
    if drawn.groups_D is None:
        return about
    groups = pl.DataFrame({"review_id": review_ids(len(drawn.bytes_D)), "group": drawn.groups_D})
    return (
        groups
        if about is None
        else about.join(
            groups,
            on="review_id",
            maintain_order="left",
            how="left",
        )
    )


def review_ids(count: int) -> list[str]:
    """Return ids whose order as text is that of the reviews."""
    return [f"{number:07d}" for number in range(count)]


def lower_ends(
    draws: Sequence[Drawn],
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> np.ndarray:
    """Return for each trial the lower end of the gain's confidence interval, as in the rule "better than the champion".

    The positions that a decision draws depend only on its seed, so trials with one seed are one matrix product.
    `tests/evaluation/gate/test_promotion_rates.py` compares the outcome with whole decisions.
    """
    ratios = [
        gain_ratio(
            drawn.challenger_D,
            drawn.champion_D,
            drawn.bytes_D,
            drawn.groups_D,
            POLICY.max_review_loss,
        )
        for drawn in draws
    ]
    found = cautious_intervals(
        ratios,
        confidence=POLICY.confidence,
        resamples=resamples,
        seed=seed,
    )
    return np.array([1 - interval.high for interval in found])


def ends_of_single_reviews(
    draws: Sequence[Drawn],
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> np.ndarray:
    """Return the same ends from the bootstrap-t over single reviews alone."""
    ratios = [Ratio(drawn.challenger_D, drawn.champion_D, drawn.bytes_D) for drawn in draws]
    columns = {
        (row, name): column
        for row, one in enumerate(ratios)
        for name, column in one.columns().items()
    }
    boot = Bootstrap(
        columns.items(),
        confidence=POLICY.confidence,
        resamples=resamples,
        seed=seed,
    )
    tails = [expanded_tail(POLICY.confidence, effective_reviews(one.bytes_D)) for one in ratios]
    highs = [studentised_ends(boot, row, tail)[1] for row, tail in enumerate(tails)]
    return np.array([1 - one.estimate - high for one, high in zip(ratios, highs, strict=True)])


def z_ends(
    draws: Sequence[Drawn],
    resamples: int = 0,
    seed: int = SEED,
) -> np.ndarray:
    """Return the same ends from the normal distribution and the standard error of the groups' sums."""
    ends = []
    for drawn in draws:
        ratio = Ratio(drawn.challenger_D, drawn.champion_D, drawn.bytes_D, drawn.groups_D).by_group
        count = len(ratio.numerator_D)
        residual_C = ratio.residual_D
        squares = count / (count - 1) * float((residual_C**2).sum())
        error = math.sqrt(squares) / float(ratio.denominator_D.sum())
        ends.append(1 - ratio.estimate - norm.ppf(1 - ALPHA) * error)
    return np.array(ends)


def promoted(
    world: Drawing,
    reviews: int,
    gain: float,
    trials: int,
    seed: int,
    ends: Ends = lower_ends,
) -> int:
    """Return how many of *trials* challengers are surely better than the champion."""
    [found] = promoted_by(
        (ends,),
        world,
        reviews,
        gain,
        trials,
        seed,
    )
    return found


def promoted_by(
    ways: Sequence[Ends],
    world: Drawing,
    reviews: int,
    gain: float,
    trials: int,
    seed: int,
) -> list[int]:
    """Return how many of the same *trials* challengers are surely better than the champion, in several ways.

    Every hundred trials use other bootstrap draws. With the same draws, the error of a tail that is estimated from
    1,000 draws would be the same in all trials.
    """
    found = [0] * len(ways)
    at_once = 100
    for first in range(0, trials, at_once):
        draws = [
            world.draw(np.random.default_rng([seed, reviews, trial]), reviews, gain)
            for trial in range(first, min(trials, first + at_once))
        ]
        for row, ends in enumerate(ways):
            found[row] += int((ends(draws, seed=first) > POLICY.min_relative_gain).sum())

    say(f"{world.name}, {reviews} reviews, gain {gain:.2%}: {found} of {trials} promoted")
    return found


def measured(
    world: Drawing,
    reviews: int,
    gain: float,
    trials: int,
    seed: int,
) -> dict[str, Any]:
    """Return the promoted share, and that of a z-test."""
    found, by_z = promoted_by(
        (lower_ends, z_ends),
        world,
        reviews,
        gain,
        trials,
        seed,
    )
    return {**share(found, trials), "z": round(by_z / trials, 4)}


def best_of(
    challengers: int,
    reviews: int,
    trials: int,
    seed: int,
    on_test: bool,
) -> dict[str, Any]:
    """Return how often the best of several equal challengers is promoted.

    Args:
        challengers: Number of challengers; all are as good as the champion.
        reviews: Number of validation reviews, and of test reviews.
        trials: Number of choices.
        seed: Seed of the draws.
        on_test: Whether to choose by the test reviews, which is a mistake, instead of the validation reviews.
    """

    def drawn(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        bytes_D, common_D = texts(generator, reviews)
        moved_MD = 0.085 * generator.standard_t(5, (challengers + 1, reviews)) / math.sqrt(5 / 3)
        return bytes_D, common_D * np.maximum(1 + moved_MD, 0.05)

    counts = dict.fromkeys((lower_ends, z_ends), 0)
    for first in range(0, trials, 100):
        chosen = []
        for trial in range(first, min(trials, first + 100)):
            generator = np.random.default_rng([seed, reviews, trial])
            (_, validation_MD), (bytes_D, test_MD) = drawn(generator), drawn(generator)
            best = 1 + int(np.argmin((test_MD if on_test else validation_MD)[1:].sum(axis=1)))
            chosen.append(Drawn(bytes_D, test_MD[0], test_MD[best]))
        for ends in counts:
            counts[ends] += int((ends(chosen, seed=first) > 0).sum())

    say(
        f"best of {challengers}, on_test {on_test}: {counts[lower_ends]} and {counts[z_ends]} of {trials}"
    )
    return {**share(counts[lower_ends], trials), "z": round(counts[z_ends] / trials, 4)}


def share(found: int, trials: int) -> dict[str, Any]:
    """Return the share with the exact 95 % confidence interval of its true value."""
    low = float(beta.ppf(0.025, found, trials - found + 1)) if found else 0.0
    high = float(beta.ppf(0.975, found + 1, trials - found)) if found < trials else 1.0
    return {
        "trials": trials,
        "promoted": found,
        "share": round(found / trials, 4),
        "low": round(low, 4),
        "high": round(high, 4),
    }


def about_reviews(generator: np.random.Generator, count: int) -> pl.DataFrame:
    """Return months and categories of reviews; some of them are rare."""
    months = generator.integers(0, MONTHS, count)
    categories = np.minimum(generator.geometric(0.25, count), CATEGORIES)
    dates = [date(2019 + int(month) // 12, int(month) % 12 + 1, 15) for month in months]
    kinds = [f"kind {number}" for number in categories]
    return pl.DataFrame(
        {
            "review_id": review_ids(count),
            "date": dates,
            "categories": kinds,
        }
    )


def slice_errors(
    reviews: int,
    loss: float,
    trials: int,
    seed: int,
) -> dict[str, Any]:
    """Return how often a challenger that is 3 % better is refused because of its slices, by whole decisions.

    Args:
        reviews: Number of test reviews.
        loss: How much worse it is on reviews with one star; 0 if no slice is worse.
        trials: Number of decisions.
        seed: Seed of the draws.
    """
    refused = by_stars = 0
    for trial in range(trials):
        generator = np.random.default_rng([seed, reviews, trial])
        drawn = WORLDS[0].draw(generator, reviews, 0.03)
        stars_D = generator.choice(np.arange(1, 6), reviews, p=STARS)
        worse_D = np.where(stars_D == 1, (1 + loss) / 0.97, 1.0) if loss else np.ones(reviews)
        drawn = replace(drawn, challenger_D=drawn.challenger_D * worse_D)
        decision = judge(drawn, stars_D, about_reviews(generator, reviews), resamples=100)
        rule = next(rule for rule in decision.rules if rule.name == "no slice worse")
        refused += rule.passed is False
        by_stars += rule.passed is False and " slices is stars 1 " in rule.detail

    say(
        f"slices, {reviews} reviews, 1 star worse by {loss:.0%}: {refused} of {trials} refused, {by_stars} for it"
    )
    return {
        "trials": trials,
        "refused": refused,
        "for 1 star": by_stars,
        "share": round(refused / trials, 4),
    }


def many_tries(
    tries: int,
    confidence: float,
    runs: int = 20_000,
    seed: int = 1,
) -> dict[str, Any]:
    """Return the outcome of *tries* equally good challengers, one after the other.

    With new test reviews each time, every try has the same chance. On one frozen test set a lucky champion stays lucky
    and is harder to beat: each model's error is drawn once, N(0, σ²), and the difference of two errors has √2 σ.
    """
    critical = math.sqrt(2) * norm.ppf(1 - (1 - confidence) / 2)
    generator = np.random.default_rng(seed)
    champion_R = generator.normal(size=runs)
    moves_R = np.zeros(runs, np.int64)
    for _ in range(tries):
        challenger_R = generator.normal(size=runs)
        better_R = champion_R - challenger_R > critical
        moves_R += better_R
        champion_R = np.where(better_R, challenger_R, champion_R)

    alpha = (1 - confidence) / 2
    return {
        "tries": tries,
        "confidence": confidence,
        "any on new reviews": round(1 - (1 - alpha) ** tries, 4),
        "any on one test set": round(float((moves_R > 0).mean()), 4),
        "moves on one test set": round(moves_R.mean(), 3),
    }


@dataclass(frozen=True)
class Plan:
    """Extent of the simulation: trials by number of reviews without a gain, and those of all other cases."""

    equal: Mapping[int, int]
    lopsided: Mapping[int, int]
    clusters: int
    power: Sequence[int]
    gains: Sequence[float]
    losses: Sequence[float]
    trials: int
    decisions: int


QUICK = Plan(
    {300: 1_000},
    {30: 500, 300: 500},
    300,
    (1_000, 5_000),
    (0.01,),
    (0.0, 0.10),
    100,
    50,
)
FULL = Plan(
    {
        30: 4_000,
        100: 4_000,
        300: 4_000,
        1_000: 4_000,
        5_000: 4_000,
    },
    {
        30: 4_000,
        100: 4_000,
        300: 4_000,
        1_000: 4_000,
    },
    4_000,
    (30, 100, 300, 1_000, 2_000, 5_000),
    (0.005, 0.01, 0.02, 0.05, 0.10, 0.20),
    (0.0, 0.06, 0.10),
    1_000,
    100,
)


def tables(
    quick: bool,
    worlds: Sequence[Drawing],
    seed: int = 1,
) -> dict[str, dict[str, Any]]:
    """Return all measurements by name."""
    plan = QUICK if quick else FULL
    found: dict[str, dict[str, Any]] = {}
    for world, sizes in (
        *((one, plan.equal) for one in worlds),
        *((one, plan.lopsided) for one in LOPSIDED),
    ):
        for reviews, trials in sizes.items():
            found[f"no gain, {world.name}, {reviews} reviews"] = measured(
                world,
                reviews,
                0.0,
                trials,
                seed,
            )

    for reviews in plan.equal:
        found[f"0.5% worse, {worlds[0].name}, {reviews} reviews"] = measured(
            worlds[0],
            reviews,
            -0.005,
            plan.trials,
            seed,
        )

    for cluster in CLUSTERS:
        found[f"no gain, {cluster.name}"] = measured(
            cluster,
            sum(cluster.sizes),
            0.0,
            plan.clusters,
            seed,
        )

    for on_test in (False, True):
        where = "the test itself" if on_test else "validation"
        found[f"best of nine equals on {where}, 1000 reviews"] = best_of(
            9,
            1_000,
            plan.clusters,
            seed,
            on_test,
        )

    found |= _powers(plan, seed + 1)
    for loss in plan.losses:
        name = f"slices, 1 star worse by {loss:.0%}, 1000 reviews"
        found[name] = slice_errors(1_000, loss, plan.decisions, seed + 2)

    for confidence in (0.95, 0.99, 0.999):
        for tries in (1, 12, 52):
            found[f"{tries} tries, confidence {confidence}"] = many_tries(tries, confidence)

    return found


def _powers(plan: Plan, seed: int) -> dict[str, dict[str, Any]]:
    """Return the promoted shares of better challengers, up to the first gain with which all are promoted."""
    found: dict[str, dict[str, Any]] = {}
    for reviews in plan.power:
        for gain in plan.gains:
            row = found[f"gain {gain:.2%}, {reviews} reviews"] = measured(
                WORLDS[0],
                reviews,
                gain,
                plan.trials,
                seed,
            )
            if row["share"] == 1:
                break

    clusters = [
        Clustered(label, sizes, alike)
        for label, sizes in LAYOUTS.items()
        for alike in (0.0, 0.1, 0.3)
    ]
    for cluster in clusters:
        for gain in (0.01, 0.02, 0.05, 0.10):
            found[f"gain {gain:.2%}, {cluster.name}"] = measured(
                cluster,
                sum(cluster.sizes),
                gain,
                plan.trials,
                seed,
            )

    return found


def main() -> None:
    """Run the simulation and show the shares."""
    parser = arguments(__doc__ or "")
    parser.add_argument(
        "--scores",
        nargs=2,
        type=Path,
        help="scores.parquet of two models on the same reviews",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=1,
        help="seed of all trials (default 1)",
    )
    args = parser.parse_args()
    worlds: list[Drawing] = (
        [*WORLDS, StoredWorld.load(*args.scores)] if args.scores else list(WORLDS)
    )
    found = tables(args.quick, worlds, args.seed)
    surely = max(row["low"] for name, row in found.items() if name.startswith("no gain"))
    power = found["gain 1.00%, 5000 reviews"]["share"]
    ratios = {
        "gate.alpha": Reached(
            round(ALPHA / max(surely, 1e-4), 3), 1.0, "stated share; largest lower end measured"
        ),
        "gate.power": Reached(
            round(power / 0.9, 3), 1.0, "90 % of gains of 1 % on 5,000 reviews promoted"
        ),
    }
    finish(
        args,
        Report(
            "gate",
            "How often the gate errs",
            found,
            ratios,
            ("numpy", "polars", "scipy"),
            NOTES,
        ),
    )


if __name__ == "__main__":
    main()
