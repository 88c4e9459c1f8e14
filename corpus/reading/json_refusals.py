"""Refuse JSON files without records of reviews: whole tables, arrays of values, objects without a text."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from functools import partial
from typing import Any

from reviewlm.core.errors import MissingColumn, Unreadable
from reviewlm.corpus.reading.field_names import FOLDED, fold, is_text, require_fields
from reviewlm.corpus.reading.foreign import LONGEST_NAME, command_for
from reviewlm.corpus.reading.json_records import decode_json
from reviewlm.corpus.reading.known_names import RANKS, bare, find_known
from reviewlm.corpus.reading.wrappings import place_of_records, unwrap
from reviewlm.corpus.schema import ReadingOptions

TABLE_BEGINS = re.compile(
    rb'\s*\{\s*"(?:[^"]*"\s*:\s*\{\s*"\d+"\s*:|\d+"\s*:\s*\{|columns"\s*:\s*\[|schema"\s*:\s*\{\s*"fields")'
)
"""How a whole table in one line begins, where the line is too long to be decoded (`jsonlines.py`)."""
FIRST_LINES = 5
"""Lines at the beginning that tell whether records are arrays."""


def require_no_table(beginning: bytes, source: str) -> None:
    """Refuse a file whose first line is a whole table, as pandas writes it unless it is told otherwise.

    Raises:
        Unreadable: It is an object of columns or of rows, or it names the columns beside the data.
    """
    first = unwrap(first_value(beginning))
    if isinstance(first, dict) and first:
        by_name = all(isinstance(value, dict) for value in first.values())
        if by_name and len(first) == 1 and has_text(next(iter(first.values())), ReadingOptions()):
            return  # a review within a record, which has only this name
        if by_name or first.keys() >= {"columns", "data"} or first.keys() >= {"schema", "data"}:
            raise whole_table(source)


def require_objects(beginning: bytes, source: str) -> None:
    """Refuse a file whose first lines are all arrays of values.

    Raises:
        Unreadable: It has the command that names the values.
    """
    lines = [line for line in beginning.split(b"\n", FIRST_LINES)[:FIRST_LINES] if line.strip()]
    rows = [decode_json(line) for line in lines]
    if len(rows) > 1 and all(isinstance(row, list) and row for row in rows):
        raise rows_without_names(rows, source, lines=True)


def first_value(lines: bytes) -> Any:
    """Return the value in the first line; None if it is not JSON."""
    return decode_json(lines.lstrip().partition(b"\n")[0])


def has_text(record: Any, options: ReadingOptions) -> bool:
    """Return whether a decoded value is an object with a text."""
    return isinstance(record, dict) and any(is_text(name, options.renamed) for name in record)


def whole_table(source: str) -> Unreadable:
    """Return the error for a file that is a table, not a record a line."""
    return Unreadable(
        "The file is one JSON value that holds a whole table",
        where=source,
        cause="pandas writes a table in this way unless it is told otherwise",
        remedy='write one object a record: frame.to_json(file, orient="records", lines=True)',
    )


def rows_without_names(
    rows: Sequence[Sequence[Any]],
    source: str,
    lines: bool,
) -> Unreadable:
    """Return the error for records that are arrays of values, with the command that names the values.

    Args:
        rows: The first records; the first one has the names of the fields if it names a text.
        lines: There is a record a line, not one array of all.
    """
    first = rows[0]
    if all(isinstance(name, str) and len(name) <= LONGEST_NAME for name in first):
        has_names = any(fold(name) in FOLDED or bare(name) in RANKS["text"] for name in first)
    else:
        has_names = False

    slurp = ""
    if has_names:
        # The first record names the fields of the others, so jq must read all lines as one array.
        slurp = "-s" if lines else ""
        program = ".[0] as $names | .[1:][] | [$names, .] | transpose | map({(.[0]): .[1]}) | add"
    else:
        # The longest string is taken for the text.
        lengths = [len(value) if isinstance(value, str) else 0 for value in first]
        place = lengths.index(max(lengths, default=0)) if lengths else 0
        program = f"{'' if lines else '.[] | '}{{text: .[{place}]}}"

    options = f"-c {slurp}".strip()
    command = command_for(source, f"jq {options} {shlex.quote(program)}")
    return Unreadable(
        "The records are arrays of values without the names of their fields",
        where=source,
        value=f"arrays of {len(first)} values",
        remedy='in pandas: frame.to_json(file, orient="records", lines=True); or name the fields: '
        f"{command} > reviews.jsonl",
    )


def require_known(
    values: Sequence[Any],
    source: str,
    options: ReadingOptions,
) -> None:
    """Refuse a file if none of its first objects has a text, or a field that the user named.

    Raises:
        MissingColumn: There are objects, and all of them lack it.
    """
    records = [unwrap(value) for value in values if isinstance(value, dict)]
    keys = {key: None for record in records for key in record}
    if not keys:
        return

    try:
        # a later record may be the first with a label
        require_fields(source, keys, options, label=False)
    except MissingColumn as error:
        path = place_of_records(records[0], partial(_may_have_text, options=options))
        if not path:
            raise
        raise MissingColumn(
            error.what,
            where=source,
            value=error.value,
            cause=f"the reviews stand deeper in the records, at {path}",
            remedy=f"take them out: jq -c '{path}' {source} > reviews.jsonl",
        ) from error


def _may_have_text(record: Any, options: ReadingOptions) -> bool:
    """Return whether a decoded value is an object with a text, maybe under a name that other programs give it."""
    if has_text(record, options):
        return True
    other = find_known(record).get("text")
    return other is not None and isinstance(record[other], str)
