"""Measure how well a model is calibrated: reliability, and expected calibration error (ECE).

At each position the model's top entry of the whole vocabulary is examined (`<unk>` and the end token included; ties go
to the lowest id): its probability is the confidence, and how often it is the written token is the accuracy.

    ECE = Σ_b  n_b / N  · | accuracy of bin b − mean confidence of bin b |       bins of equal width over [0, 1]

M. Pakdaman Naeini, G. Cooper and M. Hauskrecht (2015), "Obtaining well calibrated probabilities using Bayesian
binning", AAAI. The number of bins (15) is from C. Guo, G. Pleiss, Y. Sun and K. Weinberger (2017), "On calibration of
modern neural networks", ICML.

Shapes: N positions.
"""

from __future__ import annotations

from math import pi

import numpy as np
import polars as pl

BINS = 15


def reliability(confidence_N: np.ndarray, correct_N: np.ndarray, bins: int = BINS) -> pl.DataFrame:
    """Return the reliability table: one row per bin [low, high); the last bin includes 1.

    Args:
        confidence_N: Probability that the model gave to its top entry.
        correct_N: Whether that entry is the written token.
        bins: Number of bins, of equal width.

    Returns:
        bin, low, high, count, mean_probability, mean_accuracy; the means are null in an empty bin.
    """
    bin_N = np.minimum((confidence_N * bins).astype(np.int64), bins - 1)
    count_K = np.bincount(bin_N, minlength=bins)
    sums = {
        "mean_probability": np.bincount(bin_N, weights=confidence_N, minlength=bins),
        "mean_accuracy": np.bincount(bin_N, weights=correct_N, minlength=bins),
    }
    edges = np.arange(bins + 1) / bins
    frame = pl.DataFrame({"bin": np.arange(bins), "low": edges[:-1], "high": edges[1:], "count": count_K, **sums})
    return frame.with_columns(pl.when(pl.col("count") > 0).then(pl.col(list(sums)) / pl.col("count")))


def calibration_error(table: pl.DataFrame) -> float:
    """Return the ECE of a reliability table."""
    gap = (pl.col("mean_accuracy") - pl.col("mean_probability")).abs() * pl.col("count")
    return float(table.select(gap.sum() / pl.col("count").sum()).item())


def chance_error(confidence_N: np.ndarray) -> float:
    """Return the mean ECE of a perfectly calibrated model with these confidences.

    It is above 0, because the accuracy of a bin is measured on a sample. The sum of the n_b differences has the
    variance Σ c(1 − c), and the absolute value of a normal variable has the mean σ √(2/π).
    """
    bin_N = np.minimum((confidence_N * BINS).astype(np.int64), BINS - 1)
    variance_K = np.bincount(bin_N, weights=confidence_N * (1 - confidence_N), minlength=BINS)
    return float(np.sqrt(2 / pi * variance_K).sum() / len(confidence_N))
