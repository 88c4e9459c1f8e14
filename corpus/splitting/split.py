"""Assign reviews to splits: a review never changes its split as data grow, and what belongs together stays together.

By review, user or business a salted hash of the id decides; by month, two dates decide. In both cases the split of a
review depends only on the review and the settings, provided that the dates are given.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from reviewlm.core.config.sections.data import SplitConfig
from reviewlm.core.errors import ConfigError, EmptyInput
from reviewlm.corpus.ingestion.parts import part_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyarrow.parquet import ParquetFile


TABLE = "clean.parquet"
SPLITS = ("test", "validation", "train")
"""Splits by priority: a duplicate is dropped from the split that comes later in this tuple.

clean.parquet has them in this order. The position of a split in this tuple is its rank."""
TEXT_NAME = pl.col("text").hash().alias("name")
"""A hash of each text, by which a process recognises equal ones without keeping them; other versions have others."""
TRAIN_FIRST = SPLITS[::-1]
"""Splits in the order in which they are used and shown."""
TRAIN = SPLITS.index("train")
KEYS = {
    "review": "review_id",
    "user": "user_id",
    "business": "business_id",
    "month": "date",
}
"""Column that decides the split, by `split.by`."""


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


def ranks(place: pl.Series, config: SplitConfig) -> pl.Series:
    """Return the split of each place, as its position in `SPLITS` (UInt8).

    The share of test comes first, then that of validation. So a change of the latter moves nothing into or out of test.
    """
    values = place.to_numpy()
    limits = [
        np.uint64(int(share * 2.0**64)) for share in (config.test, config.test + config.validation)
    ]
    return pl.Series(
        "rank", np.searchsorted(np.array(limits), values, side="right").astype(np.uint8)
    )


def iter_split(
    folder: Path,
    split: str,
    batch_rows: int = 10_000,
    columns: Sequence[str] | None = None,
) -> Iterator[pl.DataFrame]:
    """Yield the reviews of one split of a prepared data set, in its order, in batches of at most *batch_rows*.

    Args:
        folder: The folder that `reviewlm.corpus.cleaning.clean.prepare` wrote.
        split: "train", "validation" or "test".
        batch_rows: Rows per batch.
        columns: Columns to read; default: all.
    """
    from pyarrow import parquet

    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; it must be one of {SPLITS}")

    # With `pre_buffer` the whole file would be loaded.
    with parquet.ParquetFile(folder / TABLE, pre_buffer=False) as file:
        yield from _batches_of_split(file, split, batch_rows, columns)


def split_of_group(
    content: np.ndarray,
    split: str,
    batch_rows: int = 10_000,
    columns: Sequence[str] | None = None,
) -> Iterator[pl.DataFrame]:
    """Yield the reviews of one split in a row group, given as a file (`reviewlm.models.row_groups`); see `iter_split`."""
    from pyarrow import BufferReader, parquet, py_buffer

    with parquet.ParquetFile(BufferReader(py_buffer(content))) as file:
        yield from _batches_of_split(file, split, batch_rows, columns)


def groups_of_split(folder: Path, split: str) -> Iterator[tuple[int, int]]:
    """Yield the numbers of the row groups that can hold reviews of a split, and the table's row where each begins."""
    from pyarrow import parquet

    with parquet.ParquetFile(folder / TABLE, pre_buffer=False) as file:
        row = 0
        for number in range(file.num_row_groups):
            if _may_hold(file, number, split):
                yield number, row
            row += file.metadata.row_group(number).num_rows


def _batches_of_split(
    file: ParquetFile,
    split: str,
    batch_rows: int,
    columns: Sequence[str] | None,
) -> Iterator[pl.DataFrame]:
    groups = [number for number in range(file.num_row_groups) if _may_hold(file, number, split)]
    if columns is None:
        names = file.schema_arrow.names
    else:
        names = list(columns)

    for batch in file.iter_batches(
        batch_rows, row_groups=groups, columns=list(dict.fromkeys([*names, "split"]))
    ):
        frame = pl.DataFrame(pl.from_arrow(batch)).filter(pl.col("split") == split)
        if frame.height:
            yield frame.select(names)


def read_rows(
    folder: Path,
    rows: np.ndarray,
    columns: Sequence[str],
) -> pl.DataFrame:
    """Return some rows of a prepared data set, given by ascending numbers; other row groups are not read."""
    from pyarrow import parquet

    found = [pl.DataFrame()]
    with parquet.ParquetFile(folder / TABLE, pre_buffer=False) as file:
        start = 0
        for number in range(file.num_row_groups):
            end = start + file.metadata.row_group(number).num_rows
            low, high = np.searchsorted(rows, [start, end])
            if low < high:
                group = file.read_row_group(number, columns=list(columns))
                found.append(pl.DataFrame(pl.from_arrow(group.take(rows[low:high] - start))))
            start = end

    return pl.concat(found, how="diagonal")


def scan_split(folder: Path, split: str) -> pl.LazyFrame:
    """Return a query over the reviews of one split of a prepared data set, in its order."""
    return pl.scan_parquet(folder / TABLE).filter(pl.col("split") == split)


def text_bytes(reviews: pl.DataFrame) -> bytes:
    """Return ids and texts of reviews as bytes that no other list of reviews has."""
    parts = []
    for review_id, text in reviews.select("review_id", "text").iter_rows():
        parts.append(f"{len(review_id)},{len(text)},{review_id}{text}")
    return "".join(parts).encode()


def _may_hold(
    file: ParquetFile,
    group: int,
    split: str,
) -> bool:
    """Return whether a row group can hold reviews of the split, by its statistics; the file is sorted by split."""
    column = file.schema_arrow.names.index("split")
    statistics = file.metadata.row_group(group).column(column).statistics
    return (
        statistics is None
        or not statistics.has_min_max
        or statistics.min <= split <= statistics.max
    )


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Months:
    """First dates of the splits by month, and the expected share of the reviews in each of `SPLITS`."""

    validation_from: date
    test_from: date
    from_data: bool
    shares: tuple[float, ...] = ()

    def ranks(self, dates: pl.Series) -> pl.Series:
        """Return the split of each date as its position in `SPLITS`; reviews without a date are in train."""
        days = dates.dt.date()
        later = [
            (days >= first).fill_null(False).cast(pl.UInt8)
            for first in (self.validation_from, self.test_from)
        ]
        return (TRAIN - later[0] - later[1]).cast(pl.UInt8).alias("rank")


def months_of(dataset_folder: Path, config: SplitConfig) -> Months:
    """Return the dates between the splits: those of *config*, otherwise dates that reach the shares.

    The latest months go to the test split until it has its share of the dated reviews. The months before go to
    validation in the same way. In this case new data moves the dates; the log says how to fix them in the settings.

    Raises:
        ConfigError: A given date is not the first day of a month, so that its month would be in two splits.
        EmptyInput: Fewer than three months have reviews, so no dates can be chosen.
    """
    scan = pl.scan_parquet(part_files(dataset_folder))
    counts = (
        scan.group_by(pl.col("date").dt.truncate("1mo").dt.date().alias("month"))
        .len()
        .collect(engine="streaming")
    )
    counts = counts.sort("month", descending=True, nulls_last=True)
    if config.test_from:
        cuts = _first_of_month(config, "validation_from"), _first_of_month(config, "test_from")
    else:
        cuts = _cuts(counts.drop_nulls(), config, dataset_folder)
        log.info(
            "the months of the splits were chosen from the data and change when data are added; to freeze them set "
            'split.validation_from = "%s" and split.test_from = "%s"',
            *cuts,
        )

    months = Months(*cuts, from_data=not config.test_from)
    side = months.ranks(counts["month"])
    reviews = np.bincount(side.to_numpy(), counts["len"].to_numpy(), minlength=len(SPLITS))
    return replace(months, shares=tuple((reviews / max(1, reviews.sum())).tolist()))


def _first_of_month(config: SplitConfig, name: str) -> date:
    given = date.fromisoformat(getattr(config, name))
    if given.day != 1:
        raise ConfigError(
            "A split by month begins with a whole month",
            where=f"split.{name}",
            value=given,
            cause="the reviews of this month would be in two splits",
            remedy=f"set it to {given.replace(day=1)}",
        )

    return given


def _cuts(
    counts: pl.DataFrame,
    config: SplitConfig,
    where: Path,
) -> tuple[date, date]:
    """Return the dates on which validation and test begin; *counts* has month and len, the latest month first."""
    if counts.height < len(SPLITS):
        raise EmptyInput(
            "A split by month needs reviews of at least three months",
            where=where,
            value=f"{counts.height} month(s)",
            cause="the reviews have no dates"
            if counts.is_empty()
            else "the dates span too short a time",
            remedy='split by "review", "user" or "business" (split.by), or give reviews with dates',
        )

    reached = counts["len"].cum_sum().to_numpy()
    dated = int(reached[-1])
    test = int(np.searchsorted(reached, config.test * dated))
    test = min(test, counts.height - 3)
    validation = int(np.searchsorted(reached, reached[test] + config.validation * dated))
    validation = min(max(validation, test + 1), counts.height - 2)
    return counts["month"][validation], counts["month"][test]


class Grouping:
    """The split rule of one preparation: it finds the key of a review and assigns its split.

    Args:
        config: Section `split`.
        dataset_folder: An ingested data set; its dates are read for a split by month.

    Raises:
        ConfigError, EmptyInput: See `months_of`.
    """

    def __init__(self, config: SplitConfig, dataset_folder: Path) -> None:
        self.config = config
        self.months = None
        if config.by == "month":
            self.months = months_of(dataset_folder, config)

    @property
    def shares(self) -> tuple[float, ...]:
        """Approximate size of each of `SPLITS`, as a share of all reviews."""
        if self.months:
            return self.months.shares
        return (
            self.config.test,
            self.config.validation,
            1 - self.config.test - self.config.validation,
        )

    @property
    def ranges(self) -> list[tuple[float, float]]:
        """Range of the places of each of `SPLITS`, as shares of 2^64; only a split by review limits the places."""
        if self.config.by != "review":
            return [(0.0, 1.0)] * len(SPLITS)
        edges = (0.0, self.config.test, self.config.test + self.config.validation, 1.0)
        return list(pairwise(edges))

    def ranks(self, reviews: pl.DataFrame, place: pl.Series) -> pl.Series:
        """Return the split of each review as its position in `SPLITS`; *place* holds the `places` of the review_ids.

        A review without the deciding user or business is a separate group.
        """
        if self.months:
            return self.months.ranks(reviews["date"])
        if self.config.by == "review":
            return ranks(place, self.config)
        key = pl.coalesce(_key(self.config.by), "review_id").alias("key")
        return ranks(places(reviews.select(key).to_series(), self.config.salt), self.config)

    def without_key(self, reviews: pl.DataFrame) -> int:
        """Return the number of reviews without the key that should decide their split."""
        return reviews.select(_key(self.config.by).is_null().sum()).item()

    @property
    def dates_given(self) -> bool:
        """Whether the settings give the dates of the splits, and so no shares."""
        return self.months is not None and not self.months.from_data

    @property
    def without_key_fate(self) -> str:
        """Rule for reviews without the key that should decide their split."""
        return "are for training" if self.months else "are split by their review_id"

    def facts(self, without_key: int) -> dict[str, Any]:
        """Return the rule and, for a split by month, the dates with their names in the settings."""
        facts: dict[str, Any] = {"by": self.config.by, "without_key": without_key}
        if self.months:
            facts["validation_from"] = self.months.validation_from.isoformat()
            facts["test_from"] = self.months.test_from.isoformat()
            facts["dates_from_data"] = self.months.from_data
        return facts


def least_reviews(config: SplitConfig) -> int:
    """Return the number of reviews below which a split is expected to have none; split by month, one a split."""
    if config.by == "month" or config.test_from:
        return len(SPLITS)
    return ceil(1 / min(config.validation, config.test))


def remedy_of(config: SplitConfig) -> str:
    """Return advice for the user if a split has no reviews, or far from its share."""
    if config.test_from:
        return "set split.validation_from and split.test_from to months that have reviews"
    if config.by in ("user", "business"):
        return (
            f'give reviews with more different {KEYS[config.by]}s, or split by "review" (split.by)'
        )
    if config.by == "month":
        return 'set split.validation_from and split.test_from, or split by "review" (split.by)'
    return "give more (different) reviews, or larger shares: split.validation, split.test"


def _key(by: str) -> pl.Expr:
    """Return the column whose value decides the split of a review; an empty id counts as missing."""
    if by == "month":
        return pl.col("date").dt.truncate("1mo")
    return pl.when(pl.col(KEYS[by]) != "").then(pl.col(KEYS[by]))
