"""Draw quality against size and cost, with the Pareto front.

Draw figures of single tokens: ranks, certainty, and perplexity by context kept.

Draw figures of generated reviews: the share that is copied, and the exposure of planted secrets.

Draw the surprisal of sample reviews as an image, where HTML cannot be shown.

`evaluation/reports/templates/page.html` makes the HTML version.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter

from evaluation.plots.canvas import GREY, WIDTH, canvas, plain_log_ticks, ticks_at
from evaluation.scoring.metrics import LN2
from evaluation.scoring.surprisal import LEGEND, TINTS, TokenSurprisals, heat_map
from evaluation.statistics.floor import Floor
from evaluation.statistics.pareto import QUALITY, is_placed, known_costs, on_front
from models.base import STATIC

LABELS = {
    "megabytes": "size of the bundle in MB (log scale)",
    "score_seconds": "time to score the test reviews in s (log scale)",
}
FARTHEST = 1.6
"""Models with more than this multiple of the best model's bits are drawn at the upper edge, with their figure."""

CLASSES = 10
"""Number of classes of equal size in `certainty_figure`."""

NEVER_PLANTED = 0.95
"""Share of never planted texts below the dashed line of `exposure_figure`."""

COLUMNS = 100
"""Characters per line."""
LINE = 0.24
"""Width of the figure and height of a line, in inches."""
ADVANCE = 0.602
"""Width of a character of DejaVu Sans Mono, in ems."""


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


def rank_figure(tokens: Mapping[str, pl.DataFrame], styles: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Draw the share of tokens that are among a model's k most probable entries, over k.

    Args:
        tokens: By model, with the column rank (1 best, null: probability 0).
    """
    figure, axes = canvas(WIDTH, 4.6)
    for name, table in tokens.items():
        rank_N = table["rank"].drop_nulls().to_numpy()
        ks = _one_two_five(int(rank_N.max(initial=1)))
        shares = [float((rank_N <= k).sum()) / max(1, len(table)) for k in ks]
        axes.plot(ks, shares, **styles[name], markersize=5, linewidth=1.6, label=f"{name}: {shares[0]:.1%} at 1")
    axes.set_xscale("log")
    ks = _one_two_five(int(axes.get_xlim()[1]))
    ticks_at(axes.xaxis, ks, [f"{k:,}" for k in ks] if len(ks) < 8 else [f"{k:,}" * (f"{k}"[0] == "1") for k in ks])
    axes.set_ylim(0, 1.03)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("k (log scale)")
    axes.set_ylabel("share of tokens among the k likeliest")
    axes.set_title("How far down the list the token that came stands; higher is better")
    if tokens:
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _one_two_five(largest: int) -> list[int]:
    """Return 1, 2, 5, 10, 20 … up to the first number that is at least *largest*."""
    steps: list[int] = []
    for power in range(12):
        for digit in (1, 2, 5):
            steps.append(digit * 10**power)
            if steps[-1] >= largest:
                return steps
    return steps


def certainty_table(tokens: pl.DataFrame, classes: int = CLASSES) -> pl.DataFrame:
    """Return expected cost (entropy) and actual cost (surprisal), in classes with equal numbers of tokens.

    The entropy of a prediction is its mean surprisal if the prediction is correct. Tokens with probability 0 have no
    finite surprisal and are left out.

    Args:
        tokens: Columns nats and entropy (nats).
        classes: Maximum number of classes by entropy.

    Returns:
        entropy and surprisal (means, bits) and tokens of each class, lowest entropy first.
    """
    finite = tokens.filter(pl.col("nats").is_finite() & pl.col("entropy").is_finite()).sort("entropy")
    number = np.arange(len(finite)) * classes // max(1, len(finite))
    return (
        finite.with_columns(number=pl.Series(number))
        .group_by("number", maintain_order=True)
        .agg(entropy=pl.mean("entropy") / LN2, surprisal=pl.mean("nats") / LN2, tokens=pl.len())
        .drop("number")
    )


def certainty_figure(tokens: Mapping[str, pl.DataFrame], styles: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Draw `certainty_table` of each model; a point above the diagonal means that the model is overconfident.

    Args:
        tokens: By model.
    """
    figure, axes = canvas(WIDTH, 4.8)
    tables = {name: certainty_table(table) for name, table in tokens.items()}
    ends = [value for table in tables.values() for value in (*table["entropy"], *table["surprisal"])]
    most = max(ends, default=1.0)
    axes.plot([0, most], [0, most], color=GREY, linestyle="--", linewidth=1.2, label="as expected")
    for name, table in tables.items():
        axes.plot(table["entropy"], table["surprisal"], **styles[name], markersize=5, linewidth=1.4, label=name)
    axes.set_xlabel("bits that the model expected to need (entropy of its prediction)")
    axes.set_ylabel("bits that it needed")
    axes.set_title(f"Certainty, in {CLASSES} classes of equally many tokens")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def novelty_figure(curves: Mapping[str, pl.DataFrame], styles: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Draw the share of n-grams that occur in the training text, over n: for samples, and for reviews by people.

    Args:
        curves: By model, with the columns n, samples and real (shares; null if there is no n-gram).
    """
    figure, axes = canvas(WIDTH, 4.6)
    real: dict[int, float] = {}
    for name, table in curves.items():
        shares = table.drop_nulls("samples")
        axes.plot(shares["n"], shares["samples"], **styles[name], markersize=5, linewidth=1.6, label=name)
        real |= dict(table.drop_nulls("real").select("n", "real").iter_rows())
    axes.plot(list(real), list(real.values()), color=GREY, linestyle="--", linewidth=2.6, label="held-out reviews")
    lengths = sorted({n for table in curves.values() for n in table["n"].to_list()})
    ticks_at(axes.xaxis, lengths, [f"{n}" for n in lengths])
    axes.set_ylim(-0.02, 1.03)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("n: words in a row")
    axes.set_ylabel("share found in the training text")
    axes.set_title("How much of what is written was read before")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def exposure_figure(
    exposures: Mapping[str, pl.DataFrame], styles: Mapping[str, Mapping[str, Any]], limit: float | None = None
) -> Figure:
    """Draw the exposure of canaries over how often each was planted.

    The exposure of a text that was never planted exceeds x bits with probability 2^−x at most (Carlini et al. 2019,
    section 4.2). So at least the share `NEVER_PLANTED` of such texts is below −log2(1 − `NEVER_PLANTED`) bits, the
    dashed line.

    Args:
        exposures: By model, with the columns copies and exposure (bits; null if the vocabulary cannot write the
            canary).
        limit: The largest exposure that the ranking can show, if it is known: the dotted line.
    """
    figure, axes = canvas(WIDTH, 4.6)
    measured = {name: table.drop_nulls("exposure") for name, table in exposures.items()}
    copies = sorted({count for table in measured.values() for count in table["copies"].to_list()})
    places = {count: place for place, count in enumerate(copies)}
    for number, (name, table) in enumerate(measured.items()):
        shift = (number - (len(measured) - 1) / 2) * min(0.12, 0.7 / max(1, len(measured)))
        style, xs = styles[name], [places[count] + shift for count in table["copies"]]
        axes.plot(xs, table["exposure"], linestyle="none", marker=style["marker"], color=style["color"], markersize=6,
                  alpha=0.75, label=name)  # fmt: skip
        for count, mean in table.group_by("copies", maintain_order=True).agg(pl.mean("exposure")).iter_rows():
            middle = places[count] + shift
            axes.plot([middle - 0.05, middle + 0.05], [mean, mean], color=style["color"], linewidth=2.5)
    chance = -math.log2(1 - NEVER_PLANTED)
    axes.axhline(chance, color=GREY, linestyle="--", linewidth=1.3, label=f"{NEVER_PLANTED:.0%} of never planted below")
    if limit is not None:
        axes.axhline(limit, color=GREY, linestyle=":", linewidth=1.5, label=f"most that can be shown: {limit:.1f}")
    ticks_at(axes.xaxis, range(len(copies)), ["once" if count == 1 else f"{count:,} times" for count in copies])
    axes.set_xlim(-0.6, max(1, len(copies)) - 0.4)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("how often the canary was planted in the training text")
    axes.set_ylabel("exposure in bits")
    axes.set_title("Planted secrets: exposure of each, and the mean (bar)")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


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
