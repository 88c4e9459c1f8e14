"""Estimate a figure that depends on the random seed, from the same model fitted with several seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev


@dataclass(frozen=True)
class MeanInterval:
    """A mean over seeds with its confidence interval.

    Args:
        mean: Mean of the figures.
        low: Lower end.
        high: Upper end.
        deviation: Standard deviation between seeds.
        confidence: Of the two-sided interval.
        seeds: Number of seeds.
    """

    mean: float
    low: float
    high: float
    deviation: float
    confidence: float
    seeds: int


def mean_interval(figures: Sequence[float], confidence: float) -> MeanInterval:
    """Return mean ± t · s/√n, with Student's t of n − 1 degrees of freedom (Student 1908).

    Args:
        figures: One per seed, e.g. nats per token.

    Raises:
        ValueError: Fewer than two figures.
    """
    if len(figures) < 2:
        raise ValueError(f"an interval needs at least 2 seeds; there are {len(figures)}")
    from scipy.special import stdtrit  # Student's t quantile; `scipy.stats` takes twice as long to import

    mean, deviation = fmean(figures), stdev(figures)
    half = float(stdtrit(len(figures) - 1, (1 + confidence) / 2)) * deviation / sqrt(len(figures))
    return MeanInterval(mean, mean - half, mean + half, deviation, confidence, len(figures))
