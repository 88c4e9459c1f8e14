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
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

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

    def to_fields(self, name: str) -> dict[str, float | None]:
        """Return the estimate as `x` and the ends as `x_lo` and `x_hi`; None for what is no finite number."""
        values = {
            name: self.estimate,
            f"{name}_lo": self.low,
            f"{name}_hi": self.high,
        }
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
        self.confidence = confidence
        self.resamples = resamples
        self.reviews = 0
        self.groups = 0
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
                if unit_D is None:
                    units[key] = column_D
                else:
                    units[key] = np.bincount(unit_D, column_D)
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
        with np.errstate(
            divide="ignore",
            invalid="ignore",
            over="ignore",
        ):
            estimate = figure({key: np.float64(total) for key, total in self.totals.items()})
            return float(estimate), np.asarray(figure(self.drawn), np.float64)

    def interval(self, figure: Callable[[Mapping[Any, Any]], Any]) -> Interval:
        """Return a figure with its percentile interval.

        Args:
            figure: Function from sums by key to a number. It is also called with arrays of sums and must work
                elementwise.
        """
        estimate, figure_R = self.figures(figure)
        if np.isfinite(estimate):
            low, high = self.ends(figure_R)
        else:
            low = np.nan
            high = np.nan

        return Interval(
            estimate,
            low,
            high,
            self.confidence,
            self.resamples,
            self.reviews,
            self.groups,
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
        columns.items(),
        confidence=confidence,
        resamples=resamples,
        seed=seed,
        groups=groups,
    )
    return boot.interval(lambda sums: sums["numerator"] / sums["denominator"])


def _units(
    reviews: int,
    groups: np.ndarray | None,
    generator: np.random.Generator,
) -> tuple[int, np.ndarray | None]:
    """Return the number of groups, and (D,) the unit that each review is drawn with; None if it is drawn alone.

    Above `MAX_UNITS` groups, random sets of (almost) equally many groups are drawn.
    """
    if groups is not None and len(groups) != reviews:
        raise ValueError(f"a bootstrap needs a group of each review: {len(groups)} and {reviews}")

    count = reviews
    if groups is not None:
        count = int(groups.max(initial=-1)) + 1

    if count <= MAX_UNITS:
        return count, groups

    set_C = generator.permutation(count) % MAX_UNITS
    return count, set_C if groups is None else set_C[groups]


def _counts(
    units: int,
    resamples: int,
    generator: np.random.Generator,
) -> Iterator[np.ndarray]:
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
