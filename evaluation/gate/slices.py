"""Check that no slice of reviews gets significantly and much worse, even if the model is better overall.

A slice fails if it is worse by more than the policy allows *and* this is very unlikely to be chance. The first
condition alone would refuse good models: among dozens of slices of thirty reviews one is always a few per cent worse.
The second condition alone would also refuse them, for losses that are sure but too small to matter.

Certainty: the loss is a ratio of sums, Σ ours / Σ theirs − 1. Its linearised variance is known (Cochran 1977, Sampling
Techniques, equation 6.13; computed over groups of reviews if reviews are not independent). The lower end of its
one-sided interval by Student's t must be above 0. All slices together get the chance of error of the whole policy,
(1 − confidence) / 2, in equal parts (Bonferroni), so that more slices do not mean more false alarms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import polars as pl

from evaluation.gate.case import GateCase, change, open_nats
from evaluation.gate.decision import RuleOutcome
from evaluation.statistics.slices import split_categories, star_labels

BANDS = (25, 50, 100, 200)
"""Upper ends of the bands of length, in words."""
BAND_NAMES = (
    f"1 to {BANDS[0]} words", *(f"{low + 1} to {high} words" for low, high in pairwise(BANDS)),
    f"over {BANDS[-1]} words",
)  # fmt: skip
KEYS = ["dimension", "slice"]


def no_slice_worse(case: GateCase) -> RuleOutcome:
    """Refuse a challenger that is surely worse on a slice by more than the limit."""
    name, limit = "no slice worse", case.policy.max_slice_loss
    if case.problem:
        return RuleOutcome(name, None, case.problem)
    if not case.finite:
        return RuleOutcome(name, None, "scores that are not finite have no slices")
    table = slice_losses(case)
    if table.is_empty():
        return RuleOutcome(name, None, f"no slice has {case.policy.min_slice_reviews} test reviews", None, limit)
    too_much = table.clear() if limit is None else table.filter((pl.col("loss") > limit) & (pl.col("surely") > 0))
    shown = (table if too_much.is_empty() else too_much).row(0, named=True)
    detail = f"worst at {shown['dimension']} {shown['slice']} ({shown['reviews']} reviews): "
    detail += f"{change(-shown['loss'])} the champion{_how_sure(shown)}; {_looked_at(case, table)}"
    return RuleOutcome.compared(name, detail, shown["loss"], limit, lambda *_: too_much.is_empty())


def outcome_of_losses(table: pl.DataFrame, limit: float | None, least: int, figure: str) -> RuleOutcome:
    """Return the outcome of the rule "no slice worse" for a share, such as the accuracy.

    Args:
        table: Result of `evaluation.statistics.slices.losses_by_slice`.
        limit: Largest loss; None: no limit.
        least: Minimum number of reviews of a slice.
    """
    name = "no slice worse"
    if table.is_empty():
        return RuleOutcome(name, None, f"no slice has {least} test reviews", None, limit)
    too_much = table.clear() if limit is None else table.filter((pl.col("loss") > limit) & (pl.col("surely") > 0))
    shown = (table if too_much.is_empty() else too_much).row(0, named=True)
    detail = f"worst of {table.height} slices: {shown['dimension']} {shown['slice']} ({shown['reviews']} reviews), "
    detail += f"{figure} {-100 * shown['loss']:+.2f} points against the champion"
    if shown["loss"] > 0:
        detail += f", a loss of at least {100 * shown['surely']:.2f}" if shown["surely"] > 0 else ", may be chance"
    return RuleOutcome.compared(name, detail, shown["loss"], limit, lambda *_: too_much.is_empty())


def _how_sure(shown: Mapping[str, float]) -> str:
    if shown["loss"] <= 0:
        return ""
    return f", by at least {shown['surely']:.2%}" if shown["surely"] > 0 else ", which may be chance"


def slice_losses(case: GateCase) -> pl.DataFrame:
    """Return dimension, slice, reviews, loss and its lower end `surely`, one row per slice, the worst first.

    A loss of 0.1 means 10 % more bits than the champion needs. Slices with too few reviews are left out.
    """
    rows = case.challenger_rows.select("review_id", "stars", "words")
    own = np.arange(len(rows)) if case.groups_D is None else case.groups_D
    rows = rows.with_columns(ours=open_nats(case.challenger_rows), theirs=open_nats(case.champion_rows), group=own)
    members = [_members(case, rows, dimension) for dimension in case.policy.slice_dimensions]
    if not members:
        return pl.DataFrame(schema={"dimension": pl.String, "slice": pl.String, "loss": pl.Float64})
    # In the order of the rows, because the order of a sum changes its last digits, and equal slices are sorted by them.
    scored = rows.select("review_id", "ours", "theirs", "group")
    paired = pl.concat(members).join(scored, on="review_id", maintain_order="left")
    residual = pl.col("ours") - pl.col("ours").sum().over(KEYS) / pl.col("theirs").sum().over(KEYS) * pl.col("theirs")
    count = pl.col("groups")
    table = (
        paired.with_columns(residual=residual)
        .group_by(*KEYS, "group", maintain_order=True).agg(pl.col("ours", "theirs", "residual").sum(), reviews=pl.len())
        .group_by(KEYS, maintain_order=True)
        .agg(pl.col("ours", "theirs", "reviews").sum(), (pl.col("residual") ** 2).sum(), groups=pl.len())
        .filter(pl.col("reviews") >= case.policy.min_slice_reviews)
        .with_columns(loss=pl.col("ours") / pl.col("theirs") - 1)
        .with_columns(error=(count / (count - 1) * pl.col("residual")).sqrt() / pl.col("theirs"))
        .with_columns(error=pl.when(count > 1).then("error").otherwise(math.inf))  # one group: unknown
    )  # fmt: skip
    from scipy.special import stdtrit  # Student's t quantile; `scipy.stats` takes twice as long to import

    tail = (1 - case.policy.confidence) / 2 / max(1, table.height)
    critical = pl.Series(stdtrit(np.maximum(table["groups"].to_numpy() - 1, 1), 1 - tail))
    table = table.with_columns(surely=pl.col("loss") - critical * pl.col("error"))
    return table.select(*KEYS, "reviews", "loss", "surely").sort("loss", *KEYS, descending=[True, False, False])


def _members(case: GateCase, rows: pl.DataFrame, dimension: str) -> pl.DataFrame:
    """Return which review is in which slice of a dimension; reviews without the needed fact are left out."""
    if dimension == "stars":
        members = rows.select("review_id", slice=star_labels())
    elif dimension == "length":
        band_D = np.searchsorted(BANDS, rows["words"].to_numpy())
        members = rows.select("review_id", slice=pl.Series(np.array(BAND_NAMES)[band_D]))
    else:
        members = _told(case.evidence.data.reviews, dimension)
    return members.drop_nulls().select("review_id", pl.lit(dimension).alias("dimension"), "slice")


def _told(reviews: pl.DataFrame | None, dimension: str) -> pl.DataFrame:
    """Return the month or category of each review for which it is known; a review may have several categories."""
    column = {"month": "date", "category": "categories"}[dimension]
    if reviews is None or column not in reviews.columns:
        return pl.DataFrame(schema={"review_id": pl.String, "slice": pl.String})
    if dimension == "month":
        return reviews.select("review_id", slice=pl.col("date").dt.strftime("%Y-%m"))
    members = reviews.select("review_id", slice=split_categories()).explode("slice")
    return members.filter(pl.col("slice").str.len_chars() > 0)


def _looked_at(case: GateCase, table: pl.DataFrame) -> str:
    counts = dict(table.group_by("dimension").len().iter_rows())
    parts = [f"{counts.get(dimension, 0)} of {dimension}" for dimension in case.policy.slice_dimensions]
    return f"slices with {case.policy.min_slice_reviews} or more reviews: {', '.join(parts)}"
