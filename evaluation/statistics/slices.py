"""Cut a test set into slices: reviews that are scored as separate groups.

Reviews are sliced by stars, length, month (year if months are small) and category of the business. A slice is reported
only if it has enough reviews. Of a dimension with many slices only the largest are reported, because among many slices
some look bad by chance.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

MOST_SLICES = 24
"""Maximum number of reported slices per dimension: the largest ones."""
LENGTH_BINS = 5
"""Bins of the length, each with about the same number of reviews."""

SLICE: dict[str, pl.DataType] = {
    **dict.fromkeys(("dimension", "slice"), pl.String()),
    "reviews": pl.Int64(),
}
RATIOS, LOSSES = (
    pl.Schema({**SLICE, **dict.fromkeys(names, pl.Float64())})
    for names in (("ratio", "reach"), ("loss", "surely"))
)


@dataclass(frozen=True)
class Slicing:
    """One dimension of a test set, cut into slices.

    Args:
        dimension: "stars", "length", "month" or "category".
        names: Names of its slices, in their order.
        member_NS: Which review belongs to which slice; a row may belong to several, or to none.
        left_out: Number of slices that are not reported: too few reviews, or not among the largest `MOST_SLICES`.
    """

    dimension: str
    names: tuple[str, ...]
    member_NS: np.ndarray
    left_out: int = 0


def dimension_name(dimension: str, label: str) -> str:
    """Return the name of a dimension for one of its slices; a month that was merged into its year is a year."""
    years = dimension == "month" and len(label) == len("2019")
    if years:
        return "year"
    return dimension.replace("_", " ")


def slice_name(row: Mapping[str, Any], between: str = " ") -> str:
    """Return the name of a slice with its dimension: "year 2019"."""
    return f"{dimension_name(row['dimension'], row['slice'])}{between}{row['slice']}"


def review_slicings(reviews: pl.DataFrame, min_reviews: int) -> list[Slicing]:
    """Cut reviews by stars, length, month and category.

    Args:
        reviews: Column review_id and, as far as they are known, stars (0: unknown), words, date (Datetime) and
            categories (separated by commas); a date and categories are null if they are unknown for a review.
        min_reviews: Minimum number of reviews in a reported slice.

    Returns:
        One slicing per dimension that has slices, or that has some which are left out; rows as in *reviews*.
    """
    labels = review_labels(reviews, min_reviews)
    slicings = [
        slicing_of(dimension, of_reviews, min_reviews) for dimension, of_reviews in labels.items()
    ]
    return [slicing for slicing in slicings if slicing.names or slicing.left_out]


def review_labels(reviews: pl.DataFrame, min_reviews: int) -> dict[str, pl.Series]:
    """Return by dimension the name of each review's slice, or of its slices; see `review_slicings`."""
    labels: dict[str, pl.Series] = {}
    if "stars" in reviews.columns:
        labels["stars"] = reviews.select(star_labels())["stars"]

    if "words" in reviews.columns:
        labels["length"] = length_labels(reviews["words"], LENGTH_BINS)

    if "date" in reviews.columns:
        labels["month"] = month_labels(reviews["date"], min_reviews)

    if "categories" in reviews.columns:
        labels["category"] = reviews.select(split_categories())["categories"]

    return labels


def ratios_by_slice(
    slicings: Sequence[Slicing],
    part_N: np.ndarray,
    whole_N: np.ndarray,
    groups_N: np.ndarray | None,
    tail: float,
) -> pl.DataFrame:
    """Return Σ part / Σ whole on each slice of reviews, and how far its interval reaches to either side.

    The interval is Student's t over groups of reviews, by the linear part of the ratio (Cochran 1977, equation 6.13).

    Args:
        part_N: A number for each review.
        whole_N: Another number for each review.
        groups_N: Number of each review's group; None if each review is a separate group.
        tail: Chance of error on either side.

    Returns:
        dimension, slice, reviews, ratio, reach; the reach is not a finite number if there is no interval.
    """
    # Student's t quantile; `scipy.stats` takes twice as long to import.
    from scipy.special import stdtrit

    rows = []
    with np.errstate(invalid="ignore", divide="ignore"):
        for dimension, name, member_N in members_of(slicings):
            part_M = part_N[member_N]
            whole = whole_N[member_N].sum()
            ratio = float(part_M.sum() / whole)
            if groups_N is None:
                group_M = np.arange(len(part_M))
            else:
                group_M = groups_N[member_N]

            sums_C = np.bincount(
                np.unique(group_M, return_inverse=True)[1], part_M - ratio * whole_N[member_N]
            )
            groups = len(sums_C)
            if groups > 1:
                error = np.sqrt(groups / (groups - 1) * (sums_C**2).sum()) / whole
            else:
                error = np.inf

            reach = stdtrit(max(groups - 1, 1), 1 - tail) * error
            rows.append((dimension, name, len(part_M), ratio, float(reach)))

    return pl.DataFrame(rows, RATIOS, orient="row")


def shared_tail(slicings: Sequence[Slicing], confidence: float) -> float:
    """Return the tail of intervals that hold for all slices together on either side (Bonferroni)."""
    return (1 - confidence) / 2 / max(1, sum(len(slicing.names) for slicing in slicings))


def losses_by_slice(
    slicings: Sequence[Slicing],
    lost_N: np.ndarray,
    of_N: np.ndarray,
    groups_N: np.ndarray | None,
    confidence: float,
) -> pl.DataFrame:
    """Return the loss Σ lost / Σ of on each slice of reviews, the largest first (columns `LOSSES`).

    `surely` is the lower end of the interval of the loss, which holds for all slices together.

    Args:
        lost_N: What each review loses.
        of_N: What each review counts.
        groups_N: Number of each review's group; None if each review is a separate group.
        confidence: Confidence of the policy.
    """
    ratios = ratios_by_slice(
        slicings,
        lost_N,
        of_N,
        groups_N,
        shared_tail(slicings, confidence),
    )
    table = ratios.with_columns(
        loss=pl.col("ratio"), surely=pl.col("ratio") - pl.col("reach")
    ).select(LOSSES.names())
    return table.sort("loss", "dimension", "slice", descending=[True, False, False])


def members_of(slicings: Sequence[Slicing]) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield dimension, name and members (N,) of each slice."""
    for slicing in slicings:
        for place, name in enumerate(slicing.names):
            yield slicing.dimension, name, slicing.member_NS[:, place]


def star_labels() -> pl.Expr:
    """Return the column stars as names of slices; a rating that is 0 or missing is "unknown"."""
    return pl.col("stars").fill_null(0).cast(pl.String).replace({"0": "unknown"})


def split_categories() -> pl.Expr:
    """Return the column categories ("Food, Bars") as lists without repetitions or empty names ("Food,, ")."""
    name = pl.element().str.strip_chars()
    return pl.col("categories").str.split(",").list.eval(name.filter(name != "")).list.unique()


def length_labels(words: pl.Series, bins: int) -> pl.Series:
    """Return the bin of each length: bins of about the same number of reviews, named by the lengths that occur in them.

    Equal lengths share a bin, so there may be fewer bins than requested.
    """
    lengths_D = words.to_numpy()
    if len(lengths_D):
        edges = np.unique(np.quantile(lengths_D, np.arange(1, bins) / bins))
    else:
        edges = np.zeros(0)

    bin_D = np.searchsorted(edges, lengths_D, side="right")
    inside = {each: lengths_D[bin_D == each] for each in np.unique(bin_D)}
    names = {
        each: _span(int(lengths.min()), int(lengths.max())) for each, lengths in inside.items()
    }
    return pl.Series("length", [names[each] for each in bin_D], pl.String)


def month_labels(dates: pl.Series, min_reviews: int) -> pl.Series:
    """Return the month of each date, "2019-03"; the year, "2019", if no month has *min_reviews* reviews."""
    months = dates.dt.strftime("%Y-%m")
    largest = months.drop_nulls().value_counts()["count"].max()
    return months if largest is None or largest >= min_reviews else dates.dt.strftime("%Y")  # type: ignore[operator]


def _span(low: int, high: int) -> str:
    if low == high:
        return f"{low:,} words"
    return f"{low:,}–{high:,} words"


def slicing_of(
    dimension: str,
    labels: pl.Series,
    min_reviews: int,
    most: int | None = MOST_SLICES,
) -> Slicing:
    """Return one dimension, cut into slices; the order of their names is that of the first number in them.

    Args:
        labels: Name of each review's slice, or a list of names; null: none.
        min_reviews: Minimum number of reviews in a slice.
        most: Maximum number of slices; None: all.
    """
    frame = pl.DataFrame({"row": np.arange(len(labels)), "label": labels})
    if labels.dtype == pl.List:
        frame = frame.explode("label")

    reviews = dict(frame.drop_nulls("label").group_by("label").len().iter_rows())
    large = [name for name, count in reviews.items() if count >= min_reviews]
    largest = sorted(large, key=lambda name: (-reviews[name], name))[:most]
    names = tuple(sorted(largest, key=_order))
    column = {name: number for number, name in enumerate(names)}
    labelled = frame.filter(pl.col("label").is_in(list(names)))
    member_NS = np.zeros((len(labels), len(names)), bool)
    member_NS[labelled["row"].to_numpy(), [column[name] for name in labelled["label"]]] = True
    return Slicing(dimension, names, member_NS, len(reviews) - len(names))


def _order(name: str) -> tuple[float, str]:
    number = re.match(r"\d[\d,]*", name)
    return float(number[0].replace(",", "")) if number else math.inf, name
