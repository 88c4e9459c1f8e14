"""Provide the common parts of all figures: an empty canvas, distinguishable colours, and readable axes.

Matplotlib's objects are used without its global state, so that several flows can draw in one process; only the form
of the texts is set once for the process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.axis import Axis, XAxis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, NullLocator

from core.errors import visible
from evaluation.palette import PALETTE

GREY, PALE = "#595959", "#E3E3E3"
MARKERS: tuple[Any, ...] = (
    "o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "d", (4, 1, 0), "p", (3, 1, 0), (8, 1, 0), (4, 1, 45),
)  # fmt: skip
"""Shapes that can be filled; a tuple is a star with so many points, turned by so many degrees."""
DASHES = ("-", "--", ":", "-.")
WIDTH = 9.0
"""Inches of every figure of the report, so that its texts have one size on the page."""
SMALL, LARGE = 9.0, 11.0
"""Points of the texts in a figure: SMALL within the axes, LARGE for titles."""
matplotlib.rcdefaults()  # a figure must not depend on the settings of the user who drew it
matplotlib.rcParams.update({
    "font.size": SMALL, "axes.labelsize": SMALL, "xtick.labelsize": SMALL, "ytick.labelsize": SMALL,
    "svg.fonttype": "none", "svg.hashsalt": "reviewlm",  # text stays text; equal figures give equal ids
    "legend.fontsize": SMALL, "legend.title_fontsize": SMALL, "axes.titlesize": LARGE, "figure.titlesize": LARGE,
})  # fmt: skip

CASING = [withStroke(linewidth=2.4, foreground="white")]
"""Shows a dark line also on a dark bar."""


def canvas(width: float, height: float, columns: int = 1, rows: int = 1) -> tuple[Figure, Any]:
    """Return a figure of *width* × *height* inches and its axes: one, or an array with one per panel."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns)
    for each in [axes] if columns == rows == 1 else axes.flat:
        each.spines[["top", "right"]].set_visible(False)
        each.set_axisbelow(True)
        each.grid(axis="y" if columns == 1 else "x", color=PALE, linewidth=0.8)
    return figure, axes


def styles_of(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return colour, marker and line of each model, by the order of *names*.

    Up to 16 models differ in colour and in marker, up to 64 in one of the three. Figures of one report get the same
    names, so that a model looks the same in all of them.
    """
    return {
        name: {
            "color": PALETTE[number % len(PALETTE)],
            "marker": MARKERS[number % len(MARKERS)],
            "linestyle": DASHES[number // len(PALETTE) % len(DASHES)],
        }
        for number, name in enumerate(names)
    }


def literal(text: str) -> str:
    """Return raw text for a label, with dollar signs escaped: Matplotlib reads text between two as a formula."""
    return visible(text).replace("$", r"\$")


def thousands(value: float) -> str:
    """Return a number with a unit: 1500 as "1.5 k"."""
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g} {suffix}"
    return f"{value:g}"


def label_thousands(axis: Axis) -> None:
    """Label an axis with numbers and units: 1.5 k."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: thousands(value)))


def plain_log_ticks(axis: Axis) -> None:
    """Label a log axis 50, 100, 200 instead of powers of ten; a wider axis has fewer labels in between."""
    low, high = axis.get_view_interval()
    between = "2357" if high / low < 30 else "25" if high / low < 1_000 else ""

    def label(value: float, _: object) -> str:
        return f"{value:g}" if f"{value:e}"[0] in between else ""

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(FuncFormatter(label))


def ticks_at(axis: Axis, places: Sequence[float], labels: Sequence[str]) -> None:
    """Label these places of an axis and no others, also in tooltips; a log axis would add its default labels."""
    if isinstance(axis, XAxis) and places:
        near = dict(zip(places, labels, strict=True))
        axis.axes.fmt_xdata = lambda x: near[min(near, key=lambda place: abs(place - x))].replace("\n", ", ")
    axis.set_ticks(list(places), [literal(label) for label in labels])
    axis.set_minor_locator(NullLocator())
