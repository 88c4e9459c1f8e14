"""The frozen split: a salted hash of one id alone decides, so a review never moves, however the data grows.

Which id that is, and the splits by month, stand in `corpus.splitting.grouping`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyarrow.parquet import ParquetFile

    from core.config.run_config import SplitConfig

SPLITS = ("test", "validation", "train")
"""From the most to the least sacred: a duplicate leaves the side that stands later in this tuple.

They also stand in this order in clean.parquet. A split's position in this tuple is its rank."""


def places(ids: pl.Series, salt: str) -> pl.Series:
    """Return each id's place in [0, 2^64), uniformly spread: the first 8 bytes of SHA-256(salt, 0x00, id).

    SHA-256 and not a library's own hash, since the values must be the same in every later version.
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

    The test's share comes first, then the validation's: changing the latter moves nothing into or out of the test.
    """
    return ranks(places(ids, config.salt), config).replace_strict(dict(enumerate(SPLITS)), return_dtype=pl.String)


def ranks(place: pl.Series, config: SplitConfig) -> pl.Series:
    """Return the split of each place, as its position in `SPLITS` (UInt8)."""
    values = place.to_numpy()
    limits = [np.uint64(int(share * 2.0**64)) for share in (config.test, config.test + config.validation)]
    return pl.Series("rank", np.searchsorted(np.array(limits), values, side="right").astype(np.uint8))


def iter_split(folder: Path, split: str, batch_rows: int = 10_000) -> Iterator[pl.DataFrame]:
    """Yield the reviews of one split of a prepared dataset, in its order, in batches of at most *batch_rows*.

    Args:
        folder: What `corpus.cleaning.clean.prepare` wrote.
        split: "train", "validation" or "test".
        batch_rows: Rows per batch.
    """
    from pyarrow import parquet

    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; it must be one of {SPLITS}")
    with parquet.ParquetFile(folder / "clean.parquet", pre_buffer=False) as file:  # which would end as the whole file
        column = file.schema_arrow.names.index("split")
        groups = [index for index in range(file.num_row_groups) if _may_hold(file, index, column, split)]
        for batch in file.iter_batches(batch_rows, row_groups=groups):
            frame = pl.DataFrame(pl.from_arrow(batch)).filter(pl.col("split") == split)
            if frame.height:
                yield frame


def _may_hold(file: ParquetFile, group: int, column: int, split: str) -> bool:
    """Return whether a row group may hold reviews of the split; the splits lie one after another in the file."""
    statistics = file.metadata.row_group(group).column(column).statistics
    return statistics is None or not statistics.has_min_max or statistics.min <= split <= statistics.max
