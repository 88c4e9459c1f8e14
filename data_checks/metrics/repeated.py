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


class Hashes(Metric):
    """64-bit hashes of a column's values, without missing values; the base of the metrics below.

    Args:
        columns: Columns that are read.
        keys: One or several series of values, null where missing. Equal values have equal hashes in all of them.
    """

    def __init__(self, columns: tuple[str, ...], *keys: pl.Expr) -> None:
        self.columns, self.keys = columns, keys
        self._parts: list[list[np.ndarray]] = [[] for _ in keys]

    def expressions(self) -> list[pl.Expr]:
        """Return a chunk's hashes. They only depend on the values, so hashes of different chunks can be compared."""
        return [key.hash(seed=0).filter(key.is_not_null()).implode() for key in self.keys]

    def add(self, *values: Any) -> None:
        """Keep the hashes of the chunk, as one array per series."""
        for parts, hashes in zip(self._parts, values, strict=True):
            parts.append(hashes.to_numpy())

    def hashes(self, number: int = 0) -> np.ndarray:
        """Return the sorted hashes of one series, and forget them."""
        parts, self._parts[number] = self._parts[number], []
        joined = np.concatenate(parts)
        joined.sort()
        return joined


class DistinctCount(Hashes):
    """Number of distinct values, counted by hash: the count of 7 million values is one too low once in a million.

    Args:
        columns: Columns that are read.
        key: Values, null where missing.
        share: Whether to return the count as a share of all values (0 if there are none).
    """

    def __init__(self, columns: tuple[str, ...], key: pl.Expr, share: bool = False) -> None:
        super().__init__(columns, key)
        self._share = share

    def value(self, read: Read) -> float:
        """Return the count or the share."""
        hashes = self.hashes()
        count = int(np.count_nonzero(hashes[1:] != hashes[:-1])) + 1 if len(hashes) else 0
        return count / max(1, len(hashes)) if self._share else count


class Repeated(Hashes):
    """Rows whose value also occurs in another row.

    Args:
        columns: Columns that are read.
        key: Values, null where missing.
        shown: Value to keep of such a row.
        keep: Number of such rows to keep.
    """

    def __init__(self, columns: tuple[str, ...], key: pl.Expr, shown: pl.Expr, keep: int = KEPT) -> None:
        super().__init__(columns, key)
        self._shown, self._keep = shown, keep

    def value(self, read: Read) -> Unexpected:
        """Return the repeated rows, the first examples in the order of the table."""
        hashes = self.hashes()
        repeated = [self._repeated(read, some) for some in _slices(_twice(hashes))]
        count = sum(int(part["count"].sum()) for part in repeated)
        if not count:
            return Unexpected(len(hashes), 0, (), ())
        rows = pl.concat(part.select("shown", "places") for part in repeated).explode("places")
        first = rows.sort("places").head(self._keep)
        return Unexpected(len(hashes), count, tuple(first["shown"]), tuple(first["places"]))

    def _repeated(self, read: Read, hashes: np.ndarray) -> pl.DataFrame:
        """Return the values with these hashes that occur in several rows: their count, and the first rows of each."""
        found: list[pl.DataFrame] = []
        for chunk in _suspects(read, self.columns, self.keys[0], hashes):
            rows = chunk.select(
                self.keys[0].alias("key"), self._shown.alias("shown"), count=pl.lit(1, pl.Int64),
                places=pl.concat_list(pl.col(ROW).cast(pl.Int64)))
            # Added up after every chunk, so that a value of many rows takes the memory of one.
            found = [pl.concat([*found, rows]).group_by("key", maintain_order=True).agg(
                pl.col("count").sum(), pl.col("shown").first(), pl.col("places").explode().head(self._keep))
                .select("key", "shown", "count", "places")]
        return found[0].filter(pl.col("count") > 1)


class Straddling(Hashes):
    """Number of values that occur in more than one of a few groups, such as texts in splits; needs 8 bytes per row.

    Args:
        key: Column of the values.
        group: Column of the groups; rows of other groups than *groups* do not count.
        groups: The groups.
    """

    def __init__(self, key: str, group: str, groups: Sequence[str]) -> None:
        super().__init__((key, group), *(pl.when(pl.col(group) == each).then(pl.col(key)) for each in groups))
        self._counted = pl.col(group).is_in(list(groups))

    def value(self, read: Read) -> int:
        """Return the number of values in more than one group."""
        each = [np.unique(self.hashes(number)) for number in range(len(self.keys))]
        both = np.concatenate(each)
        both.sort()
        return sum(self._straddling(read, some) for some in _slices(_twice(both)))

    def _straddling(self, read: Read, hashes: np.ndarray) -> int:
        key, group = self.columns
        pairs: list[pl.DataFrame] = []
        for chunk in _suspects(read, self.columns, pl.col(key), hashes):
            pairs = [pl.concat([*pairs, chunk.filter(self._counted).select(key, group)]).unique()]
        return pairs[0].group_by(key).len().filter(pl.col("len") > 1).height


def _twice(hashes: np.ndarray) -> np.ndarray:
    """Return the hashes that occur at least twice in a sorted array."""
    return np.unique(hashes[1:][hashes[1:] == hashes[:-1]])


def _slices(hashes: np.ndarray) -> Iterator[np.ndarray]:
    return (hashes[start : start + SLICE] for start in range(0, len(hashes), SLICE))


def _suspects(read: Read, columns: Sequence[str], key: pl.Expr, hashes: np.ndarray) -> Iterator[pl.DataFrame]:
    """Yield of each chunk the rows whose value has one of these hashes."""
    these = pl.Series(hashes, dtype=pl.UInt64).implode()
    return (chunk.filter(key.is_not_null() & key.hash(seed=0).is_in(these)) for chunk in read(columns))
