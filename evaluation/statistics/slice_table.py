"""Compute figures of slices with intervals, relative to the whole test set and to the baseline, and rank the worst.

All slices of all models use the same draws of reviews. So the comparison of a slice with the whole, and of a model with
the baseline, is paired. Of many slices some look worse than the baseline, or harder than the whole, by chance. So the
intervals of `gain` and `excess` hold for all examined slices together (by the largest of the standardised deviations
of all slices, Romano and Wolf 2005), and `surely_worse` and `surely_harder` follow from them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from evaluation.scoring.metrics import LN2
from evaluation.statistics.bootstrap import Bootstrap
from evaluation.statistics.comparison import Baseline, baseline_of
from evaluation.statistics.groups import groups_of
from evaluation.statistics.intervals import aligned
from evaluation.statistics.slices import Slicing, review_slicings

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
their intervals are corrected for all slices. `surely_worse`: the whole interval of the gain is below 0.
`surely_harder`: that of the excess is above 0, or the figure is infinite.
"""


@dataclass(frozen=True)
class SliceOptions:
    """Which slices are reported, and options of their intervals.

    Args:
        baseline: Name of the model that `gain` is measured against; or one name per model.
        min_reviews: Minimum number of reviews in a reported slice.
        length_bins: Number of bins of the length.
        confidence: Confidence of the intervals.
        resamples: Number of draws.
        seed: Equal seeds draw equal reviews.
    """

    baseline: Baseline
    min_reviews: int = 30
    length_bins: int = 5
    confidence: float = 0.95
    resamples: int = 10_000
    seed: int = 1


@dataclass(frozen=True)
class Sliced:
    """The table of slices, and the number of slices of each dimension that were left out (too small, or too many)."""

    table: pl.DataFrame
    left_out: dict[str, int]


def review_slices(scores: Mapping[str, pl.DataFrame], documents: pl.DataFrame | None, options: SliceOptions) -> Sliced:
    """Return the figures of slices of reviews, one row per model and slice.

    Args:
        scores: By name of model: `evaluation.scoring.score.score_stream`, all of the same reviews.
        documents: Further facts about the reviews, if any: review_id, date, categories and group.
        options: See `SliceOptions`.

    Raises:
        ReviewLMError: The models were scored on different reviews, or on none.
    """
    rows = aligned(scores)
    first = next(iter(rows.values()))
    reviews = first.select("review_id", "stars", "words")
    if documents is not None:
        reviews = reviews.join(documents, on="review_id", how="left", maintain_order="left")
    slicings = review_slicings(reviews, options.min_reviews, options.length_bins)
    nats = {name: (frame["nats"] + frame["spelling_nats"]).to_numpy() for name, frame in rows.items()}
    groups = groups_of(first["review_id"], documents)
    cut = _Cut(slicings, first["bytes"].to_numpy(), nats, groups)
    figures_of = cut.figures(options)
    frames = []
    for name, frame in rows.items():
        sizes = {"tokens": cut.sums(frame["tokens"].to_numpy()), "bytes": cut.sums(cut.size_N)}
        frames.append(cut.frame(name, {**figures_of[name], **sizes, "open_bits_per_byte": figures_of[name]["figure"]}))
    return Sliced(pl.concat(frames), {slicing.dimension: slicing.left_out for slicing in slicings})


def worst_slices(table: pl.DataFrame, baseline: Baseline, count: int = WORST) -> pl.DataFrame:
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
        rated = rated.with_columns(looked_at=pl.len().over("model").cast(pl.Int64)).drop_nulls("badness")
        ordered = rated.sort("badness", "dimension", "slice", descending=[True, False, False])
        rank = pl.int_range(1, pl.len() + 1).over("model")
        rankings.append(ordered.with_columns(rank=rank.cast(pl.Int64)))
    worst = pl.concat(rankings).filter(pl.col("rank") <= count)
    return worst.drop("badness").sort("model", "relative_to", "rank", descending=[False, True, False])


def _own(table: pl.DataFrame, baseline: Baseline) -> pl.Series:
    """Return the name of the baseline of each row's model."""
    return pl.Series("own", [baseline_of(baseline, model) for model in table["model"]], pl.String)


def _finite_for(table: pl.DataFrame, baseline: Baseline) -> pl.Series:
    """Return whether the baseline has a finite figure of the same reviews, a Boolean for each row."""
    base = table.select("dimension", "slice", own="model", base="open_bits_per_byte")
    rows = table.with_columns(_own(table, baseline))
    beside = rows.join(base, on=["dimension", "slice", "own"], how="left", maintain_order="left")
    return beside["base"].is_finite().fill_null(False)


class _Cut:
    """Reviews cut into S slices.

    Args:
        slicings: All dimensions.
        size_N: Divisor of the nats: bytes of each review.
        nats: By name of model, nats (N,).
        groups: Number of the group of each review, by the review's number; None if each review is a separate group.
    """

    def __init__(
        self, slicings: Sequence[Slicing], size_N: np.ndarray, nats: Mapping[str, np.ndarray],
        groups: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        self.places = [(slicing.dimension, name) for slicing in slicings for name in slicing.names]
        members = [slicing.member_NS for slicing in slicings]
        self.member_NS = np.concatenate([np.zeros((len(size_N), 0), bool), *members], axis=1)
        self.size_N, self.nats, self.groups = size_N.astype(np.float64), nats, groups

    def sums(self, values_N: np.ndarray) -> np.ndarray:
        """Return (S,): the sum of values over the members of each slice."""
        return np.array([values_N[member_N].sum() for member_N in self.member_NS.T], np.float64)

    def figures(self, options: SliceOptions) -> dict[str, dict[str, np.ndarray]]:
        """Return by model the arrays (S,) of `figure`, `BOUNDED` and the verdicts; see `SLICES`."""
        how = {"confidence": options.confidence, "resamples": options.resamples, "seed": options.seed}
        boot = Bootstrap(self._columns(), **how, groups=self.groups)  # type: ignore[arg-type]
        base_of = {name: baseline_of(options.baseline, name) for name in self.nats}
        return {name: self._figures(boot, name, base if base in self.nats else "") for name, base in base_of.items()}

    def frame(self, name: str, columns: Mapping[str, np.ndarray]) -> pl.DataFrame:
        """Return the rows of one model; an interval or a gain that is not a finite number is null."""
        frame = pl.DataFrame(self.places, {"dimension": pl.String, "slice": pl.String}, orient="row").with_columns(
            model=pl.lit(name),
            reviews=pl.Series([int(is_member.sum()) for is_member in self.member_NS.T], dtype=pl.Int64),
            **{key: pl.Series(values) for key, values in columns.items() if key in SLICES},
        )
        frame = frame.with_columns(pl.lit(None).alias(key) for key in SLICES if key not in frame.columns)
        frame = frame.select(SLICES.names()).cast(SLICES)
        return frame.with_columns(pl.when(pl.col(key).is_finite()).then(pl.col(key)).alias(key) for key in BOUNDED)

    def _columns(self) -> Iterator[tuple[Any, np.ndarray]]:
        """Yield the sum of each review, in each slice and in all: sizes, and each model's nats."""
        for key, values_N in (("", self.size_N), *self.nats.items()):
            yield (key, "whole"), values_N
            for s, member_N in enumerate(self.member_NS.T):
                yield (key, s), np.where(member_N, values_N, 0.0)

    def _figures(self, boot: Bootstrap, name: str, baseline: str) -> dict[str, np.ndarray]:
        def bits(who: str, place: int | str) -> tuple[float, np.ndarray]:
            return boot.figures(lambda sums: sums[who, place] / sums["", place] / LN2)

        whole, whole_R = bits(name, "whole")
        # A share of an infinite figure is undefined.
        whole, whole_R = whole if np.isfinite(whole) else np.nan, np.where(np.isfinite(whole_R), whole_R, np.nan)
        figures, gains, gains_SR, excesses, excesses_SR = [], [], [], [], []
        with np.errstate(divide="ignore", invalid="ignore"):
            for s in range(len(self.places)):
                figure, figure_R = bits(name, s)
                base, base_R = bits(baseline, s) if baseline else (np.nan, np.full_like(figure_R, np.nan))
                base = base if np.isfinite(base) else np.nan  # a gain over an infinite figure is undefined
                figures.append((figure, *boot.ends(figure_R)))
                gains.append(1 - np.float64(figure) / base)
                gains_SR.append(1 - figure_R / base_R)
                excesses.append(np.float64(figure) / whole - 1)
                excesses_SR.append(figure_R / whole_R - 1)
        columns = zip(*figures, strict=True) if figures else [()] * 3
        keys = ("figure", "lo", "hi")
        arrays = {key: np.array(values, np.float64) for key, values in zip(keys, columns, strict=True)}
        together = 1 - (1 - boot.confidence) / 2  # each end has half of the error
        for key, values, draws_SR in (("gain", gains, gains_SR), ("excess", excesses, excesses_SR)):
            arrays[key] = np.array(values, np.float64)
            arrays[f"{key}_lo"], arrays[f"{key}_hi"] = simultaneous_ends(arrays[key], draws_SR, together)
        harder_S = (arrays["excess_lo"] > 0) | np.isinf(arrays["figure"])
        return arrays | {"surely_worse": arrays["gain_hi"] < 0, "surely_harder": harder_S}


def simultaneous_ends(
    value_S: np.ndarray, draws_SR: Sequence[np.ndarray], confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return lower and upper ends (S,) of values that hold for all slices together.

    The upper end of slice s is value + c · σ: σ is the deviation of its draws, and c the *confidence* quantile over
    the draws of the largest standardised deviation of any slice (single-step maxT, Romano and Wolf 2005, section 3).
    The lower end is that of the values with their signs turned.

    Args:
        value_S: Values on all reviews; NaN if there is none.
        draws_SR: The draws (R,) of each value.
        confidence: Probability that no upper end is too low by chance, in (0, 1); of the lower ends likewise.

    Returns:
        The value itself where no draw differs; NaN where there is no value.
    """
    lo_S, hi_S = value_S.copy(), value_S.copy()
    usable = [s for s, draw_R in enumerate(draws_SR) if np.isfinite(value_S[s]) and not np.isnan(draw_R).all()]
    deviations = {s: float(np.nanstd(draws_SR[s])) for s in usable}
    rows = [s for s in usable if deviations[s] > 0]
    if rows:
        sigma_S = np.array([deviations[s] for s in rows])
        standard_SR = np.stack([(value_S[s] - draws_SR[s]) / deviations[s] for s in rows])
        hi_S[rows] += np.quantile(np.nanmax(standard_SR, axis=0), confidence) * sigma_S
        lo_S[rows] -= np.quantile(np.nanmax(-standard_SR, axis=0), confidence) * sigma_S
    return lo_S, hi_S
