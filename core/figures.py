"""Declare the figures by which users compare models: name, title, unit, rounding, direction, meaning.

Terminal, report, model card, comparison, MLflow and JSON read them here, so that one quantity has one name, one sign
and one rounding wherever it stands. A new column of a table of models is one entry of `FIGURES`, of classifiers one of
`CLASSIFIER_FIGURES`.

A *gain* is the share of another model's open bits per byte that a model saves on the same reviews: 1 − its own / the
other's. Its name says who the other one is: `baseline_gain`, `champion_gain`. Tables and JSON hold shares (0.075),
people read per cent (7.5%), and so do the figures of MLflow that carry no unit (7.5).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LOWER = "lower is better"
HIGHER = "higher is better"
NONE = "–"
MAYBE = "≈"
"""Mark of a gain whose interval holds 0."""

TERMINAL = "terminal"
ANSWER = "answer"
"""First table of the report."""
MORE = "more"
"""Table of further figures in the report."""
COSTS = "costs"
"""Table of costs in the report."""
CHANGES = "changes"
"""The report's comparison with the run that made the champion."""
RUNS = "runs"
"""MLflow's list of runs."""
CHARTS = "charts"
"""First group of MLflow's charts."""


FARTHEST = 1.6
"""A chart of models has no room for one with more than this multiple of the best model's bits per byte."""


class Amount(str):
    """A number as text, with its unit or interval; aligned to the right in a table."""


@dataclass(frozen=True)
class ModelFigure:
    """A figure of a model.

    Args:
        name: Column of tables, field of JSON, name in MLflow.
        words: What it is called in a sentence.
        places: Where it is shown.
        short: Its name in MLflow's list of runs, a column of which shows 13 letters.
        title: Heading of its column if that is shorter; `{baseline}` stands for the name of the baseline.
        meaning: What it says, for a legend.
        better: `LOWER`, `HIGHER`, or "" where neither is better.
        digits: Significant digits of its text; decimals: instead, digits after the point.
        share: Whether it is a share of 1 whose text is in per cent.
        factor: What MLflow's figure is multiplied by: 100 for per cent.
        text_factor: What the text is multiplied by.
        interval: Whether its text has half the width of its interval.
        around_zero: Whether 0 is "no difference": then its text says if the interval holds 0.
        points: Whether it is a difference of shares, whose text is in points of 100, with its sign.
        count: Whether it counts exceptions: a whole number, and nothing to show if it is 0.
        beside: Name of a share that is shown behind it.
    """

    name: str
    words: str
    places: tuple[str, ...] = ()
    short: str = ""
    title: str = ""
    meaning: str = ""
    better: str = ""
    digits: int = 4
    decimals: int | None = None
    share: bool = False
    factor: float = 1.0
    text_factor: float = 1.0
    interval: bool = False
    around_zero: bool = False
    points: bool = False
    count: bool = False
    beside: str = ""

    @property
    def run_name(self) -> str:
        """Its name in MLflow's list of runs."""
        return self.short or self.name

    def heading(self, baseline: str = "") -> str:
        """Return the heading of its column."""
        return (self.title or self.words).format(baseline=baseline or "the baseline")

    def number(self, value: float | None) -> str:
        """Return a value as text; "–" if there is none."""
        if value is None or math.isnan(value):
            return NONE

        if math.isinf(value):
            return "infinite"
        if self.share:
            return f"{value:.1%}"
        if self.points:
            return f"{100 * value:+.1f}"
        if self.count:
            return f"{value:,.0f}" if value else NONE
        if self.decimals is not None:
            return f"{value:,.{self.decimals}f}"
        return amount(self.text_factor * value, self.digits)

    def text(self, row: Mapping[str, Any]) -> Amount:
        """Return its value in a row as text, with half the width of an interval: "0.438 ±0.008", "24.4% ±0.5%"."""
        value = row.get(self.name)
        low = row.get(f"{self.name}_lo")
        high = row.get(f"{self.name}_hi")
        shown = self.number(value)
        if self.beside and shown != NONE:
            return Amount(f"{shown} ({row[self.beside]:.1%})")
        if not self.interval or value is None or low is None or high is None:
            return Amount(shown)

        half = (high - low) / 2
        fixed = self.share or self.points or self.decimals is not None
        width = self.number(half).removeprefix("+") if fixed else amount(half, 2)
        maybe = MAYBE if self.around_zero and low <= 0 <= high else ""
        return Amount(f"{maybe}{shown} ±{width}")

    def logged(self, value: float) -> float:
        """Return a value as MLflow has it."""
        return self.factor * value


def amount(value: float | None, digits: int = 4) -> str:
    """Return a number with *digits* significant digits; "–" if there is none."""
    if value is None or math.isnan(value):
        return NONE
    if math.isinf(value):
        return "infinite"
    whole = abs(value) >= 10 ** (digits - 1)
    return f"{value:,.0f}" if whole else f"{value:#,.{digits}g}".rstrip(".")


FIGURES = (
    ModelFigure(
        "perplexity",
        "perplexity",
        (TERMINAL, ANSWER, CHARTS, RUNS, CHANGES),
        meaning="as hard as a choice among this many equal tokens; lower is better, within a table",
        better=LOWER,
    ),
    ModelFigure(
        "open_bits_per_byte",
        "open bits per byte",
        (TERMINAL, ANSWER, CHARTS, RUNS, CHANGES),
        short="open_bits",
        title="bits/byte",
        meaning="open bits per byte, unknown words spelt out; lower is better",
        better=LOWER,
        decimals=3,
        interval=True,
    ),
    ModelFigure(
        "gain",
        "gain",
        better=HIGHER,
        share=True,
        factor=100.0,
        interval=True,
        around_zero=True,
    ),
    ModelFigure(
        "baseline_gain",
        "gain over the baseline",
        (TERMINAL, ANSWER, CHARTS, RUNS),
        title="gain over {baseline}",
        meaning=f"share of its bits/byte that is saved; {MAYBE}: may be chance",
        better=HIGHER,
        share=True,
        factor=100.0,
        interval=True,
        around_zero=True,
    ),
    ModelFigure(
        "champion_gain",
        "gain over the champion",
        (RUNS,),
        better=HIGHER,
        share=True,
        factor=100.0,
        interval=True,
        around_zero=True,
    ),
    ModelFigure(
        "hit@1",
        "first guess right",
        (TERMINAL, ANSWER, CHANGES),
        title="first guess",
        meaning="how often the most probable word is right, in a sample of reviews",
        better=HIGHER,
        share=True,
    ),
    ModelFigure(
        "megabytes",
        "size in MB",
        (ANSWER, CHANGES),
        title="MB",
        better=LOWER,
        digits=3,
    ),
    ModelFigure(
        "gap",
        "bits/byte over the floor",
        (MORE, CHARTS),
        better=LOWER,
        digits=3,
        interval=True,
    ),
    ModelFigure(
        "word_perplexity",
        "perplexity per word",
        (MORE, CHARTS, CHANGES),
        better=LOWER,
        interval=True,
    ),
    ModelFigure("bits_per_byte", "closed bits per byte", better=LOWER),
    ModelFigure("byte_perplexity", "byte perplexity", better=LOWER),
    ModelFigure("bits_per_character", "bits per character", (CHARTS,), better=LOWER),
    ModelFigure(
        "oov",
        "unknown words",
        (MORE,),
        count=True,
        beside="oov_share",
    ),
    ModelFigure(
        "impossible",
        "impossible reviews",
        (MORE,),
        better=LOWER,
        count=True,
    ),
    ModelFigure(
        "uncovered_open_bits_per_byte",
        "uncovered bits/byte",
        (MORE,),
        better=LOWER,
        decimals=3,
    ),
    ModelFigure("uncovered_perplexity", "uncovered perplexity", (MORE,), better=LOWER),
    ModelFigure("parameters", "parameters", (COSTS, CHANGES)),
    ModelFigure(
        "fit_seconds",
        "fitted in s, with parts",
        (COSTS,),
        better=LOWER,
        digits=3,
    ),
    ModelFigure(
        "trained_tokens_per_second",
        "trained tokens/s",
        (COSTS,),
        better=HIGHER,
        digits=3,
    ),
    ModelFigure(
        "step_seconds_p50",
        "median update in ms",
        (COSTS,),
        better=LOWER,
        digits=3,
        text_factor=1000.0,
    ),
    ModelFigure(
        "peak_memory_megabytes",
        "peak MB",
        (COSTS,),
        better=LOWER,
        digits=3,
    ),
    ModelFigure(
        "peak_gpu_memory_megabytes",
        "peak GPU MB",
        (COSTS,),
        better=LOWER,
        digits=3,
    ),
    ModelFigure(
        "tokens_per_second",
        "scored tokens/s",
        (COSTS,),
        better=HIGHER,
        digits=3,
    ),
)
"""In the order of the columns of every table. Those of the terminal's legend have a meaning."""
FIGURE = {figure.name: figure for figure in FIGURES}
BITS = FIGURE["open_bits_per_byte"]
BASELINE_GAIN = FIGURE["baseline_gain"]
CHAMPION_GAIN = FIGURE["champion_gain"]

CLASSIFIER_FIGURES = (
    ModelFigure(
        "macro_f1",
        "macro-F1",
        (TERMINAL, ANSWER, CHARTS),
        meaning="mean F1 of the labels; higher is better",
        better=HIGHER,
        share=True,
        interval=True,
    ),
    ModelFigure(
        "gain_macro_f1",
        "gain in macro-F1",
        (ANSWER,),
        title="points over {baseline}",
        better=HIGHER,
        points=True,
        interval=True,
        around_zero=True,
    ),
    ModelFigure(
        "accuracy",
        "accuracy",
        (TERMINAL, ANSWER, CHARTS),
        meaning="share of right answers; higher is better",
        better=HIGHER,
        share=True,
        interval=True,
    ),
    ModelFigure(
        "gain_accuracy",
        "gain in accuracy",
        better=HIGHER,
        points=True,
        interval=True,
        around_zero=True,
    ),
    ModelFigure(
        "mean_absolute_error",
        "mean error",
        (ANSWER, CHARTS),
        better=LOWER,
        decimals=3,
        interval=True,
    ),
    ModelFigure(
        "log_loss",
        "log loss",
        (TERMINAL, MORE, CHARTS),
        meaning="mean of -log p(true label), in nats; lower is better",
        better=LOWER,
        decimals=3,
        interval=True,
    ),
    ModelFigure(
        "quadratic_kappa",
        "kappa",
        (MORE,),
        better=HIGHER,
        decimals=3,
        interval=True,
    ),
    ModelFigure(
        "precision",
        "precision",
        better=HIGHER,
        share=True,
        interval=True,
    ),
    ModelFigure(
        "recall",
        "recall",
        better=HIGHER,
        share=True,
        interval=True,
    ),
    ModelFigure(
        "f1",
        "F1",
        better=HIGHER,
        share=True,
        interval=True,
    ),
)
"""Figures of classifiers, in the order of the columns of every table; the last three are of one label."""
CLASSIFIER_FIGURE = {figure.name: figure for figure in CLASSIFIER_FIGURES}
ACCURACY = CLASSIFIER_FIGURE["accuracy"]
MACRO_F1 = CLASSIFIER_FIGURE["macro_f1"]


def logged_value(name: str, value: float) -> float:
    """Return a figure, or an end of its interval, as MLflow has it; one that is not declared stays as it is."""
    figure = FIGURE.get(name.removesuffix("_lo").removesuffix("_hi"))
    return value if figure is None else figure.logged(value)


def figures_at(place: str, figures: Sequence[ModelFigure] = FIGURES) -> tuple[ModelFigure, ...]:
    """Return the figures that are shown at a place, in the order of their columns."""
    return tuple(figure for figure in figures if place in figure.places)
