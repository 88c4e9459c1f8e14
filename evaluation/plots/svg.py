"""Turn a figure into SVG for a page: texts stay texts, and its colours follow the page, light or dark."""

from __future__ import annotations

import io
import re

from matplotlib.figure import Figure

from core.errors import as_html
from evaluation.palette import PALETTE
from evaluation.plots.canvas import GREY, PALE

VARIABLES = {
    "#000000": "--text", "#ffffff": "--page", GREY.lower(): "--soft", PALE.lower(): "--line",
    **{colour: f"--m{number}" for number, colour in enumerate(PALETTE)},
}  # fmt: skip
"""Colours of a figure that have another value on a dark page."""


def svg_of(figure: Figure, name: str, alt: str) -> str:
    """Return a figure as an element of an HTML page; equal figures give equal texts.

    Args:
        figure: The figure.
        name: Name of the figure, which no other figure of the page has.
        alt: Text for screen readers.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text[text.index("<svg") :], flags=re.DOTALL)
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
