"""Turn a figure into SVG for a page: its colours follow the page, points tell their values, models can be hidden.

The SVG is part of the page's HTML. Without scripts it is a picture whose points have tooltips; `figure.js` shows the
values at once and hides a model when its name in a legend is chosen. Classes mark what belongs to a model: `m3` the
drawings in the fourth colour, `key` its name in a legend, `hit` an invisible circle over a point.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import Collection, PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.layout_engine import PlaceHolderLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from core.errors import as_html
from evaluation.palette import PALETTE
from evaluation.plots.canvas import GREY, PALE

INK = {"#000000": "var(--text)", "#ffffff": "var(--page)", GREY: "var(--soft)", PALE: "var(--line)",
       "#f0f0f0": "var(--box)", "#eeeeee": "var(--line)"}  # fmt: skip
"""Colours of a figure that have another value on a dark page; those of models are `--m0` to `--m15`."""
MOST_POINTS = 60
"""Maximum number of points of a line that tell their values; curves of many hundred points would fill the page."""
RADIUS = 5
WORDS = "reviewlm_words"
"""Attribute of a collection of points that holds a text for each; points with texts tell these, however many."""
COLOUR = re.compile(r"#[0-9a-f]{6}\b")

Styles = Mapping[str, Mapping[str, Any]]


def title_of(figure: Figure) -> Text | None:
    """Return the title of a figure: that above all panels, or that of its only panel."""
    title: Text | None = getattr(figure, "_suptitle", None)
    return title or (figure.axes[0].title if len(figure.axes) == 1 else None)


def svg_of(figure: Figure, name: str, styles: Styles, alt: str) -> str:
    """Return a figure without its title as an element of an HTML page; equal figures give equal texts.

    On a narrow screen a drawing scrolls sideways, which would cut a title; the page shows it above (`title_of`).

    Args:
        figure: The figure. Its artists get ids.
        name: Name of the figure, which no other figure of the page has.
        styles: See `evaluation.plots.canvas.styles_of`; names of models in legends can be chosen.
        alt: Text for screen readers.
    """
    _mark(figure, styles)
    buffer, title = io.StringIO(), title_of(figure)
    above = _height_of_title(figure, title)
    with _hidden(title):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text[text.index("<svg") :], flags=re.DOTALL)
    width, height = (72 * inches for inches in figure.get_size_inches())
    head = (
        f'<svg role="img" aria-label="{as_html(alt)}" viewBox="0 {above:g} {width:g} {height - above:g}" '
        f'style="width: {width:g}pt">'
    )
    text = re.sub(r"<svg[^>]*>", lambda _: head, text, count=1)
    place = re.sub(r"\W", "-", name)
    text = re.sub(r'<g id="(m\d+|key m\d+)\.\d+">', r'<g class="\1">', text)
    text = re.sub(r'(?<= id=")|(?<=url\(#)', f"{place}-", text)
    text = re.sub(r'xlink:href="#', f'href="#{place}-', text)
    # Hatched bars have their colour in an attribute, which takes no variable.
    text = re.sub(r' fill="(#[0-9a-f]{6})"', r' style="fill: \1"', text)
    text = re.sub(r'style="[^"<>]*"', lambda style: COLOUR.sub(lambda colour: _of_page(colour[0]), style[0]), text)
    return text.strip().removesuffix("</svg>") + "".join(_hits(figure)) + "</svg>"


def _height_of_title(figure: Figure, title: Text | None) -> float:
    """Return the points from the upper edge to the lower edge of the title; the layout stays as it then is."""
    if title is None or not title.get_text():
        return 0.0
    if not isinstance(figure.get_layout_engine(), PlaceHolderLayoutEngine | None):
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # what is hidden next keeps its place
    bottom = title.get_window_extent(FigureCanvasAgg(figure).get_renderer()).y0
    return float(max(0.0, round(72 * (figure.bbox.height - bottom) / figure.dpi, 1)))


@contextmanager
def _hidden(title: Text | None) -> Iterator[None]:
    was = title is not None and title.get_visible()
    if title is not None:
        title.set_visible(False)
    try:
        yield
    finally:
        if title is not None:
            title.set_visible(was)


def _of_page(colour: str) -> str:
    return {**_models(), **{one.lower(): variable for one, variable in INK.items()}}.get(colour.lower(), colour)


def _models() -> dict[str, str]:
    return {colour.lower(): f"var(--m{number})" for number, colour in enumerate(PALETTE)}


def _mark(figure: Figure, styles: Styles) -> None:
    """Give the artists of models, and the names of models in legends, ids that name the model's colour."""
    places = {colour.lower(): number for number, colour in enumerate(PALETTE)}
    used, serial = {str(style["color"]).lower() for style in styles.values()}, count()
    for artist in figure.findobj():
        if (colour := _colour(artist)) in used:
            artist.set_gid(f"m{places[colour]}.{next(serial)}")
    for legend in [*figure.legends, *(axes.get_legend() for axes in figure.axes)]:
        for text in legend.get_texts() if legend else []:
            label = text.get_text()
            named = [name for name in styles if label == name or label.startswith((f"{name}:", f"{name},"))]
            if named:
                colour = str(styles[max(named, key=len)]["color"]).lower()
                text.set_gid(f"key m{places[colour]}.{next(serial)}")


def _colour(artist: Artist) -> str:
    """Return the colour of a line, a collection or a bar; "" of anything else."""
    if isinstance(artist, Line2D):
        return to_hex(artist.get_color())
    colours: Any = artist.get_edgecolor() if isinstance(artist, Collection) else ()
    if isinstance(artist, Collection) and not len(colours):
        colours = artist.get_facecolor()
    if isinstance(artist, Rectangle):
        colours = [artist.get_facecolor()]
    return to_hex(colours[0]) if len(colours) else ""


def _hits(figure: Figure) -> Iterator[str]:
    """Yield an invisible circle with a tooltip over each point that has a label, and at the end of each bar."""
    height = 72 * figure.get_size_inches()[1]
    for axes in figure.axes:
        for artist, label, points in [*_lines(axes), *_bars(axes)]:
            name = (artist.get_gid() or "").partition(".")[0]
            circles = []
            for x, y, words in points:
                across, up = axes.transData.transform((x, y)) * 72 / figure.dpi
                title = as_html(f"{label}\n{words}" if label else words)
                circles.append(f'<circle class="hit" cx="{across:.1f}" cy="{height - up:.1f}" r="{RADIUS}">'
                               f"<title>{title}</title></circle>")  # fmt: skip
            yield f'<g class="{name}">{"".join(circles)}</g>' if circles else ""


def _lines(axes: Axes) -> Iterator[tuple[Artist, str, list[tuple[float, float, str]]]]:
    panel = axes.get_title().partition("\n")[0]
    named = dict(zip(*axes.get_legend_handles_labels(), strict=True)) if axes.get_legend() else {}
    handles = {id(_drawn(handle)): label for handle, label in named.items()}
    for line in axes.lines:
        if line.get_gid() and line.get_marker() not in ("None", "|") and (id(line) in handles or not named):
            yield line, handles.get(id(line), ""), _told(axes, line.get_xydata())
    for points in axes.collections:
        if isinstance(points, PathCollection) and points.get_gid():
            words = getattr(points, WORDS, None)
            named_points = _told(axes, points.get_offsets()) if words is None else _named(points, words)
            yield points, panel if words is None else "", named_points


def _named(points: PathCollection, words: Sequence[str]) -> list[tuple[float, float, str]]:
    """Return points with the text of each."""
    return [(float(x), float(y), word) for (x, y), word in zip(np.asarray(points.get_offsets()), words, strict=True)]


def _drawn(handle: Any) -> Any:
    """Return the line of a handle: error bars are a container, and its first entry is the line."""
    return handle[0] if isinstance(handle, tuple) else handle


def _bars(axes: Axes) -> Iterator[tuple[Artist, str, list[tuple[float, float, str]]]]:
    labels = axes.get_yticklabels()
    names = {round(label.get_position()[1]): label.get_text() for label in labels}
    for patch in axes.patches:
        if isinstance(patch, Rectangle) and patch.get_gid():
            x, y = patch.get_x() + patch.get_width(), patch.get_y() + patch.get_height() / 2
            yield patch, names.get(round(y), ""), [(x, y, f"{_in_short(axes.get_xlabel())}: {axes.format_xdata(x)}")]


def _in_short(label: str) -> str:
    return re.split(r"[,;(\n]", label)[0].strip()


def _told(axes: Axes, points: Any) -> list[tuple[float, float, str]]:
    """Return points within the axes with their words."""
    across, up = (_in_short(text) for text in (axes.get_xlabel(), axes.get_ylabel()))
    if len(points) > MOST_POINTS:
        return []
    return [
        (x, y, f"{across}: {axes.format_xdata(x).strip()}\n{up}: {axes.format_ydata(y).strip()}") for x, y in points
    ]
