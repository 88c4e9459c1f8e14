"""Read the elements of JSON arrays, or objects one after another, each alone so that a bad one does not affect others.

They are read in blocks: a file of any size needs the memory of one block. This module only finds the borders of the
elements, by strings, brackets and commas (RFC 8259). The bytes between two borders are decoded one element at a time.
So if an element is broken inside, only this element goes into quarantine, with its bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence

from reviewlm.core.errors import Unreadable
from reviewlm.corpus.reading.json_records import decode_json, decode_records
from reviewlm.corpus.reading.json_refusals import (
    require_known,
    require_no_table,
    rows_without_names,
)
from reviewlm.corpus.reading.lines import RAW_BYTES
from reviewlm.corpus.reading.wrappings import DEPTH, SIGN, Position
from reviewlm.corpus.schema import Block, ReadingOptions

BLANK = b" \t\r\n,"
GAP = re.compile(rb"(?:\s|\xef\xbb\xbf)*")
"""What may stand between two arrays or objects: blanks, and the byte order marks of files joined with `cat`."""
RECORDS_PER_BLOCK = 20_000


def read_array(
    stream: io.BufferedReader,
    source: str,
    options: ReadingOptions,
) -> Iterator[Block]:
    """Yield the records of a JSON array, or of objects one after another; several arrays in a row are read as one.

    Raises:
        Unreadable: The array ends before its closing bracket, so the elements after that place cannot be separated; or
            the first element is a whole table.
        MissingColumn: The first block has objects, and none of them has a text.
    """
    yield from _read_elements(_elements(stream, source, options), source, options)


def read_contained(
    stream: io.BufferedReader,
    source: str,
    options: ReadingOptions,
) -> Iterator[Block]:
    """Yield the records of the arrays that stand in objects, as `corpus.reading.wrappings.CONTAINERS` says.

    An object without such an array is a record of its own. Errors as of `read_array`.
    """
    yield from _read_elements(_contained_elements(stream, source, options), source, options)


def _read_elements(
    elements: Iterator[bytes],
    source: str,
    options: ReadingOptions,
) -> Iterator[Block]:
    """Yield the records of some elements, block by block, if the first block holds reviews."""
    number = 1
    while raws := _take_elements(elements, options.block_bytes):
        if number == 1:
            _require_reviews(raws, source, options)
        yield decode_records(
            raws,
            range(number, number + len(raws)),
            [],
            source,
            options,
        )
        number += len(raws)


def _take_elements(elements: Iterator[bytes], most: int) -> list[bytes]:
    """Return the elements of the next block, of *most* bytes or a little more."""
    raws: list[bytes] = []
    size = 0
    for raw in elements:
        raws.append(raw)
        size += len(raw)
        if size >= most or len(raws) == RECORDS_PER_BLOCK:
            break
    return raws


def _require_reviews(
    raws: Sequence[bytes],
    source: str,
    options: ReadingOptions,
) -> None:
    """Refuse elements that are arrays of values, whole tables or objects without a text."""
    values = [decode_json(raw) for raw in raws]
    if all(isinstance(value, list) for value in values):
        raise rows_without_names(values, source, lines=False)
    require_no_table(raws[0].replace(b"\n", b" "), source)
    require_known(values, source, options)


def _elements(
    stream: io.BufferedReader,
    source: str,
    options: ReadingOptions,
) -> Iterator[bytes]:
    """Yield the elements of the arrays in *stream*, and the objects between them; last what follows and is neither."""
    tokens = _Tokens(stream, source, options)
    depth = 0
    while token := tokens.next():
        before = tokens.place - len(token)
        if depth:
            depth += DEPTH.get(token, 0)
            if not depth:
                yield tokens.take_until(tokens.place)
        elif token in (b"[", b"{") and GAP.fullmatch(tokens.buffer, tokens.start, before):
            depth = int(token == b"{")
            tokens.start = before if depth else tokens.place
            if not depth:
                yield from _array_elements(tokens)
        else:
            break

    if depth:
        raise tokens.cut_off("a closing bracket is missing")

    yield from tokens.rest()


def _array_elements(tokens: _Tokens) -> Iterator[bytes]:
    """Yield the elements of an array whose opening bracket has been passed, and pass its closing one."""
    depth = 0
    while token := tokens.next():
        if depth:
            depth += DEPTH.get(token, 0)
            continue
        depth = int(token in (b"[", b"{"))
        if token == b"}":
            raise tokens.cut_off("a closing brace without an opening one")
        if token in (b",", b"]"):
            if raw := tokens.take_until(tokens.place - len(token)).strip(BLANK):
                yield raw
            tokens.start = tokens.place
        if token == b"]":
            return

    raise tokens.cut_off("a closing bracket is missing")


def _contained_elements(
    stream: io.BufferedReader,
    source: str,
    options: ReadingOptions,
) -> Iterator[bytes]:
    """Yield the elements of arrays in objects, and each object that holds no such array; last what follows."""
    tokens = _Tokens(stream, source, options)
    position = Position()
    found = False
    while token := tokens.next():
        position.pass_over(token)
        if position.opens_records(token):
            found = True
            tokens.start = tokens.place
            yield from _array_elements(tokens)
            position.pass_over(b"]")
        if found:
            tokens.start = tokens.place
        if not position.open:
            if not found:
                yield tokens.take_until(tokens.place).strip(BLANK)
            found = False
            tokens.start = tokens.place

    if position.open:
        raise tokens.cut_off("a closing bracket is missing")

    yield from tokens.rest()


class _Tokens:
    """The tokens (signs and strings) of a JSON text, in a buffer that is filled as far as needed.

    *start* is the place in the buffer of the first byte that is still needed, *place* the one to go on from.
    """

    def __init__(
        self,
        stream: io.BufferedReader,
        source: str,
        options: ReadingOptions,
    ) -> None:
        self.stream = stream
        self.source = source
        self.options = options
        self.buffer = b""
        self.start = self.place = self.number = 0

    def next(self) -> bytes:
        """Go past the next token and return it; empty at the end."""
        while True:
            sign = SIGN.search(self.buffer, self.place)
            if sign is not None and sign[0] != b'"':
                self.place = sign.end()
                return sign[0]
            if sign:
                self.place = sign.start()
            else:
                self.place = len(self.buffer)

            if len(self.buffer) - self.start > self.options.max_record_bytes:
                raise Unreadable(
                    "An element of the JSON is too long",
                    where=f"{self.source}, record {self.number + 1}",
                    value=f"over {self.options.max_record_bytes} bytes",
                    cause="a quote or a bracket is missing, so the elements after it cannot be separated",
                    remedy="correct the file, or raise source.max_record_bytes",
                )
            more = self.stream.read(self.options.block_bytes)
            if not more:
                return b""
            self.buffer = self.buffer[self.start :] + more
            self.start, self.place = 0, self.place - self.start

    def take_until(self, end: int) -> bytes:
        """Return the bytes up to a place, which are not needed any more."""
        raw = self.buffer[self.start : end]
        self.start = end
        self.number += 1
        return raw

    def rest(self) -> Iterator[bytes]:
        """Yield the bytes after the last element, which are no element."""
        if rest := self.buffer[self.start :].strip():
            yield rest[:RAW_BYTES]

    def cut_off(self, cause: str) -> Unreadable:
        """Return the error for a text that does not go on as it must."""
        return Unreadable(
            "The JSON is damaged or was cut off",
            where=self.source,
            value=f"{self.number} records were read before the damage",
            cause=cause,
            remedy="fetch or copy the file again; none of its records were kept",
        )
