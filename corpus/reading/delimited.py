"""Read CSV files, also with tabs or semicolons, quoted line breaks, extra columns or a nameless index column.

Python's `csv` runs in strict mode, so that a stray quote is an error and does not swallow the next record. After an
error only the first line of the record goes into quarantine, and reading continues at the next line.
"""

from __future__ import annotations

import csv
import io
from collections import deque
from collections.abc import Iterator

import polars as pl

from core.errors import Unreadable
from corpus.reading.convert import convert
from corpus.reading.field_names import our_columns, require_fields, text_names
from corpus.reading.long_lines import next_line
from corpus.reading.parquet import twice
from corpus.schema import VOTES, Block, Limits, Problem, Reason

FIELD_LIMIT = 64 << 20
"""Longest field in characters. Python's own limit of 128 KiB would reject long reviews."""

HEADER = "write the names of the columns in the first line"

ALIASES = {f"votes{sign}{name}": name for sign in "._" for name in VOTES}
"""Names that pandas gives to the nested votes of older editions of the dataset, with the names used here."""


class _LongLine(bytes):
    """The beginning of a line that is too long for memory, with a *detail* for the quarantine."""

    detail: str


class _Lines:
    """The lines of a file as text; remembers the lines used by the record that is being read."""

    def __init__(self, stream: io.BufferedReader, limits: Limits) -> None:
        self.stream, self.limits = stream, limits
        self.again: deque[bytes] = deque()
        self.taken: list[bytes] = []
        self.number = self.size = 0
        self.broken = ""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self.again.popleft() if self.again else self._read()
        if not line:
            raise StopIteration
        self.taken.append(line)
        self.size += len(line)
        if self.size > self.limits.max_record_bytes + 2 or isinstance(line, _LongLine):
            raise csv.Error("a quote is not closed, or the record has more bytes than source.max_record_bytes allows")
        try:
            return line.decode("utf-8")
        except UnicodeDecodeError as error:
            self.broken = str(error)
            return line.decode("utf-8", "surrogateescape")

    def _read(self) -> bytes:
        # If `again` is empty, all lines read so far are in `taken`.
        line, problem = next_line(self.stream, self.number + len(self.taken) + 1, self.limits)
        if problem:
            line = _LongLine(line)
            line.detail = problem.detail
        return line

    def next_record(self) -> None:
        """Drop the lines of the record that has been read."""
        self.number += len(self.taken)
        self.taken.clear()
        self.size = 0
        self.broken = ""

    def reject_first(self) -> None:
        """Put back all lines of the record except the first."""
        self.again.extendleft(reversed(self.taken[1:]))
        del self.taken[1:]


def read_delimited(stream: io.BufferedReader, source: str, limits: Limits) -> Iterator[Block]:
    """Yield the records of a CSV file with a header.

    Raises:
        MissingColumn: The header has no column `text`, or none that the user named; the error lists those that exist.
        Unreadable: The first line is too long for a header, or contains a column twice.
    """
    csv.field_size_limit(FIELD_LIMIT)
    lines = _Lines(stream, limits)
    head = stream.peek(1 << 16)
    if b"\0" in head.partition(b"\n")[0]:
        raise Unreadable(
            "The file is not text", where=source, cause="its first line has zero bytes, like a picture or a program",
            remedy="name a file with a table in CSV, or call it as what it is (.parquet, .gz, .zip …)",
        )
    delimiter = _delimiter(head)
    try:
        header = next(csv.reader(lines, delimiter=delimiter), [])
    except csv.Error as error:
        raise Unreadable("The file has no header", where=source, cause=str(error), remedy=HEADER) from error
    lines.next_record()
    columns = _without_aliases(header)
    printable = [name.encode("utf-8", "replace").decode() or "(nameless)" for name in columns]
    require_fields(source, printable, limits.renamed)
    names = our_columns(columns, limits.renamed)
    if repeated := {name for name in limits.fields if names.count(name) > 1}:
        raise twice(source, repeated)
    while True:
        block = _block(lines, delimiter, names, source, limits)
        if block is None:
            return
        yield block


def _without_aliases(header: list[str]) -> list[str]:
    return [ALIASES.get(name.strip(), name.strip()) for name in header]


def _delimiter(head: bytes) -> str:
    first = head.partition(b"\n")[0]
    return max(",\t;", key=lambda sign: first.count(sign.encode()))


def _block(
    lines: _Lines, delimiter: str, names: list[str], source: str, limits: Limits
) -> Block | None:
    """Read records until the block is full; return None at the end of the file."""
    rows: list[list[str]] = []
    numbers: list[int] = []
    raws: list[bytes] = []
    problems: list[Problem] = []
    size = 0
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while size < limits.block_bytes:
        try:
            row = next(reader)
            problem = _problem(row, names, lines, limits)
        except StopIteration:
            break
        except csv.Error as error:
            lines.reject_first()
            reader = csv.reader(lines, delimiter=delimiter, strict=True)
            row, problem = [], _refused(lines.taken[0], error)
        raw = b"".join(lines.taken)
        size += len(raw)
        if problem:
            problems.append(Problem(lines.number + 1, *problem, raw))
        elif row:
            rows.append(row)
            numbers.append(lines.number + 1)
            raws.append(raw)
        lines.next_record()
    if not rows and not problems:
        return None
    places = {name: names.index(name) for name in limits.fields if name in names}
    loose = pl.DataFrame(
        {name: [row[place] for row in rows] for name, place in places.items()}, schema=dict.fromkeys(places, pl.String)
    ).with_columns(pl.Series("line", numbers, dtype=pl.Int64))
    return convert(loose, source, raws.__getitem__, limits.max_chars, problems)


def _refused(line: bytes, error: csv.Error) -> tuple[Reason, str]:
    return (Reason.TOO_LONG, line.detail) if isinstance(line, _LongLine) else (Reason.MALFORMED, str(error))


def _problem(row: list[str], names: list[str], lines: _Lines, limits: Limits) -> tuple[Reason, str] | None:
    if lines.broken:
        return Reason.ENCODING, lines.broken
    if row and len(row) != len(names):
        return Reason.MALFORMED, f"{len(row)} fields where the header has {len(names)}"
    if not text_names(limits.renamed).isdisjoint(row) and our_columns(_without_aliases(row), limits.renamed) == names:
        return Reason.NOT_A_RECORD, "the header is repeated: several files with headers were put together"
    return None
