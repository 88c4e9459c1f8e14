"""Find values that occur in more than one row, with 8 bytes of memory per row for values of any length.

A first pass keeps the 64-bit hash of every value. Only hashes that occur twice can belong to repeated values. So a
second pass reads those rows again and compares the values themselves: different values with equal hashes are never
counted as equal. If very many values are repeated, further passes handle one slice of the hashes each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl

from data_checks.metrics.metrics import KEPT, ROW, Metric, Read, Unexpected

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
        found: list[pl.DataFrame] = []
        for chunk in _suspects(read, (column,), values, hashes):
            rows = chunk.select(
                key=values, count=pl.lit(1, pl.Int64), shown=shown, places=pl.concat_list(pl.col(ROW).cast(pl.Int64)))
            # Added up after every chunk, so that a value of many rows takes the memory of one.
            found = [pl.concat([*found, rows]).group_by("key", maintain_order=True).agg(
                pl.col("count").sum(), pl.col("shown").first(), pl.col("places").explode().head(keep))]
        return found[0].filter(pl.col("count") > 1)

    def finish(parts: list[np.ndarray], read: Read) -> Unexpected:
        hashes = _sorted(parts)
        found = [values_of(read, some) for some in _slices(_twice(hashes))]
        if not any(each.height for each in found):
            return Unexpected(len(hashes), 0, (), ())
        together = pl.concat(found)
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
