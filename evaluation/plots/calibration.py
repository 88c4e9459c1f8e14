"""Draw reliability diagrams: accuracy of a model by its confidence (Guo et al. 2017, figure 1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from evaluation.plots.canvas import GREY, canvas

COLUMNS = 3
"""Maximum number of panels side by side."""
LARGEST = 130.0
"""Area of the largest point in square points."""


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
    known = [f"ECE {facts['ece']:.3f}"] if facts.get("ece") is not None else []
    known += [f"T = {facts['temperature']:.2f}"] if facts.get("temperature") is not None else []
    axes.set_title("\n".join([name, ", ".join(known)]).strip())
