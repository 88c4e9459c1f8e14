"""Draw figures of slices: how a figure changes with stars, length, month, position or frequency.

Slices come as one long table (`evaluation.statistics.slice_table.SLICES`). Slices of tokens (by position, by frequency,
after an unknown word) have no bytes. They are shown in bits per token, which compare models of one vocabulary only, so
each vocabulary has a separate panel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from evaluation.palette import PALETTE
from evaluation.plots.canvas import GREY, PALE, WIDTH, canvas, ticks_at
from evaluation.statistics.slice_names import OF_TOKENS, dimension_name, slice_name
from evaluation.statistics.slice_table import worst_slices

UNORDERED = ("category", "after_oov")
"""Dimensions whose slices have no order: no line is drawn between them."""
AXES = {
    "stars": "stars of the review",
    "length": "length of the review in words",
    "month": "month of the review",
    "category": "category of the business",
    "frequency": "how often the token stands in the training text",
    "position": "position of the token in its review",
    "after_oov": "what stands before the token",
}
TITLES = {
    "stars": "by star rating",
    "length": "by length of the review",
    "month": "by month",
    "category": "by category",
    "frequency": "by training frequency of the token",
    "position": "by position in the review",
    "after_oov": "after an unknown word",
}
SPREAD = {False: 0.12, True: 0.6}
"""Share of a category over which the models' points are spread. Those of an ordered dimension are joined by lines,
which a wide spread would shift against each other."""
MOST = 12
"""Maximum number of slices of an unordered dimension, and of labels of an axis."""
LINE = 80
"""Maximum number of characters in horizontal labels of an axis, if all are as wide as the widest."""
PANELS = (
    ("whole", "excess", "bits above those of all reviews, in % of them; lower is better"),
    ("baseline", "change", "change of bits against {baseline}, in % of its own; negative is better"),
)
"""Rules of `evaluation.statistics.slice_table.worst_slices`, the column that is drawn, and its axis label. `change` is
the gain with its sign turned, as on the terminal."""


def spoken(dimension: str, labels: Sequence[str]) -> tuple[str, str]:
    """Return the words of a dimension for a title and for an axis; small months are merged into years."""
    title, axis = TITLES.get(dimension, f"by {dimension}"), AXES.get(dimension, dimension)
    if all(dimension_name(dimension, label) == "year" for label in labels):
        return title.replace("month", "year"), axis.replace("month", "year")
    return title, axis


def slice_figure(
    slices: pl.DataFrame, dimension: str, vocabularies: Mapping[str, str], styles: Mapping[str, Mapping[str, Any]]
) -> Figure:
    """Draw one dimension of the slices: one line of points with intervals per model.

    Args:
        slices: See the module; slices of one model are drawn in the order of their rows.
        dimension: A value of the column dimension.
        vocabularies: Name of the vocabulary of each model; models that are missing here are left out.
        styles: Colour, marker and line of each model (`evaluation.plots.canvas.styles_of`).
    """
    tokens = dimension in OF_TOKENS
    rows = slices.filter((pl.col("dimension") == dimension) & pl.col("model").is_in(list(vocabularies)))
    groups = list(dict.fromkeys(vocabularies[name] for name in rows["model"].unique(maintain_order=True)))
    if not tokens:
        groups = ["all"]
    figure, panels = canvas(WIDTH, 1.0 + 3.3 * max(1, len(groups)), rows=max(1, len(groups)))
    for axes, group in zip([panels] if len(groups) < 2 else panels, groups, strict=False):
        models = [name for name, vocabulary in vocabularies.items() if vocabulary == group or not tokens]
        _panel(axes, rows.filter(pl.col("model").is_in(models)), dimension, styles)
        if len(groups) > 1:
            axes.set_title(f"vocabulary: {group}")
    what = "Bits per token" if tokens else "Bits per byte"
    title, _ = spoken(dimension, rows["slice"].unique().to_list())
    figure.suptitle(f"{what} {title}; lower is better, with intervals")
    return figure


def _panel(axes: Axes, slices: pl.DataFrame, dimension: str, styles: Mapping[str, Mapping[str, Any]]) -> None:
    column = "bits_per_token" if dimension in OF_TOKENS else "open_bits_per_byte"
    labels = _labels(slices, dimension)
    places = {label: place for place, label in enumerate(labels)}
    names = slices["model"].unique(maintain_order=True).to_list()
    names = [name for name in styles if name in names]
    for number, name in enumerate(names):
        rows = slices.filter((pl.col("model") == name) & pl.col("slice").is_in(labels)).to_dicts()
        rows = sorted((row for row in rows if _finite(row[column])), key=lambda row: places[row["slice"]])
        apart = SPREAD[dimension in UNORDERED] / max(1, len(names))
        shift = (number - (len(names) - 1) / 2) * min(0.12, apart)
        style = {**styles[name], **({"linestyle": "none"} if dimension in UNORDERED else {})}
        many = len(labels) > MOST
        xs, ys = [places[row["slice"]] + (0 if many else shift) for row in rows], [row[column] for row in rows]
        downs, ups = _whiskers(rows, column, "lo", "hi")
        if many:  # this number of whiskers would hide the lines
            lows = [y - down for y, down in zip(ys, downs, strict=True)]
            highs = [y + up for y, up in zip(ys, ups, strict=True)]
            axes.fill_between(xs, lows, highs, color=style["color"], alpha=0.12, linewidth=0)
        bars = None if many else [downs, ups]
        axes.errorbar(xs, ys, bars, **style, markersize=3 if many else 5, linewidth=1.5, elinewidth=1.1, capsize=2,
                      label=name)  # fmt: skip
    _name_places(axes, slices, labels, dimension)
    axes.set_ylabel("bits per token" if dimension in OF_TOKENS else "bits per byte of text,\nunknown words spelt out")
    if names:
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _labels(slices: pl.DataFrame, dimension: str) -> list[str]:
    """Return the slices in order; of an unordered dimension with many slices, those with the most tokens."""
    if dimension not in UNORDERED:
        return slices["slice"].unique(maintain_order=True).to_list()
    most = slices.group_by("slice", maintain_order=True).agg(pl.max("tokens")).sort("tokens", descending=True)
    return most["slice"].head(MOST).to_list()


def _name_places(axes: Axes, slices: pl.DataFrame, labels: Sequence[str], dimension: str) -> None:
    """Write each slice with its size below its place; if there are many, every n-th one without its size."""
    size = "tokens" if dimension in OF_TOKENS else "reviews"
    sizes = dict(slices.group_by("slice").agg(pl.max(size)).iter_rows())
    step = -(-len(labels) // MOST)
    shown = labels[::step]
    long = max(map(len, shown), default=0) * len(shown) > LINE
    if step == 1 and not long:
        shown = [f"{label}\n{short(sizes[label])}" for label in shown]
    ticks_at(axes.xaxis, range(0, len(labels), step), shown)
    if long:
        axes.tick_params(axis="x", rotation=35)
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("right")
    axes.fmt_xdata = lambda x: f"{labels[round(x)]} ({short(sizes[labels[round(x)]])} {size})"
    axes.set_xlim(-0.6, max(1, len(labels)) - 0.4)
    below = "" if step > 1 or long else f"; below: number of {size}"
    axes.set_xlabel(spoken(dimension, labels)[1] + below)


def worst_slices_figure(
    slices: pl.DataFrame, model: str, baseline: str, styles: Mapping[str, Mapping[str, Any]] = {}
) -> Figure:
    """Draw the worst slices of a model as points with intervals, the worst on top.

    One panel shows the slices farthest above the model's own figure of all reviews, one those that do worst against
    the baseline. Intervals hold for all examined slices together. Filled diamonds mark those that exclude 0.

    Args:
        slices: `evaluation.statistics.slice_table.SLICES`.
        baseline: Name of the model that gain is measured against.
    """
    colour = styles.get(model, {}).get("color", PALETTE[0])
    worst = worst_slices(slices, baseline).filter(pl.col("model") == model)
    worst = worst.with_columns(change=-pl.col("gain"), change_lo=-pl.col("gain_hi"), change_hi=-pl.col("gain_lo"))
    panels = [
        (relative_to, column, words)
        for relative_to, column, words in PANELS
        if (worst["relative_to"] == relative_to).any()
    ]
    most = [len(worst.filter(pl.col("relative_to") == relative_to)) for relative_to, _, _ in panels]
    figure, drawn = canvas(WIDTH, 1.4 + sum(0.9 + 0.3 * rows for rows in most), rows=max(1, len(panels)))
    for axes, (relative_to, column, words) in zip([drawn] if len(panels) < 2 else drawn, panels, strict=False):
        rows = worst.filter(pl.col("relative_to") == relative_to).sort("rank", descending=True).to_dicts()
        _dots(axes, rows, column, colour)
        axes.set_xlabel(words.format(baseline=baseline or "the baseline"))
    figure.suptitle(f"Where {model} is weakest, among the slices that were looked at")
    figure.legend(*_unique_labels(figure), frameon=False, loc="outside lower center", ncols=2)
    return figure


def _dots(axes: Axes, rows: Sequence[Mapping[str, Any]], column: str, colour: str) -> None:
    """Draw one row per slice as a share of a figure; dashed line: 0; "infinite" is written instead of a point."""
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=PALE, linewidth=0.8)
    axes.axvline(0, color=GREY, linestyle="--", linewidth=1.3)
    verdict = "surely_harder" if column == "excess" else "surely_worse"
    for sure, face, marker, label in ((False, "white", "o", "may be chance"), (True, colour, "D", "sure")):
        finite = [(place, row) for place, row in enumerate(rows) if _finite(row[column])]
        some = [(place, row) for place, row in finite if bool(row[verdict]) == sure]
        if some:
            shares, places = [row[column] for _, row in some], [place for place, _ in some]
            bars = _whiskers([row for _, row in some], column, f"{column}_lo", f"{column}_hi")
            axes.errorbar(shares, places, None, bars, linestyle="none", marker=marker, color=colour, markersize=7,
                          markerfacecolor=face, capsize=3, label=label)  # fmt: skip
    for place in (place for place, row in enumerate(rows) if not _finite(row[column])):
        axes.annotate("infinite", (0, place), (6, 0), textcoords="offset points", va="center")
    names = [f"{slice_name(row, ': ')} ({short(row['reviews'])} reviews)" for row in rows]
    ticks_at(axes.yaxis, range(len(rows)), names)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.7, max(1, len(rows)) - 0.3)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))


def _unique_labels(figure: Figure) -> tuple[list[Any], list[str]]:
    """Return handles and labels of all panels, each label once."""
    handles_of: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles_of.setdefault(label, handle)
    return list(handles_of.values()), list(handles_of)


def short(count: float) -> str:
    """Return 1234 as "1.2 k": an approximate count."""
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= 0.9995 * size:
            return f"{count / size:.3g} {suffix}"
    return f"{count:.0f}"


def _whiskers(rows: Sequence[Mapping[str, Any]], column: str, low: str, high: str) -> list[list[float]]:
    """Return the lengths of the intervals below and above, in the form Matplotlib needs; 0 if there is no interval."""
    has_interval = [_finite(row[low]) and _finite(row[high]) for row in rows]
    spans = [(row[low], row[high]) if has else (row[column],) * 2 for row, has in zip(rows, has_interval, strict=True)]
    downs = [max(0.0, row[column] - start) for row, (start, _) in zip(rows, spans, strict=True)]
    ups = [max(0.0, end - row[column]) for row, (_, end) in zip(rows, spans, strict=True)]
    return [downs, ups]


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
