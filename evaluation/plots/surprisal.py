"""Draw the surprisal of sample reviews as an image, where HTML cannot be shown.

`evaluation/reports/templates/page.html` makes the HTML version.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from evaluation.plots.canvas import canvas
from evaluation.scoring.surprisal import LEGEND, TINTS, TokenSurprisals, heat_map

COLUMNS = 100
"""Characters per line."""
WIDTH, LINE = 9.0, 0.24
"""Width of the figure and height of a line, in inches."""
ADVANCE = 0.602
"""Width of a character of DejaVu Sans Mono, in ems."""


@dataclass(frozen=True)
class PlacedText:
    """A text with its line, its column and the level of a token; level None for a heading."""

    line: int
    column: int
    text: str
    level: int | None


def surprisal_figure(readings: Sequence[TokenSurprisals], review_ids: Sequence[str]) -> Figure:
    """Draw each review once per model, with the legend on top.

    Args:
        readings: One per model, in the order in which they are shown.
    """
    pieces = list(_pieces(readings, review_ids))
    lines = 1 + max(piece.line for piece in pieces)
    figure, axes = canvas(WIDTH, LINE * lines + 0.2)
    figure.set_layout_engine("none")
    axes.set_position((0.02, 0.02, 0.96, 0.96))
    axes.set_axis_off()
    axes.set_xlim(0, COLUMNS)
    axes.set_ylim(lines, 0)
    size = 0.96 * WIDTH * 72 / COLUMNS / ADVANCE
    tokens = [(piece, piece.level) for piece in pieces if piece.level is not None]
    below = [[(one.column, one.line + 0.88), (one.column + len(one.text), one.line + 0.88)] for one, _ in tokens]
    axes.add_collection(PatchCollection(
        [Rectangle((one.column, one.line + 0.08), len(one.text), 0.78) for one, _ in tokens],
        facecolors=[TINTS[level] for _, level in tokens], edgecolors="none",
    ), autolim=False)  # fmt: skip
    axes.add_collection(LineCollection(below, colors="#8a3b00", linewidths=[0.7 * level for _, level in tokens]),
                        autolim=False)  # fmt: skip
    for piece in pieces:
        axes.text(piece.column, piece.line + 0.5, piece.text, fontfamily="monospace", fontsize=size, va="center",
                  weight="bold" if piece.level is None else "normal", parse_math=False)  # fmt: skip
    return figure


def _pieces(readings: Sequence[TokenSurprisals], review_ids: Sequence[str]) -> Iterator[PlacedText]:
    """Yield the legend, headings and tokens, wrapped into lines."""
    column = 0
    for level, text in enumerate(LEGEND):
        short = text.partition(" (")[0]
        yield PlacedText(0, column, short, level)
        column += len(short) + 2
    line = 2
    for number, passages in enumerate(heat_map(readings, review_ids).reviews, 1):
        for passage in passages:
            yield PlacedText(line, 0, f"Review {number}, {passage.model}", None)
            line, column = line + 1, 0
            for token in passage.tokens:
                text = "".join(token.lines)
                column += len(token.before) if column else 0
                if column and column + len(text) > COLUMNS:
                    line, column = line + 1, 0
                yield PlacedText(line, column, text, token.level)
                column += len(text)
            line += 2
