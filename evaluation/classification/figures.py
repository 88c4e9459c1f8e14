"""Compute figures of a classifier from its answers: accuracy, macro-F1, log loss, calibration, error in stars.

Most figures are functions of sums over reviews (`columns_of`, `formulas`), so one formula gives the figure of all
reviews and that of every draw of the bootstrap. T, A and B are the numbers of reviews with a label as true label, as
answer, and as both:

    accuracy    Σ B / N, the share of right answers
    precision   B / A, of one label                    recall    B / T
    F1          2 B / (T + A), of one label            macro-F1  mean F1 of the labels with T > 0
                                                                 (`models/classification/classifier.py`)
    log loss    mean of −log p(true label), in nats; p is kept above 2.2e-16
    error       mean of |answer − truth|, if the labels are numbers
    kappa       1 − Σ (answer − truth)² / the same sum if answers and truths were paired at random, if the labels are
                numbers (Cohen 1968, quadratic weights): 1 is right, 0 is chance

The expected calibration error has 15 bins of equal width over the probability of the answer
(`evaluation/scoring/metrics.py`). It needs bins, so it is no function of such sums, and it is above 0 even for
perfect probabilities: `calibration_chance` says by how much.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from reviewlm.evaluation.classification.answers import Predicted
from reviewlm.evaluation.scoring.metrics import Sums, calibration_error, chance_error, reliability
from reviewlm.models.classification.classifier import mean_f1

LABEL_SUMS = ("true", "answered", "both")
"""T, A and B of a label, as `columns_of` names them."""
ROUNDING = 1e-12
Formula = Callable[[Sums], Any]
"""Function from sums over reviews to a figure; of arrays of sums it works elementwise."""


@dataclass(frozen=True)
class LabelFigures:
    """Figures of one label; NaN if the label never occurs where the figure needs it.

    Args:
        label: Its name.
        reviews: Number of reviews with this true label.
        answered: Number of reviews with this answer.
        precision: Share of right answers among those with this answer.
        recall: Share of right answers among the reviews with this true label.
        f1: Harmonic mean of both.
    """

    label: str
    reviews: int
    answered: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class ClassifierFigures:
    """Figures of a classifier on labelled reviews; None if a figure does not apply, NaN if it is not a number.

    Args:
        labels: Names of the labels.
        reviews: Number of reviews.
        accuracy: Share of right answers.
        macro_f1: Mean F1 of the labels that are the truth of a review.
        per_label: Figures of each label.
        confusion: Number of reviews by true label (row) and answer (column).
        majority_label: The most frequent true label; of equally frequent ones the first.
        majority_accuracy: Accuracy of a classifier that always answers it.
        log_loss: In nats per review; None without probabilities.
        calibration_error: Expected calibration error; None without probabilities.
        calibration_chance: The mean of this error if the probabilities were perfect; None without probabilities.
        mean_absolute_error: Mean distance of answer and truth; None unless the labels are numbers.
        quadratic_kappa: Quadratic-weighted kappa; None unless the labels are numbers.
    """

    labels: tuple[str, ...]
    reviews: int
    accuracy: float
    macro_f1: float
    per_label: tuple[LabelFigures, ...]
    confusion: tuple[tuple[int, ...], ...]
    majority_label: str
    majority_accuracy: float
    log_loss: float | None = None
    calibration_error: float | None = None
    calibration_chance: float | None = None
    mean_absolute_error: float | None = None
    quadratic_kappa: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as JSON values; None for numbers that JSON does not allow."""
        return {name: _json(value) for name, value in asdict(self).items()}


def figures(predicted: Predicted) -> ClassifierFigures:
    """Return all figures of a classifier."""
    columns = columns_of(predicted)
    sums = {key: np.float64(column_N.sum()) for key, column_N in columns.items()}
    with np.errstate(divide="ignore", invalid="ignore"):  # NaN where a formula divides by 0
        values = {name: float(formula(sums)) for name, formula in formulas(predicted).items()}

    count = len(predicted.labels)
    cell_N = predicted.truth_N * count + predicted.answers_N
    confusion_KK = np.bincount(cell_N, minlength=count**2).reshape(count, count)
    per_label = []
    for label, name in enumerate(predicted.labels):
        true = int(sums["true", label])
        answered = int(sums["answered", label])
        shares = [values[figure, label] for figure in ("precision", "recall", "f1")]
        per_label.append(LabelFigures(name, true, answered, *shares))

    true_K = confusion_KK.sum(1)
    majority_label = predicted.labels[int(true_K.argmax())]
    majority_accuracy = float(true_K.max() / len(predicted))
    whole = (values["accuracy"], values["macro_f1"])
    calibration = (values.get("log_loss"), *_calibration(predicted))
    of_numbers = (values.get("mean_absolute_error"), values.get("quadratic_kappa"))
    return ClassifierFigures(
        predicted.labels,
        len(predicted),
        *whole,
        tuple(per_label),
        tuple(map(tuple, confusion_KK.tolist())),
        majority_label,
        majority_accuracy,
        *calibration,
        *of_numbers,
    )


def columns_of(predicted: Predicted) -> dict[Any, np.ndarray]:
    """Return the columns (N,) whose sums the formulas use."""
    columns: dict[Any, np.ndarray] = {
        "reviews": np.ones(len(predicted)),
        "right": predicted.correct_N.astype(float),
    }
    for label in range(len(predicted.labels)):
        true_N = predicted.truth_N == label
        answered_N = predicted.answers_N == label
        named = {
            "true": true_N,
            "answered": answered_N,
            "both": true_N & answered_N,
        }
        columns |= {(name, label): column_N.astype(float) for name, column_N in named.items()}

    loss_N = predicted.loss_N
    if loss_N is not None:
        columns["loss"] = loss_N

    values_K = predicted.values_K
    if values_K is not None:
        # Far numbers such as years would lose digits in a sum of squares.
        own_K = values_K - values_K.mean()
        truth_N = own_K[predicted.truth_N]
        answer_N = own_K[predicted.answers_N]
        columns["t"] = truth_N
        columns["a"] = answer_N
        columns["tt"] = truth_N**2
        columns["aa"] = answer_N**2
        columns["apart"] = np.abs(answer_N - truth_N)
        columns["apart²"] = (answer_N - truth_N) ** 2

    return columns


def formulas(predicted: Predicted) -> dict[Any, Formula]:
    """Return the formulas that apply to a classifier; those of a label have a key (figure, number of the label)."""
    labels = range(len(predicted.labels))

    def macro_f1(sums: Sums) -> Any:
        columns = []
        for name in LABEL_SUMS:
            columns.append([sums[name, label] for label in labels])
        return mean_f1(*columns)

    formula_of: dict[Any, Formula] = {
        "accuracy": lambda sums: sums["right"] / sums["reviews"],
        "macro_f1": macro_f1,
    }
    for label in labels:
        formula_of["precision", label] = _right_of("answered", label)
        formula_of["recall", label] = _right_of("true", label)
        formula_of["f1", label] = partial(_f1, label=label)

    if predicted.probabilities_NK is not None:
        formula_of["log_loss"] = lambda sums: sums["loss"] / sums["reviews"]

    if predicted.values_K is not None:
        formula_of["mean_absolute_error"] = lambda sums: sums["apart"] / sums["reviews"]
        formula_of["quadratic_kappa"] = _kappa

    return formula_of


def _right_of(what: str, label: int) -> Formula:
    return lambda sums: sums["both", label] / sums[what, label]


def _f1(sums: Sums, label: int) -> Any:
    return 2 * sums["both", label] / (sums["true", label] + sums["answered", label])


def _kappa(sums: Sums) -> Any:
    squares = sums["tt"] + sums["aa"]
    expected = squares - 2 * sums["t"] * sums["a"] / sums["reviews"]
    # If all answers and truths are one label, this is 0 but for rounding.
    return 1 - sums["apart²"] / np.where(expected > ROUNDING * squares, expected, np.nan)


def _calibration(predicted: Predicted) -> tuple[float | None, float | None]:
    """Return the expected calibration error and its mean for perfect probabilities."""
    confidence_N = predicted.confidence_N
    if confidence_N is None:
        return None, None
    if not np.isfinite(confidence_N).all():
        return math.nan, math.nan
    table = reliability(confidence_N, predicted.correct_N)
    return calibration_error(table), chance_error(np.minimum(confidence_N, 1.0))


def _json(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _json(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_json(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
