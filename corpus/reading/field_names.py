"""Translate the field names of a file to those of `reviewlm.corpus.schema.FIELDS`, as `source.fields` says.

A file without the other name is read under our name, so files of several origins can be read together; `Review ID` and
`Stars` are ours too, where no field has our own spelling. Fields are also read from the names of folders, as Spark and
Hive write them: `stars=5/part-0.parquet`. They leave a column by which they divide a table out of its files, so its
values are in these names only.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from reviewlm.core.errors import MissingColumn
from reviewlm.corpus.reading.dates import is_date
from reviewlm.corpus.reading.known_names import find_known, is_known_elsewhere, settings_for
from reviewlm.corpus.schema import FIELDS, LABEL, ReadingOptions

FIELD = re.compile(r"(\w+)=(.+)", re.DOTALL)
MISSING = "__HIVE_DEFAULT_PARTITION__"
"""What Hive and Spark write for a missing value."""
LONGEST_SHOWN = 40
"""Characters that are shown of the name of a field."""
LIKE_TEXT = ("review", "review_text", "body", "content", "comment", "message")
"""Names that other programs give the text of a review."""
IN_ORDER = ("text", "stars", "date", *(name for name in FIELDS if name.endswith("_id")))
"""Our fields as a user thinks of them: the text first."""
KNOWN = ", ".join(name for name in FIELDS if name != "text")
MOST_FOLDED = 20
"""Characters of a name that may be ours in another spelling; values are compared too, where a header may be repeated."""
FOLDED = {name.replace("_", ""): name for name in FIELDS}
"""Our names by what `fold` makes of them."""


def folder_fields(source: str) -> dict[str, str]:
    """Return names and values in the folders of a source such as `a/stars=5/x.json` or `x.tar:stars=5/y.json`."""
    fields = {}
    for folder in source.split("/")[:-1]:
        pair = FIELD.fullmatch(folder.rpartition(":")[2])
        if pair and pair[2] != MISSING:
            fields[pair[1]] = unquote(pair[2])

    return fields


def our_fields(source: str, renamed: Mapping[str, str]) -> dict[str, str]:
    """Return the fields of a review in the folders of a source, under our names.

    Args:
        renamed: {our name: their name}.
    """
    given = folder_fields(source)
    for name in folders_without_day(given, renamed):
        del given[name]
    ours = {ours: given[theirs] for ours, theirs in renamed.items() if theirs in given}
    return {name: given[name] for name in FIELDS if name in given} | ours


def folders_without_day(given: Mapping[str, str], renamed: Mapping[str, str]) -> list[str]:
    """Return the names of fields in folders that should be a date and are none, such as `date=2023-05`."""
    dates = {"date", renamed.get("date", "date")} & given.keys()
    return sorted(name for name in dates if not is_date(given[name]))


def fold(name: str) -> str:
    """Return a name of a field without what people write in several ways: capital letters, spaces, `_` and `-`."""
    return re.sub(r"[\s_-]+", "", name).casefold()


def spellings_of(names: Iterable[str], renamed: Mapping[str, str]) -> dict[str, str]:
    """Return the names of a file that are ours but for capital letters, spaces, `_` or `-`: {their name: ours}.

    Args:
        renamed: {our name: their name}; the latter mean what the user says.
    """
    others = sorted(set(names) - set(FIELDS) - set(renamed.values()))
    return {name: FOLDED[fold(name)] for name in others if fold(name) in FOLDED}


def our_columns(columns: Sequence[str], renamed: Mapping[str, str]) -> list[str]:
    """Return our names of the columns of a table; a column whose name another column has taken becomes nameless.

    Args:
        renamed: {our name: their name}.
    """
    ours = {their: our for our, their in renamed.items() if their in columns}
    taken = set(ours.values())
    known = {*taken, *columns}
    spellings = spellings_of(columns, renamed)
    ours |= {their: our for their, our in spellings.items() if our not in known}
    return [ours.get(name, "" if name in taken else name) for name in columns]


def our_record(record: Any, renamed: Mapping[str, str]) -> Any:
    """Return a decoded JSON object with our names; other values, which are no records, are returned unchanged."""
    if not renamed or not isinstance(record, dict):
        return record
    translated = {our: record[their] for our, their in renamed.items() if their in record}
    theirs = {renamed[our] for our in translated}
    return {name: value for name, value in record.items() if name not in theirs} | translated


def respelt(record: Any, spellings: Mapping[str, str]) -> Any:
    """Return a decoded JSON object with our spelling of the names; a field that it has under our name stays.

    Args:
        spellings: {their name: our name}, from `spellings_of`.
    """
    if not isinstance(record, dict) or spellings.keys().isdisjoint(record):
        return record
    ours = {}
    for name, value in record.items():
        if name in spellings and spellings[name] not in record:
            ours[spellings[name]] = value

    return {name: value for name, value in record.items() if name not in spellings} | ours


def require_fields(
    source: str,
    columns: Collection[str],
    options: ReadingOptions,
    label: bool = True,
) -> None:
    """Refuse a file that has no text, or a field named by the user under neither name: the name may be misspelled.

    Those that it has under the user's name are added to `ReadingOptions.named`. Without *label*, `LABEL` is not needed.

    Raises:
        MissingColumn: It lists the fields that exist.
    """
    renamed = dict(options.renamed)
    if not label:
        renamed.pop(LABEL, None)

    in_folders = our_fields(source, renamed)
    for ours, theirs in renamed.items():
        if theirs in columns or ours in in_folders:
            options.named.add(ours)

    known = {*columns, *spellings_of(columns, renamed).values()}
    for ours in ("text", *renamed):
        theirs = renamed.get(ours, ours)
        if ours not in known and theirs not in known and ours not in in_folders:
            shown = ", ".join(_short_name(name) for name in columns) or "none"
            raise MissingColumn(
                f"There is no field {theirs!r}",
                where=source,
                value=f"the fields are: {shown}",
                cause="the file does not hold the reviews, or the field has another name",
                remedy=_name_fields(ours, columns, known),
            )


def _name_fields(
    ours: str,
    columns: Collection[str],
    known: Collection[str],
) -> str:
    """Return the remedy for a file without one of our fields: settings that name it, and others that look known."""
    remedy = "name the review file, or say which field it is: "
    if ours == LABEL:
        return f"{remedy}`--set classification.label=NAME`"
    if ours != "text":
        return f"{remedy}`--set source.fields.{ours}={likely_field(ours, columns)}`"

    settings = settings_for(columns, [name for name in IN_ORDER if name not in known])
    if "source.fields.text=" in settings:
        return f"{remedy}`{settings}`"

    return (
        f"{remedy}`--set source.fields.text={likely_field(ours, columns)}` (in the same way {KNOWN}, which are used "
        "where they exist)"
    )


def likely_field(ours: str, columns: Collection[str]) -> str:
    """Return the field that is probably meant by one of our names; "NAME" if none looks like it."""
    if ours in (found := find_known(columns)):
        return found[ours]

    names = {}
    for name in columns:
        if len(name) <= LONGEST_SHOWN and not is_known_elsewhere(ours, name):
            names[name.lower()] = name

    for word in (ours, *LIKE_TEXT) if ours == "text" else (ours,):
        if near := difflib.get_close_matches(word, names, n=1):
            return names[near[0]]
    return "NAME"


def _short_name(name: str) -> str:
    """Return the name of a field as errors show it: what is long may be a review."""
    if len(name) <= LONGEST_SHOWN:
        return name
    return f"{name[:LONGEST_SHOWN]}…"


def is_text(name: str, renamed: Mapping[str, str]) -> bool:
    """Return whether a field with this name can be the text of a review."""
    return name == renamed.get("text") or (len(name) < MOST_FOLDED and fold(name) == "text")
