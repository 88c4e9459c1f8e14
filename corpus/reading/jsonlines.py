r"""Read JSON lines: cut plain lines by their shape with numpy, parse all other lines one by one with orjson.

Numpy finds and cuts the plain lines of a block (`corpus.reading.byte_index`, `corpus.reading.shapes`). Every line that
is not certainly plain, bad or only unusual, goes to `read_carefully`, so a bad line does not affect other lines.
The property tests compare both ways on damaged lines. Blocks are parsed in `Limits.workers` threads and come in order.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import orjson
import polars as pl

from corpus.reading.byte_index import PAD, ByteIndex, Positions
from corpus.reading.convert import FAILURES, convert, with_ids
from corpus.reading.shapes import Shape, cut, learn
from corpus.schema import COLUMNS, FIELDS, QUARANTINE, VOTES, Block, Limits, Problem, Reason, missing_text, quarantine
from models.threads import ordered

BOM = b"\xef\xbb\xbf"
IDS = ("review_id", "user_id", "business_id")
RAW_BYTES = 64 << 10
"""Bytes that the quarantine keeps of a record longer than `Limits.max_record_bytes`."""

LOOK_BACK_BYTES = 64 << 10
SHAPES, TRIES = 8, 32
"""Largest number of shapes in one block, and number of lines that are tried to find a new shape."""
FEW_LINES = 64
"""Up to this number of lines are read one by one without looking for their shape, after the first shape of a block."""


@dataclass(frozen=True)
class Stretch:
    """Whole lines of a file.

    Attributes:
        buffer: The lines, then at least `PAD` bytes: bytes of the next lines, or zeros after the last line.
        size: Bytes of the lines.
        first_line: Number of the first line.
        end: Byte offset in the unpacked file where the stretch ends.
        problems: The problem of one line that is too long for memory; then the stretch has no lines.
    """

    buffer: memoryview
    size: int
    first_line: int
    end: int
    problems: tuple[Problem, ...] = ()

    @classmethod
    def of(cls, lines: bytes, first_line: int = 1) -> Stretch:
        """Return the bytes as a stretch."""
        return cls(memoryview(lines + bytes(PAD)), len(lines), first_line, len(lines))

    def line(self, begin: int, end: int) -> bytes:
        """Return the bytes from *begin* to *end*."""
        return bytes(self.buffer[begin:end])


def read_json_lines(stream: io.BufferedReader, source: str, limits: Limits) -> Iterator[Block]:
    """Yield the records of a file with one JSON object per line; blank lines are skipped.

    Memory holds a few blocks at a time, each of up to `block_bytes + max_record_bytes`, even if lines are very long.

    Raises:
        MissingColumn: The first block has objects, and none of them has a text.
    """
    yield from ordered(partial(parse, source=source, limits=limits), _stretches(stream, source, limits), limits.workers)


def _stretches(stream: io.BufferedReader, source: str, limits: Limits) -> Iterator[Stretch]:
    rest, line, end = b"", 1, 0
    started = False
    while True:
        # From numpy: it asks the system for large pages, and does not fill them with zeros.
        buffer = np.empty(len(rest) + limits.block_bytes + PAD, np.uint8).data
        buffer[: len(rest)] = rest
        filled = len(rest) + stream.readinto(buffer[len(rest) : -PAD])
        if 4 * filled < len(buffer):  # texts point into the buffer: each of many small files would keep a whole block
            buffer = np.array(buffer[: filled + PAD]).data
        buffer[filled : filled + PAD] = bytes(PAD)  # a backslash at the end of the file must not escape old bytes
        size = filled if filled == len(rest) else _last_newline(buffer, len(rest), filled) + 1
        if not filled:
            return
        rest = bytes(buffer[size:filled])
        if size:
            end += size
            stretch = Stretch(buffer, size, line, end)
            if not started:
                _require_text(stretch.line(0, size), source)
                started = True
            yield stretch
            line += int(np.count_nonzero(np.frombuffer(buffer, np.uint8, size) == ord("\n")))
        if len(rest) > limits.max_record_bytes:
            problem, length = pass_over(stream, rest, line, limits)
            rest, end = b"", end + length
            yield Stretch(memoryview(bytes(PAD)), 0, line, end, (problem,))
            line += 1


def _last_newline(buffer: memoryview, begin: int, end: int) -> int:
    """Return the position of the last newline between two positions, or -1 if there is none."""
    while end > begin:
        piece = max(begin, end - LOOK_BACK_BYTES)
        if (found := bytes(buffer[piece:end]).rfind(b"\n")) >= 0:
            return piece + found
        end = piece
    return -1


def pass_over(stream: io.BufferedReader, begun: bytes, line: int, limits: Limits) -> tuple[Problem, int]:
    """Skip to the end of a line that is too long for memory; return the problem and the length with the newline."""
    sha, head, length, piece = hashlib.sha256(), begun[:RAW_BYTES], 0, begun
    while True:
        ended = piece.endswith(b"\n")
        sha.update(piece[:-1] if ended else piece)
        length += len(piece)
        if ended or not (piece := stream.readline(limits.block_bytes)):
            break
        head += piece[: RAW_BYTES - len(head)]
    return _too_long(line, head.removesuffix(b"\n"), length - ended, sha.hexdigest(), limits), length


def _too_long(line: int, head: bytes, length: int, sha256: str, limits: Limits) -> Problem:
    detail = f"the record has {length} bytes, source.max_record_bytes allows {limits.max_record_bytes}; sha256 {sha256}"
    return Problem(line, Reason.TOO_LONG, detail, head)


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


def parse(stretch: Stretch, source: str, limits: Limits) -> Block:
    """Return the records of a stretch, in order."""
    if not stretch.size:
        return Block(pl.DataFrame(schema=COLUMNS), quarantine(source, stretch.problems), stretch.end)
    index = ByteIndex(stretch.buffer, stretch.size)
    try:
        good, others = _plain(index, stretch, source, limits)
    except FAILURES:  # an unexpected value: reading all lines one by one finds it
        good, others = [], np.arange(len(index.starts))
    bad = pl.DataFrame(schema=QUARANTINE)
    if len(others):
        numbers = (others + stretch.first_line).tolist()
        edges = zip(index.starts[others].tolist(), index.ends[others].tolist(), strict=True)
        careful = read_carefully(zip(numbers, (stretch.line(*at) for at in edges), strict=True), source, limits)
        bad = careful.bad
        good += [] if careful.good.is_empty() else [careful.good]
    if len(good) == 1:
        return Block(good[0], bad, stretch.end)
    return Block(pl.concat([pl.DataFrame(schema=COLUMNS), *good]).sort("line"), bad, stretch.end)


def _plain(index: ByteIndex, stretch: Stretch, source: str, limits: Limits) -> tuple[list[pl.DataFrame], Positions]:
    """Return the plain records, one table per shape, and the numbers of the remaining lines."""
    left: Positions = np.arange(len(index.starts))
    index.odd |= index.ends - index.starts > limits.max_record_bytes
    found: list[pl.DataFrame] = []
    known: set[Shape] = set()
    while len(left) > (FEW_LINES if known else 0) and len(known) < SHAPES:
        shape = _new_shape(index, stretch, left, known)
        if shape is None:
            break
        known.add(shape)
        lines, fields = cut(index, left, shape, limits.max_chars)
        if len(lines):
            found.append(_table(fields, lines + stretch.first_line, source))
            left = np.setdiff1d(left, lines, assume_unique=True)
    return found, left


def _new_shape(index: ByteIndex, stretch: Stretch, lines: Positions, known: set[Shape]) -> Shape | None:
    for line in lines[:TRIES].tolist():
        if not index.odd[line]:
            shape = learn(stretch.line(int(index.starts[line]), int(index.ends[line])))
            if shape is not None and shape not in known:
                return shape
    return None


def _table(fields: pl.DataFrame, lines: Positions, source: str) -> pl.DataFrame:
    """Return the fields as a table with `COLUMNS`, with source and line added."""
    rows = fields.height
    columns = {name: fields[name] for name in fields.columns}
    columns["source"] = pl.Series([source]).new_from_index(0, rows)
    columns["line"] = pl.Series(lines, dtype=pl.Int64)
    for name in FIELDS:
        if name not in columns:
            columns[name] = pl.Series([None], dtype=COLUMNS[name]).new_from_index(0, rows)
    table = pl.DataFrame([columns[name].alias(name) for name in COLUMNS])
    return with_ids(table) if "review_id" not in fields else table


def read_carefully(lines: Iterable[tuple[int, bytes]], source: str, limits: Limits) -> Block:
    """Read numbered lines one by one, and give a reason for each line that cannot be used."""
    objects, numbers, raws, problems = [], [], [], []
    for number, line in lines:
        if len(line) > limits.max_record_bytes:
            sha256 = hashlib.sha256(line).hexdigest()
            problems.append(_too_long(number, line[:RAW_BYTES], len(line), sha256, limits))
            continue
        content = line.strip()
        content = content.removeprefix(BOM)  # in files joined with `cat` a mark can be in the middle
        if not content:
            continue
        try:
            objects.append(orjson.loads(content))
            numbers.append(number)
            raws.append(line)
        except orjson.JSONDecodeError as error:
            problems.append(Problem(number, reason_of(content, error), str(error), line))
    return from_objects(objects, numbers, raws, source, limits, problems)


def reason_of(content: bytes, error: orjson.JSONDecodeError) -> Reason:
    """Return whether orjson refused the bytes because of their encoding or because they are not JSON."""
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
    """Convert decoded JSON values, which should be objects with a text, to typed records.

    Args:
        objects: The values, with their line (or record) *numbers* and bytes *raws*.
        source: Name of the file.
        limits: See `Limits`.
        problems: Problems already found in this stretch.
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
    """Return the reason and detail if a value is not a usable record, otherwise None."""
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
    """Return a vote count, also from the nested form of older editions of the dataset."""
    votes = record.get("votes")
    if flat is not None or votes is None:
        return flat
    if not isinstance(votes, dict):
        return str(votes)
    value = votes.get(name)
    return None if value is None else str(value)
