"""Hold the answers of a classifier on labelled reviews, and check them.

Shapes: N reviews, K labels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from reviewlm.core.errors import EmptyInput, InputError
from reviewlm.evaluation.statistics.groups import connect_groups


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
        InputError: A review was answered twice.
    """

    labels: tuple[str, ...]
    truth_N: np.ndarray
    answers_N: np.ndarray
    probabilities_NK: np.ndarray | None
    review_ids: pl.Series
    groups_N: np.ndarray | None = None

    def __post_init__(self) -> None:
        ids = pl.Series("review_id", self.review_ids, pl.String)
        table_NK = self.probabilities_NK
        if not len(ids):
            raise EmptyInput(
                "There are no answers to judge",
                where="review_ids",
                remedy="give the split some reviews",
            )
        if not ids.is_unique().all():
            twice = ids.filter(ids.is_duplicated())[0]
            raise InputError("A review was answered twice", where="review_ids", value=twice)

        if table_NK is not None:  # a row in which one is missing is no distribution
            table_NK = np.asarray(table_NK, np.float64)
            table_NK = np.where(np.isnan(table_NK).any(1, keepdims=True), np.nan, table_NK)

        for name, value in (
            ("labels", tuple(self.labels)),
            ("review_ids", ids),
            ("probabilities_NK", table_NK),
        ):
            object.__setattr__(self, name, value)

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
        if all(map(math.isfinite, values)) and len(set(values)) == len(values):
            return np.array(values)
        return None

    def sort_by_review(self) -> Predicted:
        """Return the answers sorted by review id, with groups numbered in that order."""
        return self.take_rows(self.review_ids.arg_sort().to_numpy())

    def take_rows(self, rows_N: np.ndarray) -> Predicted:
        """Return the answers with these numbers, in this order, with groups numbered in that order."""
        groups_N = None
        if self.groups_N is not None:
            groups_N = connect_groups(pl.Series(self.groups_N[rows_N])).to_numpy()

        probabilities_NK = None if self.probabilities_NK is None else self.probabilities_NK[rows_N]
        return replace(
            self,
            truth_N=self.truth_N[rows_N],
            answers_N=self.answers_N[rows_N],
            probabilities_NK=probabilities_NK,
            review_ids=self.review_ids.gather(rows_N),
            groups_N=groups_N,
        )
