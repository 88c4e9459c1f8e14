"""Map the metrics of Great Expectations to our metrics on polars.

An expectation of Great Expectations names the metrics that its verdict needs. It computes the verdict and the result
from their values, no matter where they come from. So a class can be evaluated on polars if all its metrics are listed
here. A metric of rows, such as `column_values.between`, has several values: `.unexpected_count`, `.unexpected_values` …
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import polars as pl
from dateutil.parser import parse

from data_checks.metrics.metrics import (
    KEPT,
    Distinct,
    Extreme,
    Metric,
    Moments,
    Rows,
    Total,
    Unexpected,
    Values,
    deviation,
    mean,
    present,
)
from data_checks.metrics.patterns import contains
from data_checks.metrics.repeated import DistinctCount, Repeated
from data_checks.metrics.tables import Table

UNEXPECTED: dict[str, Callable[[Unexpected], Any]] = {
    "unexpected_count": lambda found: found.count,
    "unexpected_values": lambda found: list(found.values),
    "unexpected_index_list": lambda found: list(found.indexes),
    "unexpected_index_query": lambda found: None,
    "filtered_row_count": lambda found: found.rows,
}
"""Values of a metric of rows, by suffix. The query for the rows is always None, since there is no database."""
Options = Mapping[str, Any]


@dataclass(frozen=True)
class Asked:
    """A request for a metric of Great Expectations on one table.

    Args:
        table: Table to measure.
        domain: Columns to measure: `column`, or `column_A` and `column_B`, or `column_list`.
        options: Options of the metric.
        keep: Number of unexpected rows to keep as examples.
    """

    table: Table
    domain: Options
    options: Options
    keep: int = KEPT

    @property
    def column(self) -> str:
        """Name of the column of a metric on one column."""
        return str(self.domain["column"])

    def open_to_all(self) -> pl.DataType:
        """Return the type of the column, for a metric whose values appear in reports.

        Raises:
            ValueError: The column is private.
        """
        if self.column in self.table.private:
            raise ValueError(f"the column {self.column!r} is private: no report may quote its values")
        return self.kind(self.column)

    def kind(self, column: str) -> pl.DataType:
        """Return the type of a column.

        Raises:
            KeyError: The table has no such column.
        """
        if column not in self.table.schema:
            raise KeyError(f'The column "{column}" does not exist in the table')
        return self.table.schema[column]

    def values(self, column: str = "") -> pl.Expr:
        """Return the values of a column, null if they are missing."""
        return present(column or self.column, self.kind(column or self.column))

    def shown(self, *columns: str) -> pl.Expr:
        """Return the part of a row that a report may show: the values of the columns, for private ones the lengths."""
        shown = [self._shown(column) for column in columns or (self.column,)]
        return shown[0] if len(shown) == 1 else pl.struct(shown)

    def _shown(self, column: str) -> pl.Expr:
        values = self.values(column)
        if column not in self.table.private:
            return values
        lengths = values.cast(pl.String).str.len_chars()
        return pl.when(values.is_not_null()).then(pl.format("{} characters", lengths)).alias(column)


def of_rows(name: str, asked: Asked) -> Metric:
    """Return the metric of rows with that name (without the suffix after its last dot).

    Raises:
        KeyError: There is no such metric, or no such column.
        TypeError: The column's values cannot be compared with the limits.
    """
    return ROWS[name](asked)


def _of_column(unexpected: Callable[[Asked, pl.Expr], pl.Expr]) -> Callable[[Asked], Metric]:
    def metric(asked: Asked) -> Metric:
        values = asked.values()
        return Rows((asked.column,), values.is_not_null(), unexpected(asked, values), asked.shown(), asked.keep)

    return metric


def _missing(asked: Asked) -> Metric:
    every = pl.int_range(pl.len()) >= 0
    return Rows((asked.column,), every, asked.values().is_null(), asked.shown(), asked.keep)


def _outside(asked: Asked, values: pl.Expr) -> pl.Expr:
    kind, options = asked.kind(asked.column), asked.options
    least, most = (_limit(options.get(name), kind, asked.column) for name in ("min_value", "max_value"))
    if least is None and most is None:
        raise ValueError("min_value and max_value cannot both be None")
    if least is not None and most is not None and least > most:
        raise ValueError("min_value cannot be greater than max_value")
    return _beyond(values, least, most, options)


def _beyond(values: pl.Expr, least: Any, most: Any, options: Options) -> pl.Expr:
    below = pl.lit(False) if least is None else values <= least if options.get("strict_min") else values < least
    above = pl.lit(False) if most is None else values >= most if options.get("strict_max") else values > most
    return below | above


def _limit(limit: Any, kind: pl.DataType, column: str) -> Any:
    """Return the limit in a type that can be compared with the values of a column.

    Raises:
        TypeError: The values cannot be compared with the limit.
    """
    if limit is None:
        return None
    if kind.is_temporal():
        limit = parse(limit) if isinstance(limit, str) else limit
        if isinstance(limit, datetime) and limit.tzinfo is None:
            return limit
        if isinstance(limit, date) and not isinstance(limit, datetime):
            return datetime(limit.year, limit.month, limit.day)
    elif (kind.is_numeric() and isinstance(limit, int | float)) or (kind == pl.String() and isinstance(limit, str)):
        return limit
    raise TypeError(f"values of the column {column!r}, of type {kind}, cannot be compared with {limit!r}")


def _length_outside(asked: Asked, values: pl.Expr) -> pl.Expr:
    options = asked.options
    least, most = options.get("min_value"), options.get("max_value")
    if least is None and most is None:
        raise ValueError("Invalid configuration")
    return _beyond(_text(asked, values).str.len_chars().cast(pl.Int64), least, most, options)


def _text(asked: Asked, values: pl.Expr) -> pl.Expr:
    kind = asked.kind(asked.column)
    if kind != pl.String():
        raise TypeError(f"values of the column {asked.column!r} are not text but of type {kind}")
    return values


def _in_set(asked: Asked, values: pl.Expr) -> pl.Expr:
    return _among(values, asked.options["value_set"], asked.kind(asked.column), asked.column)


def _among(values: pl.Expr, members: Any, kind: pl.DataType, column: str) -> pl.Expr:
    """Return whether the values are in the set; ignore members of another type, which no value can equal."""
    if members is None:
        return pl.lit(True)
    if kind.is_numeric():
        numbers = [member for member in members if isinstance(member, int | float)]
        return values.cast(pl.Float64).is_in(pl.Series(numbers, dtype=pl.Float64, strict=False).implode())
    if kind == pl.String():
        texts = [member for member in members if isinstance(member, str)]
        return values.is_in(pl.Series(texts, dtype=pl.String).implode())
    if kind == pl.Boolean():
        return values.is_in(pl.Series([member for member in members if member in (0, 1)], dtype=pl.Boolean).implode())
    if kind.is_temporal():
        return values.is_in(pl.Series([_limit(member, kind, column) for member in members], dtype=kind).implode())
    raise TypeError(f"there are no sets for values of type {kind}, as the column {column!r} has")


def _pairs(unexpected: Callable[[Asked, pl.Expr, pl.Expr], pl.Expr]) -> Callable[[Asked], Metric]:
    def metric(asked: Asked) -> Metric:
        a, b = str(asked.domain["column_A"]), str(asked.domain["column_B"])
        first, second = asked.values(a), asked.values(b)
        judged = {
            "both_values_are_missing": first.is_not_null() | second.is_not_null(),
            "either_value_is_missing": first.is_not_null() & second.is_not_null(),
            "neither": pl.int_range(pl.len()) >= 0,
        }[asked.domain.get("ignore_row_if") or "both_values_are_missing"]
        shown = pl.struct(asked.shown(a), asked.shown(b))
        return _Pairs((a, b), judged, unexpected(asked, first, second), shown, asked.keep)

    return metric


class _Pairs(Rows):
    """Rows of two columns, shown as pairs."""

    def state(self, values: Any, first_row: int) -> Unexpected:
        found = super().state(values, first_row)
        return Unexpected(found.rows, found.count, tuple(tuple(row.values()) for row in found.values), found.indexes)


def _pair_in_set(asked: Asked, first: pl.Expr, second: pl.Expr) -> pl.Expr:
    pairs = asked.options.get("value_pairs_set")
    if pairs is None:
        return pl.lit(False)
    expected = [first.eq_missing(pl.lit(a)) & second.eq_missing(pl.lit(b)) for a, b in pairs]
    return ~pl.any_horizontal(expected) if expected else pl.lit(True)


def _unique(asked: Asked) -> Metric:
    return Repeated((asked.column,), asked.values(), asked.shown(), asked.keep)


ROWS: dict[str, Callable[[Asked], Metric]] = {
    "column_values.nonnull": _missing,
    "column_values.null": lambda asked: Rows(
        (asked.column,), pl.int_range(pl.len()) >= 0, asked.values().is_not_null(), asked.shown(), asked.keep),
    "column_values.unique": _unique,
    "column_values.between": _of_column(_outside),
    "column_values.in_set": _of_column(lambda asked, values: ~_in_set(asked, values)),
    "column_values.not_in_set": _of_column(
        lambda asked, values: pl.lit(False) if asked.options["value_set"] is None else _in_set(asked, values)),
    "column_values.value_length.between": _of_column(_length_outside),
    "column_values.value_length.equals": _of_column(
        lambda asked, values: _text(asked, values).str.len_chars() != asked.options["value"]),
    "column_values.match_regex": _of_column(
        lambda asked, values: ~contains(_text(asked, values), asked.options["regex"])),
    "column_values.not_match_regex": _of_column(
        lambda asked, values: contains(_text(asked, values), asked.options["regex"])),
    "column_pair_values.in_set": _pairs(_pair_in_set),
    "column_pair_values.equal": _pairs(lambda asked, first, second: (first != second).fill_null(True)),
    "column_pair_values.a_greater_than_b": _pairs(
        lambda asked, first, second: ~((first >= second) if asked.options.get("or_equal") else (first > second))
        .fill_null(False)),
}
"""Metrics of rows, by name, each as a function of the request."""


def _quantiles(asked: Asked) -> Metric:
    quantiles: Any = asked.options["quantiles"]
    method: Any = asked.options.get("allow_relative_error") or "nearest"
    if method not in ("linear", "lower", "higher", "midpoint", "nearest"):
        raise ValueError(f"allow_relative_error must be a method of interpolation, not {method!r}")

    def finish(values: np.ndarray) -> list[float]:
        if not len(values):
            return [float("nan")] * len(quantiles)
        return [float(value) for value in np.quantile(values, quantiles, method=method)]

    return Values(asked.column, asked.kind(asked.column), finish)


def _median(asked: Asked) -> Metric:
    return Values(
        asked.column, asked.kind(asked.column), lambda values: float(np.median(values)) if len(values) else None)


def _sum(asked: Asked) -> Metric:
    kind = asked.kind(asked.column)
    if not (kind.is_numeric() or kind == pl.Boolean()):
        raise TypeError(f"the column {asked.column!r} has values of type {kind}, which have no sum")
    return Total((asked.column,), asked.values().sum())


AGGREGATES: dict[str, Callable[[Asked], Metric]] = {
    "column.min": lambda asked: Extreme(asked.column, asked.open_to_all(), least=True),
    "column.max": lambda asked: Extreme(asked.column, asked.open_to_all(), least=False),
    "column.sum": _sum,
    "column.mean": lambda asked: Moments(asked.column, asked.kind(asked.column), mean),
    "column.standard_deviation": lambda asked: Moments(asked.column, asked.kind(asked.column), deviation),
    "column.median": _median,
    "column.quantile_values": _quantiles,
    "column.distinct_values.count": lambda asked: DistinctCount((asked.column,), asked.values()),
    "column.non_null_count": lambda asked: Total((asked.column,), asked.values().is_not_null().sum()),
    "column.distinct_values": lambda asked: Distinct(asked.column, asked.open_to_all()),
}
"""Metrics of whole columns, by name, each as a function of the request."""
