"""Assign reviews to splits by a salted hash of one id, so that a review never changes its split as data grow.

`corpus.splitting.grouping` decides which id is used, and handles splits by month.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyarrow.parquet import ParquetFile

    from core.config.sections.data import SplitConfig

TABLE = "clean.parquet"
SPLITS = ("test", "validation", "train")
"""Splits by priority: a duplicate is dropped from the split that comes later in this tuple.

clean.parquet has them in this order. The position of a split in this tuple is its rank."""
TEXT_NAME = pl.col("text").hash().alias("name")
"""A hash of each text, by which a process recognises equal ones without keeping them; other versions have others."""
TRAIN_FIRST = SPLITS[::-1]
"""Splits in the order in which they are used and shown."""


def places(ids: pl.Series, salt: str) -> pl.Series:
    """Return the place of each id in [0, 2^64), uniformly spread: the first 8 bytes of SHA-256(salt, 0x00, id).

    It is SHA-256 and not the hash of a library, because the values must be the same in every later version.
    """
    prefix = hashlib.sha256(salt.encode() + b"\x00")

    def digest(name: str) -> bytes:
        state = prefix.copy()
        state.update(name.encode())
        return state.digest()[:8]

    joined = b"".join(map(digest, ids.to_list()))
    return pl.Series("place", np.frombuffer(joined, dtype=">u8").astype(np.uint64), dtype=pl.UInt64)


def assign(ids: pl.Series, config: SplitConfig) -> pl.Series:
    """Return "test", "validation" or "train" for each id, by `places` and the shares of *config*.

    The share of test comes first, then that of validation. So a change of the latter moves nothing into or out of test.
    """
    return ranks(places(ids, config.salt), config).replace_strict(dict(enumerate(SPLITS)), return_dtype=pl.String)


def ranks(place: pl.Series, config: SplitConfig) -> pl.Series:
    """Return the split of each place, as its position in `SPLITS` (UInt8)."""
    values = place.to_numpy()
    limits = [np.uint64(int(share * 2.0**64)) for share in (config.test, config.test + config.validation)]
    return pl.Series("rank", np.searchsorted(np.array(limits), values, side="right").astype(np.uint8))


def iter_split(
    folder: Path, split: str, batch_rows: int = 10_000, columns: Sequence[str] | None = None
) -> Iterator[pl.DataFrame]:
    """Yield the reviews of one split of a prepared data set, in its order, in batches of at most *batch_rows*.

    Args:
        folder: The folder that `corpus.cleaning.clean.prepare` wrote.
        split: "train", "validation" or "test".
        batch_rows: Rows per batch.
        columns: Columns to read; default: all.
    """
    from pyarrow import parquet

    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; it must be one of {SPLITS}")
    with parquet.ParquetFile(folder / TABLE, pre_buffer=False) as file:  # pre_buffer would load the file
        column = file.schema_arrow.names.index("split")
        groups = [index for index in range(file.num_row_groups) if _may_hold(file, index, column, split)]
        names = file.schema_arrow.names if columns is None else list(columns)
        for batch in file.iter_batches(batch_rows, row_groups=groups, columns=list(dict.fromkeys([*names, "split"]))):
            frame = pl.DataFrame(pl.from_arrow(batch)).filter(pl.col("split") == split)
            if frame.height:
                yield frame.select(names)


def scan_split(folder: Path, split: str) -> pl.LazyFrame:
    """Return a query over the reviews of one split of a prepared data set, in its order."""
    return pl.scan_parquet(folder / TABLE).filter(pl.col("split") == split)


def add_texts(digest: hashlib._Hash, reviews: pl.DataFrame) -> None:
    """Add ids and texts of reviews to a hash, in such a way that no two lists of reviews add the same bytes."""
    for review_id, text in reviews.select("review_id", "text").iter_rows():
        digest.update(f"{len(review_id)},{len(text)},{review_id}{text}".encode())


def _may_hold(file: ParquetFile, group: int, column: int, split: str) -> bool:
    """Return whether a row group can hold reviews of the split, by its statistics; the file is sorted by split."""
    statistics = file.metadata.row_group(group).column(column).statistics
    return statistics is None or not statistics.has_min_max or statistics.min <= split <= statistics.max
