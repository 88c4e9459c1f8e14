"""The interval that the gate decides by: a ratio of sums over reviews, by two ways of the bootstrap.

What may go wrong is one-sided: a model that is no better is promoted. A percentile interval errs there where the
difference of two models is lopsided (a little better on most reviews, much worse on few): a sample that happens to lack
the few looks both better and surer than it is. The bootstrap-t (Efron and Tibshirani 1993, section 12.5; Hall 1988,
Annals of Statistics 16:927) measures the deviation of each draw in standard errors of that draw, and so allows for it.
Each end is the outer one of both ways. `python -m benchmarks.gate` measures what is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.bootstrap import Bootstrap, Interval, expanded_tail


@dataclass(frozen=True)
class Ratio:
    """Σ numerator / Σ denominator over reviews.

    Args:
        numerator_D: A finite number for each review.
        denominator_D: Another one; of any draw of reviews the sum must not be 0.
        bytes_D: Lengths of the reviews.
    """

    numerator_D: np.ndarray
    denominator_D: np.ndarray
    bytes_D: np.ndarray

    @property
    def estimate(self) -> float:
        """The ratio on all reviews."""
        return float(self.numerator_D.sum() / self.denominator_D.sum())

    def columns(self) -> dict[str, np.ndarray]:
        """Return what has to be summed: the residuals, so that near-equal models lose no digits, and their squares."""
        residual_D = self.numerator_D - self.estimate * self.denominator_D
        return {
            "e": residual_D, "x": self.denominator_D, "ee": residual_D**2, "ex": residual_D * self.denominator_D,
            "xx": self.denominator_D**2,
        }


def studentised_intervals(
    ratios: Sequence[Ratio], *, confidence: float, resamples: int, seed: int
) -> list[Interval]:
    """Return the hull of the bootstrap-t and the percentile interval of each ratio, all from the same draws of reviews.

    The standard error is that of a ratio estimate (Cochran 1977, equation 6.13). The tails are taken as far out as so
    many draws need that tell the variance as well as these reviews do, see `effective_reviews`. Of one review, of which
    all draws are the same, there is no interval: its ends are NaN, as those of `evaluation.bootstrap.Bootstrap` are.

    Args:
        ratios: All of the same number of reviews.
        confidence: Of the two-sided intervals, in (0, 1).
        resamples: Draws.
        seed: Equal seeds draw equal reviews.

    Raises:
        ValueError: There is no review, or not the same number in each ratio.
    """
    if not all(len(one.numerator_D) for one in ratios):
        raise ValueError("a bootstrap needs at least one review")
    columns = {(row, name): column for row, one in enumerate(ratios) for name, column in one.columns().items()}
    boot = Bootstrap(columns.items(), confidence=confidence, resamples=resamples, seed=seed)
    if boot.reviews < 2:
        return [Interval(one.estimate, np.nan, np.nan, confidence, resamples, boot.reviews) for one in ratios]
    found = []
    for row, one in enumerate(ratios):
        sums = {name: boot.drawn[row, name] for name in ("e", "x", "ee", "ex", "xx")}
        with np.errstate(divide="ignore", invalid="ignore"):
            moved_R = sums["e"] / sums["x"]
            squares_R = sums["ee"] - 2 * moved_R * sums["ex"] + moved_R**2 * sums["xx"]
            deviation_R = sums["e"] / np.sqrt(squares_R)
        error = float(np.sqrt(boot.totals[row, "ee"]) / boot.totals[row, "x"])
        tail = expanded_tail(confidence, effective_reviews(one.bytes_D))
        # Of models that differ on no review of a draw the deviation is 0/0, and there is none.
        inner, outer = np.quantile(np.nan_to_num(deviation_R, nan=0.0), [tail, 1 - tail])
        least, most = np.quantile(moved_R, [tail, 1 - tail])
        low = one.estimate + min(-float(outer) * error, float(least)) if error else one.estimate
        high = one.estimate + max(-float(inner) * error, float(most)) if error else one.estimate
        found.append(Interval(one.estimate, low, high, confidence, resamples, boot.reviews))
    return found


def effective_reviews(bytes_D: np.ndarray) -> int:
    """Return how many reviews of equal length would tell the variance of their sum as well as these do.

    (Σ b²)² / Σ b⁴ for lengths b, the degrees of freedom of Satterthwaite (1946) where the difference of two models on a
    review has a standard deviation that grows with its length. Of Yelp's reviews, some of which are very long, it is a
    seventh of their number: an interval of 100 of them must be as wide as one of 14 equal ones.
    """
    squares_D = np.asarray(bytes_D, np.float64) ** 2
    return max(2, int(squares_D.sum() ** 2 / (squares_D**2).sum()))
