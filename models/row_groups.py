"""Move row groups of Parquet files as bytes: read one without decoding it, and join files into one.

A worker on another machine can so read a row group that another process sends it, and write one that another process
puts into its file; the other process neither decodes nor encodes. Only the footer of a file says where pages begin. It
is a structure of Thrift's compact protocol, described in the format of Apache Parquet.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .dataflow import FilePiece

MAGIC = b"PAR1"
"""First and last bytes of a Parquet file."""
END = 8
"""Bytes after the footer: its length and `MAGIC`."""

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)
"""Kinds of values of Thrift's compact protocol."""
Fields = dict[int, tuple[int, Any]]
"""A structure: kind and value of each field, by its number, in their order."""

NUM_ROWS = 3
ROW_GROUPS = 4
"""Fields of a footer."""
COLUMNS = 1
GROUP_ROWS = 3
GROUP_OFFSET = 5
GROUP_BYTES = 6
GROUP_NUMBER = 7
"""Fields of a row group."""
COLUMN_FACTS = 3
"""Field of a column chunk: its facts."""
COLUMN_OFFSETS = (2, 4, 6)
"""Fields of a column chunk: places in the file, 0 where there is none."""
PAGE_OFFSETS = (9, 10, 11, 14)
"""Fields of a column chunk's facts: places in the file."""


class _ThriftReader:
    """A reader of values of Thrift's compact protocol."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def fields(self) -> Fields:
        """Return the structure that begins here."""
        found: Fields = {}
        number = 0
        while True:
            head = self._byte()
            if head == 0:
                return found
            kind = head & 15
            if head >> 4:
                number += head >> 4
            else:
                number = self._read_signed()

            found[number] = kind, self._value(kind)

    def _byte(self) -> int:
        self._at += 1
        return self._content[self._at - 1]

    def _read_unsigned(self) -> int:
        first = self._content[self._at]
        if first < 128:  # most numbers
            self._at += 1
            return first

        value = 0
        shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def _read_signed(self) -> int:
        value = self._read_unsigned()
        return value >> 1 ^ -(value & 1)

    def _bytes(self, size: int) -> bytes:
        self._at += size
        return self._content[self._at - size : self._at]

    def _value(self, kind: int) -> Any:
        if I16 <= kind <= I64:  # the most frequent kinds
            return self._read_signed()

        if kind in (TRUE, FALSE):
            return kind == TRUE
        if kind == BYTE:
            return self._byte()
        if kind == DOUBLE:
            return self._bytes(8)
        if kind == BINARY:
            return self._bytes(self._read_unsigned())
        if kind in (LIST, SET):
            return self._list()
        if kind == STRUCT:
            return self.fields()
        raise ValueError(f"the footer of a Parquet file has a value of kind {kind}")

    def _list(self) -> tuple[int, list[Any]]:
        head = self._byte()
        size = head >> 4
        if size == 15:
            size = self._read_unsigned()
        kind = head & 15
        if kind in (TRUE, FALSE):  # in a list, each has a byte
            return kind, [self._byte() for _ in range(size)]
        return kind, [self._value(kind) for _ in range(size)]


class _ThriftWriter:
    """A writer of values of Thrift's compact protocol."""

    def __init__(self) -> None:
        self.content = bytearray()

    def fields(self, fields: Fields) -> None:
        """Write a structure."""
        before = 0
        for number, (kind, value) in fields.items():
            if 0 < number - before < 16:
                self.content.append((number - before) << 4 | kind)
            else:
                self.content.append(kind)
                self._write_signed(number)
            before = number
            self._value(kind, value)
        self.content.append(0)

    def _write_unsigned(self, value: int) -> None:
        while value > 127:
            self.content.append(value & 127 | 128)
            value >>= 7
        self.content.append(value)

    def _write_signed(self, value: int) -> None:
        if value < 0:
            self._write_unsigned((-value << 1) - 1)
        else:
            self._write_unsigned(value << 1)

    def _value(self, kind: int, value: Any) -> None:
        if I16 <= kind <= I64:
            self._write_signed(value)
        elif kind == BYTE:
            self.content.append(value)
        elif kind == DOUBLE:
            self.content += value
        elif kind == BINARY:
            self._write_unsigned(len(value))
            self.content += value
        elif kind in (LIST, SET):
            self._list(*value)
        elif kind == STRUCT:
            self.fields(value)

    def _list(self, kind: int, values: list[Any]) -> None:
        if len(values) < 15:
            self.content.append(len(values) << 4 | kind)
        else:
            self.content.append(15 << 4 | kind)
            self._write_unsigned(len(values))
        for value in values:
            if kind in (TRUE, FALSE):
                self.content.append(value)
            else:
                self._value(kind, value)


def _footer_size(end: bytes) -> int:
    return int.from_bytes(end[:4], "little")


def _footer_of(like: Fields, groups: list[Fields]) -> bytes:
    """Return the end of a file with these row groups, in other things like another file."""
    rows = sum(group[GROUP_ROWS][1] for group in groups)
    writer = _ThriftWriter()
    writer.fields(
        {
            **like,
            NUM_ROWS: (I64, rows),
            ROW_GROUPS: (LIST, (STRUCT, groups)),
        }
    )
    return bytes(writer.content) + len(writer.content).to_bytes(4, "little") + MAGIC


def row_groups(path: Path) -> RowGroups:
    """Return the row groups of a file, whose footer is read once as long as the file does not change."""
    now = path.stat()
    return _row_groups(path, now.st_ino, now.st_size, now.st_mtime_ns)


@lru_cache(maxsize=2)
def _row_groups(path: Path, *_: int) -> RowGroups:
    return RowGroups(path)


class RowGroups:
    """The row groups of a Parquet file, each to be read without decoding it.

    Args:
        path: The file, of a writer whose pages of a row group stand one after another, as those of pyarrow do.

    Raises:
        OSError: The file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as file:
            end = file.seek(-END, io.SEEK_END)
            size = _footer_size(file.read())
            file.seek(end - size)
            footer = file.read(size)

        self._fields = _ThriftReader(footer).fields()
        self._groups = self._fields[ROW_GROUPS][1][1]
        self._pieces: dict[int, FilePiece] = {}
        self._ends = [len(MAGIC)]
        for group in self._groups:
            self._ends.append(self._ends[-1] + group[GROUP_BYTES][1])

    def __len__(self) -> int:
        return len(self._groups)

    def piece(self, number: int) -> FilePiece:
        """Return a piece of the file that is read as a Parquet file of one row group."""
        if number in self._pieces:
            return self._pieces[number]

        start = self._ends[number]
        group = _move_group(self._groups[number], len(MAGIC) - start, 0)
        size = self._ends[number + 1] - start
        footer = _footer_of(self._fields, [group])
        piece = FilePiece(
            self._path,
            start,
            size,
            MAGIC,
            footer,
        )
        self._pieces[number] = piece
        return piece


def join_files(file: BinaryIO, parts: Iterable[np.ndarray]) -> None:
    """Write the row groups of Parquet files into one: the bytes that one writer would have written.

    Args:
        file: Opened for writing, empty.
        parts: Contents (bytes as uint8) of files of the same writer, at least one.
    """
    file.write(MAGIC)
    position = len(MAGIC)
    like: Fields = {}
    groups: list[Fields] = []
    for part in parts:
        end = len(part) - END
        start = end - _footer_size(part[end:].tobytes())
        footer = _ThriftReader(part[start:end].tobytes()).fields()
        for group in footer[ROW_GROUPS][1][1]:
            groups.append(_move_group(group, position - len(MAGIC), len(groups)))

        like = like or footer
        file.write(part[len(MAGIC) : start].data)
        position += start - len(MAGIC)

    file.write(_footer_of(like, groups))


def _move_group(
    group: Fields,
    shift: int,
    number: int,
) -> Fields:
    """Return a row group that stands so many bytes later, with its number there."""
    kind, (of_items, columns) = group[COLUMNS]
    moved = []
    for column in columns:
        of_facts, facts = column[COLUMN_FACTS]
        there = _shift_offsets(column, COLUMN_OFFSETS, shift)
        there[COLUMN_FACTS] = of_facts, _shift_offsets(facts, PAGE_OFFSETS, shift)
        moved.append(there)

    there = _shift_offsets(group, (GROUP_OFFSET,), shift)
    there[COLUMNS] = kind, (of_items, moved)
    if GROUP_NUMBER in group:
        there[GROUP_NUMBER] = I16, number
    return there


def _shift_offsets(
    fields: Fields,
    numbers: Iterable[int],
    shift: int,
) -> Fields:
    """Return a structure with some places shifted."""
    there = dict(fields)
    for number in numbers:
        if number in fields and fields[number][1]:
            kind, value = fields[number]
            there[number] = kind, value + shift
    return there
