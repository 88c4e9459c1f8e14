"""Define metrics that are measured on a table chunk by chunk.

A metric has polars expressions that are evaluated on each chunk (those of all metrics in one query). The metric adds
their values to what it has, and computes its final value after the last chunk. The values equal those of Great
Expectations' own metrics on pandas; `data_checks/metrics/translation.py` maps one to the other.

As in pandas, null and NaN are missing values.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

KEPT = 20
"""Default number of unexpected values, with their rows, that are kept as examples; all of them are counted."""
ROW = "\0row"
"""Column of each chunk: the position of the row in the table, counted from 0."""
Read = Callable[[Sequence[str]], Iterator[pl.DataFrame]]
"""Function that reads columns of the table, and `ROW`, chunk by chunk: a further pass."""


class Metric(ABC):
    """A quantity of a table. An instance measures one table, and only once.

    Attributes:
        columns: Columns that it reads.
    """

    columns: tuple[str, ...]

    @abstractmethod
    def expressions(self) -> list[pl.Expr]:
        """Return expressions that each give one value for a chunk (a list where they give many)."""

    @abstractmethod
    def add(self, *values: Any) -> None:
        """Add the next chunk of the table, by the values of the expressions."""

    @abstractmethod
    def value(self, read: Read) -> Any:
        """Return the final value of the whole table; a metric that needs a further pass calls *read*."""


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
        shown: Values to keep of an unexpected row; several are kept as a tuple.
        keep: Number of unexpected rows to keep.
    """

    def __init__(
        self, columns: tuple[str, ...], judged: pl.Expr, unexpected: pl.Expr, shown: Sequence[pl.Expr], keep: int = KEPT
    ) -> None:
        self.columns, self._judged, self._shown, self._keep = columns, judged, shown, keep
        self._unexpected = pl.struct(ROW, *dict.fromkeys(columns)).filter((judged & unexpected).fill_null(False))
        self._rows, self._count = 0, 0
        self._values: list[Any] = []
        self._indexes: list[int] = []

    def expressions(self) -> list[pl.Expr]:
        """Return the number of evaluated rows, and the unexpected rows."""
        return [self._judged.sum(), self._unexpected.implode()]

    def add(self, *values: Any) -> None:
        """Count the rows; keep the first unexpected ones."""
        judged, unexpected = values
        self._rows, self._count = self._rows + judged, self._count + len(unexpected)
        if kept := min(self._keep - len(self._values), len(unexpected)):
            self._keep_rows(unexpected.head(kept).struct.unnest())

    def _keep_rows(self, rows: pl.DataFrame) -> None:
        shown = rows.select(each.alias(str(number)) for number, each in enumerate(self._shown)).rows()
        self._values += shown if len(self._shown) > 1 else [value for (value,) in shown]
        self._indexes += rows[ROW].to_list()

    def value(self, read: Read) -> Unexpected:
        """Return the unexpected rows."""
        return Unexpected(self._rows, self._count, tuple(self._values), tuple(self._indexes))


class Known(Metric):
    """A value that is known without reading a row, such as the number of rows."""

    columns = ()

    def __init__(self, value: Any) -> None:
        self._value = value

    def expressions(self) -> list[pl.Expr]:
        """Return no expressions."""
        return []

    def add(self, *values: Any) -> None:
        """Ignore the chunk."""

    def value(self, read: Read) -> Any:
        """Return the value."""
        return self._value


class Extreme(Metric):
    """Minimum or maximum of a column; None if it has no value."""

    def __init__(self, column: str, kind: pl.DataType, least: bool) -> None:
        self.columns, self._values, self._least = (column,), present(column, kind), least
        self._found: list[Any] = []

    def expressions(self) -> list[pl.Expr]:
        """Return the extreme value of a chunk."""
        return [self._values.min() if self._least else self._values.max()]

    def add(self, *values: Any) -> None:
        """Keep the more extreme value; ignore a chunk without values."""
        known = [value for value in (*self._found, *values) if value is not None]
        self._found = [min(known) if self._least else max(known)] if known else []

    def value(self, read: Read) -> Any:
        """Return the minimum or the maximum."""
        return self._found[0] if self._found else None


class Total(Metric):
    """Sum of any expression that gives one number per chunk.

    Args:
        columns: Columns that are read.
        expression: The expression.
        finish: Function from the sum to the value.
    """

    def __init__(
        self, columns: tuple[str, ...], expression: pl.Expr, finish: Callable[[Any], Any] = lambda total: total
    ) -> None:
        self.columns, self._expression, self._finish, self._total = columns, expression, finish, 0

    def expressions(self) -> list[pl.Expr]:
        """Return the expression of the chunk's sum."""
        return [self._expression]

    def add(self, *values: Any) -> None:
        """Add the chunk's sum."""
        self._total += values[0] or 0

    def value(self, read: Read) -> Any:
        """Return the result of `finish` for the sum."""
        return self._finish(self._total)


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
        self._moments: tuple[Any, Any, Any] = (0, None, None)

    def expressions(self) -> list[pl.Expr]:
        """Return the expressions of a chunk's moments."""
        return [self._values.count(), self._values.mean(), ((self._values - self._values.mean()) ** 2).sum()]

    def add(self, *values: Any) -> None:
        """Combine the moments."""
        left, right = self._moments, values
        if not left[0] or not right[0]:
            self._moments = left if left[0] else (right[0], right[1], right[2])
            return
        count, apart = left[0] + right[0], right[1] - left[1]
        squares = left[2] + right[2] + apart**2 * left[0] * right[0] / count
        self._moments = count, left[1] + apart * right[0] / count, squares

    def value(self, read: Read) -> Any:
        """Return the result of `finish` for the moments."""
        return self._finish(self._moments)


def mean(moments: tuple[int, float, float]) -> float | None:
    """Return the mean."""
    return moments[1] if moments[0] else None


def deviation(moments: tuple[int, float, float]) -> float | None:
    """Return the standard deviation of a sample."""
    return math.sqrt(moments[2] / (moments[0] - 1)) if moments[0] > 1 else None


class Values(Metric):
    """All values of a column as doubles (8 bytes per row), for quantiles and other figures that need all values.

    Args:
        column: Column that is read.
        values: Its values as numbers.
        finish: Function from the values (N,), not sorted and without missing ones, to the metric's value.
    """

    def __init__(self, column: str, values: pl.Expr, finish: Callable[[np.ndarray], Any]) -> None:
        self.columns, self._values, self._finish = (column,), values.cast(pl.Float64).drop_nulls().implode(), finish
        self._parts: list[np.ndarray] = []

    def expressions(self) -> list[pl.Expr]:
        """Return the values."""
        return [self._values]

    def add(self, *values: Any) -> None:
        """Keep the chunk's values as one array."""
        self._parts.append(values[0].to_numpy())

    def value(self, read: Read) -> Any:
        """Return the result of `finish` for the values."""
        return self._finish(np.concatenate(self._parts))


class Distinct(Metric):
    """Distinct values of a column that has few of them.

    Args:
        column: Column that is read.
        kind: Its type.
        most: Largest number of distinct values; more are an error.
        finish: Function from the set of values to the metric's value.
    """

    def __init__(
        self, column: str, kind: pl.DataType, most: int = 1_000_000,
        finish: Callable[[frozenset[Any]], Any] = lambda found: found,
    ) -> None:
        self.columns, self._values, self._most, self._finish = (column,), present(column, kind), most, finish
        self._found: set[Any] = set()

    def expressions(self) -> list[pl.Expr]:
        """Return a chunk's distinct values."""
        return [self._values.drop_nulls().unique().implode()]

    def add(self, *values: Any) -> None:
        """Add the values to the set.

        Raises:
            ValueError: There are too many.
        """
        self._found.update(values[0])
        if len(self._found) > self._most:
            raise ValueError(
                f"the column {self.columns[0]!r} has more than {self._most:,} distinct values; "
                "use an expectation about their number instead")

    def value(self, read: Read) -> Any:
        """Return the result of `finish` for the set."""
        return self._finish(frozenset(self._found))
