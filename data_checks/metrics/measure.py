"""Measure metrics on a table: all in one pass, chunk by chunk. A metric that fails does not stop the others."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import polars as pl

from core.errors import Unreadable
from data_checks.metrics.metrics import ROW, Metric
from data_checks.metrics.tables import Table

Report = Callable[[int, int], None]
"""Function that is called with the number of rows done and their total."""


class MetricError:
    """A metric that could not be measured, with its exception; it says nothing about the data."""

    def __init__(self, error: Exception) -> None:
        self.message = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
        self.traceback = "".join(traceback.format_exception(error))


def measure(
    table: Table, metrics: Mapping[Hashable, Metric | MetricError], rows: int, report: Report | None = None
) -> dict[Hashable, Any]:
    """Return the values of metrics; `MetricError` for a metric that raised an exception, or was one before.

    Args:
        table: Table; it is read once, and again by metrics that need another pass.
        metrics: The metrics, by any key.
        rows: Most rows of a chunk; the values do not depend on it.
        report: Called in the first pass.

    Raises:
        Unreadable: The table cannot be read.
    """
    values: dict[Hashable, Any] = {key: each for key, each in metrics.items() if isinstance(each, MetricError)}
    running = {key: each for key, each in metrics.items() if isinstance(each, Metric)}
    parts: dict[Hashable, list[Any]] = {key: [] for key in running}
    columns = list(dict.fromkeys(column for metric in running.values() for column in metric.columns))
    done = 0
    for chunk in _numbered(table, rows, columns) if columns else ():
        for key, part in _parts(chunk, {key: metric for key, metric in running.items() if key not in values}).items():
            if isinstance(part, MetricError):
                values[key] = part
            else:
                parts[key].append(part)
        done += chunk.height
        if report:
            report(done, table.height)
    for key, metric in running.items():
        if key not in values:
            values[key] = guarded(metric.finish, parts.pop(key), partial(_numbered, table, rows))
    return values


def guarded(step: Callable[..., Any], *arguments: Any) -> Any:
    """Return the result of a function, or `MetricError` if it raises an exception, unless the table is unreadable."""
    try:
        return step(*arguments)
    except Unreadable:
        raise
    except Exception as error:
        return MetricError(error)


def _numbered(table: Table, rows: int, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Yield the columns in chunks, with the position of each row."""
    done = 0
    for chunk in table.chunks(columns, rows):
        yield chunk.with_row_index(ROW, done)
        done += chunk.height


def _parts(chunk: pl.DataFrame, metrics: Mapping[Hashable, Metric]) -> dict[Hashable, Any]:
    """Return the parts of a chunk: in one query, or one by one if that fails, to find the metric that fails."""
    expressions = {
        f"{place}.{number}": expression
        for place, metric in enumerate(metrics.values()) for number, expression in enumerate(metric.expressions)
    }
    try:
        measured = chunk.lazy().select(**expressions).collect()
    except Exception as error:
        if len(metrics) == 1:
            return {key: MetricError(error) for key in metrics}
        return {key: _parts(chunk, {key: metric})[key] for key, metric in metrics.items()}
    return {
        key: guarded(metric.part, *(measured[f"{place}.{number}"][0] for number in range(len(metric.expressions))))
        for place, (key, metric) in enumerate(metrics.items()) if metric.columns
    }
