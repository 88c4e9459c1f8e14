"""Read a JSON array, or objects over several lines, in blocks: a file of any size needs the memory of one block.

This module only finds the borders of the elements, by strings, brackets and commas (RFC 8259). The bytes between two
borders are decoded one element at a time. So if an element is broken inside, only this element goes into quarantine,
with its bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

from core.errors import Unreadable
from corpus.reading.jsonlines import from_objects, reason_of, require_known, require_no_table, whole_table, why_of
from corpus.reading.long_lines import BOM, RAW_BYTES
from corpus.schema import Block, Limits, Problem, Reason

SIGN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|["\[\]{},]', re.DOTALL)
"""A whole string or one punctuation character. A single quote mark begins a string that continues after the buffer."""

BLANK = b" \t\r\n,"
GAP = re.compile(rb"(?:\s|\xef\xbb\xbf)*")
"""What may stand between two arrays or objects: blanks, and the byte order marks of files joined with `cat`."""
DEPTH = {b"[": 1, b"{": 1, b"]": -1, b"}": -1}
RECORDS_PER_BLOCK = 20_000


class Element(NamedTuple):
    """One element: its number (from 1) and its bytes, or the problem with it."""

    number: int
    raw: bytes
    problem: Problem | None = None


def read_array(stream: io.BufferedReader, source: str, limits: Limits) -> Iterator[Block]:
    """Yield the records of a JSON array, or of objects one after another; several arrays in a row are read as one.

    Raises:
        Unreadable: The array ends before its closing bracket, so the elements after that place cannot be separated; or
            the first element is a whole table.
        MissingColumn: The first block has objects, and none of them has a text.
    """
    values: list[Any] = []
    numbers: list[int] = []
    raws: list[bytes] = []
    problems: list[Problem] = []
    size, first = 0, True

    def block() -> Block:
        return from_objects(values, numbers, raws, source, limits, problems)

    for element in _elements(stream, source, limits):
        size += len(element.raw)
        if element.problem:
            problems.append(element.problem)
        else:
            try:
                values.append(orjson.loads(element.raw))
                numbers.append(element.number)
                raws.append(element.raw)
            except orjson.JSONDecodeError as error:
                reason = reason_of(element.raw, error)
                problems.append(Problem(element.number, reason, why_of(element.raw, error), element.raw))
        if size >= limits.block_bytes or len(values) + len(problems) >= RECORDS_PER_BLOCK:
            if first:
                _require_reviews(values, raws, source, limits)
            yield block()
            values, numbers, raws, problems, size, first = [], [], [], [], 0, False
    if first:
        _require_reviews(values, raws, source, limits)
    yield block()


def _require_reviews(values: list[Any], raws: list[bytes], source: str, limits: Limits) -> None:
    if values and all(isinstance(value, list) for value in values):
        raise whole_table(source)
    require_no_table(b"".join(raws[:1]).replace(b"\n", b" "), source)
    require_known(values, source, limits)


def _elements(stream: io.BufferedReader, source: str, limits: Limits) -> Iterator[Element]:
    """Yield the elements of the arrays in *stream*, and the objects between them."""
    reader = _Borders(stream, source, limits)
    while sign := reader.next_value():
        yield from reader.elements() if sign == b"[" else [reader.object()]
    if reader.rest:
        size = len(reader.rest)
        while more := stream.read(limits.block_bytes):
            size += len(more)
        number, detail = reader.number + 1, f"what follows is neither an array nor an object: {size:,} bytes"
        yield Element(number, b"", Problem(number, Reason.MALFORMED, detail, reader.rest[:RAW_BYTES]))


class _Borders:
    """A scanner that finds where elements begin and end, in a buffer that is filled as far as needed.

    *start* is the place in the buffer of the first byte that is still needed, *place* the one to go on from.
    """

    def __init__(self, stream: io.BufferedReader, source: str, limits: Limits) -> None:
        self.stream, self.source, self.limits = stream, source, limits
        self.buffer = b""
        self.start = self.place = 0
        self.number = 0
        self.rest = b""

    def next_value(self) -> bytes:
        """Go to the next array or object and return its first sign; bytes that are neither are left in `rest`."""
        while True:
            self.start = self.place = GAP.match(self.buffer, self.place).end()  # type: ignore[union-attr]
            if len(self.buffer) - self.place >= len(BOM) or not self._fill():
                break
        sign = self.buffer[self.place : self.place + 1]
        if sign not in (b"[", b"{"):
            self.rest = self.buffer[self.place :]
            return b""
        return sign

    def _fill(self) -> bool:
        """Drop the bytes before *start* and read more; return False at the end of the file."""
        more = self.stream.read(self.limits.block_bytes)
        self.buffer = self.buffer[self.start :] + more
        self.start, self.place = 0, self.place - self.start
        return bool(more)

    def object(self) -> Element:
        """Return the object that begins here."""
        self.number += 1
        depth = 0
        while True:
            depth += DEPTH.get(self._next_sign(), 0)
            if not depth:
                return Element(self.number, self.buffer[self.start : self.place])

    def elements(self) -> Iterator[Element]:
        """Yield the elements of the array that begins here, up to its closing bracket."""
        depth = 0
        self.start = self.place = self.place + 1
        while True:
            sign = self._next_sign()
            if depth or sign in (b"[", b"{"):
                depth += DEPTH.get(sign, 0)
            elif sign in (b",", b"]", b"}"):
                if raw := self.buffer[self.start : self.place - 1].strip(BLANK):
                    self.number += 1
                    yield Element(self.number, raw)
                self.start = self.place
                if sign == b"]":
                    return
                if sign == b"}":
                    raise self._cut_off("a closing brace without an opening one")

    def _next_sign(self) -> bytes:
        """Go past the next sign, or whole string, and return it."""
        while True:
            sign = SIGN.search(self.buffer, self.place)
            if sign is not None and sign[0] != b'"':
                self.place = sign.end()
                return sign[0]
            self.place = sign.start() if sign else len(self.buffer)
            if len(self.buffer) - self.start > self.limits.max_record_bytes:
                raise self._too_long()
            if not self._fill():
                raise self._cut_off("a closing bracket is missing")

    def _cut_off(self, cause: str) -> Unreadable:
        return Unreadable(
            "The JSON is damaged or was cut off", where=self.source,
            value=f"{self.number} records were read before the damage", cause=cause,
            remedy="fetch or copy the file again; none of its records were kept",
        )

    def _too_long(self) -> Unreadable:
        return Unreadable(
            "An element of the JSON is too long", where=f"{self.source}, record {self.number + 1}",
            value=f"over {self.limits.max_record_bytes} bytes",
            cause="a quote or a bracket is missing, so the elements after it cannot be separated",
            remedy="correct the file, or raise source.max_record_bytes",
        )
