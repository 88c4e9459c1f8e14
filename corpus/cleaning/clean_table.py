"""Write the table clean.parquet slice by slice, in its order, and define its columns.

A table larger than memory is sorted by slices on disk, to which rows are distributed, each by itself. The order is by
split, and within a split by place. Places are spread uniformly, so slices of equal width hold about the same number of
reviews. Memory per review: 24 bytes (place and text hash) while rows are added, then 16 (text hash).
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import polars as pl

from reviewlm.core.store import sha256_of
from reviewlm.corpus.cleaning.business import BUSINESS, Businesses
from reviewlm.corpus.duplicates.exact import first_equal
from reviewlm.corpus.splitting.certificate import spread
from reviewlm.corpus.splitting.split import SPLITS, TABLE, TRAIN_FIRST
from reviewlm.models.row_groups import join_files
from reviewlm.models.threads import map_in_order

if TYPE_CHECKING:
    from pyarrow import Schema, Table
    from pyarrow.parquet import ParquetWriter

CLEAN: dict[str, pl.DataType] = {
    "review_id": pl.String(),
    "text": pl.String(),
    "stars": pl.Int8(),
    "bytes": pl.Int32(),
    "words": pl.Int32(),
    "date": pl.Datetime("us"),
    "split": pl.String(),
    "business_id": pl.String(),
    "user_id": pl.String(),
    **BUSINESS,
}
"""Columns of clean.parquet.

`stars` is 0 where the rating is unknown or not a whole number from 1 to 5. `bytes` is the UTF-8 length of the cleaned
text + 1 for its end. `words` counts the pieces between spaces and line breaks. The last three columns are null if no
table of businesses is given or the business of the review is not in it.
"""

ROWS = tuple(name for name in CLEAN if name != "split" and name not in BUSINESS)
"""Columns that are known before the split and the business of a review are looked up."""

ROW_GROUP = 50_000
"""Rows that are read at once; a reader of one split skips the row groups of the others."""


COPIES_FILE = "copies.parquet"
"""File next to clean.parquet: review_id, split and group of the reviews that repeat another one of their split."""
COVERAGE_FILE = "coverage.parquet"
"""File next to clean.parquet: review_id, split and coverage of the held-out reviews with any."""
ORDER = ("place", "text_high", "text_low", "review_id")
"""Sort key of a slice. Where all columns except review_id are equal, the keys in memory are equal too."""


def write_copies(folder: Path, copies: pl.DataFrame) -> dict[str, dict[str, int]]:
    """Write the reviews of clean.parquet that repeat each other within their split, and return their number by split.

    Args:
        copies: See `reviewlm.corpus.duplicates.exact.ExactDuplicates.copies`.

    Returns:
        By split {groups, reviews}.
    """
    ids = pl.scan_parquet(folder / TABLE).select("review_id")
    if copies.is_empty():
        ids = ids.head(0)

    table = (
        ids.with_row_index("row")
        .join(copies.lazy(), on="row", how="inner")
        .sort("row")
        .select("review_id", "split", "group")
        .collect()
    )
    table.write_parquet(folder / COPIES_FILE)
    numbers = {}
    for name in SPLITS:
        of_split = table.filter(pl.col("split") == name)
        numbers[name] = {"groups": of_split["group"].n_unique(), "reviews": of_split.height}

    return numbers


def write_coverage(folder: Path, coverage: Mapping[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """Write the largest coverage of each held-out review of clean.parquet, and return the distributions by split.

    Args:
        coverage: By name, one value for each held-out review, in the order of clean.parquet.

    Returns:
        By name and split: `reviewlm.corpus.splitting.certificate.spread`.
    """
    held_out = (
        pl.scan_parquet(folder / TABLE)
        .select("review_id", "split")
        .filter(pl.col("split") != "train")
        .collect()
    )
    largest = np.maximum.reduce([np.zeros(held_out.height), *coverage.values()])
    held_out.with_columns(coverage=largest).filter(pl.col("coverage") > 0).write_parquet(
        folder / COVERAGE_FILE
    )
    sides = [name for name in SPLITS if name != "train"]
    masks = {name: (held_out["split"] == name).to_numpy() for name in sides}
    spreads = {}
    for name, values in coverage.items():
        spreads[name] = {side: spread(values[mask]) for side, mask in masks.items()}

    return spreads


def write_clean(
    folder: Path,
    slices: Iterator[pl.DataFrame],
    code: np.ndarray,
    businesses: Businesses | None,
) -> dict[str, Any]:
    """Write the kept reviews to `folder/clean.parquet`.

    The bytes depend only on the rows, not on their cut into slices: all row groups except the last have `ROW_GROUP`
    rows.

    Args:
        folder: Output folder.
        slices: The reviews in their order, each frame of one split, with the column rank.
        code: (N,) for each review in the order of the slices: 0 if it is kept.
        businesses: Names, cities and categories to join.

    Returns:
        Facts: rows, splits; with a table of businesses: business.
    """
    with _new_table(folder) as file, _writer(file) as writer:
        for frame in regroup_rows(_staying(slices, code), ROW_GROUP):
            writer.write_table(_rows_of_group(frame, businesses), row_group_size=ROW_GROUP)

    return _facts_of_table(folder, _sums(pl.scan_parquet(folder / TABLE)), businesses)


def join_clean(
    businesses: Businesses | None,
    folder: Path,
    groups: Iterable[tuple[np.ndarray, pl.DataFrame]],
) -> tuple[dict[str, Any], str]:
    """Write row groups made by `encode_group` to `folder/clean.parquet`: the bytes and facts of `write_clean`.

    Returns:
        The facts, and the SHA-256 of the file.
    """
    sums = []

    def contents() -> Iterator[np.ndarray]:
        for content, of_group in groups:
            sums.append(of_group)
            yield content

    with _new_table(folder) as file:
        join_files(file, contents())

    total = pl.concat(sums).group_by("split").agg(pl.all().sum())
    return _facts_of_table(folder, total, businesses), sha256_of(folder / TABLE)


def encode_group(
    rows: pl.DataFrame, businesses: Businesses | None
) -> tuple[np.ndarray, pl.DataFrame]:
    """Return a Parquet file (bytes as uint8) with one row group of kept reviews, and their sums by split."""
    content = io.BytesIO()
    with _writer(content) as writer:
        writer.write_table(_rows_of_group(rows, businesses), row_group_size=ROW_GROUP)
    return np.frombuffer(content.getbuffer(), np.uint8), _sums(rows.lazy())


def kept_rows(rows: pl.DataFrame, kept: np.ndarray) -> pl.DataFrame:
    """Return the kept reviews of a slice with their split."""
    split = pl.lit(SPLITS[rows["rank"][0]]).alias("split")
    return rows.filter(pl.Series(kept)).select(*ROWS, split)


@contextmanager
def _new_table(folder: Path) -> Iterator[BinaryIO]:
    """Yield the table's file under another name until it is whole."""
    temporary = folder / f"{TABLE}.tmp"
    with temporary.open("wb") as file:
        yield file
    temporary.replace(folder / TABLE)


def _writer(file: BinaryIO) -> ParquetWriter:
    from pyarrow import parquet

    return parquet.ParquetWriter(file, _schema(), compression="zstd")


def _schema() -> Schema:
    return pl.DataFrame(schema=CLEAN).to_arrow(compat_level=pl.CompatLevel.oldest()).schema


def _rows_of_group(frame: pl.DataFrame, businesses: Businesses | None) -> Table:
    rows = _with_business(frame, businesses)
    return rows.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(_schema())


def _sums(reviews: pl.LazyFrame) -> pl.DataFrame:
    """Return the numbers of reviews, bytes and words of each split that is there."""
    columns = pl.col("bytes", "words").cast(pl.Int64).sum()
    reviews = reviews.group_by("split").agg(pl.len().cast(pl.Int64).alias("reviews"), columns)
    return reviews.collect()


def _facts_of_table(
    folder: Path,
    sums: pl.DataFrame,
    businesses: Businesses | None,
) -> dict[str, Any]:
    splits = {row.pop("split"): row for row in sums.iter_rows(named=True)}
    rows = sum(split["reviews"] for split in splits.values())
    facts = {"rows": rows, "splits": {name: splits[name] for name in TRAIN_FIRST}}
    if businesses:
        return {**facts, "business": businesses.facts(pl.scan_parquet(folder / TABLE))}
    return facts


def _staying(slices: Iterator[pl.DataFrame], code: np.ndarray) -> Iterator[pl.DataFrame]:
    """Yield the kept reviews with their split, slice by slice."""
    start = 0
    for frame in slices:
        kept = code[start : start + frame.height] == 0
        start += frame.height
        yield kept_rows(frame, kept)


def _with_business(frame: pl.DataFrame, businesses: Businesses | None) -> pl.DataFrame:
    if businesses:
        return businesses.join(frame).select(*CLEAN)
    return frame.with_columns(
        pl.lit(None, kind).alias(name) for name, kind in BUSINESS.items()
    ).select(*CLEAN)


@dataclass(frozen=True)
class SliceRule:
    """The cut of the order of the splits into slices: which slice a review is in.

    Attributes:
        counts: Number of slices of each split, by rank.
        low: The upper half of the first place of each split.
        width: How many upper halves each split has.
    """

    counts: np.ndarray
    low: np.ndarray
    width: np.ndarray

    @classmethod
    def of(
        cls,
        count: int,
        shares: Sequence[float],
        ranges: Sequence[tuple[float, float]],
    ) -> SliceRule:
        """Return the rule for about *count* slices.

        Args:
            shares: The expected share of each split, by rank.
            ranges: First and last place of each split, as shares of 2^64.
        """
        counts = [max(1, ceil(count * share)) for share in shares]
        lowest = [int(low * 2**32) for low, _ in ranges]
        widths = [int((high - low) * 2**32) + 1 for low, high in ranges]
        return cls(*(np.array(values, dtype=np.uint64) for values in (counts, lowest, widths)))

    @property
    def first(self) -> np.ndarray:
        """The first slice of each split."""
        return np.concatenate([[0], np.cumsum(self.counts)[:-1]]).astype(np.uint64)

    @property
    def slices(self) -> int:
        """Number of slices."""
        return int(self.counts.sum())

    def cut(self, rows: pl.DataFrame) -> dict[int, pl.DataFrame]:
        """Return the rows of each slice; *rows* has the columns rank (UInt8) and place (UInt64)."""
        rank = rows["rank"].to_numpy()
        place = (rows["place"].to_numpy() >> np.uint64(32)) - self.low[rank]
        last = self.counts[rank] - np.uint64(1)
        within = np.minimum(place * self.counts[rank] // self.width[rank], last)
        index = pl.Series("slice", self.first[rank] + within)
        parts = rows.with_columns(index).partition_by("slice", as_dict=True, include_key=False)
        return {int(which): part for (which,), part in parts.items()}


class Slices:
    """Rows that are sorted from the order of the input into the order of the splits.

    Args:
        folder: An empty folder.
        rule: The cut into slices.
    """

    def __init__(self, folder: Path, rule: SliceRule) -> None:
        self.folder = folder
        self.rule = rule
        self._keys: list[list[np.ndarray]] = [[] for _ in range(rule.slices)]
        self._left_out = np.zeros(0, bool)

    def add(self, rows: pl.DataFrame) -> None:
        """Add rows with the columns rank (UInt8), place, text_high, text_low (UInt64), review_id and any others."""
        for which, part in self.rule.cut(rows).items():
            _append(self.folder / f"{which:05d}.arrows", part)
            self._keys[which].append(part.select("place", "text_high", "text_low").to_numpy())

    def equal_texts(self) -> tuple[np.ndarray, tuple[int, int]]:
        """Return the first row (N,) with the text of each, and the rows where validation and train begin.

        Call it once, after the last row was added, because it frees the memory of the hashes.
        """
        sizes = [sum(map(len, hashes)) for hashes in self._keys]
        high = np.empty(sum(sizes), np.uint64)
        low = np.empty(sum(sizes), np.uint64)
        start = 0
        for which, size in enumerate(sizes):
            if size:
                keys = np.concatenate(self._keys[which])
                order = np.lexsort((keys[:, 2], keys[:, 1], keys[:, 0]))
                high[start : start + size] = keys[order, 1]
                low[start : start + size] = keys[order, 2]
            self._keys[which] = []
            start += size

        bounds = [sum(sizes[: int(first)]) for first in self.rule.first[1:]]
        if self._left_out.any():
            bounds = [bound - int(self._left_out[:bound].sum()) for bound in bounds]
            high, low = (np.delete(half, np.flatnonzero(self._left_out)) for half in (high, low))

        return first_equal(high, low), (bounds[0], bounds[1])

    def leave_out(self, first: np.ndarray) -> None:
        """Leave out some of the first rows, given by a mask: from now on they are neither yielded nor hashed."""
        self._left_out = first

    def __iter__(self) -> Iterator[pl.DataFrame]:
        """Yield the sorted slices, from the first to the last; the next one is sorted while the caller uses one."""
        paths = (self.folder / f"{which:05d}.arrows" for which in range(len(self._keys)))
        start = 0
        for frame in map_in_order(
            _sort_rows, (path for path in paths if path.exists()), workers=2, ahead=0
        ):
            gone = self._left_out[start : start + frame.height]
            start += frame.height
            if gone.any():
                frame = frame.filter(~pl.Series(np.pad(gone, (0, frame.height - len(gone)))))
            if frame.height:
                yield frame


def _append(path: Path, rows: pl.DataFrame) -> None:
    """Append the rows as one Arrow stream to the file, so that no file stays open, even with many slices."""
    from pyarrow import ipc

    table = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
    options = ipc.IpcWriteOptions(compression="lz4")
    with path.open("ab") as file, ipc.new_stream(file, table.schema, options=options) as stream:
        stream.write_table(table)


def _sort_rows(path: Path) -> pl.DataFrame:
    from pyarrow import ipc

    frames = []
    size = path.stat().st_size
    with path.open("rb") as file:
        while file.tell() < size:
            frames.append(pl.DataFrame(pl.from_arrow(ipc.open_stream(file).read_all())))
    return pl.concat(frames).sort(ORDER)


def regroup_rows(frames: Iterable[pl.DataFrame], rows: int) -> Iterator[pl.DataFrame]:
    """Yield rows in frames of exactly *rows* rows, each in one chunk; the last frame may be shorter."""
    waiting: list[pl.DataFrame] = []
    for frame in frames:
        waiting.append(frame)
        height = sum(each.height for each in waiting)
        if height < rows:
            continue
        whole = pl.concat(waiting)
        for start in range(0, height - height % rows, rows):
            yield whole.slice(start, rows).rechunk()
        waiting = [whole.slice(height - height % rows)]

    if rest := sum(each.height for each in waiting):
        yield pl.concat(waiting).rechunk().head(rest)
