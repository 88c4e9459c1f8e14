"""Draw quality against size and cost, with the Pareto front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.plots.canvas import GREY, WIDTH, canvas, plain_log_ticks
from evaluation.statistics.floor import Floor
from evaluation.statistics.pareto import QUALITY, is_placed, known_costs, on_front
from models.base import STATIC

LABELS = {
    "megabytes": "size of the bundle in MB (log scale)",
    "score_seconds": "time to score the test reviews in s (log scale)",
}
FARTHEST = 1.6
"""Models with more than this multiple of the best model's bits are drawn at the upper edge, with their figure."""


def pareto_figure(table: pl.DataFrame, styles: Mapping[str, Mapping[str, Any]], floor: Floor | None = None) -> Figure:
    """Draw bits per byte over each cost, one panel per cost, with the front of its panel as a step line.

    Static and adaptive models do not compare, so each group has its own front: a solid and a dotted line. Filled
    marker: on its group's front of quality and all costs together. Hollow marker: another model of the group is at
    least as good, as small and as fast, and better in one of these.

    Args:
        table: `evaluation.statistics.comparison.comparison_table` with the columns of `known_costs`; a cost without a
            figure for any model has no panel.
        floor: Floor of the embedded corpus, if the test text is from it.
    """
    shown, front = known_costs(table), on_front(table)
    figure, panels = canvas(WIDTH, 0.9 + 3.2 * max(1, len(shown)), rows=max(1, len(shown)))
    for axes, cost in zip([panels] if len(shown) < 2 else panels, shown, strict=False):
        rows = [row for row in table.to_dicts() if is_placed(row, cost)]
        _points(axes, rows, cost, front, styles)
        if floor is not None:
            axes.axhline(floor.bits_per_byte, color="#000000", linewidth=1.3, label=f"floor {floor.bits_per_byte:.3f}")
        axes.set_xscale("log")
        axes.margins(x=0.12, y=0.14)
        plain_log_ticks(axes.xaxis)
        axes.set_xlabel(LABELS[cost])
        axes.set_ylabel("bits per byte")
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.suptitle("Quality against cost; lower left is better, filled: not beaten in all of these at once")
    return figure


def _points(
    axes: Axes, rows: Sequence[Mapping[str, Any]], cost: str, front: Sequence[str],
    styles: Mapping[str, Mapping[str, Any]],
) -> None:  # fmt: skip
    """Draw each model, those far above the others at the edge, and each group's best quality up to each cost."""
    top = FARTHEST * min((row[QUALITY] for row in rows), default=1.0)
    for row in rows:
        style, far = styles[row["model"]], row[QUALITY] > top
        face = style["color"] if row["model"] in front else "white"
        place = (row[cost], min(row[QUALITY], top))
        axes.plot(*place, marker=style["marker"], color=style["color"], markersize=9, markerfacecolor=face,
                  markeredgewidth=1.8, linestyle="none",
                  label=f"{row['model']}, adapts" if _adapts(row) else row["model"])  # fmt: skip
        if far:
            axes.annotate(f"↑ {row[QUALITY]:.2f}", place, (9, 0), textcoords="offset points", va="center")
    for adapting, line in ((False, "-"), (True, ":")):
        group = [row for row in rows if _adapts(row) == adapting]
        axes.step(*_front_line(group, cost, top), where="post", color=GREY, linewidth=1.1, linestyle=line, zorder=1)


def _front_line(rows: Sequence[Mapping[str, Any]], cost: str, top: float) -> tuple[list[float], list[float]]:
    """Return the costs at which the best quality so far falls, and that quality."""
    best, xs, ys = top, list[float](), list[float]()
    for row in sorted(rows, key=lambda row: (row[cost], row[QUALITY])):
        if row[QUALITY] < best:
            best = row[QUALITY]
            xs.append(row[cost])
            ys.append(best)
    return xs, ys


def _adapts(row: Mapping[str, Any]) -> bool:
    return bool(row.get("adaptation", STATIC) != STATIC)
