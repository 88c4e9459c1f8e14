"""Translate the field names of a file to those of `corpus.schema.FIELDS`, as `source.fields` says.

A file without the other name is read under our name, so files of several origins can be read together. Fields are also
read from the names of folders, as Spark and Hive write them: `stars=5/part-0.parquet`. They leave a column by which
they divide a table out of its files, so its values are in these names only.

Give ids one form in every format, and derive the id of a record that has none.

pandas writes the whole numbers of a column with gaps as 1000.0, so `1000` and `1000.0` are one user: otherwise one
person would stand in two splits. A number that a program has rounded (1.23457E+17) would make many users one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import polars as pl

from core.errors import MissingColumn
from corpus.schema import FIELDS, LABEL

FIELD = re.compile(r"(\w+)=(.+)", re.DOTALL)
MISSING = "__HIVE_DEFAULT_PARTITION__"
"""What Hive and Spark write for a missing value."""


def folder_fields(source: str) -> dict[str, str]:
    """Return names and values in the folders of a source such as `a/stars=5/x.json` or `x.tar:stars=5/y.json`."""
    folders = (folder.rpartition(":")[2] for folder in source.split("/")[:-1])
    pairs = (pair for folder in folders if (pair := FIELD.fullmatch(folder)))
    return {pair[1]: unquote(pair[2]) for pair in pairs if pair[2] != MISSING}


def our_fields(source: str, renamed: Mapping[str, str]) -> dict[str, str]:
    """Return the fields of a review in the folders of a source, under our names.

    Args:
        renamed: {our name: their name}.
    """
    given = folder_fields(source)
    ours = {ours: given[theirs] for ours, theirs in renamed.items() if theirs in given}
    return {name: given[name] for name in FIELDS if name in given} | ours


KNOWN = ", ".join(name for name in FIELDS if name != "text")


def our_columns(columns: Sequence[str], renamed: Mapping[str, str]) -> list[str]:
    """Return our names of the columns of a table; a column whose name another column has taken becomes nameless.

    Args:
        renamed: {our name: their name}.
    """
    ours = {their: our for our, their in renamed.items() if their in columns}
    taken = set(ours.values())
    return [ours.get(name, "" if name in taken else name) for name in columns]


def our_record(record: Any, renamed: Mapping[str, str]) -> Any:
    """Return a decoded JSON object with our names; other values, which are no records, are returned unchanged."""
    if not renamed or not isinstance(record, dict):
        return record
    translated = {our: record[their] for our, their in renamed.items() if their in record}
    theirs = {renamed[our] for our in translated}
    return {name: value for name, value in record.items() if name not in theirs} | translated


def require_fields(source: str, columns: Collection[str], renamed: Mapping[str, str]) -> None:
    """Refuse a file that has no text, or a field named by the user under neither name: the name may be misspelled.

    Raises:
        MissingColumn: It lists the fields that exist.
    """
    in_folders = our_fields(source, renamed)
    for ours in ("text", *renamed):
        theirs = renamed.get(ours, ours)
        if ours not in columns and theirs not in columns and ours not in in_folders:
            shown = ", ".join(columns) or "none"
            setting = "classification.label" if ours == LABEL else f"source.fields.{ours}"
            raise MissingColumn(
                f"There is no field {theirs!r}", where=source, value=f"the fields are: {shown}",
                cause="the file does not hold the reviews, or the field has another name",
                remedy=f"name the review file, or say which field it is: --set {setting}=NAME "
                + (f"(in the same way {KNOWN}, which are used where they exist)" if ours == "text" else ""),
            )


def text_names(renamed: Mapping[str, str]) -> set[str]:
    """Return the names that the field `text` can have in a file."""
    return {"text", renamed.get("text", "text")}


IDS = ("review_id", "user_id", "business_id")
DERIVED_ID, CERTAIN_ID = "sha-", "rev-"
"""Prefixes of a review_id that was derived from the content of a record without one. The second says that author,
business and date are known: two such records are one review, exported twice. Others are told apart by numbers."""
DERIVED_FROM = ("user_id", "business_id", "date", "text")
"""What does not change: stars are edited and votes are added later, and the review must stay in its split."""
IS_DERIVED = rf"^{DERIVED_ID}[0-9a-f]{{28}}$"

_WHOLE = r"^(-?\d{1,15})\.0+$"
ROUNDED = r"^-?(\d{16,}\.\d+|\d(\.\d+)?[eE]\+\d+)$"
"""Numbers that a float cannot hold exactly, or as spreadsheets show them."""
WHY_ROUNDED = "a number that was rounded, so that different ids look the same; write ids as text"


def one_form(column: pl.Expr) -> pl.Expr:
    """Return ids, given as strings, in one form: a whole number without `.0`."""
    return column.str.replace(_WHOLE, "$1")


def is_rounded(column: pl.Expr) -> pl.Expr:
    """Return whether an id, given as a string, is a number that has lost digits."""
    return column.str.contains(ROUNDED)


def derived_id(values: Sequence[object]) -> str:
    """Return the id of a record without one; records that agree in `DERIVED_FROM` get equal ids.

    Args:
        values: The values of `DERIVED_FROM`; None where unknown.
    """
    joined = "\x1f".join("" if value is None else str(value) for value in values)
    return (DERIVED_ID if None in values else CERTAIN_ID) + hashlib.sha256(joined.encode()).hexdigest()[:28]
