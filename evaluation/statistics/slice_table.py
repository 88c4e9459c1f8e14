"""Compute figures of slices with intervals, relative to the whole test set and to the baseline, and rank the worst.

A model and the baseline are paired by review. Of many slices some look worse than the baseline, or harder than the
whole, by chance. So the intervals of `gain` and `excess` hold for all examined slices together
(`slices.ratios_by_slice`), and `surely_worse` and `surely_harder` follow from them. The figure of the whole counts as
known: a slice is a part of it, so its own deviations matter more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from reviewlm.evaluation.scoring.metrics import LN2
from reviewlm.evaluation.statistics.comparison import Baseline, baseline_of
from reviewlm.evaluation.statistics.groups import groups_of
from reviewlm.evaluation.statistics.intervals import align_rows
from reviewlm.evaluation.statistics.slices import (
    Slicing,
    members_of,
    ratios_by_slice,
    review_slicings,
    shared_tail,
)

WORST = 5
BOUNDED = ("lo", "hi", "gain", "gain_lo", "gain_hi", "excess", "excess_lo", "excess_hi")
SLICES = pl.Schema(
    {
        **dict.fromkeys(("model", "dimension", "slice"), pl.String()),
        **dict.fromkeys(("reviews", "tokens", "bytes"), pl.Int64()),
        **dict.fromkeys(("open_bits_per_byte", *BOUNDED), pl.Float64()),
        **dict.fromkeys(("surely_worse", "surely_harder"), pl.Boolean()),
    }
)
"""Columns of the table of slices. `lo` and `hi` are the figure's own interval. `gain` is 1 − figure / the baseline's.
`excess` is the figure / the model's figure of the whole − 1. Both are null if the figure or its divisor is infinite;
their intervals are corrected for all slices. `surely_worse`: the whole interval of the gain is below 0, or only this
figure of the two is infinite. `surely_harder`: that of the excess is above 0, or the figure is infinite.
"""


def review_slices(
    scores: Mapping[str, pl.DataFrame],
    documents: pl.DataFrame | None,
    baseline: Baseline,
    *,
    min_reviews: int,
    confidence: float,
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Return the figures of slices of reviews, one row per model and slice.

    The second value has the number of slices of each dimension that were left out (too small, or too many).

    Args:
        scores: By name of model: `reviewlm.evaluation.scoring.score.score_stream`, all of the same reviews.
        documents: Further facts about the reviews, if any: review_id, date, categories and group.
        baseline: Name of the model that `gain` is measured against; or one name per model.
        min_reviews: Minimum number of reviews in a reported slice.
        confidence: Confidence of the intervals.

    Raises:
        ReviewLMError: The models were scored on different reviews, or on none.
    """
    rows = align_rows(scores)
    first = next(iter(rows.values()))
    reviews = first.select("review_id", "stars", "words")
    if documents is not None:
        reviews = reviews.join(
            documents,
            on="review_id",
            how="left",
            maintain_order="left",
        )

    slicings = review_slicings(reviews, min_reviews)
    groups_N = groups_of(first["review_id"], documents)
    size_N = first["bytes"].to_numpy() * LN2
    nats = {
        name: (frame["nats"] + frame["spelling_nats"]).to_numpy() for name, frame in rows.items()
    }

    def ratios(
        part_N: np.ndarray,
        whole_N: np.ndarray,
        tail: float,
    ) -> pl.DataFrame:
        return ratios_by_slice(
            slicings,
            part_N,
            whole_N,
            groups_N,
            tail,
        )

    together = shared_tail(slicings, confidence)
    figures = {name: ratios(nats_N, size_N, (1 - confidence) / 2) for name, nats_N in nats.items()}
    frames = []
    for name, nats_N in nats.items():
        base_N = nats.get(baseline_of(baseline, name), np.full(len(nats_N), math.nan))
        whole = float(nats_N.sum() / size_N.sum())  # a share of an infinite figure is undefined
        expected_N = size_N * (whole if math.isfinite(whole) else math.nan)
        gains = ratios(nats_N, np.where(np.isfinite(base_N), base_N, math.nan), together)
        excesses = ratios(nats_N - expected_N, expected_N, together)
        bits_with_ends = _with_ends("open_bits_per_byte", figures[name], names=("lo", "hi"))
        gain_with_ends = _with_ends("gain", gains.with_columns(ratio=1 - pl.col("ratio")))
        sizes = {"tokens": rows[name]["tokens"], "bytes": first["bytes"]}
        sums = {unit: _sums(slicings, sizes_N) for unit, sizes_N in sizes.items()}
        excess_with_ends = _with_ends("excess", excesses)
        measured = {
            **sums,
            **bits_with_ends,
            **gain_with_ends,
            **excess_with_ends,
        }
        slices = figures[name].select("dimension", "slice", "reviews", model=pl.lit(name))
        table = slices.with_columns(**measured)
        frames.append(table)

    left_out = {slicing.dimension: slicing.left_out for slicing in slicings}
    return _with_verdicts(pl.concat(frames)), left_out


def _with_ends(
    name: str,
    ratios: pl.DataFrame,
    names: tuple[str, str] | None = None,
) -> dict[str, pl.Series]:
    """Return a figure and the ends of its interval as columns; by default the ends are named after the figure."""
    low, high = names or (f"{name}_lo", f"{name}_hi")
    value = ratios["ratio"]
    return {
        name: value,
        low: value - ratios["reach"],
        high: value + ratios["reach"],
    }


def _with_verdicts(table: pl.DataFrame) -> pl.DataFrame:
    """Return the table with null instead of what is not finite, and with what is sure of each slice."""
    finite = (pl.when(pl.col(key).is_finite()).then(pl.col(key)).alias(key) for key in BOUNDED)
    worse = (pl.col("gain_hi") < 0) | (pl.col("gain") == -math.inf)
    harder = (pl.col("excess_lo") > 0).fill_null(False)
    table = table.with_columns(*finite, surely_worse=worse.fill_null(False))
    infinite = pl.col("open_bits_per_byte").is_infinite()
    table = table.with_columns(surely_harder=harder | infinite)
    return table.select(SLICES.names()).cast(SLICES)


def _sums(slicings: Sequence[Slicing], values: pl.Series) -> pl.Series:
    """Return the sum of values over the members of each slice."""
    values_N = values.to_numpy()
    return pl.Series(
        [int(values_N[member_N].sum()) for *_, member_N in members_of(slicings)], dtype=pl.Int64
    )


def worst_slices(
    table: pl.DataFrame,
    baseline: Baseline,
    count: int = WORST,
) -> pl.DataFrame:
    """Return the worst slices of each model, by two rules: farthest above the model's own whole, and least gain.

    A slice with an infinite figure is the worst by both rules, although it has neither excess nor gain; by the second
    rule only if the baseline's figure is finite.

    Returns:
        Columns of `SLICES`, rank (1 is worst), `relative_to` ("whole" or "baseline") and `looked_at`: the number of
        slices of this model that were ranked.
    """
    infinite = pl.col("open_bits_per_byte").is_infinite()
    endless = pl.when(infinite).then(math.inf)
    against = pl.when(infinite & _finite_for(table, baseline)).then(math.inf)
    rules = {"whole": endless.otherwise("excess"), "baseline": against.otherwise(-pl.col("gain"))}
    rankings = []
    for relative_to, badness in rules.items():
        rated = table.with_columns(relative_to=pl.lit(relative_to), badness=badness)
        if relative_to == "baseline":
            rated = rated.filter(pl.col("model") != _own(table, baseline)).drop_nulls("badness")
        rated = rated.with_columns(looked_at=pl.len().over("model").cast(pl.Int64)).drop_nulls(
            "badness"
        )
        ordered = rated.sort("badness", "dimension", "slice", descending=[True, False, False])
        rank = pl.int_range(1, pl.len() + 1).over("model")
        rankings.append(ordered.with_columns(rank=rank.cast(pl.Int64)))

    worst = pl.concat(rankings).filter(pl.col("rank") <= count)
    return worst.drop("badness").sort(
        "model", "relative_to", "rank", descending=[False, True, False]
    )


def _own(table: pl.DataFrame, baseline: Baseline) -> pl.Series:
    """Return the name of the baseline of each row's model."""
    return pl.Series("own", [baseline_of(baseline, model) for model in table["model"]], pl.String)


def _finite_for(table: pl.DataFrame, baseline: Baseline) -> pl.Series:
    """Return whether the baseline has a finite figure of the same reviews, a Boolean for each row."""
    base = table.select("dimension", "slice", own="model", base="open_bits_per_byte")
    rows = table.with_columns(_own(table, baseline))
    beside = rows.join(
        base,
        on=["dimension", "slice", "own"],
        how="left",
        maintain_order="left",
    )
    return beside["base"].is_finite().fill_null(False)
