"""Judge whether the best neural model of a run was trained too little or too much, and suggest what to change.

The rule reads the model's losses on validation, in nats per token ("Trained too little or too much" in
docs/concepts/models/training.md). It says nothing where the evidence is thin: with fewer than three evaluations, or
where nothing below applies.

    rise            loss at the last evaluation − lowest loss
    fall            loss at two thirds of the training (interpolated) − loss at the last evaluation

    over-trained    rise ≥ 0.02
    under-trained   not surely better than the baseline, rise = 0, fall ≥ 0.05
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from reviewlm.models.base import STATIC, perplexity

LEAST_EVALUATIONS = 3
"""Fewer points cannot tell a trend from a step."""
RISE = 0.02
FALL = 0.05
"""In nats per token: 0.02 are 2 % of the perplexity."""


class Training(NamedTuple):
    """Training of one neural model.

    Args:
        model: Name of the model in tables.
        passes: Passes over the training reviews (`training.epochs`).
        curve: Lines of its journal, with `step` and `validation/nats`.
        paced: Whether the time given has chosen the passes, so that nobody sets them.
    """

    model: str
    passes: float
    curve: Sequence[Mapping[str, float]]
    paced: bool = False

    def validation_curve(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return steps and validation losses; None if they are too few to show a trend, or not finite."""
        losses = {
            line["step"]: line["validation/nats"]
            for line in self.curve
            if "validation/nats" in line
        }
        steps = np.array(sorted(losses), np.float64)
        nats = np.array([losses[step] for step in sorted(losses)], np.float64)
        if len(steps) < LEAST_EVALUATIONS or not np.isfinite(nats).all():
            return None
        return steps, nats


def passes_until_best(training: Training) -> float | None:
    """Return after how many passes an over-trained model was best; None if the model is not over-trained.

    Further passes would not have helped: the loss has risen since, by `RISE` or more.
    """
    curve = training.validation_curve()
    if curve is None:
        return None
    steps, nats = curve
    if nats[-1] - nats.min() < RISE:
        return None
    return training.passes * float(steps[nats.argmin()] / steps[-1])


def training_hints(trainings: Sequence[Training], table: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return sentences about the best static neural model of a run; none if the figures do not support any.

    Args:
        table: Rows of `reviewlm.evaluation.statistics.comparison.comparison_table`, with the intervals of the gain.
    """
    training_of = {training.model: training for training in trainings}
    static = (row for row in table if row["model"] in training_of and row["adaptation"] == STATIC)
    rows = [row for row in static if math.isfinite(row["open_bits_per_byte"] or math.nan)]
    if not rows:
        return []

    row = min(rows, key=lambda row: float(row["open_bits_per_byte"]))
    training = training_of[row["model"]]
    curve = training.validation_curve()
    if curve is None:
        return []

    name = training.model
    steps, nats = curve
    end = float(nats[-1])
    best_passes = passes_until_best(training)
    if best_passes is not None:
        change = f"({perplexity(float(nats.min())):,.4g}) and rose to {perplexity(end):,.4g}"
        return [
            f"{name} is over-trained: its validation perplexity was best after {best_passes:.2g} of "
            f"{training.passes:.3g} passes {change}. The best weights were kept.",
            _advice_for_fewer_passes(training, best_passes),
        ]

    low = row.get("baseline_gain_lo")
    fall = float(np.interp(steps[-1] * 2 / 3, steps, nats)) - end
    improves = end == float(nats.min()) and fall >= FALL
    if row.get("baseline") and low is not None and low <= 0 and improves:
        change = f"by {-math.expm1(-fall):.0%}, to {perplexity(end):,.4g}"
        return [
            f"{name} is under-trained: in the last third of {training.passes:.3g} passes its validation perplexity "
            f"still fell {change}.",
            _advice_for_more_passes(training),
        ]

    return []


def _advice_for_fewer_passes(training: Training, passes: float) -> str:
    """Return the advice for an over-trained model; of a paced one nobody sets the passes, and more time is no help."""
    if training.paced:
        return "More reviews or more dropout would help; more time would not."
    setting = _setting(training.model, passes)
    return f"Fewer passes ({setting}), more dropout or more reviews would help."


def _advice_for_more_passes(training: Training) -> str:
    """Return the advice for a model that still improves."""
    if training.paced:
        return "More time (--minutes) or more reviews would help."
    setting = _setting(training.model, 2 * training.passes)
    return f"More passes ({setting}) or more reviews would help."


def _setting(name: str, passes: float) -> str:
    return f"--set models.{name}.training.epochs={passes:.2g}"
