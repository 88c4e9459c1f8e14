"""Find values that occur in more than one row, with 8 bytes of memory per row for values of any length.

A first pass keeps the 64-bit hash of every value. Only hashes that occur twice can belong to repeated values. So a
second pass reads those rows again and compares the values themselves: different values with equal hashes are never
counted as equal. If very many values are repeated, further passes handle one slice of the hashes each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from data_checks.metrics.metrics import KEPT, Metric, Unexpected

SLICE = 100_000
"""Number of repeated hashes whose values are compared in one pass."""


class Hashes(Metric):
    """Sorted 64-bit hashes of a column's values, without missing values.

    Args:
        columns: One column, or several that form one value.
        key: Value of the columns, null if it is missing.
    """

    def __init__(self, columns: tuple[str, ...], key: pl.Expr) -> None:
        self.columns, self.key = columns, key

    def expressions(self) -> list[pl.Expr]:
        """Return a chunk's hashes. They only depend on the values, so hashes of different chunks can be compared."""
        return [self.key.hash(seed=0).filter(self.key.is_not_null()).implode()]

    def state(self, values: Sequence[Any], first_row: int) -> tuple[np.ndarray, ...]:
        """Return the hashes of a chunk as one array."""
        return (values[0].to_numpy(),)

    def merge(self, left: tuple[np.ndarray, ...], right: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        """Join the two tuples of arrays."""
        return left + right

    def value(self, state: tuple[np.ndarray, ...]) -> Any:
        """Return the sorted hashes."""
        hashes = np.concatenate(state)
        hashes.sort()
        return hashes


class DistinctCount(Hashes):
    """Number of distinct values, counted by hash: the count of 7 million values is one too low once in a million."""

    def value(self, state: tuple[np.ndarray, ...]) -> int:
        """Return the count."""
        hashes = super().value(state)
        return int(np.count_nonzero(hashes[1:] != hashes[:-1])) + 1 if len(hashes) else 0


class Repeated(Hashes):
    """Rows whose value also occurs in another row.

    Args:
        columns: One column, or several that form one value.
        key: Value of the columns, null if it is missing.
        shown: Value to keep of such a row.
        keep: Number of such rows to keep.
    """

    def __init__(self, columns: tuple[str, ...], key: pl.Expr, shown: pl.Expr, keep: int = KEPT) -> None:
        super().__init__(columns, key)
        self._shown, self._keep = shown, keep

    def follow_up(self, state: tuple[np.ndarray, ...]) -> Metric | None:
        """Return the comparison of the values themselves, if any hash occurs twice."""
        hashes = super().value(state)
        twice = np.unique(hashes[1:][hashes[1:] == hashes[:-1]])
        nothing = Unexpected(len(hashes), 0, (), ())
        return _Compared(self.columns, self.key, self._shown, self._keep, twice, nothing) if len(twice) else None

    def value(self, state: tuple[np.ndarray, ...]) -> Any:
        """Return that no row is repeated; if some may be, `follow_up` returns the metric that finds them."""
        return Unexpected(sum(len(part) for part in state), 0, (), ())


class _Compared(Metric):
    """Repeated rows among those with some hashes, counted by value; *found* is the result of earlier passes."""

    def __init__(
        self, columns: tuple[str, ...], key: pl.Expr, shown: pl.Expr, keep: int, hashes: np.ndarray, found: Unexpected
    ) -> None:
        self.columns, self._key, self._shown, self._keep, self._found = columns, key, shown, keep, found
        self._these, self._others = hashes[:SLICE], hashes[SLICE:]

    def expressions(self) -> list[pl.Expr]:
        """Return value, value to show and position of each row with one of these hashes."""
        these = pl.Series(self._these, dtype=pl.UInt64)
        suspect = self._key.is_not_null() & self._key.hash(seed=0).is_in(these.implode())
        each = [self._key, self._shown, pl.int_range(pl.len(), dtype=pl.Int64)]
        return [expression.filter(suspect).implode() for expression in each]

    def state(self, values: Sequence[Any], first_row: int) -> pl.DataFrame:
        """Return the chunk's values with such a hash, each with its count and its first rows."""
        key, shown, place = values
        return _counted(pl.DataFrame({"key": key, "shown": shown, "place": place + first_row}), self._keep)

    def merge(self, left: pl.DataFrame, right: pl.DataFrame) -> pl.DataFrame:
        """Add the counts of equal values."""
        both = pl.concat([left, right]).group_by("key", maintain_order=True).agg(
            pl.col("count").sum(), pl.col("shown").first(), pl.col("places").explode().head(self._keep)
        )
        return both

    def follow_up(self, state: pl.DataFrame) -> Metric | None:
        """Return the comparison for the next slice of hashes, or None after the last slice."""
        if not len(self._others):
            return None
        found = self.value(state)
        return _Compared(self.columns, self._key, self._shown, self._keep, self._others, found)

    def value(self, state: pl.DataFrame) -> Unexpected:
        """Return the repeated rows, the first examples of all slices in the order of the table."""
        repeated = state.filter(pl.col("count") > 1)
        rows = repeated.select("shown", pl.col("places")).explode("places").sort("places").head(self._keep)
        examples = [*zip(self._found.indexes, self._found.values, strict=True)]
        examples += [(place, shown) for shown, place in rows.iter_rows()]
        examples = sorted(examples, key=lambda example: example[0])[: self._keep]
        return Unexpected(
            self._found.rows, self._found.count + int(repeated["count"].sum()),
            tuple(shown for _, shown in examples), tuple(place for place, _ in examples),
        )


def _counted(rows: pl.DataFrame, keep: int) -> pl.DataFrame:
    return rows.group_by("key", maintain_order=True).agg(
        pl.len().cast(pl.Int64).alias("count"), pl.col("shown").first(), pl.col("place").head(keep).alias("places")
    )


class Straddling(Metric):
    """Number of values that occur in more than one of a few groups, such as texts in splits; needs 8 bytes per row.

    Args:
        key: Column of the values.
        group: Column of the groups; rows of other groups than *groups* do not count.
        groups: At most three groups.
    """

    def __init__(self, key: str, group: str, groups: Sequence[str]) -> None:
        self.columns = (key, group)
        numbers = list(range(len(groups)))
        number = pl.col(group).replace_strict(list(groups), numbers, default=None, return_dtype=pl.UInt64)
        self._counted = pl.col(key).is_not_null() & number.is_not_null()
        # The group is stored in the lowest two bits of the hash.
        self._hash = pl.col(key).hash(seed=0) // 4 * 4
        self._packed = self._hash + number

    def expressions(self) -> list[pl.Expr]:
        """Return hash and group of each row of a chunk, packed into one number."""
        return [self._packed.filter(self._counted).implode()]

    def state(self, values: Sequence[Any], first_row: int) -> tuple[np.ndarray, ...]:
        """Return a chunk's packed numbers as one array."""
        return (values[0].to_numpy(),)

    def merge(self, left: tuple[np.ndarray, ...], right: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        """Join the two tuples of arrays."""
        return left + right

    def follow_up(self, state: tuple[np.ndarray, ...]) -> Metric | None:
        """Return the comparison of the values themselves, if any hash is in two groups."""
        packed = np.concatenate(state)
        packed.sort()
        between = (packed[1:] // 4 == packed[:-1] // 4) & (packed[1:] != packed[:-1])
        suspects = np.unique(packed[1:][between] // 4 * 4)
        return _Straddled(self.columns, self._hash, self._counted, suspects, 0) if len(suspects) else None

    def value(self, state: tuple[np.ndarray, ...]) -> int:
        """Return 0; if there may be such values, `follow_up` returns the metric that counts them."""
        return 0


class _Straddled(Metric):
    """Number of values in two groups, among those with some hashes; *found* is the result of earlier passes."""

    def __init__(
        self, columns: tuple[str, ...], hashed: pl.Expr, counted: pl.Expr, hashes: np.ndarray, found: int
    ) -> None:
        self.columns, self._hash, self._counted, self._found = columns, hashed, counted, found
        self._these, self._others = hashes[:SLICE], hashes[SLICE:]

    def expressions(self) -> list[pl.Expr]:
        """Return the values with such a hash, and their groups."""
        suspect = self._counted & self._hash.is_in(pl.Series(self._these, dtype=pl.UInt64).implode())
        return [pl.col(column).filter(suspect).implode() for column in self.columns]

    def state(self, values: Sequence[Any], first_row: int) -> pl.DataFrame:
        """Return the chunk's distinct pairs of value and group."""
        return pl.DataFrame({"key": values[0], "group": values[1]}).unique()

    def merge(self, left: pl.DataFrame, right: pl.DataFrame) -> pl.DataFrame:
        """Return the union of the pairs."""
        return pl.concat([left, right]).unique()

    def follow_up(self, state: pl.DataFrame) -> Metric | None:
        """Return the comparison for the next slice of hashes, or None after the last slice."""
        if not len(self._others):
            return None
        return _Straddled(self.columns, self._hash, self._counted, self._others, self.value(state))

    def value(self, state: pl.DataFrame) -> int:
        """Return the number of values in more than one group, including those of earlier passes."""
        return self._found + state.group_by("key").len().filter(pl.col("len") > 1).height
