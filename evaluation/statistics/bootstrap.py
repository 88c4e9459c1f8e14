"""Estimate confidence intervals of metrics, and of differences between models, by resampling reviews (bootstrap).

A figure is a function of sums over reviews (nats, tokens, bytes …), so reviews are drawn with replacement and the
figure is computed again for each draw (Efron and Tibshirani 1993, chapters 6 and 13; for language models Koehn 2004).
Reviews are drawn, not tokens, because the tokens of one review resemble each other. If reviews resemble each other too
(of one business, copies of one text), groups of them are drawn (`evaluation/statistics/groups.py`; Davison and Hinkley
1997, section 3.8).

All figures of all models use the same draws. So differences are paired: a review that is hard for both models cancels
out. It also saves time: a draw is a row of counts, and its sums are one matrix product for all models.

Intervals are percentile intervals, so the interval of a perplexity is the exponential of the interval of its nats. For
few reviews the quantiles are taken slightly further out ("expanded percentile interval", Hesterberg 2015, section 3.3).

Compute the confidence intervals that the gate decides by, with two bootstrap methods for ratios of sums.

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

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from reviewlm.evaluation.statistics.groups import effective_number

MAX_UNITS = 4_000
"""Maximum number of units to draw. Above this number of groups, random sets of equally many groups are drawn instead of
single groups. The variance of a sum is the same; the relative spread of its estimate is sqrt(2 / MAX_UNITS), about 2 %;
and time no longer grows with the number of reviews.
"""

DRAWS_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class Interval:
    """An estimate and its percentile interval.

    Args:
        estimate: The figure on all reviews.
        low: Lower end.
        high: Upper end. Both ends are NaN if the figure is not finite on all reviews or on too many draws, and if there
            is only one group.
        confidence: Of the two-sided interval: (1 − confidence)/2 lies beyond each end.
        resamples: Number of draws.
        reviews: Number of reviews.
        groups: Number of groups that were drawn from; the number of reviews if each review is a separate group.
    """

    estimate: float
    low: float
    high: float
    confidence: float
    resamples: int
    reviews: int
    groups: int

    def named(self, name: str) -> dict[str, float | None]:
        """Return the estimate as `x` and the ends as `x_lo` and `x_hi`; None for what is no finite number."""
        values = {name: self.estimate, f"{name}_lo": self.low, f"{name}_hi": self.high}
        return {key: float(value) if np.isfinite(value) else None for key, value in values.items()}


class Bootstrap:
    """Sums of columns over all reviews, and over the same random draws of reviews.

        boot = Bootstrap({"nats": nats_D, "bytes": bytes_D}.items(), confidence=0.95, resamples=10_000, seed=1)
        boot.interval(lambda sums: sums["nats"] / sums["bytes"])

    Memory: 8 bytes per draw and column for the sums, and about 60 MB during the draws, for any number of reviews.

    Args:
        columns: Any keys, each with numbers (D,), one per review. They are read one after another, so that not all of
            them need to be in memory. A column with a number that is not finite has no draws: figures that use it have
            no interval.
        confidence: Confidence of the intervals, in (0, 1).
        resamples: Number of draws.
        seed: Equal seeds draw equal reviews.
        groups: (D,) number of each review's group; None if each review is a separate group.

    Attributes:
        totals: The sum of each column over all reviews.
        drawn: The sums (R,) of each column over the draws.
        groups: Number of groups.

    Raises:
        ValueError: There is no column, no review, or the columns have different numbers of reviews.
    """

    def __init__(
        self,
        columns: Iterable[tuple[Any, np.ndarray]],
        *,
        confidence: float,
        resamples: int,
        seed: int,
        groups: np.ndarray | None = None,
    ) -> None:
        self.confidence, self.resamples, self.reviews, self.groups = confidence, resamples, 0, 0
        self.totals: dict[Any, float] = {}
        self.drawn: dict[Any, np.ndarray] = {}
        generator = np.random.default_rng(seed)
        unit_D: np.ndarray | None = None
        units: dict[Any, np.ndarray] = {}
        for key, column in columns:
            column_D = np.asarray(column, np.float64)
            if not self.totals:
                self.reviews = len(column_D)
                self.groups, unit_D = _units(self.reviews, groups, generator)
            if not self.reviews or len(column_D) != self.reviews:
                raise ValueError(
                    f"a bootstrap needs a number of each review: {len(column_D)} and {self.reviews}"
                )
            self.totals[key] = float(column_D.sum())
            if np.isfinite(column_D).all():
                units[key] = column_D if unit_D is None else np.bincount(unit_D, column_D)
            else:
                self.drawn[key] = np.full(resamples, np.nan)
        if not self.totals:
            raise ValueError("a bootstrap needs a column")
        self.units = min(self.groups, MAX_UNITS)
        self._draw(units, generator)

    def _draw(self, units: Mapping[Any, np.ndarray], generator: np.random.Generator) -> None:
        if not units:
            return
        units_UK = np.stack(list(units.values()), axis=1)
        sums_KR = np.empty((len(units), self.resamples))
        start = 0
        for counts_RU in _counts(self.units, self.resamples, generator):
            sums_KR[:, start : start + len(counts_RU)] = (counts_RU @ units_UK).T
            start += len(counts_RU)
        self.drawn |= dict(zip(units, sums_KR, strict=True))

    def figures(self, figure: Callable[[Mapping[Any, Any]], Any]) -> tuple[float, np.ndarray]:
        """Return a figure on all reviews, and (R,) on each draw; NaN or infinite if a denominator is 0."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            estimate = figure({key: np.float64(total) for key, total in self.totals.items()})
            return float(estimate), np.asarray(figure(self.drawn), np.float64)

    def interval(self, figure: Callable[[Mapping[Any, Any]], Any]) -> Interval:
        """Return a figure with its percentile interval.

        Args:
            figure: Function from sums by key to a number. It is also called with arrays of sums and must work
                elementwise.
        """
        estimate, figure_R = self.figures(figure)
        low, high = self.ends(figure_R) if np.isfinite(estimate) else (np.nan, np.nan)
        return Interval(
            estimate, low, high, self.confidence, self.resamples, self.reviews, self.groups
        )

    def ends(self, figure_R: np.ndarray) -> tuple[float, float]:
        """Return the ends of the percentile interval of a figure on the draws.

        A slice of few reviews may be empty in a draw. Such draws are left out. If they are more than 1 % of the draws,
        there is no interval. There is also none for a single group, because all draws are the same.
        """
        if self.groups < 2:
            return np.nan, np.nan
        finite_R = figure_R[np.isfinite(figure_R)]
        if len(finite_R) < 0.99 * len(figure_R) or not len(finite_R):
            return np.nan, np.nan
        tail = expanded_tail(self.confidence, self.units)
        low, high = np.quantile(finite_R, [tail, 1 - tail])
        return float(low), float(high)


def expanded_tail(confidence: float, units: int) -> float:
    """Return the tail beyond each end of a percentile interval: Φ(−√(n/(n−1)) t), t with n − 1 degrees of freedom.

    The plain tail (1 − confidence)/2 makes intervals of n draws too narrow by √((n−1)/n) and by z instead of t
    (Hesterberg 2015, "What teachers should know about the bootstrap", section 3.3). For one unit the plain tail is
    returned.
    """
    tail = (1 - confidence) / 2
    if units < 2:
        return tail
    from scipy.special import (  # Φ and Student's t quantile; `scipy.stats` takes twice as long to import
        ndtr,
        stdtrit,
    )

    return float(ndtr(sqrt(units / (units - 1)) * stdtrit(units - 1, tail)))


def ratio_interval(
    numerator_D: np.ndarray,
    denominator_D: np.ndarray,
    *,
    confidence: float,
    resamples: int,
    seed: int,
    groups: np.ndarray | None = None,
) -> Interval:
    """Return Σ numerator / Σ denominator over reviews with its bootstrap interval.

    Args:
        numerator_D: One finite number per review, e.g. bits of the challenger − bits of the champion.
        denominator_D: One positive number per review, e.g. bytes.
        seed: Equal seeds give equal intervals.
        groups: Number of each review's group; None if each review is a separate group.

    Raises:
        ValueError: There is no review, or a number is not finite.
    """
    columns = {
        "numerator": np.asarray(numerator_D, np.float64),
        "denominator": np.asarray(denominator_D, np.float64),
    }
    if not len(columns["numerator"]) or not all(
        np.isfinite(column).all() for column in columns.values()
    ):
        raise ValueError("a bootstrap needs at least one review and finite numbers")
    boot = Bootstrap(
        columns.items(), confidence=confidence, resamples=resamples, seed=seed, groups=groups
    )
    return boot.interval(lambda sums: sums["numerator"] / sums["denominator"])


def _units(
    reviews: int, groups: np.ndarray | None, generator: np.random.Generator
) -> tuple[int, np.ndarray | None]:
    """Return the number of groups, and (D,) the unit that each review is drawn with; None if it is drawn alone.

    Above `MAX_UNITS` groups, random sets of (almost) equally many groups are drawn.
    """
    if groups is not None and len(groups) != reviews:
        raise ValueError(f"a bootstrap needs a group of each review: {len(groups)} and {reviews}")
    count = reviews if groups is None else int(groups.max(initial=-1)) + 1
    if count <= MAX_UNITS:
        return count, groups
    set_C = generator.permutation(count) % MAX_UNITS
    return count, set_C if groups is None else set_C[groups]


def _counts(units: int, resamples: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield (rows, U): how often each unit occurs in a draw of U units, some draws at a time."""
    at_once = max(1, DRAWS_AT_ONCE // units)
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        drawn_RU = generator.integers(0, units, (rows, units), np.uint16).astype(np.int64)
        drawn_RU += np.arange(rows)[:, None] * units
        yield (
            np.bincount(drawn_RU.ravel(), minlength=rows * units)
            .reshape(rows, units)
            .astype(np.float64)
        )


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
        max_loss: On an unseen group the challenger may need 1 + max_loss times the other's nats.
    """
    return Ratio(
        ours_D,
        theirs_D,
        bytes_D,
        groups_D,
        max_loss + abs(1 - float(ours_D.sum() / theirs_D.sum())),
    )


def studentised_intervals(
    ratios: Sequence[Ratio], *, confidence: float, resamples: int, seed: int
) -> list[Interval]:
    """Return for each ratio the smallest interval that contains the bootstrap-t one and the one with an unseen group.

    All ratios use the same draws. The standard error is that of a ratio estimate (Cochran 1977, equation 6.13). The
    tails of the bootstrap-t are those for the number of equal reviews whose variance is known as well as that of these
    groups, see `effective_reviews`. For a single group all draws are the same, so there is no interval: its ends are
    NaN, as in `reviewlm.evaluation.statistics.bootstrap.Bootstrap`.

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
        low, high = studentised_ends(
            boot, row, expanded_tail(confidence, effective_reviews(one.bytes_D))
        )
        ends = one.estimate + min(low, least), one.estimate + max(high, most)
        intervals.append(
            Interval(one.estimate, *ends, confidence, resamples, reviews[row], boot.groups)
        )
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
        ends.append(
            [
                (moved_RK + weight_R1 * extreme_K) / whole_RK
                for extreme_K in (np.minimum(best_K, -farthest_K), np.maximum(worst_K, farthest_K))
            ]
        )
    lower_RK, upper_RK = (np.concatenate(parts) for parts in zip(*ends, strict=True))
    lows, highs = np.quantile(lower_RK, tail, axis=0), np.quantile(upper_RK, 1 - tail, axis=0)
    return list(zip(lows.tolist(), highs.tolist(), strict=True))


def _weighted(
    residual_CK: np.ndarray, size_CK: np.ndarray, resamples: int, generator: np.random.Generator
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
