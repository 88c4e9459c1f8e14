"""Draw loss curves, perplexity by model and bits per byte by star rating.

`evaluation/plots/canvas.py` explains how figures are drawn.

Draw reliability diagrams: accuracy of a model by its confidence (Guo et al. 2017, figure 1).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from evaluation.palette import PALETTE
from evaluation.plots.canvas import CASING, GREY, WIDTH, canvas, label_thousands, plain_log_ticks, styles_of
from evaluation.statistics.floor import Floor
from models.base import STATIC

PER_BYTE = "bits per byte of text, unknown words spelt out"

COLUMNS = 3
"""Maximum number of panels side by side."""
LARGEST = 130.0
"""Area of the largest point in square points."""


def loss_curves(
    histories: Mapping[str, Sequence[Mapping[str, float]]], final: Mapping[str, tuple[float, float]] = {}
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
    figure, axes = canvas(WIDTH, 5.0)
    for name, style in styles_of(list(histories)).items():
        history = histories[name]
        axes.plot(*_series(history, "train/perplexity"), color=style["color"], alpha=0.35, linewidth=1.0)
        measured = _series(history, "validation/perplexity")
        steps, values = _finite(*measured)
        if measured[0] and not values:
            axes.plot([], [], color=style["color"], linestyle="--", linewidth=1.6, label=f"{name}: infinite")
        elif len(measured[0]) == 1:
            level = f"{name}: {values[0]:.4g}"
            axes.axhline(values[0], color=style["color"], linestyle="--", linewidth=1.6, label=level)
        elif values:
            best = f"{name}: {final[name][1]:.4g}" if name in final else f"{name}: best {min(values):.4g}"
            axes.plot(steps, values, **style, markersize=5, linewidth=1.8, label=best)
            if name in final:
                axes.plot(*final[name], marker="o", markersize=11, markerfacecolor="none", color=style["color"])
    axes.set_yscale("log")
    axes.grid(axis="y", which="minor", color="#F0F0F0", linewidth=0.8)
    plain_log_ticks(axes.yaxis)
    axes.set_xlim(left=0)
    label_thousands(axes.xaxis)
    axes.set_xlabel("training tokens seen (repeats included)")
    axes.set_ylabel("perplexity per token (log scale)")
    axes.set_title("Validation perplexity (marked) and training perplexity (pale)")
    if axes.get_legend_handles_labels()[1]:
        beside = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)} if len(histories) > 4 else {}
        axes.legend(frameon=False, title="validation", alignment="left", **beside)
    return figure


def perplexity_bars(
    table: pl.DataFrame, floor: Floor | None = None, baseline: str = "", styles: Mapping[str, Mapping[str, Any]] = {},
) -> Figure:  # fmt: skip
    """Draw test perplexity per token and bits per byte of every model, best first.

    Perplexities per token compare models of one vocabulary only, so lines part their bars by vocabulary. Bits per byte
    compare all models, and the floor is shown there only. Models that adapt to the text they read are drawn below the
    static ones and hatched, with a line between, because the two groups cannot be compared.

    Args:
        table: `evaluation.statistics.comparison.comparison_table`; if it has columns `*_lo` and `*_hi`, bars have
            intervals.
        floor: Floor of the embedded corpus, if the test text is from it.
        baseline: Name of the model that the dashed line marks.
        styles: See `evaluation.plots.canvas.styles_of`; by default, by the order of the table.
    """
    figure, (left, right) = canvas(WIDTH, 1.9 + 0.55 * len(table), columns=2)
    vocabularies = table.sort("open_bits_per_byte")["vocabulary"].unique(maintain_order=True).to_list()
    styles = styles or styles_of(table["model"].to_list())
    grouped = table.with_columns(group=pl.col("vocabulary").replace_strict(vocabularies, range(len(vocabularies))))
    adapts = pl.col("adaptation") != STATIC  # these bars are below the others
    _bars(left, grouped.sort(adapts, "group", "perplexity"), "perplexity", styles, "{:.4g}")
    _bars(right, table.sort(adapts, "open_bits_per_byte"), "open_bits_per_byte", styles, "{:.3f}")
    _part(left, grouped.sort(adapts, "group", "perplexity").select(adapts, "group"))
    _part(right, table.sort(adapts, "open_bits_per_byte").select(adapts))
    one = "" if len(vocabularies) == 1 else "\ncompare bars between two lines only (one vocabulary)"
    # Log axis from 1, the lowest possible perplexity: a unigram and a network differ by a factor of a hundred.
    left.set_xlim(1, 2 * max((value for value in table["perplexity"].to_list() if value < math.inf), default=5.0))
    left.set_xscale("log")
    plain_log_ticks(left.xaxis)
    left.set_xlabel(f"perplexity per token (log scale){one}")
    right.set_xlabel(PER_BYTE)
    _mark(right, table, floor, baseline)
    size = f"{_count(table['reviews'].max())} reviews, {_count(table['bytes'].max())} bytes"
    figure.suptitle(f"Test set of {size}; lower is better" + (", whiskers: intervals" if _has_intervals(table) else ""))
    return figure


def star_bars(slices: Mapping[str, pl.DataFrame]) -> Figure:
    """Draw bits per byte of each model by star rating.

    Args:
        slices: Per model `evaluation.scoring.metrics.star_slices`, all of the same reviews.
    """
    figure, axes = canvas(WIDTH, 4.6)
    stars = sorted({star for table in slices.values() for star in table["stars"]})
    reviews: dict[int, int] = {}
    width = 0.8 / max(1, len(slices))
    for number, (name, table) in enumerate(slices.items()):
        values = dict(zip(table["stars"], table["open_bits_per_byte"], strict=True))
        reviews |= dict(zip(table["stars"], table["reviews"], strict=True))
        left = [place - 0.4 + (number + 0.5) * width for place in range(len(stars))]
        heights = [values.get(star, 0.0) for star in stars]
        drawn = [height if math.isfinite(height) else 0.0 for height in heights]
        bars = axes.bar(left, drawn, width * 0.92, color=PALETTE[number % len(PALETTE)], label=name)
        if len(slices) <= 4 or drawn != heights:
            labels = [_number(height, "{:.2f}") for height in heights]
            axes.bar_label(bars, labels, padding=2)
    axes.set_xticks(range(len(stars)), [f"{_star_name(star)}\n{_count(reviews[star])} reviews" for star in stars])
    axes.set_ylabel("bits per byte of text,\nunknown words spelt out")
    axes.set_title("Bits per byte by star rating; lower is better")
    axes.margins(y=0.12)
    axes.legend(frameon=False, ncols=min(5, len(slices)), loc="upper center", bbox_to_anchor=(0.5, -0.13))
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write the figure as PNG; equal figures give equal bytes."""
    figure.savefig(path, dpi=130, metadata={"Software": None})


def _series(history: Iterable[Mapping[str, float]], name: str) -> tuple[list[float], list[float]]:
    points = [(line["step"], line[name]) for line in history if name in line]
    return [step for step, _ in points], [value for _, value in points]


def _finite(steps: Sequence[float], values: Sequence[float]) -> tuple[list[float], list[float]]:
    points = [(step, value) for step, value in zip(steps, values, strict=True) if math.isfinite(value)]
    return [step for step, _ in points], [value for _, value in points]


def _bars(axes: Axes, table: pl.DataFrame, column: str, styles: Mapping[str, Mapping[str, Any]], form: str) -> None:
    """Draw one horizontal bar per row, the first on top, with its value on a patch that hides the lines behind it."""
    rows = table.reverse().to_dicts()
    values = [row[column] for row in rows]
    drawn = [value if math.isfinite(value) else float(column == "perplexity") for value in values]
    hatches = ["" if row.get("adaptation", STATIC) == STATIC else "///" for row in rows]
    axes.barh(range(len(rows)), drawn, color=[styles[row["model"]]["color"] for row in rows], height=0.62,
              hatch=hatches, edgecolor="white", linewidth=0)  # fmt: skip
    patch = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
    for place, (row, value, end) in enumerate(zip(rows, values, drawn, strict=True)):
        if (span := _interval(row, column)) is not None:
            axes.plot(span, [place, place], color="#000000", marker="|", markersize=7, linewidth=1.3, zorder=3,
                      path_effects=CASING)  # fmt: skip
            end = span[1]
        axes.annotate(_number(value, form), (end, place), (6, 0), textcoords="offset points", va="center",
                      bbox=patch)  # fmt: skip
    adapts = [f"\n{way}" if (way := row.get("adaptation", STATIC)) != STATIC else "" for row in rows]
    names = [f"{row['model']} ({row['unit']})" if row["unit"] else row["model"] for row in rows]
    names = [name + way for name, way in zip(names, adapts, strict=True)]
    axes.set_yticks(range(len(rows)), names)
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.14)


def _part(axes: Axes, groups: pl.DataFrame) -> None:
    """Draw a line between neighbouring bars that cannot be compared; *groups* has one row per bar, the first on top."""
    rows = groups.rows()
    for place, (above, below) in enumerate(pairwise(rows)):
        if above != below:
            axes.axhline(len(rows) - 1.5 - place, color=GREY, linewidth=1.0)


def _interval(row: Mapping[str, Any], column: str) -> list[float] | None:
    """Return the ends of a figure's interval; None if there is none, or an end is not finite."""
    ends = [row.get(f"{column}_lo"), row.get(f"{column}_hi")]
    finite_ends = [float(end) for end in ends if end is not None and math.isfinite(end)]
    return finite_ends if len(finite_ends) == 2 else None


def _has_intervals(table: pl.DataFrame) -> bool:
    return any(_interval(row, "open_bits_per_byte") for row in table.to_dicts())


def _number(value: float, form: str) -> str:
    """Return a bar's label; an infinite figure has no bar, only the label "infinite"."""
    return form.format(value) if math.isfinite(value) else "infinite"


def _mark(axes: Axes, table: pl.DataFrame, floor: Floor | None, baseline: str) -> None:
    lines = {}
    if len(base := table.filter(pl.col("model") == baseline)):
        lines[f"baseline {baseline}"] = (base["open_bits_per_byte"][0], "--", GREY)
    if floor is not None:
        lines[f"floor {floor.bits_per_byte:.3f}: no model can be below"] = (floor.bits_per_byte, "-", "#000000")
    for label, (place, style, colour) in lines.items():
        axes.axvline(place, linestyle=style, color=colour, linewidth=1.4, label=label, zorder=2, path_effects=CASING)
    if lines:
        axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)


def _count(number: Any) -> str:
    return f"{number:,}"


def _star_name(stars: int) -> str:
    return {0: "unknown", 1: "1 star"}.get(stars, f"{stars} stars")


def reliability_figure(
    reliability: Mapping[str, pl.DataFrame],
    facts: Mapping[str, Mapping[str, Any]],
    styles: Mapping[str, Mapping[str, Any]],
) -> Figure:
    """Draw the share of correct first guesses by the probability that the model gave them, one panel per model.

    Args:
        reliability: By model, with the columns count, mean_probability and mean_accuracy; empty bins are left out.
        facts: By model: ece (expected calibration error) and temperature, if they are known.
    """
    columns = min(COLUMNS, max(1, len(reliability)))
    rows = max(1, -(-len(reliability) // columns))
    figure, panels = canvas(2.8 * columns + 0.6, 2.9 * rows + 0.7, columns, rows)
    flat = [panels] if columns == rows == 1 else list(panels.flat)
    for axes, (name, table) in zip(flat, reliability.items(), strict=False):
        _panel(axes, name, table.filter(pl.col("count") > 0), facts.get(name, {}), styles[name])
    for axes in flat[len(reliability) :]:
        axes.set_axis_off()
    for axes in flat[::columns]:
        axes.set_ylabel("share that was right")
    for axes in flat[: len(reliability)][-columns:]:
        axes.set_xlabel("probability given")
    figure.suptitle("Reliability of the first guess; on the dashed line: right as often as said")
    return figure


def _panel(axes: Axes, name: str, table: pl.DataFrame, facts: Mapping[str, Any], style: Mapping[str, Any]) -> None:
    """Draw the diagonal, the line of the bins, and points whose area is the number of tokens."""
    axes.grid(axis="both", color="#EEEEEE", linewidth=0.8)
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1.2)
    axes.plot(table["mean_probability"], table["mean_accuracy"], color=style["color"], linewidth=1.4)
    counts = table["count"].to_numpy()
    areas = 8 + LARGEST * counts / max(1, counts.max(initial=1))
    axes.scatter(table["mean_probability"], table["mean_accuracy"], areas, color=style["color"], marker=style["marker"],
                 alpha=0.8, zorder=3)  # fmt: skip
    axes.set_xlim(-0.04, 1.04)
    axes.set_ylim(-0.04, 1.04)
    axes.set_aspect("equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0))
        axis.set_ticks([0, 0.5, 1])
    captions = [f"ECE {facts['ece']:.3f}"] if facts.get("ece") is not None else []
    captions += [f"T = {facts['temperature']:.2f}"] if facts.get("temperature") is not None else []
    axes.set_title("\n".join([name, ", ".join(captions)]).strip())
