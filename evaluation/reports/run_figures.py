"""Draw the figures of a run's report.

`evaluation/reports/canvas.py` explains how figures are drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from reviewlm.core.figures import FARTHEST
from reviewlm.evaluation.reports.canvas import (
    DASHES,
    GREY,
    PALE,
    WIDTH,
    canvas,
    label_thousands,
    legend_below,
    literal,
    plain_log_ticks,
    thousands,
    ticks_at,
)
from reviewlm.evaluation.statistics.slice_table import worst_slices
from reviewlm.evaluation.statistics.slices import slice_name
from reviewlm.models.base import STATIC

Styles = Mapping[str, Mapping[str, Any]]
LARGEST = 110.0
"""Area of the largest point of a reliability diagram, in square points."""
RULES_OF_WORST = (
    ("whole", "excess", "more bits than for all reviews"),
    ("baseline", "change", "more bits than {baseline} needs"),
)
"""Rules of `worst_slices`, the column that is drawn, and its axis label. `change` is the gain with its sign turned."""


def bits_figure(
    table: pl.DataFrame,
    styles: Styles,
    floor: float | None = None,
    baseline: str = "",
) -> Figure:
    """Draw bits per byte of every model with its interval, best first; adaptive models below a line.

    Args:
        table: `reviewlm.evaluation.statistics.comparison.comparison_table`, with its intervals if there are any.
        floor: Bits per byte of the grammar, if it wrote the test text.
        baseline: Name of the model that the dashed line marks.
    """
    adapts = pl.col("adaptation") != STATIC
    rows = table.sort(adapts, "open_bits_per_byte").reverse().to_dicts()
    figure, axes = canvas(WIDTH, 1.0 + 0.26 * len(rows))
    bits = [row["open_bits_per_byte"] for row in rows]
    # A model beyond it is drawn at the edge, with an arrow.
    edge = FARTHEST * min(filter(math.isfinite, bits), default=1.0)
    for place, row in enumerate(rows):
        _draw_bits(
            axes,
            place,
            row,
            styles[row["model"]]["color"],
            edge,
        )

    thin: dict[str, Any] = {"linewidth": 1, "zorder": 0}
    for row in table.filter(model=baseline).to_dicts():
        bits_of_baseline = row["open_bits_per_byte"]
        axes.axvline(
            bits_of_baseline,
            linestyle="--",
            color=GREY,
            label="baseline",
            **thin,
        )

    if floor is not None:
        label = f"floor {floor:.3f}: no model can need less"
        axes.axvline(
            floor,
            color="#000000",
            label=label,
            **thin,
        )

    if 0 < (adapting := int(table.select(adapts.sum()).item())) < len(rows):
        axes.axhline(adapting - 0.5, color=GREY, linewidth=0.8)

    ticks_at(axes.yaxis, [row["model"] for row in rows])
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.06)
    axes.set_ylim(-0.6, len(rows) - 0.2)
    axes.set_xlabel("bits per byte of the test reviews; further left is better")
    legend_below(figure)
    return figure


def _draw_bits(
    axes: Axes,
    place: int,
    row: Mapping[str, Any],
    color: str,
    edge: float,
) -> None:
    """Draw the bits of one model with its interval; at the edge, with an arrow, if it needs more."""
    value = row["open_bits_per_byte"]
    low = row.get("open_bits_per_byte_lo")
    high = row.get("open_bits_per_byte_hi")
    if low is not None and high is not None and value < edge:
        ends = [low, min(high, edge)]
        axes.plot(
            ends,
            [place, place],
            color=color,
            linewidth=3,
            alpha=0.45,
        )

    shown = min(value, edge)
    axes.plot(
        shown,
        place,
        marker="o",
        markersize=7,
        color=color,
        linestyle="none",
    )
    text = f"{value:.3f}" if math.isfinite(value) else "infinite"
    alignment = "center"
    if value > edge:
        text = f"{text} →"
        alignment = "right"

    axes.annotate(
        text,
        (shown, place),
        (0, 6),
        textcoords="offset points",
        ha=alignment,
        fontsize=8,
        bbox={
            "facecolor": "white",
            "edgecolor": "none",
            "pad": 0.3,
        },
    )


def loss_curves(
    histories: Mapping[str, Sequence[Mapping[str, float]]],
    styles: Styles,
    final: Mapping[str, tuple[float, float]] = {},
) -> Figure:
    """Draw perplexity against training tokens: validation as marked lines, training as thin pale lines behind them.

    Only curves of models of one vocabulary can be compared.

    Args:
        histories: Per model the lines of its journal: `step` (tokens seen), and `train/perplexity` and
            `validation/perplexity` if they were measured. A model with a single point (a count-based one) becomes a
            horizontal line. Points that are not finite are left out; if all points of a model are, the legend says so.
        final: Per network the tokens seen by its final weights and their perplexity on all validation reviews, of which
            a curve's points measure a part; it is ringed and in the legend.
    """
    figure, axes = canvas(WIDTH, 4.2)
    dashes = cycle(DASHES[1:])
    for name, history in histories.items():
        style = styles[name]
        axes.plot(
            *_series(history, "train/perplexity"),
            color=style["color"],
            alpha=0.35,
            linewidth=1.0,
        )
        steps, values = _series(history, "validation/perplexity")
        measured = sum("validation/perplexity" in line for line in history)
        if measured and not values:
            axes.plot(
                [],
                [],
                color=style["color"],
                linestyle="--",
                linewidth=1.6,
                label=f"{name}: infinite",
            )
        elif measured == 1:
            level = f"{name}: {values[0]:.4g}"
            axes.axhline(
                values[0],
                color=style["color"],
                linestyle=next(dashes),
                linewidth=1.6,
                label=level,
            )
        elif values:
            if name in final:
                best = f"{name}: {final[name][1]:.4g}"
            else:
                best = f"{name}: best {min(values):.4g}"

            axes.plot(
                steps,
                values,
                **style,
                markersize=4,
                linewidth=1.6,
                label=best,
            )
            if name in final:
                axes.plot(
                    *final[name],
                    marker="o",
                    markersize=11,
                    markerfacecolor="none",
                    color=style["color"],
                )

    axes.set_yscale("log")
    plain_log_ticks(axes.yaxis)
    axes.set_xlim(left=0)
    label_thousands(axes.xaxis)
    axes.set_xlabel("training tokens read")
    axes.set_ylabel("perplexity per token (log scale)")
    legend_below(figure)
    return figure


def _series(history: Iterable[Mapping[str, float]], name: str) -> tuple[list[float], list[float]]:
    """Return the steps and values of a figure, without those that are not finite."""
    points = {}
    for line in history:
        if name in line and math.isfinite(line[name]):
            points[line["step"]] = line[name]

    return list(points), list(points.values())


def reliability_figure(
    reliability: Mapping[str, pl.DataFrame],
    facts: Mapping[str, Mapping[str, Any]],
    styles: Styles,
) -> Figure:
    """Draw the share of correct first guesses by the probability that the model gave them, one panel per model.

    Reliability diagram (Guo et al. 2017, figure 1).

    Args:
        reliability: By model, with the columns count, mean_probability and mean_accuracy; empty bins are left out.
        facts: By model: ece (expected calibration error), if it is known.
    """
    figure, panels = canvas(WIDTH, 2.0, len(reliability))
    for axes, (name, table) in zip(np.atleast_1d(panels), reliability.items(), strict=True):
        _reliability_panel(
            axes,
            name,
            table.filter(pl.col("count") > 0),
            facts.get(name, {}),
            styles[name],
        )
    np.atleast_1d(panels)[0].set_ylabel("share that was right")
    return figure


def _reliability_panel(
    axes: Axes,
    name: str,
    table: pl.DataFrame,
    facts: Mapping[str, Any],
    style: Mapping[str, Any],
) -> None:
    """Draw the diagonal, the line of the bins, and points whose area is the number of tokens."""
    axes.plot(
        [0, 1],
        [0, 1],
        color=GREY,
        linestyle="--",
        linewidth=1.2,
    )
    axes.plot(
        table["mean_probability"], table["mean_accuracy"], color=style["color"], linewidth=1.4
    )
    counts = table["count"].to_numpy()
    areas = 8 + LARGEST * counts / max(1, counts.max(initial=1))
    axes.scatter(
        table["mean_probability"],
        table["mean_accuracy"],
        areas,
        color=style["color"],
        alpha=0.8,
        zorder=3,
    )
    axes.set_xlim(-0.04, 1.04)
    axes.set_ylim(-0.04, 1.04)
    axes.set_aspect("equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0))
        axis.set_ticks([0, 0.5, 1])

    axes.set_xlabel("probability given")
    caption = ""
    if facts.get("ece") is not None:
        caption = f"ECE {facts['ece']:.3f}"

    axes.set_title(f"{literal(name)}\n{caption}".strip(), fontsize=9)


def novelty_figure(curves: Mapping[str, pl.DataFrame], styles: Styles) -> Figure:
    """Draw the share of n-grams that occur in the training text, over n: for samples, and for reviews by people.

    Args:
        curves: By model, with the columns n, samples and real (shares; null if there is no n-gram).
    """
    figure, axes = canvas(WIDTH, 3.6)
    real: dict[int, float] = {}
    for name, table in curves.items():
        shares = table.drop_nulls("samples")
        axes.plot(
            shares["n"],
            shares["samples"],
            **styles[name],
            markersize=4,
            linewidth=1.6,
            label=name,
        )
        real |= dict(table.drop_nulls("real").select("n", "real").iter_rows())

    axes.plot(
        list(real),
        list(real.values()),
        color=GREY,
        linestyle="--",
        linewidth=2.6,
        label="held-out reviews",
    )
    axes.set_ylim(-0.02, 1.03)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("words in a row")
    axes.set_ylabel("share found in the training text")
    legend_below(figure)
    return figure


def worst_slices_figure(
    slices: pl.DataFrame,
    model: str,
    baseline: str,
    styles: Styles,
) -> Figure:
    """Draw the worst slices of a model as points with intervals, the worst on top.

    One panel shows the slices farthest above the model's own figure of all reviews, one those that do worst against
    the baseline. Intervals hold for all examined slices together. Filled diamonds mark those that exclude 0.

    Args:
        slices: `reviewlm.evaluation.statistics.slice_table.SLICES`.
        baseline: Name of the model that gain is measured against.
    """
    worst = worst_slices(slices, baseline).filter(pl.col("model") == model)
    worst = worst.with_columns(
        change=-pl.col("gain"),
        change_lo=-pl.col("gain_hi"),
        change_hi=-pl.col("gain_lo"),
    )
    panels = []
    for rule, column, words in RULES_OF_WORST:
        rows = worst.filter(relative_to=rule).sort("rank", descending=True).to_dicts()
        if rows:
            panels.append((rows, column, words))

    height = 0.6 + sum(0.8 + 0.26 * len(rows) for rows, _, _ in panels)
    figure, drawn = canvas(WIDTH, height, rows=max(1, len(panels)))
    for axes, (rows, column, words) in zip(np.atleast_1d(drawn), panels, strict=False):
        _dots(axes, rows, column, styles[model]["color"])
        axes.set_xlabel(words.format(baseline=literal(baseline)))

    legend_below(figure)
    return figure


def _dots(
    axes: Axes,
    rows: Sequence[Mapping[str, Any]],
    column: str,
    colour: str,
) -> None:
    """Draw one row per slice as a share of a figure; dashed line: 0; "infinite" is written instead of a point."""
    axes.grid(axis="y", visible=False)
    axes.grid(
        axis="x",
        color=PALE,
        linewidth=0.8,
    )
    axes.axvline(
        0,
        color=GREY,
        linestyle="--",
        linewidth=1.3,
    )
    for sure, face, marker, label in (
        (False, "#ffffff", "o", "may be chance"),
        (True, colour, "D", "sure"),
    ):
        chosen = (
            (place, row) for place, row in enumerate(rows) if _excludes_zero(row, column) == sure
        )
        finite = [(place, row) for place, row in chosen if _is_number(row[column])]
        if finite:
            shares = [row[column] for _, row in finite]
            places = [place for place, _ in finite]
            bars = _whiskers([row for _, row in finite], column)
            axes.errorbar(
                shares,
                places,
                None,
                bars,
                linestyle="none",
                marker=marker,
                color=colour,
                markersize=6,
                markerfacecolor=face,
                capsize=3,
                label=label,
            )

    for place in (place for place, row in enumerate(rows) if not _is_number(row[column])):
        axes.annotate(
            "infinite",
            (0, place),
            (6, 0),
            textcoords="offset points",
            va="center",
        )

    ticks_at(
        axes.yaxis,
        [f"{slice_name(row, ': ')} ({thousands(row['reviews'])} reviews)" for row in rows],
    )
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.7, max(1, len(rows)) - 0.3)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))


def _excludes_zero(row: Mapping[str, Any], column: str) -> bool:
    """Return whether the whole interval is on one side of 0: the slice is surely worse, or surely better."""
    low = row[f"{column}_lo"]
    high = row[f"{column}_hi"]
    return (_is_number(low) and low > 0) or (_is_number(high) and high < 0)


def _whiskers(rows: Sequence[Mapping[str, Any]], column: str) -> list[list[float]]:
    """Return the lengths of the intervals below and above, in the form Matplotlib needs; 0 if there is no interval."""
    lengths = []
    for row in rows:
        low = row[f"{column}_lo"]
        high = row[f"{column}_hi"]
        known = _is_number(low) and _is_number(high)
        if known:
            lengths.append((max(0.0, row[column] - low), max(0.0, high - row[column])))
        else:
            lengths.append((0.0, 0.0))

    return [list(side) for side in zip(*lengths, strict=True)]


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
