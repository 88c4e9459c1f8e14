"""Judge whether the best neural model of a run was trained too little or too much, and suggest what to change.

The rule reads the model's learning curve (nats per token on validation and training reviews) and its gain over the
baseline, usually an n-gram model, on the test reviews ("Trained too little or too much" in
docs/concepts/models/training.md). It says nothing where the evidence is thin: with fewer than three evaluations, or
where nothing below applies.

    end         loss on validation at the last evaluation
    rise        end − lowest loss on validation
    fall        loss on validation at two thirds of the training (interpolated) − end
    gap         end − loss on training reviews at the end; dropout raises that loss, so the gap is rather too small

    over-trained    rise ≥ 0.02, while the loss on training reviews went on falling
    under-trained   not surely better than the baseline, rise = 0, fall ≥ 0.05
    short of text   not surely better than the baseline, rise < 0.02, fall < 0.05, gap ≥ 0.3
    too small       surely worse than the baseline, rise < 0.02, fall < 0.01, gap < 0.1
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.base import STATIC

LEAST_EVALUATIONS = 3
"""Fewer points cannot tell a trend from a step."""
RISE, FALL, ENDED = 0.02, 0.05, 0.01
"""In nats per token: 0.02 are 2 % of the perplexity."""
WIDE_GAP, NARROW_GAP = 0.3, 0.1
LAST_SHARE = 0.1
"""Share of the training of which the training loss is averaged: a single window's is noisy."""


@dataclass(frozen=True)
class Training:
    """Training of one neural model.

    Args:
        model: Name of the model in tables.
        passes: Passes over the training reviews (`training.epochs`).
        curve: Lines of its journal, with `step` and `validation/nats` or `train/nats`.
    """

    model: str
    passes: float
    curve: Sequence[Mapping[str, float]]


@dataclass(frozen=True)
class _Course:
    """What the rule knows of a learning curve, in nats per token; gap and later_fall are NaN if not measured."""

    end: float
    best: float
    best_share: float
    fall: float
    gap: float
    later_fall: float

    @property
    def rise(self) -> float:
        return self.end - self.best


def training_hints(trainings: Sequence[Training], table: Sequence[Mapping[str, Any]], reviews: int) -> list[str]:
    """Return sentences about the best static neural model of a run; none if the figures do not support any.

    Args:
        table: Rows of `evaluation.statistics.comparison.comparison_table`, with the intervals of the gain.
    """
    training_of = {training.model: training for training in trainings}
    rows = [row for row in table if row["model"] in training_of and row["adaptation"] == STATIC and _finite(row)]
    if not rows:
        return []
    row = min(rows, key=lambda row: float(row["open_bits_per_byte"]))
    training = training_of[row["model"]]
    course = _course(training.curve)
    if course is None:
        return []
    hints = _judged(training, course, row, reviews)
    return [*hints, *_beside_baseline(row)] if hints else []


def _finite(row: Mapping[str, Any]) -> bool:
    value = row.get("open_bits_per_byte")
    return value is not None and math.isfinite(value)


def _course(curve: Sequence[Mapping[str, float]]) -> _Course | None:
    """Return the course of a training; None if it was measured too seldom or is not finite."""
    validation = _points(curve, "validation/nats")
    steps, losses = validation
    if len(steps) < LEAST_EVALUATIONS or not np.isfinite(losses).all():
        return None
    place, last = int(losses.argmin()), float(steps[-1])
    end, best = float(losses[-1]), float(losses[place])
    trained = _points(curve, "train/nats")
    train_end = _mean_before(trained, last, last)
    at_two_thirds, at_best = np.interp(last * 2 / 3, steps, losses), _mean_before(trained, float(steps[place]), last)
    return _Course(
        end=end, best=best, best_share=float(steps[place]) / last, fall=float(at_two_thirds) - end,
        gap=end - train_end, later_fall=at_best - train_end,
    )  # fmt: skip


def _points(curve: Sequence[Mapping[str, float]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return steps and values of a figure; of several values at one step, the last one, which a resumed fit wrote."""
    values = {line["step"]: line[name] for line in curve if name in line}
    steps = np.array(sorted(values), np.float64)
    return steps, np.array([values[step] for step in steps], np.float64)


def _mean_before(points: tuple[np.ndarray, np.ndarray], step: float, last: float) -> float:
    """Return the mean of the values in the last part before a step; NaN if there is none."""
    steps, values = points
    near = values[(steps <= step) & (steps > step - LAST_SHARE * last)]
    return float(near.mean()) if len(near) else math.nan


def _judged(training: Training, course: _Course, row: Mapping[str, Any], reviews: int) -> list[str]:
    """Return what is wrong with the training and what would help; comparisons with NaN are false."""
    name, low, high = training.model, row.get("gain_lo"), row.get("gain_hi")
    baseline = row.get("baseline") or ""
    many = f"{training.passes:.3g}" if training.passes < 100 else f"{training.passes:,.0f}"
    passes = f"{many} {'pass' if many == '1' else 'passes'}"
    data = f"{passes} over {reviews:,} reviews"
    if course.rise >= RISE and course.later_fall > 0:
        at = training.passes * course.best_share
        return [
            f"{name} is over-trained: its validation perplexity was best after {at:.2g} of {passes} "
            f"({_perplexity(course.best)}) and rose to {_perplexity(course.end)}, while that of the training reviews "
            "went on falling. The best weights were kept.",
            f"Fewer passes ({_setting(name, at)}), more dropout or more reviews would help.",
        ]
    if not baseline or low is None or high is None or low > 0 or course.rise >= RISE:
        return []
    if course.fall >= FALL and course.rise == 0:
        fell = f"{name} is under-trained: in the last third of {data} its validation perplexity still fell by "
        return [
            f"{fell}{-math.expm1(-course.fall):.0%}, to {_perplexity(course.end)}.",
            "More reviews would help more than more passes: it already knows the training reviews much better "
            f"(perplexity {_perplexity(course.end - course.gap)})."
            if course.gap >= WIDE_GAP
            else f"More passes ({_setting(name, 2 * training.passes)}) or more reviews would help.",
        ]
    if course.fall < FALL and course.gap >= WIDE_GAP:
        return [
            f"{name} has too few reviews: after {data} its perplexity is {_perplexity(course.end - course.gap)} on the "
            f"training reviews, but {_perplexity(course.end)} on validation.",
            "More reviews or more dropout would help; more passes would not.",
        ]
    if high < 0 and course.fall < ENDED and course.gap < NARROW_GAP:
        return [
            f"{name} is probably too small, or its learning rate does not fit: in the last third of {data} its "
            f"validation perplexity ({_perplexity(course.end)}) hardly changed, and it is not over-trained.",
            f"Try a larger network (models.{name}.hidden), another learning rate or preset.",
        ]
    return []


def _perplexity(nats: float) -> str:
    return f"{math.exp(min(nats, 700.0)):,.4g}"


def _setting(name: str, passes: float) -> str:
    return f"--set models.{name}.training.epochs={passes:.2g}"


def _beside_baseline(row: Mapping[str, Any]) -> list[str]:
    """Return how far a model is from the baseline, as far as the interval supports it."""
    baseline, gain, low, high = (row.get(name) for name in ("baseline", "gain", "gain_lo", "gain_hi"))
    if not baseline or gain is None or low is None or high is None:
        return []
    name = row["model"]
    if low <= 0 <= high:
        return [f"The difference between {name} and {baseline} may be chance."]
    amount, (least, most) = abs(gain), sorted((abs(low), abs(high)))
    more = "more" if gain < 0 else "fewer"
    return [f"{name} needs {amount:.1%} {more} bits per byte than {baseline} ({least:.1%} to {most:.1%})."]
