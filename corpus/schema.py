"""Define the table of reviews that every input format is converted to, and the reasons to quarantine a record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import polars as pl

from reviewlm.core.errors import TO_UTF8, Unreadable
from reviewlm.corpus.account import Entry

COLUMNS: dict[str, pl.DataType] = {
    "review_id": pl.String(),
    "user_id": pl.String(),
    "business_id": pl.String(),
    "stars": pl.Float32(),
    "text": pl.String(),
    "date": pl.Datetime("us"),
    "source": pl.String(),
    "line": pl.Int64(),
}
"""Columns of an ingested part. All columns except review_id, text, source and line may be null.

`source` is the name of the file (`archive:member` for a member of an archive). `line` is the first line of the record,
counted from 1. JSON arrays and Parquet files have no lines: there it is the number of the record.
"""

FIELDS = tuple(name for name in COLUMNS if name not in ("source", "line"))
"""The columns that are read from a record: all except `source` and `line`."""

LABEL = "(label)"
"""Column with what classifiers predict, as text; read only if `ReadingOptions.renamed` names its field.

No file has a field of this name, which would be read in its place."""

RECORD_TYPE = "type"
"""Field of older files of the dataset that says of what kind a record is; it is looked at, and not kept."""


QUARANTINE: dict[str, pl.DataType] = {
    "source": pl.String(),
    "line": pl.Int64(),
    "reason": pl.String(),
    "detail": pl.String(),
    "raw": pl.Binary(),
}
"""Columns of quarantine.parquet.

`raw` holds the bytes of the record as they are in the file. Two kinds of records have no bytes in a file: records of a
Parquet file, and records that a newer record with the same review_id replaced. For these `raw` is the record as one
JSON object. For a repeated record that is identical to the kept one, `raw` is empty. For a record longer than
`source.max_record_bytes`, `raw` is only its beginning.
"""
ALWAYS_ALLOWED = 64 << 20
"""Bytes that any packed file may unpack to, even a very small one."""


def whole_stars() -> pl.Expr:
    """Return the column `stars` as a whole number from 1 to 5 (Int8); 0 for anything else."""
    rating = pl.col("stars")
    return (
        pl.when(rating.is_between(1, 5) & (rating == rating.floor()))
        .then(rating)
        .otherwise(0)
        .cast(pl.Int8)
    )


def byte_count() -> pl.Expr:
    """Return the bytes of the column `text`, with one for its end: what bits per byte are divided by."""
    return (pl.col("text").str.len_bytes() + 1).cast(pl.Int32)


def word_count() -> pl.Expr:
    """Return the number of words of the column `text`: what is between spaces and line breaks."""
    return pl.col("text").str.count_matches(r"[^ \n]+").cast(pl.Int32)


class Reason(StrEnum):
    """The reason why a record is in quarantine."""

    ENCODING = "encoding"
    """The bytes are not UTF-8, or a JSON escape is one half of a surrogate pair."""
    MALFORMED = "malformed"
    """Not a JSON value, or not a row of this CSV file."""
    NOT_A_RECORD = "not_a_record"
    """A JSON value that is not an object, a repeated header inside a CSV file, or a record of another type: a tip."""
    MISSING_TEXT = "missing_text"
    WRONG_TYPE = "wrong_type"
    """The text is not a string, or an id is a list, an object, a boolean or a rounded number."""
    TOO_LONG = "too_long"
    """The text has more characters than `source.max_chars`, or the record more bytes than `source.max_record_bytes`.

    In the second case `raw` holds only the beginning, and the detail gives the length and the SHA-256.
    """
    BAD_STARS = "bad_stars"
    """The stars are not a finite number ("five"). The data checks handle numbers out of range."""
    BAD_DATE = "bad_date"
    """The date is in none of the forms of `reviewlm.corpus.reading.dates`, before 1990 or in the future."""
    DUPLICATE_ID = "duplicate_id"
    """Another record with this review_id is newer, or has the same date and comes later in the input."""
    UNREADABLE_FILE = "unreadable_file"
    """The whole file cannot be read to its end; it was set aside, with all its records."""


REMEDIES = {
    Reason.ENCODING: TO_UTF8,
    Reason.WRONG_TYPE: "write texts and ids as text; or do not read those that are no ids: `--set source.fields.review_id=` "
    "(or user_id, business_id)",
    Reason.BAD_STARS: "write ratings as the numbers 1 to 5; or do not read them: `--set source.fields.stars=`",
    Reason.BAD_DATE: "write dates as 2024-05-31; or do not read them: `--set source.fields.date=`",
    Reason.TOO_LONG: "raise source.max_chars or source.max_record_bytes, if they are reviews",
}
"""What to do about records in quarantine, by reason."""
NOT_TO_CORRECT = (Reason.DUPLICATE_ID.value, Reason.UNREADABLE_FILE.value)
"""Reasons of records that a correction cannot bring back."""


@dataclass(frozen=True)
class ReadingOptions:
    """Options of a reading: limits of memory, of a text, a record and an unpacked file; names of fields; forms of values.

    A packed file may unpack to `max_expansion` times its size. Reviews usually shrink to a third, rarely to a tenth.
    Up to `workers` blocks of JSON lines are parsed at the same time, each in its own thread. `renamed` has the fields
    of `FIELDS` that have another name in the files: {our name: their name}; with `LABEL`, this field is read too. *now*
    is the present moment in UTC: later dates are refused. `named` collects our names of the fields that some file has
    under the other name. `date_order` says how dates like 05-06-2023 are read ("auto": day first, until the whole file
    is known); `month_first` names the sources whose dates have shown that the month comes first. With `ids` "per_file",
    an id is one within its file only. The fields in `unread` are unknown in every record, whatever the files say.
    `lowest_stars` is the rating that means one star.
    """

    max_chars: int = 100_000
    block_bytes: int = 8 << 20
    max_record_bytes: int = 8 << 20
    max_expansion: float = 200.0
    workers: int = 2
    renamed: Mapping[str, str] = field(default_factory=dict)
    named: set[str] = field(default_factory=set, compare=False)
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    date_order: str = "auto"
    month_first: frozenset[str] = frozenset()
    ids: str = "unique"
    unread: frozenset[str] = frozenset()
    lowest_stars: int = 1

    def reads_month_first(self, source: str) -> bool:
        """Return whether dates like 05-06-2023 in a source begin with the month."""
        return self.date_order == "month" or source in self.month_first

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that are read from a record."""
        ours = [name for name in FIELDS if name not in self.unread]
        if LABEL in self.renamed:
            return (*ours, RECORD_TYPE, LABEL)
        return (*ours, RECORD_TYPE)

    def room(self, size: int) -> int:
        """Return the number of bytes that a file of *size* bytes may unpack to."""
        return max(ALWAYS_ALLOWED, int(size * self.max_expansion))

    def too_much(self, source: str, room: int) -> Unreadable:
        """Return the error for a file that unpacks to more than *room* bytes."""
        return Unreadable(
            "The file unpacks to far more than its size",
            where=source,
            value=f"over {room:,} bytes",
            cause="it may be a decompression bomb, or it is not text",
            remedy="if you trust it, raise source.max_expansion",
        )


@dataclass(frozen=True)
class Problem:
    """One record that cannot be used."""

    line: int
    reason: Reason
    detail: str
    raw: bytes


@dataclass(frozen=True)
class BlockTraits:
    """Traits of a whole file that one stretch of it shows.

    Attributes:
        source: Name of the file, or of the member of an archive.
        filled: Number of records with a value, by our name of the field.
        names: All names of fields, as the file has them.
        orders: Number of dates like 05-06-2023, by the order of day and month that they allow (`reading.dates.DayMonthOrder`).
    """

    source: str
    filled: Mapping[str, int] = field(default_factory=dict)
    names: frozenset[str] = frozenset()
    orders: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Block:
    """The records of one stretch of a file.

    Attributes:
        good: Typed records, with the columns `COLUMNS`.
        bad: Records that cannot be used, with the columns `QUARANTINE`.
        entries: What was repaired or left out, for the account; records in *bad* are not in it.
        traits: What the stretch shows about its file; None if it shows nothing.
    """

    good: pl.DataFrame
    bad: pl.DataFrame
    entries: tuple[Entry, ...] = ()
    traits: BlockTraits | None = None

    @property
    def records(self) -> int:
        """Number of records in the stretch."""
        return self.good.height + self.bad.height


def quarantine(source: str, problems: Sequence[Problem]) -> pl.DataFrame:
    """Return the problems of one source as a table with the columns `QUARANTINE`, sorted by line."""
    rows = sorted(problems, key=lambda problem: problem.line)
    columns: dict[str, list[Any]] = {"source": [source] * len(rows)}
    columns["line"] = [row.line for row in rows]
    columns["reason"] = [row.reason.value for row in rows]
    columns["detail"] = [row.detail for row in rows]
    columns["raw"] = [row.raw for row in rows]
    return pl.DataFrame(columns, schema=QUARANTINE)
