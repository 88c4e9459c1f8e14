"""Find repeated review_ids over all parts of a data set with little memory.

The first pass uses only 64-bit hashes of the ids: 8 bytes per row, sorted in place. Only rows whose hash occurs twice
are fetched and compared by their ids, in groups. Above `HASHES` rows the passes go by ranges of the hash.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl

from corpus.reading.ids import IS_DERIVED
from corpus.schema import FIELDS
from models.threads import ordered

HASHES = 1 << 24
"""Largest number of hashes sorted at once: 128 MiB."""
FETCHED = 1 << 19
"""Approximate number of rows with repeated ids compared at once; all rows of one id are in the same group."""

_FETCHED_SCHEMA: dict[str, pl.DataType] = {
    "review_id": pl.String(), "date": pl.Datetime("us"), "row": pl.Int64(), "content": pl.UInt64(),
}


@dataclass(frozen=True)
class RepeatedIds:
    """The effect of repeated ids on the rows, which are numbered over all parts.

    `losers` are dropped in favour of another row with their id; `identical` marks those with exactly the same record.
    `renamed` are records without an id in the source, which are never duplicates: the n-th occurrence of a derived id
    gets the suffix `-n`, with n in `occurrence`. Row numbers ascend.
    """

    losers: np.ndarray
    identical: np.ndarray
    renamed: np.ndarray
    occurrence: np.ndarray

    def of_rows(self, start: int, end: int) -> RepeatedIds:
        """Return the repeats of the rows start … end-1, numbered from 0."""
        lost = slice(*np.searchsorted(self.losers, [start, end]))
        new = slice(*np.searchsorted(self.renamed, [start, end]))
        return RepeatedIds(
            self.losers[lost] - start, self.identical[lost], self.renamed[new] - start, self.occurrence[new]
        )

    def __bool__(self) -> bool:
        return bool(self.losers.size or self.renamed.size)


def find_repeats(paths: Sequence[Path], rows: Sequence[int]) -> RepeatedIds:
    """Find repeated ids.

    Of records that share an id from the source, the newest by date is kept. An unknown date counts as older than any
    date. If dates are equal, the last record in order is kept.

    Args:
        paths: Parts with at least `FIELDS`, in order.
        rows: Number of rows of each part.
    """
    starts = np.concatenate([[0], np.cumsum(rows)]).tolist()
    found: list[tuple[np.ndarray, ...]] = []
    for low, high in _ranges(sum(rows)):
        hashes, counts = _repeated_hashes(paths, sum(rows), low, high)
        for group in _groups(hashes, counts):
            found.append(_compare(_fetch(paths, starts, group)))
    losers, identical, renamed, occurrence = (
        np.concatenate([each[index] for each in found]) if found else np.empty(0, dtype)
        for index, dtype in enumerate((np.int64, np.bool_, np.int64, np.int32))
    )
    by_loser, by_name = np.argsort(losers), np.argsort(renamed)
    return RepeatedIds(losers[by_loser], identical[by_loser], renamed[by_name], occurrence[by_name])


def _ranges(rows: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of the 64-bit numbers, inclusive at both ends, each with about `HASHES` of *rows* hashes."""
    count = max(1, -(-rows // HASHES))
    edges = [index * 2**64 // count for index in range(count + 1)]
    for low, high in pairwise(edges):
        yield low, high - 1


def _hashes(path: Path) -> np.ndarray:
    return pl.read_parquet(path, columns=["review_id"])["review_id"].hash().to_numpy()


def _repeated_hashes(paths: Sequence[Path], rows: int, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the hashes of a range that occur more than once, ascending, and the repeats after the first of each."""
    if rows <= HASHES:
        hashes, filled = np.empty(rows, dtype=np.uint64), 0
        for path in paths:
            part = _hashes(path)
            hashes[filled : filled + part.size] = part
            filled += part.size
    else:
        parts = (_hashes(path) for path in paths)
        hashes = np.concatenate([part[(part >= np.uint64(low)) & (part <= np.uint64(high))] for part in parts])
    hashes.sort()
    again = np.flatnonzero(hashes[1:] == hashes[:-1])
    return np.unique(hashes[again], return_counts=True)


def _groups(hashes: np.ndarray, counts: np.ndarray) -> Iterator[np.ndarray]:
    """Split repeated hashes into groups of about `FETCHED` rows; *counts* are the repeats after the first."""
    if hashes.size:
        yield from np.split(hashes, np.flatnonzero(np.diff(np.cumsum(counts + 1) // FETCHED)) + 1)


def _fetch(paths: Sequence[Path], starts: Sequence[int], wanted: np.ndarray) -> pl.DataFrame:
    """Return id, date, row number and content hash of all rows whose id has one of the *wanted* hashes."""
    found = ordered(partial(_fetch_of, wanted), zip(paths, starts, strict=False), workers=2, ahead=0)
    return pl.concat([pl.DataFrame(schema=_FETCHED_SCHEMA), *found])


def _fetch_of(wanted: np.ndarray, part: tuple[Path, int]) -> pl.DataFrame:
    """Return the result of `_fetch` for one part, given with the number of its first row."""
    path, start = part
    hashes = _hashes(path)
    place = np.minimum(np.searchsorted(wanted, hashes), wanted.size - 1)
    chosen = np.flatnonzero(wanted[place] == hashes)
    if not chosen.size:
        return pl.DataFrame(schema=_FETCHED_SCHEMA)
    frame = pl.read_parquet(path, columns=list(FIELDS))[chosen]
    row = pl.Series("row", chosen + start, dtype=pl.Int64)
    content = frame.select(FIELDS).hash_rows().alias("content")
    return frame.select("review_id", "date").with_columns(row, content)


def _compare(rows: pl.DataFrame) -> tuple[np.ndarray, ...]:
    """Return losers, a mask of those identical to the kept row, rows to rename, and their occurrence numbers."""
    rows = rows.sort("row").filter(pl.len().over("review_id") > 1)
    derived = rows["review_id"].str.contains(IS_DERIVED)
    newest = rows.filter(~derived).sort("date", "row", nulls_last=False).group_by("review_id").agg(
        pl.col("row").last().alias("kept"), pl.col("content").last().alias("kept_content")
    )
    losers = rows.filter(~derived).join(newest, on="review_id").filter(pl.col("row") != pl.col("kept"))
    renamed = rows.filter(derived).with_columns(
        occurrence=pl.col("row").cum_count().over("review_id").cast(pl.Int32)
    ).filter(pl.col("occurrence") > 1)
    return (
        losers["row"].to_numpy(), (losers["content"] == losers["kept_content"]).to_numpy(),
        renamed["row"].to_numpy(), renamed["occurrence"].to_numpy(),
    )
