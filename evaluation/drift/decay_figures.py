"""Draw how models age: by month, and version by version on one set of reviews."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from evaluation.drift.decay import HELD_OUT, NEW, Decay
from evaluation.palette import PALETTE
from evaluation.plots.canvas import GREY, PALE, canvas, styles_of


def decay_curve(decays: Mapping[str, Decay]) -> Figure:
    """Draw open bits per byte by month with intervals: held-out reviews hollow, new ones filled, reference as a line.

    Args:
        decays: By name of version; the first is the champion, and its reference is drawn.
    """
    figure, axes = canvas(10.0, 4.8)
    months = sorted({month for decay in decays.values() for month in decay.table["month"]})
    place = {month: number for number, month in enumerate(months)}
    for shift, (name, style) in enumerate(styles_of(list(decays)).items()):
        table = decays[name].table
        for part, face in ((HELD_OUT, "white"), (NEW, style["color"])):
            rows = table.filter(pl.col("part") == part)
            if rows.is_empty():
                continue
            x = np.array([place[month] for month in rows["month"]]) + 0.08 * shift
            y, low, high = (rows[column].to_numpy() for column in ("open_bits_per_byte", "lo", "hi"))
            axes.errorbar(
                x, y, [y - low, high - y], label=f"{name}, {part}", markerfacecolor=face, capsize=2, markersize=5,
                **style,
            )
    champion, first = next(iter(decays.items()))
    axes.axhspan(first.low, first.high, color=PALE, zorder=0)
    axes.axhline(first.reference, color=GREY, linewidth=1, linestyle="--",
                 label=f"reference {first.since} to {first.until}")
    step = max(1, len(months) // 12)
    axes.set_xticks(range(0, len(months), step), months[::step], rotation=30, ha="right")
    axes.set_ylabel("open bits per byte")
    axes.set_title(f"{champion}: {first.sentence}", loc="left", fontsize=9)
    axes.legend(frameon=False, fontsize=8)
    return figure


def benchmark_curve(history: pl.DataFrame) -> Figure:
    """Draw open bits per byte of every version that was champion, on the frozen set, with intervals.

    Args:
        history: Columns version, model, open_bits_per_byte, lo, hi, reviews; one row per version.
    """
    figure, axes = canvas(8.0, 4.2)
    rows = history.sort("version")
    y, low, high = (rows[column].to_numpy() for column in ("open_bits_per_byte", "lo", "hi"))
    places = np.arange(len(rows))
    axes.errorbar(places, y, [y - low, high - y], marker="o", capsize=3, color=PALETTE[0])
    labels = [f"v{row['version']}\n{row['model']}" for row in rows.to_dicts()]
    axes.set_xticks(places, labels)
    axes.set_ylabel("open bits per byte")
    axes.set_title(f"Champions on the same {rows['reviews'][0]} reviews, frozen (lower is better)", loc="left")
    return figure
