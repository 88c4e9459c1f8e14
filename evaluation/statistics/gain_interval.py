"""Compute the cautious interval of a ratio of sums over reviews, by which the gate decides.

The risk is one-sided: a model that is no better is promoted. A percentile interval makes this error if the difference
of two models is skewed: a little better on most reviews, much worse on few. So each end of the cautious interval is the
outermost of three:

- the bootstrap-t (`studentised_ends`), because a sample with too few of the bad reviews looks more certain than it is;
- random weights with one more group, about as bad as the worst one seen (`weighted_ends`), because the next bad group
  may be worse;
- what reviews of a kind that was not seen at all may cost (`reviewlm.evaluation.statistics.groups.unseen_weight`). It
  is not added to the noise of the others: that all bad reviews are missing and that the others are lucky seldom happens
  at once. This keeps the power of the first two where the sample is large or noisy.

`python -m benchmarks.evaluation.gate` measures what error and what power remain.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from reviewlm.evaluation.statistics.bootstrap import (
    DRAWS_AT_ONCE,
    MAX_UNITS,
    Bootstrap,
    Interval,
    expanded_tail,
)
from reviewlm.evaluation.statistics.groups import (
    effective_number,
    independent_reviews,
    resemblance,
    unseen_weight,
)

ROUNDING = 1e-13
MOST_ERRORS = 1_000.0
"""Maximum distance of an end from the estimate, in standard errors: wider intervals say no more and cannot be read."""
NEXT_WORST = 0.75
"""How bad the additional group is, as a multiple of the worst one seen, if the differences are symmetrical."""
PER_SKEWNESS = 4.0
MOST_NEXT_WORST = 2.0
"""Growth of this multiple with the skewness towards the bad side, and its maximum.

The multiple is the switch between both kinds of families: symmetrical heavy tails show their size in any sample, and a
skewed sample has only a few of the reviews that decide. The numbers are the smallest of those tried that keep the error
below 2.5 % in the families of `benchmarks/evaluation/gate_worlds.py`.
"""


@dataclass(frozen=True)
class Ratio:
    """Σ numerator / Σ denominator over reviews.

    Args:
        numerator_D: A finite number for each review.
        denominator_D: Another number for each review; its sum must not be 0 for any draw of reviews.
        bytes_D: Lengths of the reviews.
        groups_D: Number of each review's group, 0, 1, 2 …; None if each review is a separate group.
        unseen: How far the ratio of reviews of a kind that was not seen may be above, or below, that of all reviews.
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
        """The ratio with one number per group instead of one per review."""
        if self.groups_D is None:
            return self
        columns = (self.numerator_D, self.denominator_D, self.bytes_D)
        numerator_C, denominator_C, bytes_C = (
            np.bincount(self.groups_D, column_D) for column_D in columns
        )
        return Ratio(numerator_C, denominator_C, bytes_C, unseen=self.unseen)

    @property
    def residual_D(self) -> np.ndarray:
        """Deviations from the estimate, times the denominator, so that almost equal models lose no digits.

        Rounding errors are set to 0: divided by their own standard error they could be any number.
        """
        expected_D = self.estimate * self.denominator_D
        residual_D = self.numerator_D - expected_D
        return np.where(np.abs(residual_D) > ROUNDING * np.abs(expected_D), residual_D, 0.0)

    @property
    def independent_reviews(self) -> float:
        """Number of independent reviews in which a kind of loss would be missing as rarely as in these."""
        if self.groups_D is None:
            return float(len(self.numerator_D))
        alike = resemblance(self.residual_D, self.denominator_D, self.groups_D)
        return independent_reviews(np.bincount(self.groups_D), alike)

    def columns(self) -> dict[str, np.ndarray]:
        """Return the columns to sum: the residuals, the denominators, and their products."""
        residual_D = self.residual_D
        return {
            "e": residual_D,
            "x": self.denominator_D,
            "ee": residual_D**2,
            "ex": residual_D * self.denominator_D,
            "xx": self.denominator_D**2,
        }


def gain_ratio(
    ours_D: np.ndarray,
    theirs_D: np.ndarray,
    bytes_D: np.ndarray,
    groups_D: np.ndarray | None,
    max_loss: float,
) -> Ratio:
    """Return the ratio of two models' nats; 1 − ratio is the gain.

    Args:
        ours_D: Nats of the challenger for each review.
        theirs_D: Nats of the other model for each review.
        bytes_D: Lengths of the reviews.
        groups_D: Number of each review's group; None if each review is a separate group.
        max_loss: On reviews of an unseen kind the challenger may need 1 + max_loss times the other's nats.
    """
    distance = 0.0
    if max_loss:
        distance = max_loss + abs(1 - float(ours_D.sum() / theirs_D.sum()))

    return Ratio(
        ours_D,
        theirs_D,
        bytes_D,
        groups_D,
        distance,
    )


def cautious_gain(
    ratio: Ratio,
    *,
    confidence: float,
    resamples: int,
    seed: int,
) -> Interval | None:
    """Return the gain 1 − ratio with its cautious interval; None with fewer than two groups of reviews.

    A gain is surely above a margin if the whole interval is above it, so one interval is enough for every margin.
    """
    if len(ratio.by_group.numerator_D) < 2:
        return None

    [interval] = cautious_intervals(
        [ratio],
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    )
    return replace(
        interval,
        estimate=1 - interval.estimate,
        low=1 - interval.high,
        high=1 - interval.low,
    )


def cautious_intervals(
    ratios: Sequence[Ratio],
    *,
    confidence: float,
    resamples: int,
    seed: int,
) -> list[Interval]:
    """Return the cautious interval of each ratio; see the description of this module.

    All ratios use the same draws. For a single group all draws are the same, so there is no interval: its ends are NaN,
    as in `Bootstrap`.

    Args:
        ratios: All with the same number of groups.
        confidence: Of the two-sided intervals, in (0, 1).

    Raises:
        ValueError: There is no review, or the ratios have different numbers of groups.
    """
    if not all(len(one.numerator_D) for one in ratios):
        raise ValueError("a bootstrap needs at least one review")

    grouped = [one.by_group for one in ratios]
    columns = {
        (row, name): column
        for row, one in enumerate(grouped)
        for name, column in one.columns().items()
    }
    boot = Bootstrap(
        columns.items(),
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    )
    reviews = [len(one.numerator_D) for one in ratios]
    if boot.groups < 2:
        no_intervals = []
        for ratio, count in zip(ratios, reviews, strict=True):
            no_intervals.append(
                Interval(
                    ratio.estimate,
                    np.nan,
                    np.nan,
                    confidence,
                    resamples,
                    count,
                    boot.groups,
                )
            )
        return no_intervals

    weighted = weighted_ends(grouped, (1 - confidence) / 2, resamples, seed)
    intervals = []
    for row, (one, (least, most)) in enumerate(zip(grouped, weighted, strict=True)):
        tail = expanded_tail(confidence, effective_reviews(one.bytes_D))
        low, high = studentised_ends(boot, row, tail)
        hidden = one.unseen * unseen_weight(ratios[row].independent_reviews, confidence)
        low = one.estimate + min(low, least, -hidden)
        high = one.estimate + max(high, most, hidden)
        intervals.append(
            Interval(
                one.estimate,
                low,
                high,
                confidence,
                resamples,
                reviews[row],
                boot.groups,
            )
        )

    return intervals


def studentised_ends(
    boot: Bootstrap,
    row: int,
    tail: float,
) -> tuple[float, float]:
    """Return the ends of the bootstrap-t interval of a ratio, as deviations from its estimate.

    It measures the deviation of each draw in standard errors of that draw (Efron and Tibshirani 1993, section 12.5; Hall
    1988, Annals of Statistics 16:927). The standard error is that of a ratio estimate (Cochran 1977, equation 6.13).

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


def weighted_ends(
    ratios: Sequence[Ratio],
    tail: float,
    resamples: int,
    seed: int,
) -> list[tuple[float, float]]:
    """Return the ends of the Bayesian bootstrap with one additional group, as deviations from the estimates.

    All groups have random weights, independent and exponential (Rubin 1981, Annals of Statistics 9:130). The additional
    group is about as bad as the worst one seen (`next_worst`), for the lower end as good as the best one. If it is
    exactly as bad and groups have equal size, this is Gaffke's bound for the mean of bounded numbers (Gaffke 2005;
    Learned-Miller and Thomas 2019, arXiv 1905.06208), and for numbers that are 0 or 1 the exact bound of a share
    (Clopper and Pearson 1934).

    Args:
        ratios: One number per group each, of equally many groups.
        tail: Probability beyond each end.
    """
    generator = np.random.default_rng([seed, 1])
    residual_CK = np.stack([ratio.residual_D for ratio in ratios], axis=1)
    size_CK = np.stack([one.denominator_D for one in ratios], axis=1)
    high_K = np.array([next_worst(residual_C) for residual_C in residual_CK.T])
    low_K = -np.array([next_worst(-residual_C) for residual_C in residual_CK.T])
    added_K = size_CK.sum(axis=0) / [effective_number(one.bytes_D) for one in ratios]
    if len(size_CK) > MAX_UNITS:
        set_C = generator.permutation(len(size_CK)) % MAX_UNITS
        residual_CK = _sums_of_sets(set_C, residual_CK)
        size_CK = _sums_of_sets(set_C, size_CK)

    ends = []
    for moved_RK, whole_RK, weight_R1 in _weigh_draws(residual_CK, size_CK, resamples, generator):
        whole_RK += weight_R1 * added_K
        ends.append([(moved_RK + weight_R1 * added) / whole_RK for added in (low_K, high_K)])

    lower_RK, upper_RK = (np.concatenate(parts) for parts in zip(*ends, strict=True))
    lows = np.quantile(lower_RK, tail, axis=0)
    highs = np.quantile(upper_RK, 1 - tail, axis=0)
    return list(zip(lows.tolist(), highs.tolist(), strict=True))


def next_worst(residual_C: np.ndarray) -> float:
    """Return the residual of an additional group: the largest one seen, times a multiple that grows with the skewness.

    The skewness is that of the sum, Σ e³ / (Σ e²)^1.5.
    """
    squares = float((residual_C**2).sum())
    if not squares:
        return 0.0
    skewness = float((residual_C**3).sum()) / squares**1.5
    multiple = np.clip(NEXT_WORST + PER_SKEWNESS * skewness, NEXT_WORST, MOST_NEXT_WORST)
    return float(multiple * residual_C.max())


def _sums_of_sets(set_C: np.ndarray, table_CK: np.ndarray) -> np.ndarray:
    """Return the sums of the rows of each set, column by column."""
    return np.stack([np.bincount(set_C, column_C) for column_C in table_CK.T], axis=1)


def _weigh_draws(
    residual_CK: np.ndarray,
    size_CK: np.ndarray,
    resamples: int,
    generator: np.random.Generator,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield sums under exponential weights, and the weight (rows, 1) of one extra group, some draws at a time."""
    at_once = max(1, DRAWS_AT_ONCE // len(size_CK))
    for start in range(0, resamples, at_once):
        weights_RC = generator.standard_exponential(
            (min(at_once, resamples - start), len(size_CK) + 1)
        )
        yield weights_RC[:, 1:] @ residual_CK, weights_RC[:, 1:] @ size_CK, weights_RC[:, :1]


def effective_reviews(bytes_D: np.ndarray) -> int:
    """Return the number of reviews of equal length that determine the variance of their sum as well as these groups do.

    (Σ b²)² / Σ b⁴ for lengths b. These are the degrees of freedom of Satterthwaite (1946) if the standard deviation of
    the difference of two models on a review is proportional to its length. For Yelp's reviews, some of which are very
    long, it is a seventh of their number: an interval of 100 of them must be as wide as one of 14 equal ones.
    """
    squares_D = np.asarray(bytes_D, np.float64) ** 2
    return max(2, int(squares_D.sum() ** 2 / (squares_D**2).sum()))
