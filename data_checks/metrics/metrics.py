"""Define metrics that are measured on a table chunk by chunk.

A metric has polars expressions, which give values of a chunk (those of all metrics in one query), and a function from
the values of all chunks to that of the table. The values equal those of Great Expectations' own metrics on pandas;
`data_checks/metrics/translation.py` maps one to the other. As in pandas, null and NaN are missing values.

Values that occur in more than one row take 8 bytes of memory per row, for values of any length. A first pass keeps the
64-bit hash of every value. Only hashes that occur twice can belong to repeated values. So a second pass reads those
rows again and compares the values themselves: different values with equal hashes are never counted as equal. If very
many values are repeated, further passes handle one slice of the hashes each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

KEPT = 20
"""Default number of unexpected values, with their rows, that are kept as examples; all of them are counted."""
ROW = "\0row"
"""Column of each chunk: the position of the row in the table, counted from 0."""
EVERY_ROW = pl.col(ROW) >= 0
Read = Callable[[Sequence[str]], Iterator[pl.DataFrame]]
"""Function that reads columns of the table, and `ROW`, chunk by chunk: a further pass."""


@dataclass(frozen=True)
class Metric:
    """A quantity of a table.

    Args:
        columns: Columns that it reads; none if its value is known without reading.
        expressions: Expressions that each give one value for a chunk (a list where they give many).
        finish: Function from the parts of all chunks, in order, to the value of the table. If it needs a further pass,
            it reads the table with the second argument.
        part: Function from the values of a chunk to its part, the little that is kept of it; default: the first value.
    """

    columns: tuple[str, ...]
    expressions: tuple[pl.Expr, ...]
    finish: Callable[[list[Any], Read], Any]
    part: Callable[..., Any] = lambda value: value


def present(column: str, kind: pl.DataType) -> pl.Expr:
    """Return the values of a column, with null for values that are missing in pandas, and floats in double precision.

    In single precision 0.1 would equal the limit 0.1. In pandas, which compares as doubles, it does not. Decimals,
    too, which could not be compared with the limits of a suite.
    """
    values = pl.col(column)
    return values.cast(pl.Float64).fill_nan(None) if kind.is_float() or kind.is_decimal() else values


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


def unexpected_rows(
    columns: tuple[str, ...], judged: pl.Expr, unexpected: pl.Expr, shown: Sequence[pl.Expr], keep: int = KEPT
) -> Metric:
    """Return the metric of the rows that a condition on each row alone finds; its value is an `Unexpected`.

    Args:
        judged: Whether a row is evaluated at all.
        unexpected: Whether an evaluated row is unexpected; null counts as no.
        shown: Values to keep of an unexpected row; several are kept as a tuple.
        keep: Number of unexpected rows to keep.
    """
    failing = pl.struct(ROW, *dict.fromkeys(columns)).filter((judged & unexpected).fill_null(False))

    def part(evaluated: int, rows: pl.Series) -> Unexpected:
        first = rows.head(keep).struct.unnest()
        examples = first.select(each.alias(str(number)) for number, each in enumerate(shown)).rows()
        values = examples if len(shown) > 1 else [value for (value,) in examples]
        return Unexpected(evaluated, len(rows), tuple(values), tuple(first[ROW]))

    def finish(parts: list[Unexpected], read: Read) -> Unexpected:
        values = tuple(value for each in parts for value in each.values)[:keep]
        indexes = tuple(index for each in parts for index in each.indexes)[:keep]
        return Unexpected(sum(each.rows for each in parts), sum(each.count for each in parts), values, indexes)

    return Metric(columns, (judged.sum(), failing.implode()), finish, part)


def known(value: Any) -> Metric:
    """Return the metric of a value that is known without reading a row, such as the number of rows."""
    return Metric((), (), lambda parts, read: value)


def extreme(column: str, kind: pl.DataType, least: bool) -> Metric:
    """Return the metric of the minimum or maximum of a column; None if it has no value."""
    values, choose = present(column, kind), min if least else max

    def finish(parts: list[Any], read: Read) -> Any:
        return choose((part for part in parts if part is not None), default=None)

    return Metric((column,), (values.min() if least else values.max(),), finish)


def total(columns: tuple[str, ...], expression: pl.Expr, divisor: int = 0) -> Metric:
    """Return the metric of the sum of an expression over the chunks, divided by *divisor* unless that is 0."""

    def finish(parts: list[Any], read: Read) -> Any:
        result = sum(part or 0 for part in parts)
        return result / divisor if divisor else result

    return Metric(columns, (expression,), finish)


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared deviations of numbers; mean and deviation are None where they are undefined."""

    count: int = 0
    mean: float | None = None
    squares: float | None = None

    def __add__(self, other: Moments) -> Moments:
        """Return the moments of both sets of numbers together, as in Chan, Golub and LeVeque (1979)."""
        if self.mean is None or other.mean is None or self.squares is None or other.squares is None:
            return other if self.mean is None else self
        count, apart = self.count + other.count, other.mean - self.mean
        squares = self.squares + other.squares + apart**2 * self.count * other.count / count
        return Moments(count, self.mean + apart * other.count / count, squares)

    @property
    def deviation(self) -> float | None:
        """Standard deviation of a sample."""
        return math.sqrt(self.squares / (self.count - 1)) if self.count > 1 and self.squares is not None else None


def moments(column: str, kind: pl.DataType, finish: Callable[[Moments], Any] = lambda figures: figures) -> Metric:
    """Return the metric of a figure of the moments of a column.

    Raises:
        TypeError: The values are not numbers.
    """
    if not (kind.is_numeric() or kind == pl.Boolean()):
        raise TypeError(f"the column {column!r} has values of type {kind}, which have no mean")
    values = present(column, kind).cast(pl.Float64)
    expressions = values.count(), values.mean(), ((values - values.mean()) ** 2).sum()
    return Metric((column,), expressions, lambda parts, read: finish(sum(parts, Moments())), Moments)


def numbers(column: str, values: pl.Expr, finish: Callable[[np.ndarray], Any]) -> Metric:
    """Return the metric of a figure that needs all values of a column at once, 8 bytes per row, such as a quantile.

    Args:
        finish: Function from the values (N,), not sorted and without missing ones, to the figure.
    """
    all_values = values.cast(pl.Float64).drop_nulls().implode()
    return Metric((column,), (all_values,), lambda parts, read: finish(np.concatenate(parts)), pl.Series.to_numpy)


def distinct(
    column: str, kind: pl.DataType, most: int = 1_000_000,
    finish: Callable[[frozenset[Any]], Any] = lambda members: members,
) -> Metric:
    """Return the metric of a figure of the distinct values of a column; more than *most* are an error.

    The chunks share one set, so the metric measures one table, and once.
    """
    members: set[Any] = set()

    def part(values: pl.Series) -> None:
        members.update(values)
        if len(members) > most:
            raise ValueError(
                f"the column {column!r} has more than {most:,} distinct values; "
                "use an expectation about their number instead")

    unique = present(column, kind).drop_nulls().unique().implode()
    return Metric((column,), (unique,), lambda parts, read: finish(frozenset(members)), part)


SLICE = 100_000
"""Number of repeated hashes whose values are compared in one pass."""


def distinct_count(column: str, values: pl.Expr, share: bool = False) -> Metric:
    """Return the metric of the number of distinct values, or their share in all values (0 if there are none).

    They are counted by hash: the count of 7 million values is one too low once in a million.
    """

    def finish(parts: list[np.ndarray], read: Read) -> float:
        hashes = _sorted(parts)
        count = int(np.count_nonzero(hashes[1:] != hashes[:-1])) + 1 if len(hashes) else 0
        return count / max(1, len(hashes)) if share else count

    return Metric((column,), (_hashes(values),), finish, pl.Series.to_numpy)


def repeated(column: str, values: pl.Expr, shown: pl.Expr, keep: int = KEPT) -> Metric:
    """Return the metric of the rows whose value also occurs in another row; its value is an `Unexpected`.

    Args:
        values: Its values, null where missing.
        shown: Value to keep of such a row.
        keep: Number of such rows to keep.
    """

    def values_of(read: Read, hashes: np.ndarray) -> pl.DataFrame:
        """Return the values with these hashes that are repeated: their count, and the first rows of each."""
        groups: list[pl.DataFrame] = []
        for chunk in _suspects(read, (column,), values, hashes):
            rows = chunk.select(
                key=values, count=pl.lit(1, pl.Int64), shown=shown, places=pl.concat_list(pl.col(ROW).cast(pl.Int64)))
            # Added up after every chunk, so that a value of many rows takes the memory of one.
            groups = [pl.concat([*groups, rows]).group_by("key", maintain_order=True).agg(
                pl.col("count").sum(), pl.col("shown").first(), pl.col("places").explode().head(keep))]
        return groups[0].filter(pl.col("count") > 1)

    def finish(parts: list[np.ndarray], read: Read) -> Unexpected:
        hashes = _sorted(parts)
        groups = [values_of(read, some) for some in _slices(_twice(hashes))]
        if not any(each.height for each in groups):
            return Unexpected(len(hashes), 0, (), ())
        together = pl.concat(groups)
        first = together.explode("places").sort("places").head(keep)
        return Unexpected(len(hashes), int(together["count"].sum()), tuple(first["shown"]), tuple(first["places"]))

    return Metric((column,), (_hashes(values),), finish, pl.Series.to_numpy)


def straddling(key: str, group: str, groups: Sequence[str]) -> Metric:
    """Return the metric of the number of values that occur in more than one group, such as texts in splits.

    Args:
        key: Column of the values.
        group: Column of the groups.
        groups: Groups that count.
    """

    def straddling_of(read: Read, hashes: np.ndarray) -> int:
        pairs: list[pl.DataFrame] = []
        for chunk in _suspects(read, (key, group), pl.col(key), hashes):
            rows = chunk.filter(pl.col(group).is_in(list(groups))).select(key, group)
            pairs = [pl.concat([*pairs, rows]).unique()]
        return pairs[0].group_by(key).len().filter(pl.col("len") > 1).height

    def finish(parts: list[list[np.ndarray]], read: Read) -> int:
        of_groups = [_different(_sorted(each)) for each in zip(*parts, strict=True)]
        return sum(straddling_of(read, some) for some in _slices(_twice(_sorted(of_groups))))

    expressions = tuple(_hashes(pl.when(pl.col(group) == each).then(pl.col(key))) for each in groups)
    return Metric((key, group), expressions, finish, lambda *values: [each.to_numpy() for each in values])


def _hashes(values: pl.Expr) -> pl.Expr:
    """Return the hashes of a chunk's values. They depend on the values alone, so those of chunks can be compared."""
    return values.hash(seed=0).filter(values.is_not_null()).implode()


def _sorted(parts: Sequence[Any]) -> np.ndarray:
    joined = np.concatenate(parts)
    joined.sort()
    return joined


def _different(hashes: np.ndarray) -> np.ndarray:
    """Return the different hashes of a sorted array; `np.unique` takes twenty times as long, with the sort."""
    new = np.ones(len(hashes), bool)
    np.not_equal(hashes[1:], hashes[:-1], out=new[1:])
    return hashes[new]


def _twice(hashes: np.ndarray) -> np.ndarray:
    """Return the hashes that occur at least twice in a sorted array."""
    return np.unique(hashes[1:][hashes[1:] == hashes[:-1]])


def _slices(hashes: np.ndarray) -> Iterator[np.ndarray]:
    return (hashes[start : start + SLICE] for start in range(0, len(hashes), SLICE))


def _suspects(read: Read, columns: Sequence[str], values: pl.Expr, hashes: np.ndarray) -> Iterator[pl.DataFrame]:
    """Yield of each chunk the rows whose value has one of these hashes."""
    these = pl.Series(hashes, dtype=pl.UInt64).implode()
    return (chunk.filter(values.is_not_null() & values.hash(seed=0).is_in(these)) for chunk in read(columns))
