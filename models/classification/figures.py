"""Compute macro-F1, by which classifiers are compared and the best state of a classifier may be chosen."""

from __future__ import annotations

from typing import Any

import numpy as np


def macro_f1(truth_N: np.ndarray, answers_N: np.ndarray, labels: int) -> float:
    """Return the macro-F1 of answers, see `mean_f1`; 0 if there are none.

    Args:
        truth_N: Label numbers.
        answers_N: Label numbers.
        labels: K.
    """
    right_K = np.bincount(truth_N[truth_N == answers_N], minlength=labels)
    true_K, answered_K = (np.bincount(numbers_N, minlength=labels) for numbers_N in (truth_N, answers_N))
    return float(mean_f1(true_K, answered_K, right_K))


def mean_f1(true_K: Any, answered_K: Any, right_K: Any) -> Any:
    """Return the mean of F1 = 2 · right / (true + answered) over the labels that are the truth of a review.

    So the mean is over the same labels for every classifier of the same reviews. If it were also over labels that are
    only answered, as scikit-learn does by default, one wrong answer with such a label would add an F1 of 0 for its
    classifier alone. A wrong answer costs the recall of its true label in any case.

    Args:
        true_K: Number of reviews with each label as truth, (K,) or (K, …), for example of many samples.
        answered_K: Number of reviews with it as answer.
        right_K: Number of reviews with it as both.
    """
    true_K, answered_K, right_K = (np.asarray(counts, np.float64) for counts in (true_K, answered_K, right_K))
    there_K = true_K > 0
    f1_K = np.where(there_K, 2 * right_K / np.maximum(true_K + answered_K, 1), 0.0)
    return f1_K.sum(0) / np.maximum(there_K.sum(0), 1)
