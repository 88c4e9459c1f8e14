"""Count distinct strings and characters exactly, over any amount of text, in bounded memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import polars as pl

ROWS = 1_000_000
"""Maximum number of rows in memory before the counts are written to disk."""
BYTES = 64 << 20
"""The same limit in bytes, for long strings."""
PARTS = 64
"""Number of parts by hash; one part is summed up at a time."""


class TypeCounts:
    """A table of distinct strings with their exact sums, for any number of strings.

    New rows are collected and summed up when they exceed `ROWS` rows or `BYTES`. If the table is then still large, it
    is written to disk, in parts by the hash of the string. At the end each part is summed up separately (partitioned
    hash aggregation, Graefe 1993). The part of a string depends only on its hash, not on the order of the rows.

    Args:
        key: Column of the strings.
        sums: Columns to add up (Int64).
        work: Folder for temporary files; None: the system's. The files are removed at the end of the `with` block.
        share: Expression whose hash decides the part of a row; None: the string itself.
    """

    def __init__(
        self,
        key: str,
        sums: Sequence[str],
        work: Path | None = None,
        share: pl.Expr | None = None,
    ) -> None:
        self._key = key
        self._sums = list(sums)
        self._share = (pl.col(key) if share is None else share).hash(0) % PARTS
        self._folder = tempfile.TemporaryDirectory(prefix="counts-", dir=work)
        self._pending: list[pl.DataFrame] = []
        self._rows = self._bytes = self.spills = 0

    def __enter__(self) -> TypeCounts:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._folder.cleanup()

    def add(self, rows: pl.DataFrame) -> None:
        """Add rows; a string may be in several of them."""
        self._pending.append(rows)
        self._rows += rows.height
        self._bytes += int(rows.estimated_size())
        if self._rows > ROWS or self._bytes > BYTES:
            table = self._sum(self._pending)
            # A table that shrank to half the limit by summing stays in memory: there is room for more rows.
            if table.height > ROWS // 2 or table.estimated_size() > BYTES // 2:
                self._spill(table)
                table = table.clear()
            self._pending = [table]
            self._rows = table.height
            self._bytes = int(table.estimated_size())

    def parts(self) -> Iterator[pl.DataFrame]:
        """Yield the totals, each string in exactly one row of one part; no part if no rows were added."""
        if not self.spills:
            if self._pending:
                yield self._sum(self._pending)
            return

        self._spill(self._sum(self._pending))
        self._pending = []
        for part in range(PARTS):
            runs = sorted(Path(self._folder.name).glob(f"{part:03d}-*.parquet"))
            if runs:
                yield self._sum([pl.read_parquet(run) for run in runs])

    def _sum(self, tables: list[pl.DataFrame]) -> pl.DataFrame:
        return pl.concat(tables).group_by(self._key).agg(pl.col(*self._sums).sum())

    def _spill(self, table: pl.DataFrame) -> None:
        by_part = table.with_columns(part=self._share).partition_by(
            "part", as_dict=True, include_key=False
        )
        for (part,), rows in by_part.items():
            path = Path(self._folder.name) / f"{part:03d}-{self.spills:06d}.parquet"
            rows.write_parquet(path, compression="lz4", statistics=False)
        self.spills += 1


class CharacterCounts:
    """Counts of characters: one number per code point, for any amount of text."""

    def __init__(self) -> None:
        self._counts = np.zeros(0x110000, np.int64)

    def add(self, texts: Sequence[str], times: np.ndarray | None = None) -> None:
        """Count the characters of all texts; *times* (int64): weight of each text."""
        points = np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32)
        if times is None:
            self._counts += np.bincount(points, minlength=len(self._counts))
        else:
            lengths = np.fromiter(map(len, texts), np.int64, len(texts))
            np.add.at(self._counts, points, np.repeat(times, lengths))

    def items(self) -> Iterator[tuple[str, int]]:
        """Yield the characters that occur with their counts, in the order of code points."""
        for point in np.flatnonzero(self._counts):
            yield chr(point), int(self._counts[point])
