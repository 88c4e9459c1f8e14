"""Measure how well a model is calibrated: reliability, expected calibration error (ECE), a fitted temperature.

At each position the model's top entry of the whole vocabulary is examined (`<unk>` and the end token included; ties go
to the lowest id): its probability is the confidence, and how often it is the written token is the accuracy.

    ECE = Σ_b  n_b / N  · | accuracy of bin b − mean confidence of bin b |       bins of equal width over [0, 1]

M. Pakdaman Naeini, G. Cooper and M. Hauskrecht (2015), "Obtaining well calibrated probabilities using Bayesian
binning", AAAI. The number of bins (15) and temperature scaling (section 4.2) are from C. Guo, G. Pleiss, Y. Sun and
K. Weinberger (2017), "On calibration of modern neural networks", ICML. Temperature scaling is p_T(w) ∝ p(w)^(1/T) over
the whole distribution, with one T for all positions, chosen to make held-out text most probable.

Shapes: N positions, V vocabulary entries.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import pi, sqrt

import numpy as np
import polars as pl

from core.errors import InputError

BINS = 15
LEAST, MOST = 0.05, 20.0
"""Bounds of a temperature."""
ERRORS = 2.0
"""A temperature is kept if its gain on the held-out text is more than this number of standard errors."""
ROUNDS, CLOSE = 60, 1e-6
"""Maximum number of steps of the search for the temperature, and the relative change at which the search ends."""
LOWEST = -1e4
"""Nats used for log 0: no temperature within the bounds gives such an entry any probability."""
ENTRIES = 1 << 20
"""Entries that are processed at a time."""


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


@dataclass(frozen=True)
class Temperature:
    """Result of fitting a temperature on held-out text.

    Args:
        value: T to use: `best`, or 1 if its gain may be chance.
        best: T that makes the text most probable.
        nats_before: Nats per token at T = 1, over the tokens to which the model gives a probability above 0.
        nats_after: The same at `value`.
        error: Standard error of the gain of `best`, with reviews as units.
        tokens: Number of these tokens.
    """

    value: float
    best: float
    nats_before: float
    nats_after: float
    error: float
    tokens: int


def fit_temperature(logp_NV: np.ndarray, target_N: np.ndarray, review_N: np.ndarray) -> Temperature:
    """Choose the temperature that makes held-out text most probable, or 1 if its gain may be chance.

    With β = 1/T the nats of a token are log Σ exp(β log p) − β log p(target). This is convex in β, so Newton's method
    within a bracket finds the minimum, and T = 1 is never better on this text. Tokens to which the model gives
    probability 0 keep it at any temperature and are left out.

    Args:
        logp_NV: Log-probabilities (float32); values below −10,000 are raised to −10,000, in place.
        target_N: Tokens that were written.
        review_N: Number of the review of each position.

    Raises:
        InputError: There is no position.
    """
    if not len(target_N):
        raise InputError("There is no held-out token to fit a temperature on", remedy="give the split more reviews")
    np.maximum(logp_NV, LOWEST, out=logp_NV)
    own_N = np.take_along_axis(logp_NV, target_N[:, None], 1)[:, 0].astype(np.float64)
    possible_N = own_N > LOWEST
    if not possible_N.any():
        return Temperature(1.0, 1.0, np.inf, np.inf, 0.0, 0)
    if not possible_N.all():  # only then: indexing copies all distributions
        logp_NV, own_N, review_N = logp_NV[possible_N], own_N[possible_N], review_N[possible_N]
    best = 1 / _sharpest(logp_NV, own_N)
    gain_N = -own_N - tempered(logp_NV, own_N, best)[0]
    gain, error = float(gain_N.mean()), _standard_error(gain_N, review_N)
    keep = gain > ERRORS * error
    before = float(-own_N.mean())
    return Temperature(best if keep else 1.0, best, before, before - keep * gain, error, len(own_N))


def tempered(logp_NV: np.ndarray, own_N: np.ndarray, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Return nats of the tokens and the probability of the top entry at a temperature, both (N,) float64.

    Args:
        logp_NV: Log-probabilities.
        own_N: Log-probabilities of the tokens that were written.
        temperature: T.
    """
    top_N = logp_NV.max(1).astype(np.float64)
    sum_N = np.concatenate([np.exp(part).sum(1, dtype=np.float64) for part in _relative(logp_NV, 1 / temperature)])
    with np.errstate(invalid="ignore"):
        return np.log(sum_N) + (top_N - own_N) / temperature, 1 / sum_N


def _sharpest(logp_NV: np.ndarray, own_N: np.ndarray) -> float:
    """Return the β of the minimum, by Newton's method; a step out of the bracket goes to its middle instead."""
    low, high, beta = 1 / MOST, 1 / LEAST, 1.0
    for _ in range(ROUNDS):
        slope, curvature = _derivatives(logp_NV, own_N, beta)
        if abs(slope) < CLOSE**2:
            break
        low, high = (low, beta) if slope > 0 else (beta, high)
        step = beta - slope / curvature if curvature > 0 else np.inf
        following = step if low < step < high else sqrt(low * high)
        done = abs(following - beta) <= CLOSE * beta
        beta = following
        if done:
            break
    return float(beta)


def _derivatives(logp_NV: np.ndarray, own_N: np.ndarray, beta: float) -> tuple[float, float]:
    """Return the first two derivatives of the mean nats: E[log p] − log p(target), and the variance of log p."""
    means, variances, first = [], [], 0
    for part_MV in _relative(logp_NV, beta):
        weight_MV = np.exp(part_MV)
        logp_MV = logp_NV[first : first + len(part_MV)]
        first += len(part_MV)
        sum_M = weight_MV.sum(1, dtype=np.float64)
        weight_MV *= logp_MV
        mean_M = weight_MV.sum(1, dtype=np.float64) / sum_M
        weight_MV *= logp_MV
        means.append(mean_M)
        variances.append(weight_MV.sum(1, dtype=np.float64) / sum_M - mean_M**2)
    return float((np.concatenate(means) - own_N).mean()), float(np.concatenate(variances).mean())


def _relative(logp_NV: np.ndarray, beta: float) -> Iterator[np.ndarray]:
    """Yield β (log p − maximum of the row), some rows at a time; at least one exponential in each row is 1."""
    rows = max(1, ENTRIES // logp_NV.shape[1])
    for first in range(0, len(logp_NV), rows):
        part_MV = logp_NV[first : first + rows] - logp_NV[first : first + rows].max(1, keepdims=True)
        part_MV *= np.float32(beta)
        yield part_MV


def _standard_error(gain_N: np.ndarray, review_N: np.ndarray) -> float:
    """Return the standard error of a mean over tokens, with reviews as units; infinite for a single review."""
    which_N = np.unique(review_N, return_inverse=True)[1]
    sums_R = np.bincount(which_N, weights=gain_N - gain_N.mean())
    reviews = len(sums_R)
    return sqrt(float((sums_R**2).sum()) * reviews / (reviews - 1)) / len(gain_N) if reviews > 1 else np.inf
