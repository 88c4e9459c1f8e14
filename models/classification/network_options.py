"""Define the options that neural classifiers share: head, training, word embeddings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import field
from typing import Any

from ..neural.labelling.spec import NO_GRADIENT, ChooseBy, Loss, SequenceTraining, require_training
from ..neural.spec import Frozen, VectorsName, Width, require_vectors
from ..options import options, require
from ..specs import TrainingSpec
from .counted_specs import ClassifierOptions


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


def recipe(**options: Any) -> Any:
    """Return a field with the usual training of a classifier, but for the options given."""
    return field(default_factory=lambda: TrainingSpec(**{"batch": 32, "epochs": 4.0, "learning_rate": 4e-3, **options}))


@options
class NetworkOptions(ClassifierOptions):
    """Options of every neural classifier: its head, and its training.

    Args:
        loss: As in `LabellingSpec`; "squared_error" needs labels that are numbers, and answers the nearest one.
        choose_by: What chooses the best state on validation: "loss" or "macro_f1".
        training: Optimisation; `batch` counts reviews.
    """

    loss: Loss = "cross_entropy"
    choose_by: ChooseBy = "loss"
    training: SequenceTraining = recipe()

    def __post_init__(self) -> None:
        require(self.loss != "zero_one", "loss", self.loss, NO_GRADIENT)
        super().__post_init__()
        numbers = not self.numbers or _are_numbers(self.labels)
        require(numbers, "labels", self.labels, "different numbers as text, such as '1' to '5', for 'squared_error'")
        measured = not (self.numbers and self.choose_by == "macro_f1")
        require(measured, "choose_by", self.choose_by, "'loss' with 'squared_error', whose answer has no macro-F1")
        require_training(self.training)

    @property
    def task(self) -> str:
        """One answer per review."""
        return "classification"

    @property
    def numbers(self) -> bool:
        """Whether the head's answer is a number; the classifier's answer is then the nearest label."""
        return self.loss == "squared_error"


@options
class EmbeddingOptions(NetworkOptions):
    """Options of neural classifiers that begin with word embeddings.

    Args:
        embedding: Size of the word embeddings (E).
        vectors: Name of word vectors of the section `vectors`, from which the embedding starts; they have `embedding`
            dimensions. "" starts from random numbers.
        freeze_vectors: Do not train the embedding, which stays as the vectors are.
    """

    embedding: Width = 128
    vectors: VectorsName = ""
    freeze_vectors: Frozen = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_vectors(self)
