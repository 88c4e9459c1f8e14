"""Draw gradient norms by distance, and learning curves of the toy tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, PercentFormatter

from evaluation.palette import PALETTE
from evaluation.plots.canvas import GREY, canvas
from evaluation.plots.memory import in_tokens

if TYPE_CHECKING:
    from course.gradient_flow import GradientFlow
    from course.toy_training import CurvePoint


def gradient_figure(flows: Mapping[str, GradientFlow]) -> Figure:
    """Draw the mean of ‖∂J(i)/∂h(j)‖ over the distance i − j, each curve relative to its own value at distance 1.

    Curves with "untrained" in their names are dashed, in the colour of the trained one of that name. Bands reach from
    the first to the last decile of the pairs.

    Args:
        flows: By the name of the network.
    """
    figure, axes = canvas(8.6, 5.2)
    colours: dict[str, str] = {}
    lowest = 1.0
    for name, flow in flows.items():
        plain = name.removesuffix(", untrained")
        colour = colours.setdefault(plain, PALETTE[len(colours) % len(PALETTE)])
        mean_D, unit = flow.mean_D, float(flow.mean_D[0]) or 1.0
        label = f"{name}: half every {in_tokens(flow.decay().half_length)}"
        axes.plot(flow.distance_D, mean_D / unit, color=colour, linestyle="-" if name == plain else "--",
                  linewidth=1.8, label=label)  # fmt: skip
        if name == plain:
            low_D, high_D = flow.quantile_D(0.1) / unit, flow.quantile_D(0.9) / unit
            axes.fill_between(flow.distance_D, low_D, high_D, color=colour, alpha=0.12, linewidth=0)
        lowest = min(lowest, float(mean_D[mean_D > 0].min(initial=unit)) / unit)
    axes.set_yscale("log")
    axes.set_ylim(bottom=max(lowest, 1e-20) / 3)
    axes.yaxis.set_major_locator(LogLocator(numticks=9))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("distance i − j in tokens")
    axes.set_ylabel("mean of ‖∂J(i)/∂h(j)‖, distance 1 = 1 (log scale)")
    axes.set_title("Gradient that reaches earlier tokens, by distance")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def learning_figure(curves: Mapping[str, Sequence[CurvePoint]], title: str, chance: float) -> Figure:
    """Draw the share of held-out examples answered right over the updates.

    Args:
        curves: By name.
        title: Title of the figure, which names the task.
        chance: Share that guessing answers right.
    """
    figure, axes = canvas(8.6, 4.8)
    longest = max(point.update for curve in curves.values() for point in curve)
    for number, (name, curve) in enumerate(curves.items()):
        colour, style = PALETTE[number % len(PALETTE)], "-" if number < len(PALETTE) else "--"
        xs, ys = [point.update for point in curve], [point.exact for point in curve]
        axes.plot(xs, ys, color=colour, linestyle=style, linewidth=1.6, label=f"{name}: {ys[-1]:.1%} at {xs[-1]:,}")
        if xs[-1] < longest:
            axes.plot(xs[-1], ys[-1], "o", color=colour, markersize=6)
    axes.axhline(chance, color=GREY, linestyle=":", linewidth=1.2)
    axes.set_ylim(-0.03, 1.05)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("updates; a dot: everything right, training stopped")
    axes.set_ylabel("held-out examples all right")
    axes.set_title(title)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
