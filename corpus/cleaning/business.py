"""Read Yelp's table of businesses (name, city, categories) and join it to the reviews.

It is the file `yelp_academic_dataset_business.json` (one JSON object per line), compressed or not. The table is small
(150,000 businesses) and is kept in memory.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from reviewlm.core.errors import EmptyInput, MissingColumn, Unreadable
from reviewlm.corpus.reading.archives import DAMAGED, is_tar, library, uncompressed_stream
from reviewlm.corpus.reading.convert import one_form
from reviewlm.corpus.reading.foreign import explain
from reviewlm.corpus.reading.lines import BOM
from reviewlm.corpus.schema import ReadingOptions

log = logging.getLogger(__name__)

BUSINESS: dict[str, pl.DataType] = {
    "business_name": pl.String(),
    "city": pl.String(),
    "categories": pl.String(),
}
"""Columns that a review gets from its business. `categories` are separated by ", ", as in Yelp's file."""

FIELDS = ("business_id", "name", "city", "categories")
KEY = "business_id"
_REMEDY = (
    "name Yelp's yelp_academic_dataset_business.json (source.business), or leave the setting empty"
)


@dataclass(frozen=True)
class Businesses:
    """The table, with one row per business.

    Args:
        table: Columns business_id and those of `BUSINESS`.
        repeated: Number of records whose business_id occurs again later; the last one is used.
        without_id: Number of records without a business_id.
    """

    table: pl.DataFrame
    repeated: int
    without_id: int

    def join(self, reviews: pl.DataFrame) -> pl.DataFrame:
        """Return the reviews, in their order, with the columns of `BUSINESS`: null if the business is unknown."""
        return reviews.join(
            self.table,
            on=KEY,
            how="left",
            maintain_order="left",
        )

    def facts(self, reviews: pl.LazyFrame) -> dict[str, int]:
        """Return the facts about the join; `unmatched` reviews have a business that is not in the table, or none."""
        others = (
            reviews.select(KEY)
            .join(self.table.select(KEY).lazy(), on=KEY, how="anti")
            .select(pl.len())
        )
        return {
            "businesses": self.table.height,
            "repeated": self.repeated,
            "without_id": self.without_id,
            "unmatched": others.collect(engine="streaming").item(),
        }


def read_businesses(path: Path, options: ReadingOptions | None = None) -> Businesses:
    """Read the table of businesses; its text is in memory, some 120 MB of Yelp's.

    Args:
        options: How large a packed file, and a record, may be.

    Raises:
        Unreadable: The file is missing or damaged, or a line is not a JSON object; the error gives the line.
        MissingColumn: No record has a business_id.
        EmptyInput: There are no records.
    """
    options = options or ReadingOptions()
    content = _content(path, options).removeprefix(BOM)
    if not content.strip():
        raise EmptyInput("The table of businesses is empty", where=path, remedy=_REMEDY)

    rows, fields = _json_lines(content, path, options)
    rows = rows.with_columns(one_form(pl.col(KEY)))
    named = rows.filter(pl.col(KEY).is_not_null() & (pl.col(KEY) != ""))
    if not named.height:
        raise MissingColumn(
            f"There is no field '{KEY}'",
            where=path,
            value="the fields are: " + ", ".join(fields),
            cause="the file is not the table of businesses",
            remedy=_REMEDY,
        )

    table = named.unique(KEY, keep="last", maintain_order=True).rename({"name": "business_name"})
    result = Businesses(table, named.height - table.height, rows.height - named.height)
    if result.repeated or result.without_id:
        log.warning(
            "%s: %d repeated business ids (the last one is used), %d records without an id; correct the file",
            path.name,
            result.repeated,
            result.without_id,
        )

    return result


def _content(path: Path, options: ReadingOptions) -> bytes:
    """Return the unpacked content of a file."""
    try:
        with path.open("rb") as file, library():
            room = options.room(os.fstat(file.fileno()).st_size)
            with uncompressed_stream(file, path.name, options, room) as stream:
                if is_tar(stream.peek(512)):
                    raise Unreadable(
                        "The table of businesses is in an archive",
                        where=path,
                        remedy="unpack yelp_academic_dataset_business.json and name it",
                    )

                return stream.read()
    except DAMAGED as error:
        gone = isinstance(error, OSError) and error.filename is not None
        if not gone and (known := explain(str(error), path)):
            raise known from error
        raise Unreadable(
            f"The table of businesses {'cannot be read' if gone else 'is damaged or was cut off'}",
            where=path,
            cause=str(error) or type(error).__name__,
            remedy=_REMEDY if gone else "fetch or copy the file again",
        ) from error


def _json_lines(
    content: bytes,
    path: Path,
    options: ReadingOptions,
) -> tuple[pl.DataFrame, list[str]]:
    rows: list[tuple[str | None, ...]] = []
    fields: dict[str, None] = {}
    for number, line in enumerate(content.split(b"\n"), 1):
        where = f"{path}, line {number}"
        if len(line) > options.max_record_bytes:
            raise Unreadable(
                "A business is too long",
                where=where,
                value=f"{len(line):,} bytes",
                remedy="correct the line, or raise source.max_record_bytes",
            )
        if not line.strip():
            continue
        try:
            record = orjson.loads(line)
            fields |= dict.fromkeys(record.keys())
        except (ValueError, AttributeError) as error:
            raise Unreadable(
                "A business is not a JSON object",
                where=where,
                value=line[:120],
                cause=str(error),
                remedy="correct the line; the table must have one JSON object per line",
            ) from error
        rows.append(tuple(_text(record.get(name), name, where) for name in FIELDS))

    return pl.DataFrame(rows, schema=dict.fromkeys(FIELDS, pl.String), orient="row"), list(fields)


def _text(
    value: Any,
    field: str,
    where: str,
) -> str | None:
    """Return a field as text."""
    if value is None or isinstance(value, str):
        return value
    if field == KEY and type(value) in (int, float):
        return str(value)

    raise Unreadable(
        f"The field '{field}' of a business is not text",
        where=where,
        value=value,
        remedy="correct the line",
    )
