r"""JSON lines: polars for blocks that are clean beyond doubt, orjson line by line for all others.

polars is fast, but silent where it should not be: a repeated key keeps the first value, a text that is a number or a
list becomes a string, half of an escaped character becomes NUL. `_fast` therefore takes a block only when counting
shows that none of this can have happened; the property test compares it with the slow way on damaged blocks.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import polars as pl

from corpus.convert import convert
from corpus.schema import FIELDS, VOTES, Block, Limits, Problem, Reason, missing_text

BOM = b"\xef\xbb\xbf"
PIECE_BYTES = 128 << 10
"""A block that is not clean is tried again in pieces of this size, so that one bad line slows few others."""

IDS = ("review_id", "user_id", "business_id")
_TYPES: dict[str, pl.DataType] = {
    **{name: pl.String() for name in (*IDS, "text", "date")},
    "stars": pl.Float64(),
    **{name: pl.Int64() for name in VOTES},
}
_UNLIKE_ID = r"^(?:[\[{]|(?:-?[0-9][0-9.eE+-]*|true|false)$)"
"""What polars makes of a number, a truth value, a list or an object where an id should be."""
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def read_json_lines(stream: io.BufferedReader, source: str, limits: Limits) -> Iterator[Block]:
    """Yield the records of a file with one JSON object a line; blank lines are skipped.

    Raises:
        MissingColumn: The first block has objects, and none of them has a text.
    """
    first_line, seen_text = 1, False
    while block := stream.read(limits.block_bytes):
        block += stream.readline()
        if not seen_text:
            _require_text(block, source)
            seen_text = True
        yield _parse(block, first_line, source, limits)
        first_line += block.count(b"\n")


def _require_text(block: bytes, source: str) -> None:
    if b'"text"' in block:
        return
    objects = [value for value in map(_loads, block.split(b"\n")) if isinstance(value, dict)]
    if objects and not any("text" in value for value in objects):
        raise missing_text(source, list({key: None for value in objects[:100] for key in value}))


def _loads(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None


def _parse(block: bytes, first_line: int, source: str, limits: Limits) -> Block:
    whole = _fast(block, first_line, source, limits)
    if whole is not None:
        return whole
    parts = []
    for piece in _pieces(block):
        parsed = _fast(piece, first_line, source, limits) if len(piece) < len(block) else None
        parts.append(parsed or _slow(piece, first_line, source, limits))
        first_line += piece.count(b"\n")
    return Block(pl.concat([part.good for part in parts]), pl.concat([part.bad for part in parts]))


def _pieces(block: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(block):
        end = block.find(b"\n", start + PIECE_BYTES) + 1 or len(block)
        yield block[start:end]
        start = end


def _fast(block: bytes, first_line: int, source: str, limits: Limits) -> Block | None:
    """Return the block's records if every line is a plain complete record, else None."""
    first = _loads(block[: block.find(b"\n") + 1 or len(block)])
    schema = _schema(first)
    if schema is None:
        return None
    try:
        frame = pl.read_ndjson(io.BytesIO(block), schema=schema)
    except pl.exceptions.PolarsError:
        return None
    rows = frame.height
    lines = block.count(b"\n") + (not block.endswith(b"\n"))
    if rows != lines or not _is_exact(block, frame, len(first) + len(first.get("votes", ()))):
        return None
    if "votes" in schema:
        frame = frame.unnest("votes")
    if any(frame[name].null_count() for name in frame.columns):
        return None
    frame = frame.with_columns(line=pl.int_range(first_line, first_line + rows, dtype=pl.Int64))
    parsed = convert(frame, source, lambda row: b"", limits.max_chars)
    return parsed if parsed.bad.is_empty() else None


def _schema(first: Any) -> dict[str, pl.DataType] | None:
    """Return the types of a record like the first one, or None if it is of a shape that the fast way does not know."""
    if not isinstance(first, dict) or "text" not in first or not set(first) <= {*FIELDS, "votes"}:
        return None
    schema = {name: _TYPES[name] for name in first if name != "votes"}
    if "votes" in first:
        if not isinstance(first["votes"], dict) or set(first["votes"]) != set(VOTES) or set(VOTES) & set(first):
            return None
        schema["votes"] = pl.Struct({name: pl.Int64() for name in first["votes"]})
    return schema


def _is_exact(block: bytes, frame: pl.DataFrame, keys: int) -> bool:
    """Return whether the block has as many keys as *frame* has cells, and strings where *frame* has them.

    Together with the absence of nulls this rules out repeated keys and values that polars turned into strings.
    A quote inside a string is escaped, so `":` without a backslash before it ends a key (or begins a text, which only
    costs the fast way).
    """
    if block.count(b'":') - block.count(b'\\":') != keys * frame.height:
        return False
    ids = [name for name in IDS if name in frame.columns and frame[name].str.contains(_UNLIKE_ID).any()]
    for name in ("text", *ids):
        key = f'"{name}":'.encode()
        if frame.height not in (block.count(key + b'"'), block.count(key + b' "')):
            return False
    return not (_SURROGATE.search(block) and frame["text"].str.contains("\x00", literal=True).any())


def _slow(block: bytes, first_line: int, source: str, limits: Limits) -> Block:
    """Read line by line, with a reason for each that cannot be read."""
    objects, numbers, raws, problems = [], [], [], []
    for number, line in enumerate(block.split(b"\n"), first_line):
        content = line.strip()
        content = content.removeprefix(BOM)  # files that were put together with `cat` have it in the middle
        if not content:
            continue
        try:
            objects.append(orjson.loads(content))
            numbers.append(number)
            raws.append(line)
        except orjson.JSONDecodeError as error:
            problems.append(Problem(number, _why(content, error), str(error), line))
    return from_objects(objects, numbers, raws, source, limits, problems)


def _why(content: bytes, error: orjson.JSONDecodeError) -> Reason:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return Reason.ENCODING
    return Reason.ENCODING if "surrogate" in str(error) else Reason.MALFORMED


def from_objects(
    objects: Sequence[Any],
    numbers: Sequence[int],
    raws: Sequence[bytes],
    source: str,
    limits: Limits,
    problems: Sequence[Problem] = (),
) -> Block:
    """Type decoded JSON values, which should be objects with a text.

    Args:
        objects: The values, with their line (or record) *numbers* and bytes *raws*.
        source: Name of the file.
        limits: See `Limits`.
        problems: Already found in this stretch.
    """
    found, kept = list(problems), []
    for row, value in enumerate(objects):
        problem = _misfit(value)
        if problem is None:
            kept.append(row)
        else:
            found.append(Problem(numbers[row], *problem, raws[row]))
    records = [objects[row] for row in kept]
    columns: dict[str, list[Any]] = {name: [record.get(name) for record in records] for name in FIELDS}
    for name in FIELDS:
        if name != "text":
            columns[name] = [value if value is None or type(value) is str else str(value) for value in columns[name]]
    for name in VOTES:
        columns[name] = [_vote(record, name, flat) for record, flat in zip(records, columns[name], strict=True)]
    loose = pl.DataFrame(columns, schema=dict.fromkeys(FIELDS, pl.String))
    loose = loose.with_columns(pl.Series("line", [numbers[row] for row in kept], dtype=pl.Int64))
    return convert(loose, source, lambda row: raws[kept[row]], limits.max_chars, found)


def _misfit(value: Any) -> tuple[Reason, str] | None:
    """Return what is wrong with the shape of a value, or None."""
    if not isinstance(value, dict):
        return Reason.NOT_A_RECORD, f"a JSON {type(value).__name__}, not an object"
    text = value.get("text")
    if text is not None and not isinstance(text, str):
        return Reason.WRONG_TYPE, f"'text' is of type {type(text).__name__}"
    for name in IDS:
        if isinstance(value.get(name), dict | list | bool | float):
            return Reason.WRONG_TYPE, f"'{name}' is of type {type(value[name]).__name__}"
    return None


def _vote(record: dict[str, Any], name: str, flat: str | None) -> str | None:
    """Return a vote count, also from the nested form of the older editions."""
    votes = record.get("votes")
    if flat is not None or votes is None:
        return flat
    if not isinstance(votes, dict):
        return str(votes)
    value = votes.get(name)
    return None if value is None else str(value)
