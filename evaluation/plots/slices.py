"""Draw figures of slices of the test reviews: where a model is weak, and by stars, length, month and category.

Slices come as one long table (`evaluation.statistics.slice_table.SLICES`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from evaluation.plots.canvas import GREY, PALE, WIDTH, canvas, legend_below, literal, thousands, ticks_at
from evaluation.statistics.slice_table import worst_slices
from evaluation.statistics.slices import dimension_name, slice_name

DIMENSIONS = ("stars", "length", "month", "category")
"""Dimensions of reviews, in the order of the panels."""
MOST = 8
"""Maximum number of categories, and of labels of an axis."""
PANELS = (
    ("whole", "excess", "more bits than for all reviews"),
    ("baseline", "change", "more bits than {baseline} needs"),
)
"""Rules of `worst_slices`, the column that is drawn, and its axis label. `change` is the gain with its sign turned."""


def slices_figure(slices: pl.DataFrame, names: Sequence[str], styles: Mapping[str, Mapping[str, Any]]) -> Figure | None:
    """Draw bits per byte of some models, one panel for each dimension with two slices or more; None if there is none.

    Args:
        slices: Slices of one model are drawn in the order of their rows.
        names: The models.
    """
    rows = slices.filter(pl.col("model").is_in(names) & pl.col("open_bits_per_byte").is_finite())
    panels = {name: rows.filter(dimension=name) for name in DIMENSIONS}
    panels = {name: part for name, part in panels.items() if part["slice"].n_unique() > 1}
    if not panels:
        return None
    figure, drawn = canvas(WIDTH, 0.4 + 2.1 * len(panels), rows=len(panels))
    for axes, (dimension, part) in zip(np.atleast_1d(drawn), panels.items(), strict=True):
        _panel(axes, part, dimension, names, styles)
    legend_below(figure)
    return figure


def _panel(
    axes: Axes, part: pl.DataFrame, dimension: str, names: Sequence[str], styles: Mapping[str, Mapping[str, Any]]
) -> None:
    """Draw points with intervals; those of a dimension in order are joined by lines."""
    labels = part["slice"].unique(maintain_order=True).to_list()
    ordered = dimension != "category"
    if not ordered:
        sizes = part.group_by("slice", maintain_order=True).agg(pl.max("reviews")).sort("reviews", descending=True)
        labels = sizes["slice"].head(MOST).to_list()
    places = {label: place for place, label in enumerate(labels)}
    for number, name in enumerate(names):
        own = part.filter((pl.col("model") == name) & pl.col("slice").is_in(labels)).to_dicts()
        shift = 0.1 * (number - (len(names) - 1) / 2)
        xs, ys = [places[row["slice"]] + shift for row in own], [row["open_bits_per_byte"] for row in own]
        style = dict(styles[name]) if ordered else {**styles[name], "linestyle": "none"}
        axes.errorbar(xs, ys, _whiskers(own, "open_bits_per_byte", "lo", "hi"), **style, markersize=4, linewidth=1.3,
                      elinewidth=1, label=name)  # fmt: skip
    step = -(-len(labels) // MOST) if ordered else 1
    ticks_at(axes.xaxis, [label.removesuffix(" words") if not place % step else "" for label, place in places.items()])
    if not ordered:
        axes.tick_params(axis="x", rotation=30)
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("right")
    axes.set_ylabel("bits per byte")
    name = dimension_name(dimension, labels[0])
    axes.set_title(f"by {name}{' in words' if name == 'length' else ''}", loc="left", fontsize=9)


def worst_slices_figure(
    slices: pl.DataFrame, model: str, baseline: str, styles: Mapping[str, Mapping[str, Any]]
) -> Figure:
    """Draw the worst slices of a model as points with intervals, the worst on top.

    One panel shows the slices farthest above the model's own figure of all reviews, one those that do worst against
    the baseline. Intervals hold for all examined slices together. Filled diamonds mark those that exclude 0.

    Args:
        slices: `evaluation.statistics.slice_table.SLICES`.
        baseline: Name of the model that gain is measured against.
    """
    worst = worst_slices(slices, baseline).filter(pl.col("model") == model)
    worst = worst.with_columns(change=-pl.col("gain"), change_lo=-pl.col("gain_hi"), change_hi=-pl.col("gain_lo"))
    panels = [(worst.filter(relative_to=rule).sort("rank", descending=True).to_dicts(), column, words)
              for rule, column, words in PANELS if (worst["relative_to"] == rule).any()]  # fmt: skip
    figure, drawn = canvas(WIDTH, 0.6 + sum(0.8 + 0.26 * len(rows) for rows, _, _ in panels), rows=max(1, len(panels)))
    for axes, (rows, column, words) in zip(np.atleast_1d(drawn), panels, strict=False):
        _dots(axes, rows, column, styles[model]["color"])
        axes.set_xlabel(words.format(baseline=literal(baseline)))
    legend_below(figure)
    return figure


def _dots(axes: Axes, rows: Sequence[Mapping[str, Any]], column: str, colour: str) -> None:
    """Draw one row per slice as a share of a figure; dashed line: 0; "infinite" is written instead of a point."""
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=PALE, linewidth=0.8)
    axes.axvline(0, color=GREY, linestyle="--", linewidth=1.3)
    verdict = "surely_harder" if column == "excess" else "surely_worse"
    for sure, face, marker, label in ((False, "#ffffff", "o", "may be chance"), (True, colour, "D", "sure")):
        finite = [(place, row) for place, row in enumerate(rows) if _finite(row[column]) and bool(row[verdict]) == sure]
        if finite:
            shares, places = [row[column] for _, row in finite], [place for place, _ in finite]
            bars = _whiskers([row for _, row in finite], column, f"{column}_lo", f"{column}_hi")
            axes.errorbar(shares, places, None, bars, linestyle="none", marker=marker, color=colour, markersize=6,
                          markerfacecolor=face, capsize=3, label=label)  # fmt: skip
    for place in (place for place, row in enumerate(rows) if not _finite(row[column])):
        axes.annotate("infinite", (0, place), (6, 0), textcoords="offset points", va="center")
    ticks_at(axes.yaxis, [f"{slice_name(row, ': ')} ({thousands(row['reviews'])} reviews)" for row in rows])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.7, max(1, len(rows)) - 0.3)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))


def _whiskers(rows: Sequence[Mapping[str, Any]], column: str, low: str, high: str) -> list[list[float]]:
    """Return the lengths of the intervals below and above, in the form Matplotlib needs; 0 if there is no interval."""
    has_interval = [_finite(row[low]) and _finite(row[high]) for row in rows]
    spans = [(row[low], row[high]) if has else (row[column],) * 2 for row, has in zip(rows, has_interval, strict=True)]
    downs = [max(0.0, row[column] - start) for row, (start, _) in zip(rows, spans, strict=True)]
    ups = [max(0.0, end - row[column]) for row, (_, end) in zip(rows, spans, strict=True)]
    return [downs, ups]


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
