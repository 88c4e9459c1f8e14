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
    """

    model: str
    passes: float
    curve: Sequence[Mapping[str, float]]


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
    name, passes, curve = training_of[row["model"]]
    losses = {line["step"]: line["validation/nats"] for line in curve if "validation/nats" in line}
    steps = np.array(sorted(losses), np.float64)
    nats = np.array([losses[step] for step in sorted(losses)], np.float64)
    if len(steps) < LEAST_EVALUATIONS or not np.isfinite(nats).all():
        return []

    end = float(nats[-1])
    best = float(nats.min())
    low = row.get("baseline_gain_lo")
    fall = float(np.interp(steps[-1] * 2 / 3, steps, nats)) - end
    if end - best >= RISE:
        at = passes * float(steps[nats.argmin()] / steps[-1])
        change = f"({perplexity(best):,.4g}) and rose to {perplexity(end):,.4g}"
        return [
            f"{name} is over-trained: its validation perplexity was best after {at:.2g} of {passes:.3g} passes "
            f"{change}. The best weights were kept.",
            f"Fewer passes ({_setting(name, at)}), more dropout or more reviews would help.",
        ]
    if row.get("baseline") and low is not None and low <= 0 and end == best and fall >= FALL:
        change = f"by {-math.expm1(-fall):.0%}, to {perplexity(end):,.4g}"
        return [
            f"{name} is under-trained: in the last third of {passes:.3g} passes its validation perplexity still fell "
            f"{change}.",
            f"More passes ({_setting(name, 2 * passes)}) or more reviews would help.",
        ]

    return []


def _setting(name: str, passes: float) -> str:
    return f"--set models.{name}.training.epochs={passes:.2g}"
