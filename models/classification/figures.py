"""Compute the figure by which the best state of a classifier may be chosen."""

from __future__ import annotations

import numpy as np


def macro_f1(truth_N: np.ndarray, answers_N: np.ndarray, labels: int) -> float:
    """Return the mean over all labels of F1 = 2 · right / (answered + true); 0 for a label that never occurs.

    Args:
        truth_N: Label numbers.
        answers_N: Label numbers.
        labels: K.
    """
    right_K = np.bincount(truth_N[truth_N == answers_N], minlength=labels)
    either_K = np.bincount(truth_N, minlength=labels) + np.bincount(answers_N, minlength=labels)
    return float(np.mean(2 * right_K / np.maximum(either_K, 1)))
