"""The frozen split: a salted hash of the review_id alone decides, so a review never moves, however the data grows."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyarrow.parquet import ParquetFile

    from reviewlm.config import SplitConfig

SPLITS = ("test", "validation", "train")
"""From the most to the least sacred: a duplicate leaves the side that stands later in this tuple."""


def places(review_ids: pl.Series, salt: str) -> pl.Series:
    """Return each review's place in [0, 2^64), uniformly spread: the first 8 bytes of SHA-256(salt, 0x00, id).

    SHA-256 and not a library's own hash, since the values must be the same in every later version.
    """
    prefix = hashlib.sha256(salt.encode() + b"\x00")

    def digest(review_id: str) -> bytes:
        state = prefix.copy()
        state.update(review_id.encode())
        return state.digest()[:8]

    joined = b"".join(map(digest, review_ids.to_list()))
    return pl.Series("place", np.frombuffer(joined, dtype=">u8").astype(np.uint64), dtype=pl.UInt64)


def assign(review_ids: pl.Series, config: SplitConfig) -> pl.Series:
    """Return "test", "validation" or "train" for each review_id, by `places` and the shares of *config*.

    The test's share comes first, then the validation's: changing the latter moves no review into or out of the test.
    """
    return sides(places(review_ids, config.salt), config)


def sides(place: pl.Series, config: SplitConfig) -> pl.Series:
    """Return the split of each place."""
    shares = (config.test, config.test + config.validation)
    test, validation = (pl.lit(int(share * 2.0**64), pl.UInt64) for share in shares)
    chosen = (
        pl.when(place < test).then(pl.lit("test"))
        .when(place < validation).then(pl.lit("validation"))
        .otherwise(pl.lit("train"))
    )
    return pl.select(chosen.alias("split")).to_series()


def duplicates(keys: pl.DataFrame) -> pl.DataFrame:
    """Return which rows leave, since their text stands elsewhere too.

    Test and validation keep what repeats within them: they are samples of what is really written. Validation loses
    the texts of the test; train loses the texts of both, and of what repeats within it keeps the first by place.

    Args:
        keys: Columns place (UInt64), review_id, split and text_key (equal for equal texts), a row per review.

    Returns:
        *keys* with the column `left`: null for rows that stay, else "of_test", "of_validation" or "of_train".
    """
    rank = pl.col("split").replace_strict({name: rank for rank, name in enumerate(SPLITS)}, return_dtype=pl.Int8)
    ranked = keys.with_columns(rank=rank)
    best = pl.col("rank").min().over("text_key")
    first = pl.struct("place", "review_id").rank("ordinal").over("text_key", "split") == 1
    left = (
        pl.when(pl.col("rank") > best).then(best.replace_strict({0: "of_test", 1: "of_validation"}, default="of_train"))
        .when((pl.col("split") == "train") & ~first).then(pl.lit("of_train"))
    )
    return ranked.with_columns(left=left).drop("rank")


def iter_split(folder: Path, split: str, batch_rows: int = 10_000) -> Iterator[pl.DataFrame]:
    """Yield the reviews of one split of a prepared dataset, in its order, in batches of at most *batch_rows*.

    Args:
        folder: What `corpus.clean.prepare` wrote.
        split: "train", "validation" or "test".
        batch_rows: Rows per batch.
    """
    from pyarrow import parquet

    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; it must be one of {SPLITS}")
    with parquet.ParquetFile(folder / "clean.parquet") as file:
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
