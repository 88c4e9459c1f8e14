"""Translate the field names of a file to those of `corpus.schema.FIELDS`, as `source.fields` says.

A file without the other name is read under our name, so files of several origins can be read together. Fields are also
read from the names of folders, as Spark and Hive write them: `stars=5/part-0.parquet`. They leave a column by which
they divide a table out of its files, so its values are in these names only.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

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
