"""Compute the learning rate of an update by the schedule of a training.

Loshchilov & Hutter 2017, "SGDR", eq. 5 (half a cosine); Goyal et al. 2017, "Accurate, large minibatch SGD", section 2.2
(linear warm-up); "plateau" is the rule of PyTorch's example word_language_model; "trapezoid" is that of Zhai et al.
2022, "Scaling Vision Transformers", section 3.5: constant, then a short linear decay.
"""

from __future__ import annotations

import math

from reviewlm.models.neural.spec import TrainingSpec

PLATEAU_FACTOR = 0.25
"""Factor on the rate of "plateau" after an evaluation that does not improve on the best one before."""
DECAY = 0.3
"""Share of all updates in which the rate of a trapezoid falls."""


def learning_rate(
    training: TrainingSpec,
    update: int,
    updates: int,
) -> float:
    """Return the rate of update number *update* (from 0) of *updates*: linear warm-up, then down to the final rate.

    A trapezoid stays at the peak until its decay, "constant" and "plateau" to the end; `TrainingMetrics.plateau` holds
    the factor by which "plateau" has reduced the rate.
    """
    warm = round(training.warmup * updates)
    if update < warm:
        return training.learning_rate * ((update + 1) / warm)
    begin = decay_start(training, updates)
    done = min(1.0, max(0, update - begin) / max(1, updates - 1 - begin))
    return training.learning_rate * (
        training.final_rate + (1 - training.final_rate) * _left(training.schedule, done)
    )


def decay_start(training: TrainingSpec, updates: int) -> int:
    """Return the number of updates before the rate begins to fall: those of the warm-up, or more for a trapezoid."""
    warm = round(training.warmup * updates)
    if training.schedule == "trapezoid":
        return max(warm, updates - round(DECAY * updates))
    return warm


def _left(schedule: str, done: float) -> float:
    """Return the remaining share of the way from the peak to the final rate, 1 to 0, after a share of the updates."""
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    return 1 - done if schedule in ("linear", "trapezoid") else 1.0
