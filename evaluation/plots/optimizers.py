"""Draw learning rates and optimisers: a range test, validation loss while training, final loss by rate."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.palette import PALETTE
from evaluation.plots.canvas import GREY, canvas, label_thousands

if TYPE_CHECKING:
    from models.neural.optimization.comparison import OptimizerComparison
    from models.neural.optimization.rate_finder import RateSweep

MARKERS = "osD^vPX*<>h"
SPOKEN = {
    "gd": "gradient descent, full batch", "sgd": "SGD", "momentum": "momentum", "nesterov": "Nesterov",
    "adagrad": "AdaGrad", "rmsprop": "RMSprop", "adadelta": "AdaDelta", "adam": "Adam",
    "adam_simplified": "Adam, not corrected", "adamw": "AdamW", "nt_asgd": "NT-ASGD",
}  # fmt: skip


def range_test(sweep: RateSweep, name: str, used: float | None = None) -> Figure:
    """Draw the losses of a range test against the rate, and the rates derived from them.

    Args:
        sweep: Result of `models.neural.optimization.rate_finder`.
        name: Name of the model and its rule.
        used: The rate in the model's options, marked next to the suggestion.
    """
    figure, axes = canvas(8.0, 4.8)
    axes.plot(sweep.rates, sweep.nats, color=GREY, alpha=0.4, linewidth=1.0, label="each window")
    axes.plot(sweep.rates, sweep.smoothed, color=PALETTE[0], linewidth=2.0, label="smoothed")
    marks = [
        ("falls fastest", sweep.steepest, PALETTE[2], ":"),
        ("diverged", sweep.diverged, PALETTE[1], "--"),
        ("suggestion", sweep.suggestion, PALETTE[3], "-"),
        ("set in the options", used, "#000000", "-."),
    ]
    for label, rate, colour, style in marks:
        if rate is not None:
            axes.axvline(rate, color=colour, linestyle=style, linewidth=1.5, label=f"{label}: {rate:.2g}")
    axes.set_xscale("log")
    low, high = min(sweep.nats), sweep.smoothed[0]
    axes.set_ylim(low - 0.1, high + max(1.0, 0.5 * (high - low)))
    axes.set_xlabel("learning rate (log scale), rising with every update")
    axes.set_ylabel("training loss, nats per token" if sweep.in_nats else "training loss of the estimator (no nats)")
    axes.set_title(f"Learning-rate range test of {name}")
    axes.legend(frameon=False)
    return figure


def courses(found: OptimizerComparison) -> Figure:
    """Draw validation loss against training tokens, each rule at its best rate; the legend starts with the best."""
    figure, axes = canvas(9.6, 5.2)
    for number, trial in enumerate(found.best):
        rate = f", {trial.rate:g}" if math.isfinite(trial.rate) else ""
        label = f"{SPOKEN[trial.optimizer]}{rate}: {trial.outcome}"
        _line(axes, trial.tokens, trial.nats, number, label)
    axes.set_xlim(left=0)
    label_thousands(axes.xaxis)
    axes.set_xlabel("training tokens seen (repeats included)")
    axes.set_ylabel("validation loss, nats per token")
    axes.set_title(f"Optimisers on one model, {found.train_tokens:,} training tokens, each at its best rate")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), title="rule, peak rate: at the end",
                alignment="left")  # fmt: skip
    return figure


def final_by_rate(found: OptimizerComparison) -> Figure:
    """Draw the final validation loss of every trial against its rate: how sensitive each rule is to the rate."""
    figure, axes = canvas(9.6, 5.2)
    for number, best in enumerate(found.best):
        own = sorted(
            (t.rate, t.final) for t in found.trials if t.optimizer == best.optimizer and math.isfinite(t.final)
        )
        lost = Counter(t.outcome for t in found.trials if t.optimizer == best.optimizer and not math.isfinite(t.final))
        note = f" ({', '.join(f'{count} {outcome}' for outcome, count in lost.items())})" if lost else ""
        _line(axes, [rate for rate, _ in own], [nats for _, nats in own], number, f"{SPOKEN[best.optimizer]}{note}")
    axes.set_xscale("log")
    axes.set_xlabel("peak learning rate (log scale)")
    axes.set_ylabel("validation loss at the end, nats per token")
    axes.set_title("Final loss by learning rate; lower is better")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _line(axes: Axes, xs: Sequence[float], ys: Sequence[float], number: int, label: str) -> None:
    colour, marker = PALETTE[number % len(PALETTE)], MARKERS[number % len(MARKERS)]
    style = "-" if number < len(PALETTE) else "--"
    axes.plot(xs, ys, color=colour, marker=marker, markersize=4, linewidth=1.6, linestyle=style, label=label)
