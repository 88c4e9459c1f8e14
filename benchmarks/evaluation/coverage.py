"""Simulate how often the confidence intervals of the evaluation contain the true figure.

The figures are in `benchmarks/results/2026-11-20-coverage.md`.

    python -m benchmarks.evaluation.coverage --quick
    python -m benchmarks.evaluation.coverage --write
    python -m benchmarks.evaluation.coverage --reviews 500 --sets 400

Reviews are drawn from a finite population, so its figures are known exactly. Lengths are skewed like those of real
reviews, short reviews cost more per byte, and the same reviews are hard for both models. Each draw is a test set. Its
intervals come from the code that a run uses, and each interval contains the population's figure or does not.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import sqrt
from typing import Any

import numpy as np
import polars as pl

from benchmarks.harness import Ratio, Report, arguments, finish, say
from reviewlm.evaluation.scoring.metrics import FIGURES, LN2, figures_of
from reviewlm.evaluation.statistics.bootstrap import ratio_interval
from reviewlm.evaluation.statistics.floor import JUDGED
from reviewlm.evaluation.statistics.intervals import ComparedScores

CONFIDENCE = 0.95
GOAL = (0.93, 0.97)
POPULATION = 200_000
SIZES = {
    50: 2_000,
    100: 2_000,
    500: 2_000,
    2_000: 1_000,
    8_000: 500,
}
"""Number of test sets by number of reviews in a test set. The largest have more than `bootstrap.MAX_UNITS` reviews."""
QUICK = {100: 300, 1_000: 100}
RESAMPLES = 2_000
SHOWN = (
    "perplexity",
    "word_perplexity",
    "byte_perplexity",
    "bits_per_byte",
    "open_bits_per_byte",
    "oov_share",
)


def population(
    size: int,
    seed: int,
    spread: float = 0.85,
) -> dict[str, pl.DataFrame]:
    """Return the scores of a model and a baseline on *size* reviews, and those of the grammar.

    Args:
        size: Number of reviews.
        seed: Equal seeds give equal populations.
        spread: Standard deviation of the logarithm of the length; that of Yelp's reviews is about 0.85.
    """
    random = np.random.default_rng(seed)
    words_D = np.clip(np.exp(random.normal(np.log(75), spread, size)), 1, 1_000).astype(int)
    tokens_D = (words_D * random.normal(1.15, 0.03, size)).astype(int) + 1
    bytes_D = (words_D * random.normal(5.4, 0.3, size)).astype(int) + 1
    hard_D = np.exp(random.normal(0, 0.12, size)) * (words_D / 75) ** -0.06
    floor_D = 0.9 * hard_D * bytes_D * LN2
    oov_D = random.poisson(0.01 * words_D)
    base = {
        "stars": random.integers(1, 6, size),
        "bytes": bytes_D,
        "words": words_D,
        "tokens": tokens_D,
        "oov": oov_D,
    }
    spelling_D = oov_D * random.normal(9, 1, size)
    shared = pl.DataFrame(
        {
            "review_id": [f"r{n}" for n in range(size)],
            **base,
            "spelling_nats": spelling_D,
        }
    )
    tables = {"judged": shared.select("review_id", "bytes", nats=floor_D).cast(JUDGED)}
    for name, above in (("model", 0.20), ("baseline", 0.24)):
        excess_D = above * random.lognormal(0, 0.3, size) * bytes_D * LN2
        tables[name] = shared.with_columns(nats=floor_D + excess_D)

    hits_D = random.binomial(tokens_D, np.clip(0.25 / hard_D, 0, 1))
    tables["model"] = tables["model"].with_columns(hits=hits_D)
    return tables


def figures_of_population(tables: Mapping[str, pl.DataFrame]) -> dict[str, float]:
    """Return the true figures of the population."""
    model = figures_of(tables["model"])
    base = figures_of(tables["baseline"])
    gap = (
        model.nats + model.spelling_nats - float(tables["judged"]["nats"].to_numpy().sum())
    ) / LN2
    return {
        **{name: float(getattr(model, name)) for name in SHOWN},
        "difference": model.open_bits_per_byte - base.open_bits_per_byte,
        "baseline_gain": 1 - model.open_bits_per_byte / base.open_bits_per_byte,
        "gap": gap / model.bytes,
        "hit@1": int(tables["model"]["hits"].to_numpy().sum()) / model.tokens,
    }


def intervals(
    tables: Mapping[str, pl.DataFrame],
    rows: np.ndarray,
    resamples: int,
) -> dict[str, tuple[float, float]]:
    """Return the ends of the confidence interval of every figure on some reviews of the population."""
    ids = pl.Series("review_id", [f"r{n:06d}" for n in range(len(rows))])
    drawn = {name: table[rows].with_columns(ids) for name, table in tables.items()}
    scores = {name: drawn[name] for name in ("model", "baseline")}
    figures = {name: figures_of(frame) for name, frame in scores.items()}
    how: dict[str, Any] = {
        "confidence": CONFIDENCE,
        "resamples": resamples,
        "seed": 1,
    }
    compared = ComparedScores(scores, figures, drawn["judged"], **how)
    row = compared.interval_table("baseline").row(0, named=True)
    pair = compared.boot.interval(lambda sums: _open(sums, "model") - _open(sums, "baseline"))
    hits = ratio_interval(
        drawn["model"]["hits"].to_numpy(), drawn["model"]["tokens"].to_numpy(), **how
    )
    found = {
        name: (row[f"{name}_lo"], row[f"{name}_hi"]) for name in (*SHOWN, "baseline_gain", "gap")
    }
    return {
        **found,
        "difference": (pair.low, pair.high),
        "hit@1": (hits.low, hits.high),
    }


def _open(sums: Mapping[Any, Any], name: str) -> Any:
    own = {column: sums[name, column] for column in ("nats", "spelling_nats")}
    return FIGURES["open_bits_per_byte"]({**own, "bytes": sums["bytes"]})


def coverage(
    tables: Mapping[str, pl.DataFrame],
    size: int,
    sets: int,
    seed: int,
    resamples: int = RESAMPLES,
) -> dict[str, float]:
    """Return by figure the share of *sets* test sets of *size* reviews whose interval contains the true figure."""
    truth = figures_of_population(tables)
    held = Counter[str]()
    for rows in _test_sets(len(tables["model"]), size, sets, seed):
        found = intervals(tables, rows, resamples)
        held.update(name for name, (low, high) in found.items() if low <= truth[name] <= high)
    return {name: held[name] / sets for name in truth}


def _test_sets(
    population_size: int,
    size: int,
    sets: int,
    seed: int,
) -> Iterator[np.ndarray]:
    random = np.random.default_rng(seed)
    for _ in range(sets):
        yield random.integers(0, population_size, size)


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the simulation and report the coverage by figure and number of reviews."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--reviews", type=int, help="only test sets with this number of reviews")
    parser.add_argument("--sets", type=int, help="number of test sets of each size")
    args: argparse.Namespace = parser.parse_args(argv)
    sizes = QUICK if args.quick else SIZES
    if args.reviews:
        sizes = {args.reviews: args.sets or sizes.get(args.reviews, min(sizes.values()))}

    sizes = {size: args.sets or sets for size, sets in sizes.items()}
    tables = population(POPULATION, seed=1)
    rows = {}
    for size, sets in sizes.items():
        rows[f"{size:,} reviews"] = {"test sets": sets, **coverage(tables, size, sets, seed=size)}
        say(f"{size} reviews: {rows[f'{size:,} reviews']}")

    shares = [share for row in rows.values() for name, share in row.items() if name != "test sets"]
    sure = {
        "least": (min(shares), min(shares) / GOAL[0]),
        "most": (max(shares), GOAL[1] / max(shares)),
    }
    ratios = {
        f"coverage.{name}": Ratio(
            round(value, 4), 1.0, f"{name} {share:.4f}, goal {GOAL[0]:.0%} to {GOAL[1]:.0%}"
        )
        for name, (share, value) in sure.items()
    }
    noise = 2 * sqrt(CONFIDENCE * (1 - CONFIDENCE) / min(sizes.values()))
    notes = (
        f"Share of test sets whose {CONFIDENCE:.0%} interval ({RESAMPLES:,} draws) holds the figure of the population "
        f"of {POPULATION:,} reviews they were drawn from. Twice the standard error of a share is at most {noise:.3f}.",
    )
    return finish(
        args,
        Report(
            "coverage",
            "Coverage of the intervals",
            rows,
            ratios,
            ("numpy",),
            notes,
        ),
    )


if __name__ == "__main__":
    main()
