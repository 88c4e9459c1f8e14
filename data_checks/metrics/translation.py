"""Map the metrics of Great Expectations to our metrics on polars.

An expectation of Great Expectations names the metrics that its verdict needs. It computes the verdict and the result
from their values, no matter where they come from. So a class can be evaluated on polars if all its metrics are listed
here. A metric of rows, such as `column_values.between`, has several values: `.unexpected_count`, `.unexpected_values` …
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from data_checks.metrics.conditions import CONDITIONS, JUDGE_MISSING, PAIR_CONDITIONS, Column, Options
from data_checks.metrics.metrics import (
    EVERY_ROW,
    Metric,
    Unexpected,
    distinct,
    distinct_count,
    extreme,
    known,
    moments,
    numbers,
    repeated,
    total,
    unexpected_rows,
)
from data_checks.metrics.tables import MetricError, Table

MAX_DISTINCT_VALUES = 20
UNEXPECTED: dict[str, Callable[[Unexpected], Any]] = {
    "unexpected_count": lambda rows: rows.count,
    "unexpected_values": lambda rows: list(rows.values),
    "unexpected_index_list": lambda rows: list(rows.indexes),
    "unexpected_index_query": lambda rows: None,
    "filtered_row_count": lambda rows: rows.rows,
}
"""Values of a metric of rows, by suffix. The query for the rows is always None, since there is no database."""


@dataclass(frozen=True)
class MetricRequest:
    """A value that Great Expectations asks for.

    Args:
        name: Name of the metric, as Great Expectations calls it.
        domain: Columns to measure: `column`, or `column_A` and `column_B`.
        options: Options of the metric.
        id: Key under which Great Expectations looks for the value.
    """

    name: str
    domain: Mapping[str, Any]
    options: Mapping[str, Any]
    id: Any = None

    @property
    def base(self) -> str:
        """Name of the metric to measure: of a metric of rows, the part before the suffix."""
        base, _, suffix = self.name.rpartition(".")
        return base if suffix in UNEXPECTED else self.name

    @property
    def known(self) -> bool:
        """Whether the value can be measured on polars."""
        return self.base in (ROWS if self.base != self.name else AGGREGATES) or self.name in TABLE

    @property
    def key(self) -> tuple[str, ...]:
        """Key of the metric to measure: equal for values that one metric has."""
        return self.base, repr(sorted(self.domain.items(), key=str)), repr(sorted(self.options.items(), key=str))

    def metric(self, table: Table, keep: int) -> Metric:
        """Return the metric to measure; of unexpected rows it keeps *keep*.

        Raises:
            KeyError: There is no such metric, or no such column.
            TypeError: The column's values cannot be compared with the limits.
            ValueError: The options contradict each other, or the column is private and its values would be quoted.
        """
        if self.name in TABLE:
            return known(TABLE[self.name](table))
        if self.base in PAIR_CONDITIONS:
            return self._pairs([Column.of(table, str(self.domain[name])) for name in ("column_A", "column_B")], keep)
        column = Column.of(table, str(self.domain["column"]))
        if self.base == UNIQUE:
            return repeated(column.name, column.values, column.shown, keep)
        if self.base in CONDITIONS:
            judged = EVERY_ROW if self.base in JUDGE_MISSING else column.values.is_not_null()
            unexpected = CONDITIONS[self.base](column, self.options)
            return unexpected_rows((column.name,), judged, unexpected, [column.shown], keep)
        if column.private and self.name in QUOTING:
            raise ValueError(f"the column {column.name!r} is private: no report may quote its values")
        return AGGREGATES[self.name](column, self.options, table.height)

    def _pairs(self, columns: Sequence[Column], keep: int) -> Metric:
        first, second = (column.values for column in columns)
        judged = {
            "both_values_are_missing": first.is_not_null() | second.is_not_null(),
            "either_value_is_missing": first.is_not_null() & second.is_not_null(),
            "neither": EVERY_ROW,
        }[self.domain.get("ignore_row_if") or "both_values_are_missing"]
        unexpected = PAIR_CONDITIONS[self.base](first, second, self.options)
        names = tuple(column.name for column in columns)
        return unexpected_rows(names, judged, unexpected, [column.shown for column in columns], keep)

    def value(self, measured: Any) -> Any:
        """Return the value from that of the metric, or its error."""
        if self.base == self.name or isinstance(measured, MetricError):
            return measured
        return UNEXPECTED[self.name.rpartition(".")[2]](measured)


UNIQUE = "column_values.unique"
ROWS = (UNIQUE, *CONDITIONS, *PAIR_CONDITIONS)
"""Metrics of rows, by name without suffix."""
TABLE: dict[str, Callable[[Table], Any]] = {
    "table.row_count": lambda table: table.height,
    "table.columns": lambda table: list(table.schema),
    "table.column_count": lambda table: len(table.schema),
}
"""Metrics of the table that are known without reading it, by name."""


def _numbers(column: Column, finish: Callable[[np.ndarray], Any]) -> Metric:
    if not column.kind.is_numeric():
        raise TypeError(f"the column {column.name!r} has values of type {column.kind}, of which no quantiles are taken")
    return numbers(column.name, column.values, finish)


def _quantiles(column: Column, options: Options, rows: int) -> Metric:
    quantiles: Any = options["quantiles"]
    method: Any = options.get("allow_relative_error") or "nearest"
    if method not in ("linear", "lower", "higher", "midpoint", "nearest"):
        raise ValueError(f"allow_relative_error must be a method of interpolation, not {method!r}")

    def finish(values: np.ndarray) -> list[float]:
        result = np.quantile(values, quantiles, method=method) if len(values) else np.full(len(quantiles), np.nan)
        return [float(value) for value in result]

    return _numbers(column, finish)


def _sum(column: Column, options: Options, rows: int) -> Metric:
    if not (column.kind.is_numeric() or column.kind == pl.Boolean()):
        raise TypeError(f"the column {column.name!r} has values of type {column.kind}, which have no sum")
    return total((column.name,), column.values.sum())


def _non_null(column: Column, divisor: int = 0) -> Metric:
    return total((column.name,), column.values.is_not_null().sum(), divisor)


def _difference(missing: bool, finish: Callable[[list[Any]], Any]) -> Callable[[Column, Options, int], Metric]:
    """Return the metric of the members that are *missing* from a column, or of its values that are no members."""

    def metric(column: Column, options: Options, rows: int) -> Metric:
        members = frozenset(options["value_set"] or ())

        def ordered(distinct_values: frozenset[Any]) -> Any:
            left = members - distinct_values if missing else distinct_values - members
            return finish(sorted(left, key=lambda value: (str(type(value)), value)))

        return distinct(column.name, column.kind, finish=ordered)

    return metric


def _first(values: list[Any]) -> list[Any]:
    return values[:MAX_DISTINCT_VALUES]


AGGREGATES: dict[str, Callable[[Column, Options, int], Metric]] = {
    "column.min": lambda column, options, rows: extreme(column.name, column.kind, least=True),
    "column.max": lambda column, options, rows: extreme(column.name, column.kind, least=False),
    "column.sum": _sum,
    "column.mean": lambda column, options, rows: moments(column.name, column.kind, lambda figures: figures.mean),
    "column.standard_deviation": lambda column, options, rows: moments(
        column.name, column.kind, lambda figures: figures.deviation),
    "column.median": lambda column, options, rows: _numbers(
        column, lambda values: float(np.median(values)) if len(values) else None),
    "column.quantile_values": _quantiles,
    "column.non_null_count": lambda column, options, rows: _non_null(column),
    "column.non_null_proportion": lambda column, options, rows: _non_null(column, rows),
    "column.unique_proportion": lambda column, options, rows: distinct_count(column.name, column.values, share=True),
    "column.distinct_values.count": lambda column, options, rows: distinct_count(column.name, column.values),
    "column.distinct_values": lambda column, options, rows: distinct(column.name, column.kind),
    "column.distinct_values.not_in_set": _difference(missing=False, finish=_first),
    "column.distinct_values.not_in_set.count": _difference(missing=False, finish=len),
    "column.distinct_values.missing_from_column": _difference(missing=True, finish=_first),
    "column.distinct_values.missing_from_column.count": _difference(missing=True, finish=len),
}
"""Metrics of whole columns, by name, as functions of the column, the options and the number of rows of the table."""
QUOTING = {"column.min", "column.max", *(name for name in AGGREGATES if name.startswith("column.distinct_values"))}
QUOTING -= {"column.distinct_values.count"}
"""Metrics whose values appear in reports."""
