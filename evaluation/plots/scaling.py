"""Draw a scaling fit: small fits, the law through them, the prediction, and the measured loss."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from evaluation.palette import PALETTE
from evaluation.plots.canvas import GREY
from evaluation.statistics.scaling import Prediction


def scaling_figure(small: Sequence[tuple[float, float]], found: Prediction, reached: float | None = None) -> Figure:
    """Draw validation loss against training tokens, with the interval at the whole fit's size.

    Args:
        small: Tokens and nats per token of each small fit.
        reached: The whole fit's loss, if it is known.
    """
    figure = Figure(figsize=(8.0, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#E3E3E3", linewidth=0.8)
    sizes, losses = zip(*small, strict=True)
    line = np.geomspace(min(sizes), found.size, 200)
    law = found.law
    label = f"{law.floor:.3g} + {law.scale:.3g} · D^−{law.exponent:.2f}"
    axes.plot(line, [law(size) for size in line], color=GREY, linestyle="--", linewidth=1.4, label=label)
    axes.scatter(sizes, losses, color=PALETTE[0], s=28, label=f"{len(sizes)} small fits")
    spread = [[found.nats - found.low], [found.high - found.nats]]
    told = f"foretold, {found.coverage:.0%}: {found.low:.3f} to {found.high:.3f}"
    axes.errorbar([found.size], [found.nats], spread, color=PALETTE[1], capsize=6, marker="o", label=told)
    if reached is not None:
        came = f"came: {reached:.3f}"
        axes.scatter([found.size], [reached], color=PALETTE[2], marker="*", s=140, zorder=3, label=came)
    axes.set_xscale("log")
    axes.set_xlabel("training tokens read, repeats included (log scale)")
    axes.set_ylabel("validation loss, nats per token")
    axes.set_title("What small fits foretell of the whole one")
    axes.legend(frameon=False)
    return figure
