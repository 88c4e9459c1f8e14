"""Define what the options of all neural classifiers share: their head, and their training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import field
from typing import Any

from ..neural.labelling.spec import NO_GRADIENT, ChooseBy, Loss, SequenceTraining, require_training
from ..options import require
from ..specs import TrainingSpec
from .counted_specs import Labels, require_given_labels


def number_of(label: str) -> float:
    """Return the number that a label is the text of.

    Raises:
        ValueError: It is not one.
    """
    value = float(label)
    if not math.isfinite(value):
        raise ValueError(f"{label!r} is not a finite number")
    return value


def _are_numbers(labels: Sequence[str]) -> bool:
    try:
        return len({number_of(label) for label in labels}) == len(labels)
    except ValueError:
        return False


class NetworkOptions:
    """Properties and checks that all these options share; not options themselves."""

    loss: Loss
    labels: Labels
    choose_by: ChooseBy
    training: SequenceTraining

    @property
    def task(self) -> str:
        """One answer per review."""
        return "classification"

    @property
    def numbers(self) -> bool:
        """Whether the head's answer is a number; the classifier's answer is then the nearest label."""
        return self.loss == "squared_error"

    def require_head(self) -> None:
        """Refuse losses, labels and recipes that no head can have."""
        require(self.loss != "zero_one", "loss", self.loss, NO_GRADIENT)
        require_given_labels(self.labels)
        numbers = not self.numbers or _are_numbers(self.labels)
        require(numbers, "labels", self.labels, "different numbers as text, such as '1' to '5', for 'squared_error'")
        measured = not (self.numbers and self.choose_by == "macro_f1")
        require(measured, "choose_by", self.choose_by, "'loss' with 'squared_error', whose answer has no macro-F1")
        require_training(self.training)


def recipe(**options: Any) -> Any:
    """Return a field with the usual training of a classifier, but for the options given."""
    return field(default_factory=lambda: TrainingSpec(**{"batch": 32, "epochs": 4.0, "learning_rate": 4e-3, **options}))
