"""Draw how much models remember: perplexity by context kept, and probes.

`evaluation/plots/curves.py` explains how figures are drawn. Drawing needs neither torch nor a model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator, PercentFormatter

from evaluation.palette import PALETTE
from evaluation.plots.canvas import GREY, canvas

if TYPE_CHECKING:
    from evaluation.probing.context_use import ContextUse

MARKERS = "osD^vPX*"
COLUMNS = 3
"""Maximum number of panels side by side."""


class ProbeMeasure(NamedTuple):
    """How a measure of probes is drawn: heading, label of the axis, and the value of a model without any memory."""

    heading: str
    label: str
    blind: float | None = None


PROBE_MEASURES = {
    "accuracy": ProbeMeasure("How often the right word is preferred", "right word preferred", 0.5),
    "shift": ProbeMeasure("How far the cue moves the odds", "shift in nats", 0.0),
    "probability": ProbeMeasure("Probability of the right word", "mean probability (log scale)"),
    "nats": ProbeMeasure("What the right word costs", "mean nats"),
}
"""The columns of `evaluation.probing.probes.table_of` that are drawn."""


def context_figure(found: Mapping[str, ContextUse]) -> Figure:
    """Draw perplexity by the number of tokens kept; a ring marks the effective context, the last point is all tokens.

    Args:
        found: By the name of the model; the same contexts for all.
    """
    figure, axes = canvas(8.6, 5.2)
    ticks: dict[float, str] = {}
    for number, (name, use) in enumerate(found.items()):
        finite = [row for row in use.rows if math.isfinite(row.perplexity)]
        longest = max((row.context for row in use.rows if row.context is not None), default=1)
        xs = [float(2.5 * longest if row.context is None else row.context) for row in finite]
        colour = PALETTE[number % len(PALETTE)]
        effective = "all tokens" if use.effective is None else in_tokens(use.effective)
        label = f"{name}: {use.full:.4g}, needs {effective}" if finite else f"{name}: infinite"
        axes.plot(xs, [row.perplexity for row in finite], color=colour, marker=MARKERS[number % len(MARKERS)],
                  markersize=5, linewidth=1.6, label=label)  # fmt: skip
        rings = [(x, row.perplexity) for x, row in zip(xs, finite, strict=True) if row.context == use.effective]
        axes.plot([x for x, _ in rings], [y for _, y in rings], "o", markersize=13, markerfacecolor="none",
                  markeredgecolor=colour)  # fmt: skip
        ticks |= {x: "all" if row.context is None else f"{row.context}" for x, row in zip(xs, finite, strict=True)}
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(sorted(ticks), [ticks[x] for x in sorted(ticks)])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 7)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("tokens of context kept (log scale)")
    axes.set_ylabel("held-out perplexity (log scale)")
    axes.set_title("Perplexity by context kept; ringed: the shortest within 1 % of all")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def probe_figure(tables: Mapping[str, pl.DataFrame], measure: str) -> Figure:
    """Draw a measure by distance, one panel per kind of probe, with standard errors.

    Args:
        tables: By the name of the model, results of `evaluation.probing.probes.table_of`. Kinds whose words are unknown
            to all models are left out.
        measure: A key of `PROBE_MEASURES`.
    """
    asked = pl.concat([table.filter(pl.col("probes") > 0) for table in tables.values()])
    kinds = asked["kind"].unique(maintain_order=True).to_list()
    rows = max(1, -(-len(kinds) // COLUMNS))
    figure, first = canvas(12.0, 3.3 * rows + 0.5)
    first.remove()
    panels = figure.subplots(rows, COLUMNS, squeeze=False, sharey=measure == "accuracy").ravel().tolist()
    for panel, kind in zip(panels, kinds, strict=False):
        for number, (name, table) in enumerate(tables.items()):
            own = table.filter((pl.col("kind") == kind) & (pl.col("probes") > 0))
            colour, marker = PALETTE[number % len(PALETTE)], MARKERS[number % len(MARKERS)]
            panel.errorbar(own["distance"], own[measure], own[f"{measure}_error"], color=colour, marker=marker,
                           markersize=5, linewidth=1.4, capsize=2, label=name)  # fmt: skip
        _panel(panel, kind, sorted(asked.filter(pl.col("kind") == kind)["distance"].unique().to_list()), measure)
    for panel in panels[len(kinds) :]:
        panel.set_axis_off()
    for panel in panels[::COLUMNS]:
        panel.set_ylabel(PROBE_MEASURES[measure].label)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="outside lower center", ncols=max(1, len(labels)))
    dotted = "" if PROBE_MEASURES[measure].blind is None else "; dotted: a model that does not look back that far"
    figure.suptitle(f"{PROBE_MEASURES[measure].heading}, by the words in between{dotted}")
    return figure


def _panel(axes: Axes, kind: str, distances: Sequence[int], measure: str) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#E3E3E3", linewidth=0.8)
    if (blind := PROBE_MEASURES[measure].blind) is not None:
        axes.axhline(blind, color=GREY, linestyle=":", linewidth=1.2)
    if measure == "probability":
        axes.set_yscale("log")
    if measure == "accuracy":
        axes.set_ylim(-0.03, 1.05)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_title(kind, fontsize=10)
    axes.set_xscale("log")
    axes.set_xticks(distances, [f"{distance}" for distance in distances])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("words back (from)")


def in_tokens(number: float) -> str:
    """Return a number of tokens in words."""
    if math.isinf(number):
        return "∞ tokens"
    return "1 token" if number == 1 else f"{number:.3g} tokens"
