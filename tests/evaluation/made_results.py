"""A made-up run, of which everything is known: what the tests of the report and of the model card look at."""

from __future__ import annotations

import math

import numpy as np
import polars as pl

from reviewlm.evaluation.gate.decision import Decision
from reviewlm.evaluation.gate.rule_table import RuleOutcome
from reviewlm.evaluation.reports.run_results import ModelResults, RunResults
from reviewlm.evaluation.scoring.metrics import Figures, policies
from reviewlm.evaluation.statistics.comparison import comparison_table
from reviewlm.evaluation.statistics.slice_table import SLICES

LEVELS = {
    "unigram": 2.1,
    "kn5": 1.0,
    "nplm": 1.05,
    "gru": 0.86,
    "lstm": 0.82,
    "lstm+cache": 0.8,
    "lstm-char": 0.93,
}
KINDS = {
    "unigram": "ngram",
    "kn5": "ngram",
    "nplm": "nplm",
    "gru": "gru",
    "lstm": "lstm",
    "lstm+cache": "neural_cache",
    "lstm-char": "lstm",
}
TEXTS = (
    "The soup was cold and the staff was rude . We waited forty minutes for a table and will never come back !",
    "Great little place with the best tacos in town . The salsa is made fresh every day , and it shows .",
    "I would give it zero stars if I could . Do not go to <unk> after nine .",
    "My favourite brunch spot . Try the <unk> pancakes and the cold brew , you will not be disappointed .",
)
SIZES = {
    "stars": ["1", "2", "3", "4", "5"],
    "length": ["1–15 words", "16–40 words", "41–100 words", "101–800 words"],
    "month": [f"{year}-{month:02d}" for year in (2020, 2021, 2022) for month in range(1, 13)],
    "category": [
        "Restaurants",
        "Shopping",
        "Nightlife",
        "Beauty & Spas",
        "Automotive",
        "Home Services",
    ],
}


def made_results(**changes) -> RunResults:
    """Seven models on 680 reviews, the cached LSTM best; everything that a report can show is there."""
    random = np.random.default_rng(7)
    table = made_table()
    known = {
        "models": tuple(made_model(name, random) for name in LEVELS),
        "table": table,
        "winner": "lstm+cache",
        "baseline": "kn5",
        "floor": 0.766,
        "slices": made_slices(random),
        "decision": made_decision(),
        "version": 3,
        "champion": 3,
        "data": {
            "reviews": 6_956,
            "first review": "2015-01-01",
            "last review": "2022-12-31",
            "languages": "not told apart",
            "licence": "not stated",
        },
        "digests": {"ingest": "6160d48ee348b2bb", "prepare": "8ac1d4c38f1521f3"},
        "run": {
            "MLflow run": "0123456789abcdef",
            "preset": "demo",
            "commit": "3a037031",
        },
        "source": "yelp.csv, 6,956 reviews",
        "name": "reviews",
        "config": '{"preset": "demo"}',
        "commands": ("git checkout 3a037031", "reviewlm run --preset demo"),
    }
    return RunResults(**{**known, **changes})


def made_table() -> pl.DataFrame:
    """The comparison table with intervals, gap and costs."""
    figures = {}
    for name, level in LEVELS.items():
        unit, tokens = ("char", 267_000) if name.endswith("char") else ("word", 58_300)
        nats, unknown = 267_692 * math.log(2), 400 if unit == "word" else 0
        way = "continuous cache" if "cache" in name else "static"
        figures[name] = Figures(
            680,
            tokens,
            267_692,
            49_135,
            unknown,
            (level - 0.01) * nats,
            0.01 * nats,
            unit,
            f"digest of {unit}",
            "b",
            way,
        )
    table = comparison_table(figures, KINDS, "kn5")
    for column in ("open_bits_per_byte", "perplexity", "word_perplexity", "bits_per_byte"):
        table = table.with_columns(
            (pl.col(column) * 0.985).alias(f"{column}_lo"),
            (pl.col(column) * 1.016).alias(f"{column}_hi"),
        )
    gap = pl.col("open_bits_per_byte") - 0.766
    size = {
        "unigram": 0.03,
        "kn5": 7.9,
        "nplm": 5.1,
        "gru": 6.2,
        "lstm": 7.5,
        "lstm+cache": 7.6,
        "lstm-char": 3.3,
    }
    speed = {
        "unigram": 2e6,
        "kn5": 9e5,
        "nplm": 3e5,
        "gru": 1.2e5,
        "lstm": 1e5,
        "lstm+cache": 3e4,
        "lstm-char": 1.5e5,
    }
    return table.with_columns(
        gap=gap,
        gap_lo=gap - 0.01,
        gap_hi=gap + 0.011,
        parameters=pl.lit(1_200_000),
        megabytes=pl.col("model").replace_strict(size),
        tokens_per_second=pl.col("model").replace_strict(speed),
    ).with_columns(
        fit_seconds=10 + 20 * pl.col("megabytes"),
        score_seconds=pl.col("tokens") / pl.col("tokens_per_second"),
    )


def made_model(name: str, random: np.random.Generator) -> ModelResults:
    """One model; count-based ones have a single point for a curve."""
    level, unit = LEVELS[name], "char" if name.endswith("char") else "word"
    steps = [1_400_000] if KINDS[name] == "ngram" else [200_000 * k for k in range(1, 8)]
    curve = [
        {"step": step, "validation/perplexity": 4 * level * (1 + 300_000 / step)} for step in steps
    ]
    curve += [
        {"step": step, "train/perplexity": 3.9 * level * (1 + 290_000 / step)}
        for step in steps
        if len(steps) > 1
    ]
    share = np.linspace(0.05, 0.95, 10)
    return ModelResults(
        name,
        curve,
        samples=pl.DataFrame(
            {
                "stars": [1, 3, 5],
                "number": [0, 0, 0],
                "text": [*TEXTS[:2], "Nice & <good>."],
                "ended": [True, True, False],
            }
        ),
        reliability=pl.DataFrame(
            {
                "bin": range(10),
                "low": share - 0.05,
                "high": share + 0.05,
                "count": [4_000 // (k + 1) for k in range(10)],
                "mean_probability": share,
                "mean_accuracy": np.clip(share * (1.12 - 0.2 * level), 0, 1),
            }
        ),
        observed={
            "reviews": 4,
            "ece": 0.03 * level,
            "hit@1": 0.4 / level,
        },
        audit={
            "copied_4": 0.6,
            "copied_8": 0.12 * level,
            "real_copied_4": 0.55,
            "real_copied_8": 0.09,
            "longest_copied": 14,
            "canaries_once": 10,
            "canaries_known": 2,
            "exposure_max": 3.2,
            "exposure_mean": 1.1,
            "exposure_limit": 13.0,
            "private_patterns": 0,
            "exposure_once": None,
        },
        novelty=pl.DataFrame(
            {
                "n": range(1, 9),
                "samples": [0.99, 0.9, 0.75, 0.6, 0.4, 0.25, 0.18, 0.12 * level],
                "real": [0.98, 0.88, 0.7, 0.55, 0.35, 0.2, 0.12, 0.09],
            }
        ),
        policies=policies("b", f"digest of {unit}", unit),
        digests={"fit": f"fit of {name}", "bundle": f"bundle of {name}"},
    )


def made_slices(random: np.random.Generator) -> pl.DataFrame:
    """The tall table of slices of all models."""
    rows = []
    for name, level in LEVELS.items():
        for dimension, slices in SIZES.items():
            for place, label in enumerate(slices):
                bits = level * (1 + 0.3 * place / len(slices)) + float(random.normal(0, 0.01))
                rows.append(
                    {
                        "model": name,
                        "dimension": dimension,
                        "slice": label,
                        "reviews": 40 + 37 * place,
                        "tokens": 4_000 + 900 * place,
                        "bytes": 20_000 + place,
                        "open_bits_per_byte": bits,
                        "lo": 0.97 * bits,
                        "hi": 1.04 * bits,
                        "baseline_gain": 1 - level - 0.22 * (place == 2),
                        "baseline_gain_lo": 0.97 - level - 0.22 * (place == 2),
                        "baseline_gain_hi": 1.02 - level - 0.22 * (place == 2),
                        "excess": bits / level - 1,
                        "excess_lo": bits / level - 1.04,
                        "excess_hi": bits / level - 0.97,
                        "surely_worse": place == 2 and level > 0.8 - 1e-9,
                        "surely_harder": bits / level > 1.04,
                    }
                )
    return pl.DataFrame(rows, SLICES)


def made_decision(promote: bool = True) -> Decision:
    """A decision with a rule of each outcome."""
    rules = (
        RuleOutcome("same test reviews", True, "both were scored on 680 reviews, one by one"),
        RuleOutcome(
            "better than the champion",
            promote,
            "2.44% better than the champion in bits per byte",
            0.0244,
            0.0,
        ),
        RuleOutcome("same adaptation", None, "there is no champion yet"),
    )
    reason = (
        "it is better than the champion by 2.44% of its bits per byte"
        if promote
        else "noise | or luck"
    )
    return Decision(
        promote,
        reason,
        rules,
        "open bits per byte",
        "c" * 64,
        "d" * 64,
        "e" * 64,
        {"difference": -0.02},
    )
