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

from data_checks.metrics.conditions import CONDITIONS, PAIR_CONDITIONS
from data_checks.metrics.measure import MetricError
from data_checks.metrics.metrics import (
    ROW,
    Distinct,
    Extreme,
    Known,
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
from data_checks.metrics.repeated import DistinctCount, Repeated
from data_checks.metrics.tables import Table

MAX_DISTINCT_VALUES = 20
EVERY = pl.col(ROW) >= 0
UNEXPECTED: dict[str, Callable[[Unexpected], Any]] = {
    "unexpected_count": lambda found: found.count,
    "unexpected_values": lambda found: list(found.values),
    "unexpected_index_list": lambda found: list(found.indexes),
    "unexpected_index_query": lambda found: None,
    "filtered_row_count": lambda found: found.rows,
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
        return self.base in (AGGREGATES if self.base == self.name else ROWS)

    @property
    def key(self) -> tuple[str, ...]:
        """Key of the metric to measure: equal for values that one metric has."""
        return self.base, repr(sorted(self.domain.items(), key=str)), repr(sorted(self.options.items(), key=str))

    @property
    def column(self) -> str:
        """Name of the column of a metric on one column."""
        return str(self.domain["column"])

    def metric(self, table: Table, keep: int) -> Metric:
        """Return the metric to measure; of unexpected rows it keeps *keep*.

        Raises:
            KeyError: There is no such metric, or no such column.
            TypeError: The column's values cannot be compared with the limits.
            ValueError: The options contradict each other, or the column is private and its values would be quoted.
        """
        return ROWS[self.base](self, table, keep) if self.base in ROWS else AGGREGATES[self.name](self, table)

    def value(self, measured: Any) -> Any:
        """Return the value from that of the metric, or its error."""
        if self.base == self.name or isinstance(measured, MetricError):
            return measured
        return UNEXPECTED[self.name.rpartition(".")[2]](measured)


def kind_of(table: Table, column: str) -> pl.DataType:
    """Return the type of a column.

    Raises:
        KeyError: The table has no such column.
    """
    if column not in table.schema:
        raise KeyError(f'The column "{column}" does not exist in the table')
    return table.schema[column]


def _values(table: Table, column: str) -> pl.Expr:
    return present(column, kind_of(table, column))


def _shown(table: Table, column: str) -> pl.Expr:
    """Return the part of a row that a report may show: the value, or of a private column its length."""
    values = _values(table, column)
    if column not in table.private:
        return values
    return pl.when(values.is_not_null()).then(pl.format("{} characters", values.cast(pl.String).str.len_chars()))


def _condition(request: MetricRequest, table: Table, keep: int) -> Metric:
    column, values = request.column, _values(table, request.column)
    unexpected = CONDITIONS[request.base](values, request.options, column, kind_of(table, column))
    return Rows((column,), values.is_not_null(), unexpected, [_shown(table, column)], keep)


def _presence(missing: bool) -> Callable[[MetricRequest, Table, int], Metric]:
    def metric(request: MetricRequest, table: Table, keep: int) -> Metric:
        column, values = request.column, _values(table, request.column)
        unexpected = values.is_null() if missing else values.is_not_null()
        return Rows((column,), EVERY, unexpected, [_shown(table, column)], keep)

    return metric


def _pair_condition(request: MetricRequest, table: Table, keep: int) -> Metric:
    columns = str(request.domain["column_A"]), str(request.domain["column_B"])
    first, second = (_values(table, column) for column in columns)
    judged = {
        "both_values_are_missing": first.is_not_null() | second.is_not_null(),
        "either_value_is_missing": first.is_not_null() & second.is_not_null(),
        "neither": EVERY,
    }[request.domain.get("ignore_row_if") or "both_values_are_missing"]
    unexpected = PAIR_CONDITIONS[request.base](first, second, request.options)
    return Rows(columns, judged, unexpected, [_shown(table, column) for column in columns], keep)


ROWS: dict[str, Callable[[MetricRequest, Table, int], Metric]] = {
    "column_values.nonnull": _presence(missing=True),
    "column_values.null": _presence(missing=False),
    "column_values.unique": lambda request, table, keep: Repeated(
        (request.column,), _values(table, request.column), _shown(table, request.column), keep),
    **dict.fromkeys(CONDITIONS, _condition),
    **dict.fromkeys(PAIR_CONDITIONS, _pair_condition),
}
"""Metrics of rows, by name without suffix."""


def _public(request: MetricRequest, table: Table) -> tuple[str, pl.DataType]:
    """Return the column and its type, for a metric whose values appear in reports.

    Raises:
        ValueError: The column is private.
    """
    if request.column in table.private:
        raise ValueError(f"the column {request.column!r} is private: no report may quote its values")
    return request.column, kind_of(table, request.column)


def _numbers(request: MetricRequest, table: Table, figure: str, booleans: bool = False) -> pl.Expr:
    kind = kind_of(table, request.column)
    if not (kind.is_numeric() or (booleans and kind == pl.Boolean())):
        raise TypeError(f"the column {request.column!r} has values of type {kind}, which have no {figure}")
    return _values(table, request.column)


def _quantiles(request: MetricRequest, table: Table) -> Metric:
    quantiles: Any = request.options["quantiles"]
    method: Any = request.options.get("allow_relative_error") or "nearest"
    if method not in ("linear", "lower", "higher", "midpoint", "nearest"):
        raise ValueError(f"allow_relative_error must be a method of interpolation, not {method!r}")

    def finish(values: np.ndarray) -> list[float]:
        found = np.quantile(values, quantiles, method=method) if len(values) else np.full(len(quantiles), np.nan)
        return [float(value) for value in found]

    return Values(request.column, _numbers(request, table, "quantiles"), finish)


def _median(request: MetricRequest, table: Table) -> Metric:
    return Values(
        request.column, _numbers(request, table, "median"),
        lambda values: float(np.median(values)) if len(values) else None)


def _non_null(request: MetricRequest, table: Table, whole: int = 0) -> Metric:
    count = _values(table, request.column).is_not_null().sum()
    return Total((request.column,), count, lambda total: total / whole if whole else total)


def _set_difference(expected_first: bool, count: bool) -> Callable[[MetricRequest, Table], Metric]:
    def metric(request: MetricRequest, table: Table) -> Metric:
        expected = frozenset(request.options["value_set"] or ())

        def finish(found: frozenset[Any]) -> Any:
            left = expected - found if expected_first else found - expected
            ordered: Sequence[Any] = sorted(left, key=lambda value: (str(type(value)), value))
            return len(left) if count else ordered[:MAX_DISTINCT_VALUES]

        return Distinct(*_public(request, table), finish=finish)

    return metric


AGGREGATES: dict[str, Callable[[MetricRequest, Table], Metric]] = {
    "table.row_count": lambda request, table: Known(table.height),
    "table.columns": lambda request, table: Known(list(table.schema)),
    "table.column_count": lambda request, table: Known(len(table.schema)),
    "column.min": lambda request, table: Extreme(*_public(request, table), least=True),
    "column.max": lambda request, table: Extreme(*_public(request, table), least=False),
    "column.sum": lambda request, table: Total(
        (request.column,), _numbers(request, table, "sum", booleans=True).sum()),
    "column.mean": lambda request, table: Moments(request.column, kind_of(table, request.column), mean),
    "column.standard_deviation": lambda request, table: Moments(
        request.column, kind_of(table, request.column), deviation),
    "column.median": _median,
    "column.quantile_values": _quantiles,
    "column.non_null_count": _non_null,
    "column.non_null_proportion": lambda request, table: _non_null(request, table, table.height),
    "column.distinct_values": lambda request, table: Distinct(*_public(request, table)),
    "column.distinct_values.count": lambda request, table: DistinctCount(
        (request.column,), _values(table, request.column)),
    "column.unique_proportion": lambda request, table: DistinctCount(
        (request.column,), _values(table, request.column), share=True),
    "column.distinct_values.not_in_set": _set_difference(expected_first=False, count=False),
    "column.distinct_values.not_in_set.count": _set_difference(expected_first=False, count=True),
    "column.distinct_values.missing_from_column": _set_difference(expected_first=True, count=False),
    "column.distinct_values.missing_from_column.count": _set_difference(expected_first=True, count=True),
}
"""Metrics of whole columns and of the table, by name."""
