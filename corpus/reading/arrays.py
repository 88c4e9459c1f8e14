"""Read a JSON array of records in blocks, so that an array of any size needs the memory of one block.

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
from corpus.reading.jsonlines import from_objects, reason_of, require_known
from corpus.reading.long_lines import RAW_BYTES
from corpus.schema import Block, Limits, Problem, Reason

SIGN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|["\[\]{},]', re.DOTALL)
"""A whole string or one punctuation character. A single quote mark begins a string that continues after the buffer."""

BLANK = b" \t\r\n,"
RECORDS_PER_BLOCK = 20_000


class Element(NamedTuple):
    """One element: its number (from 1) and its bytes, or the problem with it."""

    number: int
    raw: bytes
    problem: Problem | None = None


def read_array(stream: io.BufferedReader, source: str, limits: Limits) -> Iterator[Block]:
    """Yield the records of a JSON array; several arrays in a row are read as one.

    Raises:
        Unreadable: The array ends before its closing bracket, so the elements after that place cannot be separated.
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
                problems.append(Problem(element.number, reason, str(error), element.raw))
        if size >= limits.block_bytes or len(values) + len(problems) >= RECORDS_PER_BLOCK:
            if first:
                require_known(values, source, limits)
            yield block()
            values, numbers, raws, problems, size, first = [], [], [], [], 0, False
    if first:
        require_known(values, source, limits)
    yield block()


def _elements(stream: io.BufferedReader, source: str, limits: Limits) -> Iterator[Element]:
    """Yield the elements of the arrays in *stream*."""
    reader = _Borders(stream, source, limits)
    while reader.next_array():
        yield from reader.elements()
    if reader.rest:
        problem = Problem(
            reader.number + 1, Reason.MALFORMED, "there is text after the end of the array", reader.rest[:RAW_BYTES]
        )
        yield Element(reader.number + 1, b"", problem)


class _Borders:
    """A scanner that finds where elements begin and end, in a buffer that is filled as far as needed."""

    def __init__(self, stream: io.BufferedReader, source: str, limits: Limits) -> None:
        self.stream, self.source, self.limits = stream, source, limits
        self.buffer = b""
        self.number = 0
        self.rest = b""

    def next_array(self) -> bool:
        """Move past the bracket that opens the next array; bytes that are not an array are left in `rest`."""
        self.buffer = self.buffer.lstrip()
        while not self.buffer:
            if not self._fill(0):
                return False
            self.buffer = self.buffer.lstrip()
        if self.buffer[:1] != b"[":
            self.rest = self.buffer
            return False
        self.buffer = self.buffer[1:]
        return True

    def _fill(self, start: int) -> bool:
        """Drop the bytes before *start* and read more; return False at the end of the file."""
        more = self.stream.read(self.limits.block_bytes)
        self.buffer = self.buffer[start:] + more
        return bool(more)

    def elements(self) -> Iterator[Element]:
        """Yield the elements up to the closing bracket of the array."""
        start = place = depth = 0
        while True:
            sign = SIGN.search(self.buffer, place)
            if sign is None or sign[0] == b'"':
                place = (sign.start() if sign else len(self.buffer)) - start
                if len(self.buffer) - start > self.limits.max_record_bytes:
                    raise self._too_long()
                if not self._fill(start):
                    raise self._cut_off("the closing bracket is missing")
                start = 0
                continue
            place = sign.end()
            if sign[0] in (b"[", b"{"):
                depth += 1
            elif sign[0] in (b"]", b"}") and depth:
                depth -= 1
            elif not depth and sign[0] in (b",", b"]", b"}"):
                if raw := self.buffer[start : sign.start()].strip(BLANK):
                    self.number += 1
                    yield Element(self.number, raw)
                start = place
                if sign[0] == b"]":
                    self.buffer = self.buffer[place:]
                    return
                if sign[0] == b"}":
                    raise self._cut_off("a closing brace without an opening one")

    def _cut_off(self, cause: str) -> Unreadable:
        return Unreadable(
            "The JSON array is damaged or was cut off", where=self.source,
            value=f"{self.number} records were read before the damage", cause=cause,
            remedy="fetch or copy the file again; none of its records were kept",
        )

    def _too_long(self) -> Unreadable:
        return Unreadable(
            "An element of the JSON array is too long", where=f"{self.source}, record {self.number + 1}",
            value=f"over {self.limits.max_record_bytes} bytes",
            cause="a quote or a bracket is missing, so the elements after it cannot be separated",
            remedy="correct the file, or raise source.max_record_bytes",
        )
