"""The one table of reviews that all input formats become, and the reasons for which a record does not get into it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import polars as pl

from core.errors import MissingColumn, Unreadable

COLUMNS: dict[str, pl.DataType] = {
    "review_id": pl.String(),
    "user_id": pl.String(),
    "business_id": pl.String(),
    "stars": pl.Float32(),
    "useful": pl.Int32(),
    "funny": pl.Int32(),
    "cool": pl.Int32(),
    "text": pl.String(),
    "date": pl.Datetime("us"),
    "source": pl.String(),
    "line": pl.Int64(),
}
"""Columns of an ingested part. All but review_id, text, source and line may be null.

`source` names the file (`archive:member` for a member), `line` the record's first line, counted from 1; in a JSON
array or a Parquet file, which have no lines, it is the number of the record.
"""

FIELDS = tuple(name for name in COLUMNS if name not in ("source", "line"))
"""What is read from a record: the columns that do not say where it stood."""

VOTES = ("useful", "funny", "cool")

QUARANTINE: dict[str, pl.DataType] = {
    "source": pl.String(),
    "line": pl.Int64(),
    "reason": pl.String(),
    "detail": pl.String(),
    "raw": pl.Binary(),
}
"""Columns of quarantine.parquet. `raw` holds the record's bytes as they stood in the file; for records that had no
bytes of their own (of a Parquet file, or those that a newer record with their review_id replaced) the record as one
JSON object. It is empty for a repeated record that is identical with the one that stayed, and only the beginning of a
record with more bytes than `source.max_record_bytes`."""


class Reason(StrEnum):
    """Why a record is in quarantine."""

    ENCODING = "encoding"
    """The bytes are not UTF-8, or a JSON escape is half of a character."""
    MALFORMED = "malformed"
    """Not a JSON value, or not a row of this CSV file."""
    NOT_A_RECORD = "not_a_record"
    """A JSON value, but no object; or the header of a CSV file once more."""
    MISSING_TEXT = "missing_text"
    WRONG_TYPE = "wrong_type"
    """The text is not a string, an id is a list, an object or a truth value; or a value that no table can hold."""
    TOO_LONG = "too_long"
    """The text has more characters than `source.max_chars`, or the record more bytes than `source.max_record_bytes`;
    of such a record `raw` holds only the beginning, and the detail says its length and SHA-256."""
    BAD_STARS = "bad_stars"
    """The stars are no finite number ("five"). Numbers out of range are left to the data checks."""
    BAD_VOTES = "bad_votes"
    BAD_DATE = "bad_date"
    DUPLICATE_ID = "duplicate_id"
    """Another record with this review_id is newer (or as new, and stood later)."""


ALWAYS_ALLOWED = 64 << 20
"""Bytes that any packed file may unpack to, however small it is."""


@dataclass(frozen=True)
class Limits:
    """How much of a file is held in memory at a time, and the longest text, record and file that are let through.

    A packed file may unpack to `max_expansion` times its size: reviews shrink to a third, seldom to a tenth. Of JSON
    lines up to `workers` blocks are parsed at a time, in as many threads.
    """

    max_chars: int = 100_000
    block_bytes: int = 8 << 20
    max_record_bytes: int = 8 << 20
    max_expansion: float = 200.0
    workers: int = 2

    def room(self, size: int) -> int:
        """Return to how many bytes a file of *size* bytes may unpack."""
        return max(ALWAYS_ALLOWED, int(size * self.max_expansion))

    def too_much(self, source: str, room: int) -> Unreadable:
        """Return the error for a file that unpacks to more."""
        return Unreadable(
            "The file unpacks to far more than its size", where=source, value=f"over {room:,} bytes",
            cause="it is made to fill a disk or a memory, or it is no text",
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
class Block:
    """The records of one stretch of a file: *good* has `COLUMNS`, *bad* has `QUARANTINE`.

    *end* is where the stretch ends in the unpacked file, in bytes, if the reader knows.
    """

    good: pl.DataFrame
    bad: pl.DataFrame
    end: int | None = None

    @property
    def records(self) -> int:
        """How many records the stretch held."""
        return self.good.height + self.bad.height


def missing_text(source: str, columns: Sequence[str]) -> MissingColumn:
    """Return the error for a file none of whose records has a text."""
    return MissingColumn(
        "There is no field 'text'", where=source, value="the fields are: " + ", ".join(columns or ["none"]),
        cause="the file is another table than the reviews, or its column has another name",
        remedy="name the review file, or rename its column to 'text'",
    )


def quarantine(source: str, problems: Sequence[Problem]) -> pl.DataFrame:
    """Return the problems of one source as a table with the columns of `QUARANTINE`, in order of line."""
    rows = sorted(problems, key=lambda problem: problem.line)
    return pl.DataFrame(
        {
            "source": [source] * len(rows),
            "line": [row.line for row in rows],
            "reason": [row.reason.value for row in rows],
            "detail": [row.detail for row in rows],
            "raw": [row.raw for row in rows],
        },
        schema=QUARANTINE,
    )
