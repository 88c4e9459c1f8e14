"""What a chunk is measured by: metrics whose states merge, so that a table needs to be seen only chunk by chunk.

A metric is a set of polars expressions that are evaluated on a chunk (those of all metrics at once), a state made of
their values, and a way to merge two states. States merge associatively, in the order of the rows. Their final values
are those that Great Expectations' own metrics have on pandas; which is which stands in
`data_checks/metrics/translation.py`.

Missing values are those that pandas takes for missing: null, and NaN.
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
"""So many unexpected values, and their rows, are kept as examples unless more are wanted; all of them are counted."""


class Metric(ABC):
    """Something measured of a table, chunk by chunk.

    Attributes:
        columns: The columns that it looks at.
    """

    columns: tuple[str, ...]

    def marks(self) -> dict[str, pl.Expr]:
        """Return columns, named as nothing else is, that are added to a chunk first: what several expressions use."""
        return {}

    @abstractmethod
    def expressions(self) -> list[pl.Expr]:
        """Return expressions that each give one value for a chunk (a list where they give many)."""

    def state(self, values: Sequence[Any], first_row: int) -> Any:
        """Return the state of a chunk, *values* being those of the expressions, *first_row* its place in the table."""
        del first_row
        return tuple(values)

    @abstractmethod
    def merge(self, left: Any, right: Any) -> Any:
        """Return the state of two stretches of rows, *right* following *left*."""

    def follow_up(self, state: Any) -> Metric | None:
        """Return what must be measured in another pass before there is a value; None if there is one."""
        del state
        return None

    @abstractmethod
    def value(self, state: Any) -> Any:
        """Return the final value of the whole table."""


def present(column: str, kind: pl.DataType) -> pl.Expr:
    """Return the values of a column with null for what pandas takes for missing, floats in double precision.

    Compared in single precision, 0.1 would equal the limit 0.1; in pandas, which compares as doubles, it does not.
    """
    values = pl.col(column)
    return values.cast(pl.Float64).fill_nan(None) if kind.is_float() else values


@dataclass(frozen=True)
class Unexpected:
    """The rows that are not as expected, as Great Expectations reports them.

    Args:
        rows: How many rows were judged.
        count: How many of them are unexpected.
        values: The first ones' values.
        indexes: Their places in the table, counted from 0.
    """

    rows: int
    count: int
    values: tuple[Any, ...]
    indexes: tuple[int, ...]


class Rows(Metric):
    """Rows that meet a condition of the rows alone.

    Args:
        columns: Those looked at.
        judged: Whether a row is judged at all.
        unexpected: Whether a judged row is not as expected; null counts as no.
        shown: What is kept of an unexpected row.
        keep: How many of them.
    """

    def __init__(
        self, columns: tuple[str, ...], judged: pl.Expr, unexpected: pl.Expr, shown: pl.Expr, keep: int = KEPT
    ) -> None:
        self.columns, self._judged, self._keep, self._shown = columns, judged, keep, shown
        self._unexpected, self._mark = (judged & unexpected).fill_null(False), f"unexpected {id(self)}"

    def marks(self) -> dict[str, pl.Expr]:
        """Return whether a row is unexpected: a search in long texts is not to be made thrice."""
        return {self._mark: self._unexpected}

    def expressions(self) -> list[pl.Expr]:
        """Return the counts, and the first unexpected values with their rows."""
        bad = pl.col(self._mark)
        places = pl.int_range(pl.len(), dtype=pl.Int64).filter(bad).head(self._keep).implode()
        return [self._judged.sum(), bad.sum(), self._shown.filter(bad).head(self._keep).implode(), places]

    def state(self, values: Sequence[Any], first_row: int) -> Unexpected:
        """Return the unexpected rows of a chunk, placed in the table."""
        rows, count, shown, places = values
        return Unexpected(rows, count, tuple(shown), tuple(first_row + place for place in places))

    def merge(self, left: Unexpected, right: Unexpected) -> Unexpected:
        """Add the counts; the examples stay those that come first."""
        values, indexes = (left.values + right.values)[: self._keep], (left.indexes + right.indexes)[: self._keep]
        return Unexpected(left.rows + right.rows, left.count + right.count, values, indexes)

    def value(self, state: Unexpected) -> Unexpected:
        """Return the unexpected rows."""
        return state


class Extreme(Metric):
    """The least or the greatest value; None where there is none."""

    def __init__(self, column: str, kind: pl.DataType, least: bool) -> None:
        self.columns, self._values, self._least = (column,), present(column, kind), least

    def expressions(self) -> list[pl.Expr]:
        """Return the extreme value of a chunk."""
        return [self._values.min() if self._least else self._values.max()]

    def merge(self, left: tuple[Any], right: tuple[Any]) -> tuple[Any]:
        """Return the more extreme of the two; a chunk without values says nothing."""
        known = [each for each in (left[0], right[0]) if each is not None]
        return ((min(known) if self._least else max(known)) if known else None,)

    def value(self, state: tuple[Any]) -> Any:
        """Return it."""
        return state[0]


class Total(Metric):
    """The sum of any expression that gives one number a chunk."""

    def __init__(self, columns: tuple[str, ...], expression: pl.Expr) -> None:
        self.columns, self._expression = columns, expression

    def expressions(self) -> list[pl.Expr]:
        """Return the chunk's sum."""
        return [self._expression]

    def merge(self, left: tuple[Any], right: tuple[Any]) -> tuple[Any]:
        """Add."""
        return ((left[0] or 0) + (right[0] or 0),)

    def value(self, state: tuple[Any]) -> Any:
        """Return the sum."""
        return state[0] or 0


class Moments(Metric):
    """Count, mean and squared deviations, merged after Chan, Golub and LeVeque (1979); None for what is not defined.

    Args:
        column: Of numbers.
        kind: Its type.
        finish: From (count, mean, squared deviations) to the value: `mean` or `deviation`.
    """

    def __init__(
        self, column: str, kind: pl.DataType, finish: Callable[[tuple[int, float, float]], Any]
    ) -> None:
        if not (kind.is_numeric() or kind == pl.Boolean()):
            raise TypeError(f"the column {column!r} has values of type {kind}, which have no mean")
        self.columns, self._values, self._finish = (column,), present(column, kind).cast(pl.Float64), finish

    def expressions(self) -> list[pl.Expr]:
        """Return the moments of a chunk."""
        return [self._values.count(), self._values.mean(), ((self._values - self._values.mean()) ** 2).sum()]

    def merge(self, left: tuple[int, float, float], right: tuple[int, float, float]) -> tuple[int, float, float]:
        """Combine the moments."""
        if not left[0] or not right[0]:
            return left if left[0] else right
        count, apart = left[0] + right[0], right[1] - left[1]
        squares = left[2] + right[2] + apart**2 * left[0] * right[0] / count
        return count, left[1] + apart * right[0] / count, squares

    def value(self, state: tuple[int, float, float]) -> Any:
        """Return what `finish` makes of them."""
        return self._finish(state)


def mean(moments: tuple[int, float, float]) -> float | None:
    """Return the mean."""
    return moments[1] if moments[0] else None


def deviation(moments: tuple[int, float, float]) -> float | None:
    """Return the standard deviation of a sample."""
    return math.sqrt(moments[2] / (moments[0] - 1)) if moments[0] > 1 else None


class Values(Metric):
    """All values of a column of numbers (8 bytes a row), for what only their order can tell.

    Args:
        column: Of numbers.
        kind: Its type.
        finish: From the values (N,), not sorted, to the metric's value.
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
        """Put the arrays beside each other."""
        return left + right

    def value(self, state: tuple[np.ndarray, ...]) -> Any:
        """Return what `finish` makes of them."""
        return self._finish(np.concatenate(state))


class Distinct(Metric):
    """The distinct values themselves, of columns that have few."""

    def __init__(self, column: str, kind: pl.DataType, most: int = 1_000_000) -> None:
        self.columns, self._values, self._most = (column,), present(column, kind), most

    def expressions(self) -> list[pl.Expr]:
        """Return a chunk's distinct values."""
        return [self._values.drop_nulls().unique().implode()]

    def state(self, values: Sequence[Any], first_row: int) -> frozenset[Any]:
        """Return them as a set."""
        return self._bounded(frozenset(values[0]))

    def merge(self, left: frozenset[Any], right: frozenset[Any]) -> frozenset[Any]:
        """Join the sets."""
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
