"""Draw figures of generated reviews: the share that is copied, and the exposure of planted secrets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import polars as pl
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from evaluation.plots.canvas import GREY, WIDTH, canvas, ticks_at

NEVER_PLANTED = 0.95
"""Share of never planted texts below the dashed line of `exposure_figure`."""


def novelty_figure(curves: Mapping[str, pl.DataFrame], styles: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Draw the share of n-grams that occur in the training text, over n: for samples, and for reviews by people.

    Args:
        curves: By model, with the columns n, samples and real (shares; null if there is no n-gram).
    """
    figure, axes = canvas(WIDTH, 4.6)
    real: dict[int, float] = {}
    for name, table in curves.items():
        known = table.drop_nulls("samples")
        axes.plot(known["n"], known["samples"], **styles[name], markersize=5, linewidth=1.6, label=name)
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
    known = {name: table.drop_nulls("exposure") for name, table in exposures.items()}
    copies = sorted({count for table in known.values() for count in table["copies"].to_list()})
    places = {count: place for place, count in enumerate(copies)}
    for number, (name, table) in enumerate(known.items()):
        shift = (number - (len(known) - 1) / 2) * min(0.12, 0.7 / max(1, len(known)))
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
