"""Measure all metrics of a table in one pass, chunk by chunk.

A table is a frame in memory, a Parquet file, or a folder of Parquet parts. A metric that fails does not stop others.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import polars as pl

from core.errors import Unreadable
from data_checks.metrics.metrics import ROW, Metric

CHUNK_BYTES = 24 << 20
"""Most bytes of a chunk of a Parquet file, uncompressed; a chunk with more gets fewer rows than requested."""
CHUNK_ROWS = 200_000
READ_BYTES = 1 << 20


@dataclass(frozen=True)
class Measure:
    """A column that is computed from another column, chunk by chunk.

    Args:
        source: Column that it is computed from.
        kind: Its type.
        of: Function from a chunk of the source to a frame of equal height with this column; the frame may also hold the
            columns of other measures.
    """

    source: str
    kind: pl.DataType
    of: Callable[[pl.Series], pl.DataFrame]


@dataclass(frozen=True)
class Table:
    """A table with known columns and length.

    Args:
        source: A frame, or the Parquet files of the table, in order.
        measures: Columns that are computed from others; a column of the source with the same name wins.
        private: Columns whose values no report may quote, only their lengths.
    """

    source: pl.DataFrame | tuple[Path, ...]
    measures: Mapping[str, Measure] = field(default_factory=dict)
    private: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls,
        source: pl.DataFrame | Path,
        measures: Mapping[str, Measure] | None = None,
        private: Sequence[str] = (),
    ) -> Table:
        """Open a frame, a Parquet file or a folder of Parquet parts (in the order of their names).

        Raises:
            Unreadable: There is no such file, or no Parquet file in the folder.
        """
        if isinstance(source, pl.DataFrame):
            return cls(source, measures or {}, frozenset(private))
        paths = tuple(sorted(source.glob("*.parquet"))) if source.is_dir() else (source,)
        if not paths or not all(path.is_file() for path in paths):
            raise Unreadable("There is no Parquet file to check", where=source)
        return cls(paths, measures or {}, frozenset(private))

    @cached_property
    def physical(self) -> dict[str, pl.DataType]:
        """Types of the columns of the source.

        Raises:
            Unreadable: A file is not Parquet, or the parts have different columns.
        """
        if isinstance(self.source, pl.DataFrame):
            return dict(self.source.schema)
        first = self._schema(self.source[0])
        for path in self.source[1:]:
            if (schema := self._schema(path)) != first:
                differing = sorted({name for name, _ in first.items() ^ schema.items()})
                raise Unreadable(
                    "The parts of a table have different columns", where=path, value=differing,
                    remedy=f"write it with the columns and types of {self.source[0].name}",
                )
        return first

    @cached_property
    def schema(self) -> dict[str, pl.DataType]:
        """Types of all columns, including measures."""
        derived = {name: each.kind for name, each in self.measures.items() if each.source in self.physical}
        return {**self.physical, **{name: kind for name, kind in derived.items() if name not in self.physical}}

    @cached_property
    def height(self) -> int:
        """Number of rows."""
        if isinstance(self.source, pl.DataFrame):
            return self.source.height
        return sum(_open(path).metadata.num_rows for path in self.source)

    def chunks(self, columns: Sequence[str], rows: int = CHUNK_ROWS) -> Iterator[pl.DataFrame]:
        """Yield the columns in chunks of at most *rows* rows, in order; an empty table gives one empty chunk."""
        yield from _ahead(self._chunks(columns, rows))

    def _chunks(self, columns: Sequence[str], rows: int) -> Iterator[pl.DataFrame]:
        measures = {name: self.measures[name] for name in columns if name not in self.physical}
        stored = [name for name in columns if name in self.physical]
        sources = list(dict.fromkeys([*stored, *(each.source for each in measures.values())]))
        empty = True
        for chunk in self._physical_chunks(sources, rows):
            empty = False
            # A function that computes several measures is called once.
            made = {each.of: each.of(chunk[each.source]) for each in measures.values()}
            derived = [made[each.of][name] for name, each in measures.items()]
            yield pl.DataFrame([*(chunk[name] for name in stored), *derived]) if derived else chunk.select(stored)
        if empty:
            yield pl.DataFrame(schema={name: self.schema[name] for name in columns})

    def collect(self) -> pl.DataFrame:
        """Return the whole table in memory, including measures."""
        return pl.concat(list(self.chunks(list(self.schema))), rechunk=True)

    def _physical_chunks(self, columns: list[str], rows: int) -> Iterator[pl.DataFrame]:
        if isinstance(self.source, pl.DataFrame):
            for start in range(0, self.height, rows):
                # A frame without columns has no rows to count, so one column is kept.
                piece = self.source.slice(start, rows)
                yield piece.select(columns) if columns else piece.select(self.source.columns[:1])
            return
        for path in self.source:
            file = _open(path)
            names = columns or file.schema_arrow.names[:1]
            for batch in file.iter_batches(min(rows, _rows_that_fit(file.metadata, names)), columns=names):
                yield pl.DataFrame(pl.from_arrow(batch)).cast({name: self.physical[name] for name in names})

    @staticmethod
    def _schema(path: Path) -> dict[str, pl.DataType]:
        try:
            return dict(pl.read_parquet_schema(path))
        except (OSError, pl.exceptions.PolarsError) as error:
            raise Unreadable("The Parquet file cannot be read", where=path, cause=str(error)) from error


def _ahead(chunks: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Yield the chunks; read the next one in another thread while the caller works on this one."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        coming = thread.submit(next, chunks, None)
        while (chunk := coming.result()) is not None:
            coming = thread.submit(next, chunks, None)
            yield chunk


def _open(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path, buffer_size=READ_BYTES, pre_buffer=False)
    except (OSError, pa.ArrowException) as error:
        raise Unreadable("The Parquet file cannot be read", where=path, cause=str(error)) from error


def _rows_that_fit(metadata: Any, columns: Sequence[str]) -> int:
    """Return the number of rows of these columns that take `CHUNK_BYTES`, by the average of the file."""
    size = 0
    for group in range(metadata.num_row_groups):
        parts = metadata.row_group(group)
        for index in range(parts.num_columns):
            if parts.column(index).path_in_schema in columns:
                size += parts.column(index).total_uncompressed_size
    return max(1, int(CHUNK_BYTES * max(metadata.num_rows, 1) / max(size, 1)))


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
