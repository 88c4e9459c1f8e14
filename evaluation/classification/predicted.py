"""Hold the answers of a classifier on labelled reviews, and check them.

Shapes: N reviews, K labels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from core.errors import EmptyInput, InputError
from evaluation.statistics.groups import united

CLOSE = 1e-4
"""Largest distance of a sum of probabilities from 1: they may have been computed in float32."""


@dataclass(frozen=True, eq=False)
class Predicted:
    """Answers of one classifier on labelled reviews.

    Probabilities that are not a number (NaN) are accepted: all of the review's become NaN, figures that use them are
    NaN, and the gate refuses them.

    Args:
        labels: Names of the labels, in the order of their numbers.
        truth_N: Number of the true label of each review.
        answers_N: Number of the answered label of each review.
        probabilities_NK: Probability of each label; None if the classifier has no probabilities.
        review_ids: Id of each review; no id occurs twice.
        groups_N: Number of each review's group (`evaluation/statistics/groups.py`); None if each review is a separate
            group.

    Raises:
        EmptyInput: There is no review.
        InputError: The values do not match each other, or are out of range.
    """

    labels: tuple[str, ...]
    truth_N: np.ndarray
    answers_N: np.ndarray
    probabilities_NK: np.ndarray | None
    review_ids: pl.Series
    groups_N: np.ndarray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(self.labels))
        _check_labels(self.labels)
        object.__setattr__(self, "review_ids", _ids(self.review_ids))
        for name in ("truth_N", "answers_N"):
            numbers_N = _whole(name, getattr(self, name), len(self.review_ids))
            _check_range(name, numbers_N, self.labels, self.review_ids)
            object.__setattr__(self, name, numbers_N)
        if self.groups_N is not None:
            object.__setattr__(self, "groups_N", _whole("groups_N", self.groups_N, len(self.review_ids)))
        if self.probabilities_NK is not None:
            object.__setattr__(self, "probabilities_NK", _probabilities(self))

    def __len__(self) -> int:
        return len(self.review_ids)

    @property
    def correct_N(self) -> np.ndarray:
        """Whether the answer is the true label, for each review."""
        correct_N: np.ndarray = self.answers_N == self.truth_N
        return correct_N

    @property
    def loss_N(self) -> np.ndarray | None:
        """−log of the probability of the true label, in nats; None if there are no probabilities.

        A probability of 0 counts as the smallest step of a float64 (2.2e-16, 36 nats), as in scikit-learn: one review
        must not make the mean infinite.
        """
        if self.probabilities_NK is None:
            return None
        least = np.finfo(np.float64).eps
        of_truth_N = np.take_along_axis(self.probabilities_NK, self.truth_N[:, None], 1)[:, 0]
        loss_N: np.ndarray = -np.log(np.clip(of_truth_N, least, 1 - least))
        return loss_N

    @property
    def confidence_N(self) -> np.ndarray | None:
        """Probability of the answered label; None if there are no probabilities."""
        if self.probabilities_NK is None:
            return None
        return np.take_along_axis(self.probabilities_NK, self.answers_N[:, None], 1)[:, 0]

    @property
    def values_K(self) -> np.ndarray | None:
        """The labels as numbers, such as 1 to 5 stars; None if a label is not a finite number."""
        try:
            values = [float(label) for label in self.labels]
        except ValueError:
            return None
        return np.array(values) if all(map(math.isfinite, values)) and len(set(values)) == len(values) else None

    def sorted(self) -> Predicted:
        """Return the same answers in the order of the review ids, with groups numbered in that order."""
        order_N = self.review_ids.arg_sort().to_numpy()
        groups_N = None if self.groups_N is None else united(pl.Series(self.groups_N[order_N])).to_numpy()
        probabilities_NK = None if self.probabilities_NK is None else self.probabilities_NK[order_N]
        return replace(
            self, truth_N=self.truth_N[order_N], answers_N=self.answers_N[order_N], probabilities_NK=probabilities_NK,
            review_ids=self.review_ids.gather(order_N), groups_N=groups_N,
        )  # fmt: skip


def _check_labels(labels: tuple[str, ...]) -> None:
    if len(labels) < 2:
        raise InputError("A classifier needs at least two labels", where="labels", value=list(labels))
    if bad := [label for label in labels if not isinstance(label, str) or not label.strip()]:
        raise InputError("A label must be a text that is not empty", where="labels", value=bad[0])
    if twice := [label for label in labels if labels.count(label) > 1]:
        raise InputError("A label occurs twice", where="labels", value=twice[0])


def _ids(review_ids: pl.Series) -> pl.Series:
    ids = pl.Series("review_id", review_ids, pl.String)
    if not len(ids):
        raise EmptyInput("There are no answers to judge", where="review_ids", remedy="give the split some reviews")
    if ids.null_count():
        raise InputError("A review has no id", where=f"review_ids, row {ids.is_null().arg_max()}")
    if not ids.is_unique().all():
        raise InputError("A review was answered twice", where="review_ids", value=ids.filter(ids.is_duplicated())[0])
    return ids


def _whole(name: str, numbers: np.ndarray, reviews: int) -> np.ndarray:
    numbers_N = np.asarray(numbers)
    if numbers_N.shape != (reviews,):
        raise InputError(
            f"{name} must have one number for each of {reviews} reviews", where=name, value=numbers_N.shape
        )
    if numbers_N.dtype.kind not in "iu":
        raise InputError(f"{name} must have whole numbers", where=name, value=str(numbers_N.dtype))
    return numbers_N.astype(np.int64)


def _check_range(name: str, numbers_N: np.ndarray, labels: tuple[str, ...], ids: pl.Series) -> None:
    wrong_N = (numbers_N < 0) | (numbers_N >= len(labels))
    if wrong_N.any():
        row = int(wrong_N.argmax())
        raise InputError(
            f"A label's number is not one of the {len(labels)} labels", where=f"{name}, review {ids[row]}",
            value=int(numbers_N[row]), remedy=f"use 0 to {len(labels) - 1}",
        )  # fmt: skip


def _probabilities(predicted: Predicted) -> np.ndarray:
    """Return the probabilities as float64; raise InputError unless they are some, apart from NaN."""
    table_NK, shape = np.asarray(predicted.probabilities_NK), (len(predicted), len(predicted.labels))
    where, ids = "probabilities_NK", predicted.review_ids
    if table_NK.shape != shape or table_NK.dtype.kind != "f":
        actual = f"{table_NK.dtype} {table_NK.shape}"
        raise InputError(f"Probabilities must be floating-point numbers of shape {shape}", where=where, value=actual)
    table_NK = table_NK.astype(np.float64)
    outside_NK = (table_NK < 0) | (table_NK > 1 + CLOSE)
    if outside_NK.any():
        row, label = (int(place[0]) for place in np.nonzero(outside_NK))
        where += f", review {ids[row]}, label {predicted.labels[label]}"
        raise InputError(
            "A probability is not between 0 and 1", where=where,
            value=float(table_NK[row, label]), cause="scores of a margin loss are not probabilities: leave them out",
        )  # fmt: skip
    sum_N = table_NK.sum(1)
    far_N = np.abs(sum_N - 1) > CLOSE  # false for NaN
    if far_N.any():
        row = int(far_N.argmax())
        raise InputError("The probabilities of a review do not add up to 1", where=f"{where}, review {ids[row]}",
                         value=float(sum_N[row]))  # fmt: skip
    table_NK[np.isnan(sum_N)] = np.nan  # a row in which one is missing is no distribution
    return table_NK
