"""Compute the confidence intervals that the gate decides by, with two bootstrap methods for ratios of sums.

The risk is one-sided: a model that is no better is promoted. A percentile interval makes this error if the difference
of two models is skewed (a little better on most reviews, much worse on few), for two reasons.

First, a sample with too few of the bad reviews looks both better and more certain than it is. The bootstrap-t (Efron
and Tibshirani 1993, section 12.5; Hall 1988, Annals of Statistics 16:927) corrects for this: it measures the deviation
of each draw in standard errors of that draw.

Second, a sample with none of the bad reviews has nothing to resample: more than half of the samples of 30 reviews lack
an event that happens on one review in fifty. So each draw has one more group, which was not seen. It is as bad as the
worst group that was seen, at least `Ratio.unseen` worse than the whole, and has the size of an effective group. All
groups have random weights, independent and exponential (Bayesian bootstrap, Rubin 1981, Annals of Statistics 9:130).
For groups of equal size this is Gaffke's bound for the mean of bounded numbers (Gaffke 2005; Learned-Miller and Thomas
2019, arXiv 1905.06208); for numbers that are 0 or 1 it is the exact bound of a share (Clopper and Pearson 1934).

Each end of the interval is the outer one of both methods. `python -m benchmarks.evaluation.gate` measures what
error remains.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.statistics.bootstrap import DRAWS_AT_ONCE, MAX_UNITS, Bootstrap, Interval, expanded_tail
from evaluation.statistics.groups import effective_number

ROUNDING = 1e-13
MOST_ERRORS = 1_000.0
"""Maximum distance of an end from the estimate, in standard errors: wider intervals say no more and cannot be read."""


@dataclass(frozen=True)
class Ratio:
    """Σ numerator / Σ denominator over reviews.

    Args:
        numerator_D: A finite number for each review.
        denominator_D: Another number for each review; its sum must not be 0 for any draw of reviews.
        bytes_D: Lengths of the reviews.
        groups_D: Number of each review's group, 0, 1, 2 …; None if each review is a separate group.
        unseen: How far the ratio of an unseen group may be above, or below, that of all groups; it is always at least
            as far away as the farthest group that was seen.
    """

    numerator_D: np.ndarray
    denominator_D: np.ndarray
    bytes_D: np.ndarray
    groups_D: np.ndarray | None = None
    unseen: float = 0.0

    @property
    def estimate(self) -> float:
        """The ratio on all reviews."""
        return float(self.numerator_D.sum() / self.denominator_D.sum())

    @property
    def by_group(self) -> Ratio:
        """The same ratio with one number per group instead of per review."""
        if self.groups_D is None:
            return self
        columns = (self.numerator_D, self.denominator_D, self.bytes_D)
        numerator_C, denominator_C, bytes_C = (np.bincount(self.groups_D, column_D) for column_D in columns)
        return Ratio(numerator_C, denominator_C, bytes_C, unseen=self.unseen)

    @property
    def residual_D(self) -> np.ndarray:
        """Deviations from the estimate, times the denominator, so that almost equal models lose no digits.

        Rounding errors are set to 0: divided by their own standard error they could be any number.
        """
        expected_D = self.estimate * self.denominator_D
        residual_D = self.numerator_D - expected_D
        return np.where(np.abs(residual_D) > ROUNDING * np.abs(expected_D), residual_D, 0.0)

    def columns(self) -> dict[str, np.ndarray]:
        """Return the columns to sum: the residuals, the denominators, and their products."""
        residual_D = self.residual_D
        return {
            "e": residual_D, "x": self.denominator_D, "ee": residual_D**2, "ex": residual_D * self.denominator_D,
            "xx": self.denominator_D**2,
        }


def gain_ratio(
    ours_D: np.ndarray, theirs_D: np.ndarray, bytes_D: np.ndarray, groups_D: np.ndarray | None, max_loss: float
) -> Ratio:
    """Return the ratio of two models' nats; 1 − ratio is the gain.

    Args:
        ours_D: Nats of the challenger for each review.
        theirs_D: Nats of the other model for each review.
        bytes_D: Lengths of the reviews.
        groups_D: Number of each review's group; None if each review is a separate group.
        max_loss: On an unseen group the challenger may need 1 + max_loss times the other's nats.
    """
    return Ratio(ours_D, theirs_D, bytes_D, groups_D, max_loss + abs(1 - float(ours_D.sum() / theirs_D.sum())))


def studentised_intervals(
    ratios: Sequence[Ratio], *, confidence: float, resamples: int, seed: int
) -> list[Interval]:
    """Return for each ratio the smallest interval that contains the bootstrap-t one and the one with an unseen group.

    All ratios use the same draws. The standard error is that of a ratio estimate (Cochran 1977, equation 6.13). The
    tails of the bootstrap-t are those for the number of equal reviews whose variance is known as well as that of these
    groups, see `effective_reviews`. For a single group all draws are the same, so there is no interval: its ends are
    NaN, as in `evaluation.statistics.bootstrap.Bootstrap`.

    Args:
        ratios: All with the same number of groups.
        confidence: Of the two-sided intervals, in (0, 1).

    Raises:
        ValueError: There is no review, or the ratios have different numbers of groups.
    """
    if not all(len(one.numerator_D) for one in ratios):
        raise ValueError("a bootstrap needs at least one review")
    grouped = [one.by_group for one in ratios]
    columns = {(row, name): column for row, one in enumerate(grouped) for name, column in one.columns().items()}
    boot = Bootstrap(columns.items(), confidence=confidence, resamples=resamples, seed=seed)
    reviews = [len(one.numerator_D) for one in ratios]
    if boot.groups < 2:
        return [
            Interval(one.estimate, np.nan, np.nan, confidence, resamples, count, boot.groups)
            for one, count in zip(ratios, reviews, strict=True)
        ]
    farther = _with_an_unseen_group(grouped, (1 - confidence) / 2, resamples, seed)
    intervals = []
    for row, (one, (least, most)) in enumerate(zip(grouped, farther, strict=True)):
        low, high = studentised_ends(boot, row, expanded_tail(confidence, effective_reviews(one.bytes_D)))
        ends = one.estimate + min(low, least), one.estimate + max(high, most)
        intervals.append(Interval(one.estimate, *ends, confidence, resamples, reviews[row], boot.groups))
    return intervals


def studentised_ends(boot: Bootstrap, row: int, tail: float) -> tuple[float, float]:
    """Return the ends of the bootstrap-t interval of a ratio, as deviations from its estimate.

    Args:
        boot: Draws of `Ratio.columns`, under keys (row, name).
        tail: Probability beyond each end.
    """
    sums = {name: boot.drawn[row, name] for name in ("e", "x", "ee", "ex", "xx")}
    with np.errstate(divide="ignore", invalid="ignore"):
        moved_R = sums["e"] / sums["x"]
        squares_R = sums["ee"] - 2 * moved_R * sums["ex"] + moved_R**2 * sums["xx"]
        deviation_R = sums["e"] / np.sqrt(squares_R)
    error = float(np.sqrt(boot.totals[row, "ee"]) / boot.totals[row, "x"])
    if not error:
        return 0.0, 0.0
    # If the models differ on no group of a draw, the deviation is 0/0 and counts as 0. If they differ equally on all
    # groups of a draw, it is infinite and is clipped.
    bounded_R = np.clip(np.nan_to_num(deviation_R, nan=0.0), -MOST_ERRORS, MOST_ERRORS)
    inner, outer = np.quantile(bounded_R, [tail, 1 - tail])
    return -float(outer) * error, -float(inner) * error


def _with_an_unseen_group(
    ratios: Sequence[Ratio], tail: float, resamples: int, seed: int
) -> list[tuple[float, float]]:
    """Return the ends of the Bayesian bootstrap with an unseen group, as deviations from the estimates.

    For the upper end the unseen group is as far above the whole as allowed, for the lower end as far below.
    """
    generator = np.random.default_rng([seed, 1])
    residual_CK = np.stack([one.residual_D for one in ratios], axis=1)
    size_CK = np.stack([one.denominator_D for one in ratios], axis=1)
    worst_K, best_K = residual_CK.max(axis=0), residual_CK.min(axis=0)
    unseen_K = size_CK.sum(axis=0) / [effective_number(one.bytes_D) for one in ratios]
    farthest_K = unseen_K * [one.unseen for one in ratios]
    if len(size_CK) > MAX_UNITS:
        set_C = generator.permutation(len(size_CK)) % MAX_UNITS
        residual_CK, size_CK = (
            np.stack([np.bincount(set_C, column_C) for column_C in table_CK.T], axis=1)
            for table_CK in (residual_CK, size_CK)
        )
    ends = []
    for moved_RK, whole_RK, weight_R1 in _weighted(residual_CK, size_CK, resamples, generator):
        whole_RK += weight_R1 * unseen_K
        ends.append([(moved_RK + weight_R1 * extreme_K) / whole_RK
                     for extreme_K in (np.minimum(best_K, -farthest_K), np.maximum(worst_K, farthest_K))])  # fmt: skip
    lower_RK, upper_RK = (np.concatenate(parts) for parts in zip(*ends, strict=True))
    lows, highs = np.quantile(lower_RK, tail, axis=0), np.quantile(upper_RK, 1 - tail, axis=0)
    return list(zip(lows.tolist(), highs.tolist(), strict=True))


def _weighted(
    residual_CK: np.ndarray, size_CK: np.ndarray, resamples: int, generator: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield sums under exponential weights, and the weight (rows, 1) of one extra group, some draws at a time."""
    at_once = max(1, DRAWS_AT_ONCE // len(size_CK))
    for start in range(0, resamples, at_once):
        weights_RC = generator.standard_exponential((min(at_once, resamples - start), len(size_CK) + 1))
        yield weights_RC[:, 1:] @ residual_CK, weights_RC[:, 1:] @ size_CK, weights_RC[:, :1]


def effective_reviews(bytes_D: np.ndarray) -> int:
    """Return the number of reviews of equal length that determine the variance of their sum as well as these groups do.

    (Σ b²)² / Σ b⁴ for lengths b. These are the degrees of freedom of Satterthwaite (1946) if the standard deviation of
    the difference of two models on a review is proportional to its length. For Yelp's reviews, some of which are very
    long, it is a seventh of their number: an interval of 100 of them must be as wide as one of 14 equal ones.
    """
    squares_D = np.asarray(bytes_D, np.float64) ** 2
    return max(2, int(squares_D.sum() ** 2 / (squares_D**2).sum()))
