"""Provide the common parts of all figures: an empty canvas, distinguishable colours, readable axes, and SVG.

Matplotlib's objects are used without its global state, so that several flows can draw in one process; only the form
of the texts is set once for the process.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from reviewlm.core.errors import as_html, visible
from reviewlm.evaluation.reports.document import PALETTE

GREY, PALE = "#595959", "#E3E3E3"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", "--", ":", "-.")
WIDTH = 4.6
"""Inches of a figure of a page: as wide as a phone, so that none has to be moved sideways or shrunk."""
SMALL = 9.0
"""Points of the texts within the axes of a figure."""
LARGE = 11.0
"""Points of titles in a figure."""
matplotlib.rcdefaults()  # a figure must not depend on the settings of the user who drew it
matplotlib.rcParams.update(
    {
        "font.size": SMALL,
        "axes.labelsize": SMALL,
        "xtick.labelsize": SMALL,
        "ytick.labelsize": SMALL,
        "svg.fonttype": "none",
        "svg.hashsalt": "reviewlm",  # text stays text; equal figures give equal ids
        "legend.fontsize": SMALL,
        "axes.titlesize": LARGE,
        "figure.titlesize": LARGE,
        "legend.frameon": False,
    }
)
VARIABLES = {
    "#000000": "--text",
    "#ffffff": "--page",
    GREY.lower(): "--soft",
    PALE.lower(): "--line",
    **{colour: f"--m{number}" for number, colour in enumerate(PALETTE)},
}
"""Colours of a figure that have another value on a dark page."""


def canvas(
    width: float,
    height: float,
    columns: int = 1,
    rows: int = 1,
) -> tuple[Figure, Any]:
    """Return a figure of *width* × *height* inches and its axes: one, or an array with one per panel."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns)
    for each in np.atleast_1d(axes).flat:
        each.spines[["top", "right"]].set_visible(False)
        each.set_axisbelow(True)
        each.grid(
            axis="y" if columns == 1 else "x",
            color=PALE,
            linewidth=0.8,
        )

    return figure, axes


def styles_of(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return colour, marker and line of each model, by the order of *names*: the first one has the accent.

    Up to 8 models differ in colour and in marker; no further one has the first colour. Figures of one report get the
    same names, so that a model looks the same in all of them.
    """
    styles = {}
    for number, name in enumerate(names):
        if number:
            turn, place = divmod(number - 1, len(PALETTE) - 1)
        else:
            turn = 0
            place = -1

        styles[name] = {
            "color": PALETTE[place + 1],
            "marker": MARKERS[place + 1],
            "linestyle": DASHES[turn % 4],
        }
    return styles


def legend_below(figure: Figure) -> None:
    """Write the labels of all panels below them, each once."""
    handles: dict[str, Any] = {}
    for axes in figure.axes:
        handles = {**dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True)), **handles}
    if handles:
        figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=2)


def literal(text: str) -> str:
    """Return raw text for a label, with dollar signs escaped: Matplotlib reads text between two as a formula."""
    return visible(text).replace("$", r"\$")


def thousands(value: float) -> str:
    """Return a number with a unit: 1500 as "1.5 k", 1234 as "1.23 k"."""
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * size:
            return f"{value / size:.3g} {suffix}"
    return f"{value:.3g}"


def label_thousands(axis: Axis) -> None:
    """Label an axis with numbers and units: 1.5 k."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: thousands(value)))


def plain_log_ticks(axis: Axis) -> None:
    """Label a log axis 50, 100, 200 instead of powers of ten; a wider axis has fewer labels in between."""
    low, high = axis.get_view_interval()
    between = ""
    if high / low < 30:
        between = "2357"
    elif high / low < 1_000:
        between = "25"

    def label(value: float, _: object) -> str:
        if f"{value:e}"[0] in between:
            return f"{value:g}"
        return ""

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(FuncFormatter(label))


def ticks_at(axis: Axis, labels: Sequence[str]) -> None:
    """Label the places 0, 1, 2 … of an axis and no others; a log axis would add its default labels."""
    axis.set_ticks(range(len(labels)), [literal(label) for label in labels])
    axis.set_minor_locator(NullLocator())


def svg_of(
    figure: Figure,
    name: str,
    alt: str,
) -> str:
    """Return a figure as an element of an HTML page; equal figures give equal texts.

    Args:
        figure: The figure.
        name: Name of the figure, which no other figure of the page has.
        alt: Text for screen readers.
    """
    buffer = io.StringIO()
    figure.savefig(
        buffer,
        format="svg",
        metadata={
            "Date": None,
            "Creator": None,
            "Format": None,
            "Type": None,
        },
    )
    text = buffer.getvalue()
    text = re.sub(
        r"<metadata>.*?</metadata>|<!--.*?-->", "", text[text.index("<svg") :], flags=re.DOTALL
    )
    width, height = (72 * inches for inches in figure.get_size_inches())
    head = f'<svg role="img" aria-label="{as_html(alt)}" viewBox="0 0 {width:g} {height:g}" style="width: {width:g}pt">'
    text = re.sub(r"<svg[^>]*>", lambda _: head, text, count=1)
    place = re.sub(r"\W", "-", name)
    text = re.sub(r'(?<= id=")|(?<=url\(#)', f"{place}-", text)
    text = re.sub(r'xlink:href="#', f'href="#{place}-', text)
    return re.sub(r'style="[^"<>]*"', lambda style: _of_page(style[0]), text).strip()


def _of_page(style: str) -> str:
    def variable(colour: re.Match[str]) -> str:
        name = VARIABLES.get(colour[0].lower())
        return f"var({name})" if name else colour[0]

    return re.sub(r"#[0-9a-fA-F]{6}\b", variable, style)
