"""Find repeated ids in a data set, and settle for each record whether it stays, is replaced, or is another review.

Repeated review_ids are found with little memory. The first pass uses only 64-bit hashes of the ids: 8 bytes per row.
Only rows whose hash occurs twice are fetched and compared by their ids.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from reviewlm.corpus.duplicates.exact import cut_ranges, ranges_for
from reviewlm.corpus.reading.convert import IS_DERIVED
from reviewlm.corpus.schema import FIELDS
from reviewlm.models.dataflow import Dataflow, FilePiece

NAME = pl.col("review_id").hash()
"""Hash of an id, by which processes with one version of polars know equal ones."""
FEWEST_REPEATED_IDS = 20
"""Repeated ids with other texts from which records without user and business are taken for other reviews."""


class Fate(IntEnum):
    """Why a record with a repeated id leaves."""

    IDENTICAL = 0
    """The record that stays is the same."""
    SAME_TEXT = 1
    """The record that stays has the same text and differs elsewhere."""
    OTHER_TEXT = 2
    """The record that stays has another text: the review was edited."""


@dataclass(frozen=True)
class RepeatedIds:
    """The effect of repeated ids on the rows, which are numbered over all parts; row numbers ascend.

    Attributes:
        losers: Rows that are dropped in favour of another row with their id.
        fate: `Fate` of each of them.
        winners: The row that stays instead of each.
        tied: Whether it has the same date, so that only the order of the files decides.
        beside: Whether the file of the dropped row has another row of the same review.
        renamed: Rows that get another id, because theirs is that of another review.
        occurrence: Of each of these, n if it is the n-th record without an id whose content is the same: it gets the
            suffix `-n`. 0 if its id is that of another person's review: the suffix is derived from the person.
        reused: Number of ids in the source that name several reviews.
        example: Rows of two reviews with one id, if there are any.
    """

    losers: np.ndarray
    fate: np.ndarray
    winners: np.ndarray
    tied: np.ndarray
    beside: np.ndarray
    renamed: np.ndarray
    occurrence: np.ndarray
    reused: int = 0
    example: tuple[int, ...] = ()

    def of_rows(self, start: int, end: int) -> RepeatedIds:
        """Return the repeats of the rows start … end-1, numbered from 0; the rows in `winners` keep their numbers."""
        lost = slice(*np.searchsorted(self.losers, [start, end]))
        new = slice(*np.searchsorted(self.renamed, [start, end]))
        losers = self.losers[lost] - start
        renamed = self.renamed[new] - start
        of_losers = (self.fate[lost], self.winners[lost], self.tied[lost], self.beside[lost])
        return RepeatedIds(losers, *of_losers, renamed, self.occurrence[new])

    def __bool__(self) -> bool:
        return bool(self.losers.size or self.renamed.size)


def find_repeats(
    paths: Sequence[Path],
    ends: Sequence[int] = (),
    ranks: Sequence[int] = (),
    always_one: bool = False,
    engine: Dataflow | None = None,
) -> RepeatedIds:
    """Find repeated ids.

    Of the records of one review, the newest by date is kept. An unknown date counts as older than any date. If dates
    are equal, the record of the file that was read later is kept, and within a file the last one. Records with the id
    of another review, by another user or of another business, are kept under another id.

    Args:
        paths: Parts with at least `FIELDS`, in order.
        ends: For each file, the number of the row after its last one; empty: all rows are of one file.
        ranks: For each file, its place in the order in which the files were read; empty: they were read in their order.
        always_one: Records with one id from the source are always of one review.
        engine: Who reads the parts; default: threads.
    """
    if engine:
        rows = _rows_on_nodes(paths, engine)
    else:
        table = pl.scan_parquet(list(paths), row_index_name="row")
        hashes = table.select(NAME).collect(engine="streaming").to_series().to_numpy()
        rows = _rows_with(table, _repeated_hashes(hashes)).sort("row")

    rows = rows.filter(pl.len().over("review_id") > 1)  # not only equal hashes
    file = np.searchsorted(np.asarray(ends, np.int64), rows["row"].to_numpy(), side="right")
    order = np.asarray(ranks or range(len(ends) + 1), np.int32)
    rows = rows.with_columns(file=pl.Series(file), rank=pl.Series(order[file]))
    derived = rows["review_id"].str.contains(IS_DERIVED)
    return _settle(rows.filter(~derived), rows.filter(derived), always_one)


def _rows_on_nodes(paths: Sequence[Path], engine: Dataflow) -> pl.DataFrame:
    """Return the rows whose id has a repeated hash, found by workers: each compares a range of the hashes."""
    ranges = ranges_for(engine.workers())
    parts = [FilePiece(path) for path in paths]
    hashed = []
    for part in parts:
        content = engine.put_file(part)
        hashed.append(engine.submit(_hash_ids, content, ranges, results=1 + ranges))

    found = []
    for place in range(ranges):
        found += engine.submit(_repeated_of_range, *(one[1 + place] for one in hashed))

    repeated = np.concatenate(list(engine.fetch(found)))
    counts = list(engine.fetch(one[0] for one in hashed))
    starts = np.cumsum([0, *counts]).tolist()
    if not len(repeated):
        parts = parts[:1]  # for the columns of a table without rows

    there = engine.put(repeated)
    rows = []
    for part, start in zip(parts, starts, strict=False):
        content = engine.put_file(part)
        rows += engine.submit(_repeated_rows, content, start, there)
    return pl.concat(engine.fetch(rows))


def _hash_ids(content: np.ndarray, ranges: int) -> list[Any]:
    """Return the number of rows of a part, and the hashes of its ids in each range; on a worker."""
    ids = pl.read_parquet(io.BytesIO(content.data), columns=["review_id"])
    hashes = ids.select(NAME).to_series().to_numpy()
    return [len(hashes), *(hashes[places] for places in cut_ranges(hashes, ranges))]


def _repeated_of_range(*hashes: np.ndarray) -> list[np.ndarray]:
    """Return the hashes of a range that occur more than once; on a worker."""
    return [_repeated_hashes(np.concatenate(hashes))]


def _repeated_rows(
    content: np.ndarray,
    start: int,
    repeated: np.ndarray,
) -> list[pl.DataFrame]:
    """Return the rows of a part whose id has one of some hashes; on a worker."""
    table = pl.scan_parquet(
        io.BytesIO(content.data),
        row_index_name="row",
        row_index_offset=start,
    )
    return [_rows_with(table, repeated)]


def _repeated_hashes(hashes: np.ndarray) -> np.ndarray:
    """Return the hashes that occur more than once, ascending."""
    hashes = np.sort(hashes)
    return np.unique(hashes[1:][hashes[1:] == hashes[:-1]])


def _rows_with(table: pl.LazyFrame, hashes: np.ndarray) -> pl.DataFrame:
    """Return the rows whose id has one of some hashes, as far as they are compared."""
    rows = table.filter(NAME.is_in(pl.Series(hashes).implode())).select(
        "review_id",
        "date",
        pl.col("row").cast(pl.Int64),
        content=pl.struct(FIELDS).hash(),
        text=pl.col("text").hash(),
        user=_hash_if_known("user_id"),
        business=_hash_if_known("business_id"),
    )
    return rows.collect(engine="streaming")


def _hash_if_known(column: str) -> pl.Expr:
    """Return the hash of an id, or null where it is not known."""
    return pl.when(pl.col(column).is_not_null()).then(pl.col(column).hash())


def _settle(
    given: pl.DataFrame,
    derived: pl.DataFrame,
    always_one: bool,
) -> RepeatedIds:
    """Settle the records with ids of the source, and those with derived ids."""
    if always_one:
        review = pl.lit(0, pl.UInt64)
    else:
        review = _review(given)

    given = given.with_columns(review.alias("review"))
    by_age = given.sort("date", "rank", "row", nulls_last=False)
    newest = by_age.group_by("review_id", "review", maintain_order=True).agg(
        pl.col("row", "content", "text", "date").last().name.prefix("kept_"),
        begun=pl.col("date").min(),
        first_row=pl.col("row").min(),
    )
    given = given.with_columns(beside=pl.len().over("review_id", "review", "file") > 1)
    losers = (
        given.join(newest, on=["review_id", "review"])
        .filter(pl.col("row") != pl.col("kept_row"))
        .sort("row")
    )
    is_identical = pl.col("content") == pl.col("kept_content")
    has_same_text = pl.col("text") == pl.col("kept_text")
    of_identical = pl.when(is_identical).then(Fate.IDENTICAL)
    fate = of_identical.when(has_same_text).then(Fate.SAME_TEXT).otherwise(Fate.OTHER_TEXT)
    tied = pl.col("date").eq_missing(pl.col("kept_date"))
    losers = losers.with_columns(fate.cast(pl.Int8).alias("fate"), tied.alias("tied"))
    # The review that is the oldest keeps the id, so that a record that comes later does not change the id of another.
    others = newest.sort("begun", "first_row", nulls_last=True).filter(
        pl.int_range(pl.len()).over("review_id") > 0
    )
    counted = pl.col("row").cum_count().over("review_id").cast(pl.Int32)
    same = derived.with_columns(occurrence=counted).filter(pl.col("occurrence") > 1)
    renamed = np.concatenate([others["kept_row"].to_numpy(), same["row"].to_numpy()])
    occurrence = np.concatenate([np.zeros(others.height, np.int32), same["occurrence"].to_numpy()])
    by_row = np.argsort(renamed)
    return RepeatedIds(
        losers["row"].to_numpy(),
        losers["fate"].to_numpy(),
        losers["kept_row"].to_numpy(),
        losers["tied"].to_numpy(),
        losers["beside"].to_numpy(),
        renamed[by_row],
        occurrence[by_row],
        others["review_id"].n_unique(),
        _example(newest, others),
    )


def _example(newest: pl.DataFrame, others: pl.DataFrame) -> tuple[int, ...]:
    """Return the rows of two reviews with one id; empty if there are none."""
    if others.is_empty():
        return ()
    name = others.sort("kept_row")["review_id"][0]
    return tuple(newest.filter(pl.col("review_id") == name)["kept_row"].sort().head(2).to_list())


def _review(given: pl.DataFrame) -> pl.Expr:
    """Return a number that tells the reviews of one id apart; 0 where all records are of one review.

    They are of several if users differ, or if businesses and texts differ. A business may have moved to another id.
    Without users and businesses, a text may have been edited; but if the ids of several files have mostly other texts,
    each file has counted from 1.
    """
    over = {
        name: pl.col(name).drop_nulls().n_unique().over("review_id")
        for name in ("user", "business")
    }
    texts = pl.col("text").n_unique().over("review_id")
    people = (over["user"] > 1) | ((over["business"] > 1) & (texts > 1))
    unknown = (over["user"] == 0) & (over["business"] == 0)
    unknown &= pl.col("file").n_unique().over("review_id") > 1
    ids = pl.col("review_id")
    with_other_texts = unknown & (texts > 1)
    counts = given.select(
        all=ids.filter(unknown).n_unique(), other=ids.filter(with_other_texts).n_unique()
    )
    if given.height:
        all_unknown, other = counts.row(0)
    else:
        all_unknown = 0
        other = 0

    person = pl.struct(pl.col("user").fill_null(0), pl.col("business").fill_null(0)).hash()
    restarted = other >= FEWEST_REPEATED_IDS and 2 * other > all_unknown
    by_text = with_other_texts & pl.lit(restarted)
    review = pl.when(people).then(person).when(by_text).then(pl.col("text"))
    return review.otherwise(0).cast(pl.UInt64)


def suffix_of(
    user: str | None,
    business: str | None,
    text: str,
) -> str:
    """Return the suffix for the id of a record whose id is that of another review; text only without user and business."""
    if user or business:
        who = [user or "", business or ""]
    else:
        who = [text]

    return hashlib.sha256("\x1f".join(who).encode()).hexdigest()[:12]
