"""Define metrics with mergeable states, so that a table can be measured chunk by chunk.

A metric has polars expressions that are evaluated on a chunk (those of all metrics in one query), a state built from
their values, and a way to merge two states. Merging is associative and follows the order of the rows. The final values
equal those of Great Expectations' own metrics on pandas; `data_checks/metrics/translation.py` maps one to the other.

As in pandas, null and NaN are missing values.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

KEPT = 20
"""Default number of unexpected values, with their rows, that are kept as examples; all of them are counted."""


class Metric(ABC):
    """A quantity that is measured on a table, chunk by chunk.

    Attributes:
        columns: Columns that it reads.
    """

    columns: tuple[str, ...]

    def marks(self) -> dict[str, pl.Expr]:
        """Return columns with unique names that several expressions use; they are added to a chunk first."""
        return {}

    @abstractmethod
    def expressions(self) -> list[pl.Expr]:
        """Return expressions that each give one value for a chunk (a list where they give many)."""

    def state(self, values: Sequence[Any], first_row: int) -> Any:
        """Return the state of a chunk from the values of the expressions; *first_row* is its position in the table."""
        del first_row
        return tuple(values)

    @abstractmethod
    def merge(self, left: Any, right: Any) -> Any:
        """Return the joint state of two ranges of rows; *right* directly follows *left*."""

    def follow_up(self, state: Any) -> Metric | None:
        """Return the metric to measure in another pass before there is a value; None if no further pass is needed."""
        del state
        return None

    @abstractmethod
    def value(self, state: Any) -> Any:
        """Return the final value of the whole table."""


def present(column: str, kind: pl.DataType) -> pl.Expr:
    """Return the values of a column, with null for values that are missing in pandas, and floats in double precision.

    In single precision 0.1 would equal the limit 0.1. In pandas, which compares as doubles, it does not.
    """
    values = pl.col(column)
    return values.cast(pl.Float64).fill_nan(None) if kind.is_float() else values


@dataclass(frozen=True)
class Unexpected:
    """Unexpected rows, as Great Expectations reports them.

    Args:
        rows: Number of evaluated rows.
        count: Number of unexpected rows among them.
        values: Values of the first unexpected rows.
        indexes: Their positions in the table, counted from 0.
    """

    rows: int
    count: int
    values: tuple[Any, ...]
    indexes: tuple[int, ...]


class Rows(Metric):
    """Unexpected rows, found by a condition on each row alone.

    Args:
        columns: Columns that are read.
        judged: Whether a row is evaluated at all.
        unexpected: Whether an evaluated row is unexpected; null counts as no.
        shown: Value to keep of an unexpected row.
        keep: Number of unexpected rows to keep.
    """

    def __init__(
        self, columns: tuple[str, ...], judged: pl.Expr, unexpected: pl.Expr, shown: pl.Expr, keep: int = KEPT
    ) -> None:
        self.columns, self._judged, self._keep, self._shown = columns, judged, keep, shown
        self._unexpected, self._mark = (judged & unexpected).fill_null(False), f"unexpected {id(self)}"

    def marks(self) -> dict[str, pl.Expr]:
        """Return whether a row is unexpected, as a column, so that a search in long texts is not done three times."""
        return {self._mark: self._unexpected}

    def expressions(self) -> list[pl.Expr]:
        """Return the counts, and the first unexpected values with their rows."""
        bad = pl.col(self._mark)
        places = pl.int_range(pl.len(), dtype=pl.Int64).filter(bad).head(self._keep).implode()
        return [self._judged.sum(), bad.sum(), self._shown.filter(bad).head(self._keep).implode(), places]

    def state(self, values: Sequence[Any], first_row: int) -> Unexpected:
        """Return the unexpected rows of a chunk, with their positions in the table."""
        rows, count, shown, places = values
        return Unexpected(rows, count, tuple(shown), tuple(first_row + place for place in places))

    def merge(self, left: Unexpected, right: Unexpected) -> Unexpected:
        """Add the counts; keep the first examples."""
        values, indexes = (left.values + right.values)[: self._keep], (left.indexes + right.indexes)[: self._keep]
        return Unexpected(left.rows + right.rows, left.count + right.count, values, indexes)

    def value(self, state: Unexpected) -> Unexpected:
        """Return the unexpected rows."""
        return state


class Extreme(Metric):
    """Minimum or maximum of a column; None if it has no value."""

    def __init__(self, column: str, kind: pl.DataType, least: bool) -> None:
        self.columns, self._values, self._least = (column,), present(column, kind), least

    def expressions(self) -> list[pl.Expr]:
        """Return the extreme value of a chunk."""
        return [self._values.min() if self._least else self._values.max()]

    def merge(self, left: tuple[Any], right: tuple[Any]) -> tuple[Any]:
        """Return the more extreme of the two; ignore a chunk without values."""
        known = [each for each in (left[0], right[0]) if each is not None]
        return ((min(known) if self._least else max(known)) if known else None,)

    def value(self, state: tuple[Any]) -> Any:
        """Return the minimum or the maximum."""
        return state[0]


class Total(Metric):
    """Sum of any expression that gives one number per chunk."""

    def __init__(self, columns: tuple[str, ...], expression: pl.Expr) -> None:
        self.columns, self._expression = columns, expression

    def expressions(self) -> list[pl.Expr]:
        """Return the expression of the chunk's sum."""
        return [self._expression]

    def merge(self, left: tuple[Any], right: tuple[Any]) -> tuple[Any]:
        """Add the two sums."""
        return ((left[0] or 0) + (right[0] or 0),)

    def value(self, state: tuple[Any]) -> Any:
        """Return the sum."""
        return state[0] or 0


class Moments(Metric):
    """Count, mean and squared deviations, merged as in Chan, Golub and LeVeque (1979); None for undefined values.

    Args:
        column: Column of numbers.
        kind: Its type.
        finish: Function from (count, mean, squared deviations) to the value, such as `mean` or `deviation`.
    """

    def __init__(
        self, column: str, kind: pl.DataType, finish: Callable[[tuple[int, float, float]], Any]
    ) -> None:
        if not (kind.is_numeric() or kind == pl.Boolean()):
            raise TypeError(f"the column {column!r} has values of type {kind}, which have no mean")
        self.columns, self._values, self._finish = (column,), present(column, kind).cast(pl.Float64), finish

    def expressions(self) -> list[pl.Expr]:
        """Return the expressions of a chunk's moments."""
        return [self._values.count(), self._values.mean(), ((self._values - self._values.mean()) ** 2).sum()]

    def merge(self, left: tuple[int, float, float], right: tuple[int, float, float]) -> tuple[int, float, float]:
        """Combine the moments."""
        if not left[0] or not right[0]:
            return left if left[0] else right
        count, apart = left[0] + right[0], right[1] - left[1]
        squares = left[2] + right[2] + apart**2 * left[0] * right[0] / count
        return count, left[1] + apart * right[0] / count, squares

    def value(self, state: tuple[int, float, float]) -> Any:
        """Return the result of `finish` for the moments."""
        return self._finish(state)


def mean(moments: tuple[int, float, float]) -> float | None:
    """Return the mean."""
    return moments[1] if moments[0] else None


def deviation(moments: tuple[int, float, float]) -> float | None:
    """Return the standard deviation of a sample."""
    return math.sqrt(moments[2] / (moments[0] - 1)) if moments[0] > 1 else None


class Values(Metric):
    """All values of a column of numbers (8 bytes per row), for quantiles and other figures that need all values.

    Args:
        column: Column of numbers.
        kind: Its type.
        finish: Function from the values (N,), not sorted, to the metric's value.
    """

    def __init__(self, column: str, kind: pl.DataType, finish: Callable[[np.ndarray], Any]) -> None:
        if not kind.is_numeric():
            raise TypeError(f"the column {column!r} has values of type {kind}, of which no quantiles are taken")
        self.columns, self._finish = (column,), finish
        self._values = present(column, kind).cast(pl.Float64).drop_nulls().implode()

    def expressions(self) -> list[pl.Expr]:
        """Return the values."""
        return [self._values]

    def state(self, values: Sequence[Any], first_row: int) -> tuple[np.ndarray, ...]:
        """Return the chunk's values as one array."""
        return (values[0].to_numpy(),)

    def merge(self, left: tuple[np.ndarray, ...], right: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        """Join the two tuples of arrays."""
        return left + right

    def value(self, state: tuple[np.ndarray, ...]) -> Any:
        """Return the result of `finish` for the values."""
        return self._finish(np.concatenate(state))


class Distinct(Metric):
    """Distinct values of a column that has few of them."""

    def __init__(self, column: str, kind: pl.DataType, most: int = 1_000_000) -> None:
        self.columns, self._values, self._most = (column,), present(column, kind), most

    def expressions(self) -> list[pl.Expr]:
        """Return a chunk's distinct values."""
        return [self._values.drop_nulls().unique().implode()]

    def state(self, values: Sequence[Any], first_row: int) -> frozenset[Any]:
        """Return the distinct values as a set.

        Raises:
            ValueError: There are too many.
        """
        return self._bounded(frozenset(values[0]))

    def merge(self, left: frozenset[Any], right: frozenset[Any]) -> frozenset[Any]:
        """Return the union of the sets.

        Raises:
            ValueError: It is too large.
        """
        return self._bounded(left | right)

    def value(self, state: frozenset[Any]) -> frozenset[Any]:
        """Return the set."""
        return state

    def _bounded(self, values: frozenset[Any]) -> frozenset[Any]:
        if len(values) > self._most:
            raise ValueError(
                f"the column {self.columns[0]!r} has more than {self._most:,} distinct values; "
                "use an expectation about their number instead")
        return values
