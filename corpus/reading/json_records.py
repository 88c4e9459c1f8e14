"""Make typed records of JSON values, and say why a value cannot be used.

A value that is no record, or has no text, goes into quarantine with its bytes; the others are not affected.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any

import orjson
import polars as pl

from reviewlm.corpus.account import Entry, Outcome
from reviewlm.corpus.account_kinds import Kind
from reviewlm.corpus.reading.convert import IDS, convert
from reviewlm.corpus.reading.field_names import our_record, respelt, spellings_of
from reviewlm.corpus.reading.lines import BOM, too_long
from reviewlm.corpus.reading.wrappings import are_wrapped, has_several, unwrap
from reviewlm.corpus.schema import FIELDS, LABEL, Block, Problem, ReadingOptions, Reason

KNOWN_NAMES = frozenset({*FIELDS, "useful", "funny", "cool"})
"""Names of the fields in Yelp's own files."""
STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
STRING_OR_CONSTANT = re.compile(STRING.pattern + rb"|\bNaN\b", re.DOTALL)
NOT_JSON = re.compile(rb"[:,\[]\s*(NaN|-?Infinity)\s*[,}\]]")
RECORD_SIGN = b"\x1e"
"""Sign of RFC 7464 at the beginning of a record."""


def decode_json(line: bytes) -> Any:
    """Return the value of some JSON; None if it is not JSON."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None


def decode_records(
    lines: Sequence[bytes],
    numbers: Sequence[int],
    problems: list[Problem],
    source: str,
    options: ReadingOptions,
) -> Block:
    """Return the records in the bytes of JSON values, in order; faults of other values are appended to *problems*."""
    objects, failed = _decode_all(lines)
    if max(map(len, lines), default=0) > options.max_record_bytes:
        long = (row for row, line in enumerate(lines) if len(line) > options.max_record_bytes)
        failed = sorted({*failed, *long})

    left: set[int] = set()
    repaired = 0
    for row in failed:
        line = lines[row]
        if len(line) > options.max_record_bytes:
            problems.append(too_long(numbers[row], line, options))
            left.add(row)
            continue

        # In files joined with `cat` a mark can be in the middle; some programs write a comma at the end of a line, or
        # the sign of RFC 7464 at its beginning.
        content = line.strip().removeprefix(BOM).removeprefix(RECORD_SIGN).removesuffix(b",")
        try:
            objects[row] = orjson.loads(content)
        except orjson.JSONDecodeError as error:
            objects[row] = decode_json(without_constants(content))
            if objects[row] is not None:
                repaired += 1
                continue

            left.add(row)
            if content:
                reason = reason_of(content, error)
                problems.append(Problem(numbers[row], reason, why_of(content, error), line))

    objects, numbers, lines = (_without(left, some) for some in (objects, numbers, lines))
    block = from_objects(
        objects,
        numbers,
        lines,
        source,
        options,
        problems,
    )
    if not repaired:
        return block

    detail = "NaN, which is no JSON, is read as null"
    entry = Entry(
        "read",
        Outcome.REPAIRED,
        Kind.NAN_IN_JSON,
        repaired,
        source,
        detail,
        odd=True,
    )
    return replace(block, entries=(*block.entries, entry))


def _decode_all(lines: Sequence[bytes]) -> tuple[list[Any], list[int]]:
    """Return the values of the lines, None for what is not JSON, and the rows of these."""
    objects: list[Any] = []
    failed: list[int] = []
    loads = orjson.loads
    keep = objects.append
    for row, line in enumerate(lines):
        try:
            keep(loads(line))
        except orjson.JSONDecodeError:
            keep(None)
            failed.append(row)

    return objects, failed


def without_constants(content: bytes) -> bytes:
    """Return JSON with null for NaN outside its strings; Python writes it for a number that is none."""
    return STRING_OR_CONSTANT.sub(
        lambda found: found[0] if found[0].startswith(b'"') else b"null", content
    )


def _without(rows: Container[int], values: Sequence[Any]) -> list[Any]:
    """Return the values of all other rows."""
    if rows:
        return [value for row, value in enumerate(values) if row not in rows]
    return list(values)


def reason_of(content: bytes, error: orjson.JSONDecodeError) -> Reason:
    """Return whether orjson refused the bytes because of their encoding or because they are not JSON."""
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return Reason.ENCODING
    return Reason.ENCODING if "surrogate" in str(error) else Reason.MALFORMED


def why_of(content: bytes, error: orjson.JSONDecodeError) -> str:
    """Return the fault of bytes that are not JSON; Python writes missing numbers in a way that is not JSON."""
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as wrong:
        return f"it is not UTF-8 text: byte {content[wrong.start]:#04x} at position {wrong.start}"

    if has_several(content):
        return f"{error}; it holds more than one object, write a line for each"
    constant = NOT_JSON.search(STRING.sub(b'""', content))
    if constant:
        return f"{error}; {constant[1].decode()} is no JSON, write null"
    return str(error)


def from_objects(
    objects: Sequence[Any],
    numbers: Sequence[int],
    raws: Sequence[bytes],
    source: str,
    options: ReadingOptions,
    problems: Sequence[Problem] = (),
) -> Block:
    """Convert decoded JSON values, which should be objects with a text, to typed records.

    Args:
        objects: The values, with their line (or record) *numbers* and bytes *raws*.
        problems: Problems already found in this stretch.
    """
    if options.renamed:
        objects = [unwrap(value) for value in objects]

    objects, names = _with_our_names(objects, options)
    all_problems = list(problems)
    are_records = set(map(type, objects)) <= {dict}
    columns = {}
    if are_records:
        columns = _columns(objects, options.fields)

    kinds = _kinds_of(columns)
    if not columns or are_wrapped(kinds):
        objects, names = _with_our_names([unwrap(value) for value in objects], options)
        columns = {}
        if are_records:
            columns = _columns(objects, options.fields)

        kinds = _kinds_of(columns)

    if not _are_usual(kinds):
        labelled = LABEL in options.fields
        misfits = {}
        for row, value in enumerate(objects):
            if why := _misfit(value, labelled):
                misfits[row] = why
                all_problems.append(Problem(numbers[row], *why, raws[row]))

        objects, numbers, raws = (_without(misfits, some) for some in (objects, numbers, raws))
        columns = _columns(objects, options.fields)
        kinds = _kinds_of(columns)

    if LABEL in columns:  # a truth value is written as in JSON
        written = {True: "true", False: "false"}
        columns[LABEL] = [
            written[value] if isinstance(value, bool) else value for value in columns[LABEL]
        ]
        kinds[LABEL] = set(map(type, columns[LABEL]))

    for name in columns.keys() - {"text"}:
        columns[name] = _as_text(columns[name], kinds[name])

    loose = pl.DataFrame(columns, schema=dict.fromkeys(options.fields, pl.String))
    loose = loose.with_columns(pl.Series("line", numbers, dtype=pl.Int64))
    return convert(
        loose,
        source,
        lambda row: raws[row],
        options,
        all_problems,
        names,
    )


def _with_our_names(
    objects: Sequence[Any], options: ReadingOptions
) -> tuple[Sequence[Any], frozenset[str]]:
    """Return JSON values with our names of the fields, and all names of fields as the file has them."""
    are_records = set(map(type, objects)) <= {dict}
    records = objects
    if not are_records:
        records = [one for one in objects if isinstance(one, dict)]

    names: frozenset[str] = frozenset().union(*records)
    if options.renamed:
        objects = [our_record(value, options.renamed) for value in objects]
    if not names <= KNOWN_NAMES and (spellings := spellings_of(names, options.renamed)):
        objects = [respelt(value, spellings) for value in objects]
    return objects, names


def _columns(records: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, Sequence[Any]]:
    """Return the values of each field; None where a record lacks it."""
    usual = [name for name in names if records and name in records[0]]
    columns: dict[str, Sequence[Any]] = {}
    if len(usual) > 1:
        # All values of a record at once, if it has the fields of the first one.
        take = itemgetter(*usual)
        rows = []
        for record in records:
            try:
                rows.append(take(record))
            except KeyError:
                rows.append(tuple(map(record.get, usual)))
        columns = dict(zip(usual, zip(*rows, strict=True), strict=True))

    in_order = {}
    for name in names:
        if name in columns:
            in_order[name] = columns[name]
        else:
            in_order[name] = [record.get(name) for record in records]

    return in_order


def _kinds_of(columns: Mapping[str, Sequence[Any]]) -> dict[str, set[type]]:
    """Return the types of the values of each column."""
    return {name: set(map(type, values)) for name, values in columns.items()}


def _as_text(values: Sequence[Any], kinds: set[type]) -> Sequence[str | None]:
    """Return values, which are of these kinds, as strings."""
    if kinds <= {str, type(None)}:
        return values
    if kinds == {int} or (kinds == {float} and 0.0 not in values):  # 0.0 equals -0.0
        written = {value: str(value) for value in set(values)}
        return list(map(written.__getitem__, values))
    return [value if value is None or type(value) is str else str(value) for value in values]


def _are_usual(kinds: Mapping[str, set[type]]) -> bool:
    """Return whether no value of columns with these types can make its record a misfit; False if they are not known."""
    usual: dict[str, set[type]] = {name: {str, int, float} for name in IDS}
    usual["text"] = {str}
    usual[LABEL] = {str, int, float, bool}
    for name, simple in usual.items():
        if name in kinds and not kinds[name] <= simple | {type(None)}:
            return False

    return bool(kinds)


def _misfit(value: Any, labelled: bool) -> tuple[Reason, str] | None:
    """Return the reason and detail if a value is not a usable record, otherwise None."""
    if not isinstance(value, dict):
        return Reason.NOT_A_RECORD, f"a JSON {type(value).__name__}, not an object"

    text = value.get("text")
    if text is not None and not isinstance(text, str):
        return Reason.WRONG_TYPE, f"'text' is of type {type(text).__name__}"

    for name in IDS:
        if isinstance(value.get(name), dict | list | bool):
            return Reason.WRONG_TYPE, f"'{name}' is of type {type(value[name]).__name__}"

    label = None
    if labelled:
        label = value.get(LABEL)

    if isinstance(label, list | dict):
        return Reason.WRONG_TYPE, f"the label is of type {type(label).__name__}"

    return None
