"""Estimate confidence intervals of a classifier's figures by resampling reviews (bootstrap).

`evaluation/statistics/bootstrap.py` explains the method: whole groups of dependent reviews are drawn, and each figure
is computed again for each draw. The intervals say what other test reviews would have given, not what another training
would have given.
"""

from __future__ import annotations

from typing import Any

from evaluation.classification.figures import columns_of, formulas
from evaluation.classification.predicted import Predicted
from evaluation.statistics.bootstrap import Bootstrap, Interval


def intervals(predicted: Predicted, *, confidence: float, resamples: int, seed: int) -> dict[Any, Interval]:
    """Return each figure with its percentile interval; equal seeds draw equal reviews.

    The order of the reviews does not matter.

    Args:
        predicted: Answers of the classifier.

    Returns:
        accuracy, macro_f1; log_loss, mean_absolute_error and quadratic_kappa if they apply; precision, recall and f1
        of each label under (figure, number of the label). The ends are NaN if there is no interval: one group only, or
        a figure that is not a number on all reviews or on more than 1 % of the draws.
    """
    rows = predicted.sorted()
    boot = Bootstrap(
        columns_of(rows).items(), confidence=confidence, resamples=resamples, seed=seed, groups=rows.groups_N
    )
    return {name: boot.interval(formula) for name, formula in formulas(rows).items()}
