"""Draw a hyperparameter sweep: its history, the importance of options, and the perplexity by value of each option."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from evaluation.palette import PALETTE
from evaluation.plots.canvas import GREY
from models.perplexity import perplexity

COLUMNS = 3
BLUE, RED, GREEN = PALETTE[0], PALETTE[1], PALETTE[2]


class DrawnTrial(Protocol):
    """Fields of a trial that are drawn; see `tasks.sweep_study.Trial`."""

    @property
    def number(self) -> int: ...  # noqa: D102
    @property
    def state(self) -> str: ...  # noqa: D102
    @property
    def values(self) -> Mapping[str, Any]: ...  # noqa: D102
    @property
    def nats(self) -> float | None: ...  # noqa: D102
    @property
    def reached(self) -> Mapping[int, float]: ...  # noqa: D102


def sweep_history(trials: Sequence[DrawnTrial]) -> Figure:
    """Draw each trial's validation perplexity and the best so far; pruned trials at their best, failed ones as lines.

    Args:
        trials: Sorted by number.
    """
    figure, [axes] = _canvas(8.0, 4.6)
    complete = [(trial.number, perplexity(trial.nats)) for trial in trials if trial.nats is not None]
    pruned = [(t.number, perplexity(min(t.reached.values()))) for t in trials if t.state == "pruned" and t.reached]
    failed = [trial.number for trial in trials if trial.state == "failed"]
    best = math.inf
    line = [(number, best := min(best, value)) for number, value in complete]
    if line:
        axes.step(*zip(*line, strict=True), where="post", color=BLUE, linewidth=1.6, label=f"best so far: {best:.4g}")
        numbers, values = zip(*complete, strict=True)
        axes.scatter(numbers, values, color=BLUE, s=28, label=f"{len(complete)} complete")
    if pruned:
        numbers, values = zip(*pruned, strict=True)
        axes.scatter(numbers, values, color=GREY, marker="x", s=32, label=f"{len(pruned)} pruned")
    for number in failed:
        axes.axvline(number, color=RED, linestyle=":", linewidth=1.2, label="failed" if number == failed[0] else None)
    _log_perplexity(axes)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("trial")
    axes.set_ylabel("validation perplexity (log scale)")
    axes.set_title("Trials in the order of asking; lower is better")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)
    return figure


def sweep_importance(importances: Mapping[str, float]) -> Figure:
    """Draw each option's share of the variance of the validation loss, the largest on top.

    Args:
        importances: Shares by option; they sum to 1.
    """
    figure, [axes] = _canvas(8.0, 1.6 + 0.45 * len(importances))
    rows = sorted(importances.items(), key=lambda row: row[1])
    bars = axes.barh([name for name, _ in rows], [share for _, share in rows], color=BLUE, height=0.62)
    axes.bar_label(bars, [f"{share:.0%}" for _, share in rows], padding=5, fontsize=9)
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.14)
    axes.set_xlabel("share of the variance of validation loss over the space (fANOVA)")
    axes.set_title("Which options matter")
    return figure


def sweep_slices(trials: Sequence[DrawnTrial], logarithmic: Collection[str], best: int | None = None) -> Figure:
    """Draw validation perplexity against each option's value, one panel per option; complete trials only.

    Args:
        logarithmic: Options whose axis is logarithmic.
        best: Number of the trial that is marked.
    """
    complete = [trial for trial in trials if trial.nats is not None]
    names = sorted({name for trial in complete for name in trial.values})
    rows = max(1, math.ceil(len(names) / COLUMNS))
    figure, panels = _canvas(3.9 * min(COLUMNS, max(1, len(names))), 3.4 * rows, max(1, len(names)))
    for name, axes in zip(names, panels, strict=False):
        values = [trial.values[name] for trial in complete]
        numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        places = values if numbers else [str(value).lower() for value in values]
        axes.scatter(places, [perplexity(trial.nats or 0.0) for trial in complete], color=BLUE, s=24)
        for place, trial in zip(places, complete, strict=True):
            if trial.number == best:
                axes.scatter([place], [perplexity(trial.nats or 0.0)], color=GREEN, s=90, marker="*", zorder=3)
        if numbers and name in logarithmic:
            axes.set_xscale("log")
        _log_perplexity(axes)
        axes.set_xlabel(name)
    if panels:
        panels[0].set_ylabel("validation perplexity")
    figure.suptitle("Complete trials by option" + ("; star: the best" if best is not None else ""))
    return figure


def _log_perplexity(axes: Axes) -> None:
    """Make the vertical axis logarithmic, labelled 50, 100, 200 instead of powers of ten."""
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else ""))


def _canvas(width: float, height: float, panels: int = 1) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    columns = min(COLUMNS, panels)
    grid = figure.subplots(math.ceil(panels / columns), columns, squeeze=False).flatten().tolist()
    for axes in grid:
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
        axes.grid(color="#E3E3E3", linewidth=0.8)
    for axes in grid[panels:]:
        axes.set_visible(False)
    return figure, grid[:panels]
