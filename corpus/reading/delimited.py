"""Read CSV files with commas, semicolons, tabs or bars: quoted line breaks, extra columns or a nameless index column.

Python's `csv` runs in strict mode, so that a stray quote is an error and does not swallow the next record. After an
error only the first line of the record goes into quarantine, and reading continues at the next line. How quotes are
written, the first lines tell (`_Dialect`).
"""

from __future__ import annotations

import csv
import io
import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import polars as pl

from reviewlm.core.errors import MissingColumn, Unreadable
from reviewlm.corpus.reading.convert import convert
from reviewlm.corpus.reading.field_names import FOLDED, fold, is_text, our_columns, require_fields
from reviewlm.corpus.reading.foreign import command_for, looks_like_record, no_header
from reviewlm.corpus.reading.headerless import shape_of
from reviewlm.corpus.reading.lines import BOM, next_line
from reviewlm.corpus.reading.parquet import twice
from reviewlm.corpus.schema import RECORD_TYPE, Block, Problem, ReadingOptions, Reason

HEADER_AMONG = 20
"""Lines at the beginning among which the names of the columns are looked for."""
SHOWN_NAMES = 12
FIELD_LIMIT = 64 << 20
"""Longest field in characters. Python's own limit of 128 KiB would reject long reviews."""

HEADER = "write the names of the columns in the first line"

DELIMITERS = ",\t;|"
UNQUOTED = "\t|"
"""Delimiters of files that some programs write without quotes around fields: a quote is a character like any other."""
LOOKED_AT = 1 << 20
"""Bytes at the beginning of a file that tell how quotes are written."""
SEPARATOR_LINE = re.compile(rb'"?sep=(.)"?\r?\n')
"""First line by which Excel is told the delimiter; it is no record."""
ESCAPE = re.compile(r'\\(["\\])')
DOUBLED = {'"': '""', "\\": "\\"}
"""A quote or backslash after a backslash, and how other files write it."""
BROKEN_FIELD = re.compile(rb'[^"].*"|"(?:[^"]|"")*"[^"]', re.DOTALL)
"""Beginning of a field with a quote where no program that quotes fields would write one alone."""


@dataclass(frozen=True)
class _Dialect:
    """How the fields of a file are written.

    Attributes:
        quoted: Whether a quote can begin a field that holds delimiters and line ends. Within it quotes are doubled.
        escaped: Whether they have a backslash before them instead, as MySQL and Spark write them.
        spaced: Whether a space follows each delimiter, and is no part of the field.
    """

    delimiter: str
    quoted: bool = True
    escaped: bool = False
    spaced: bool = False

    @classmethod
    def of(cls, lines: Sequence[bytes], delimiter: str) -> _Dialect:
        """Return the form that the first lines of a file have."""
        sign = delimiter.encode()
        fields = lines[0].count(delimiter.encode()) + 1
        if delimiter in UNQUOTED:
            records = []
            for line in lines:
                if len(record := line.rstrip(b"\r\n").split(sign)) == fields:
                    records.append(record)

            if any(
                b'"' in field and BROKEN_FIELD.match(field)
                for record in records
                for field in record
            ):
                return cls(delimiter, quoted=False)

        text = b"".join(lines)
        end = re.escape(sign) + rb'"\r\n'
        escaped = len(re.findall(rb'\\"[^' + end + rb"]", text))
        doubled = len(re.findall(rb"[^\\" + end + rb']""[^' + end + rb"]", text))
        further = lines[0].split(sign)[1:]
        spaced = bool(further) and all(name.startswith(b" ") for name in further)
        return cls(delimiter, escaped=escaped > doubled, spaced=spaced)

    def reader(self, lines: _Lines, strict: bool = True) -> Iterator[list[str]]:
        """Return a reader of records."""
        if self.quoted:
            return csv.reader(
                lines,
                delimiter=self.delimiter,
                strict=strict,
                skipinitialspace=self.spaced,
            )

        return csv.reader(
            lines,
            delimiter=self.delimiter,
            strict=strict,
            quoting=csv.QUOTE_NONE,
        )

    def records(self, lines: Sequence[bytes]) -> list[list[str]]:
        """Return the records in the first lines of a file, without the last one, which may be cut."""
        texts = (line.removeprefix(BOM).decode("utf-8", "replace") for line in lines)
        read = None
        if self.quoted:
            read = csv.reader(texts, delimiter=self.delimiter)

        found = list(read or (text.rstrip("\r\n").split(self.delimiter) for text in texts))
        return found[:-1] or found

    def has_swallowed(self, taken: Sequence[bytes], fields: int) -> bool:
        """Return whether a record of several lines is as many records, whose fields are not quoted."""
        sign = self.delimiter.encode()
        several = self.quoted and self.delimiter in UNQUOTED and len(taken) > 1 and fields > 1
        return several and all(line.count(sign) + 1 == fields for line in taken)


class _LongLine(bytes):
    """The beginning of a line that is too long for memory, with a *detail* for the quarantine."""

    detail: str


class _Lines:
    """The lines of a file as text; remembers the lines used by the record that is being read."""

    def __init__(self, stream: io.BufferedReader, options: ReadingOptions) -> None:
        self.stream = stream
        self.options = options
        self.again: deque[bytes] = deque()
        self.taken: list[bytes] = []
        self.number = self.size = 0
        self.broken = ""
        self.escaped = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self.again:
            line = self.again.popleft()
        else:
            line = self._read()

        if not line:
            raise StopIteration

        self.taken.append(line)
        self.size += len(line)
        if self.size > self.options.max_record_bytes + 2 or isinstance(line, _LongLine):
            raise csv.Error(
                "a quote is not closed, or the record has more bytes than source.max_record_bytes allows"
            )

        if not self.taken[1:]:
            line = line.removeprefix(BOM)

        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            self.broken = str(error)
            text = line.decode("utf-8", "surrogateescape")

        if self.escaped:
            return ESCAPE.sub(lambda pair: DOUBLED[pair[1]], text)
        return text

    def beginning(self) -> list[bytes]:
        """Return the lines at the beginning of the file, which stay to be read."""
        size = 0
        while size < LOOKED_AT and (line := self._read()):
            self.again.append(line)
            size += len(line)
        return list(self.again)

    def _read(self) -> bytes:
        # If `again` is empty, all lines read so far are in `taken`.
        line, problem = next_line(self.stream, self.number + len(self.taken) + 1, self.options)
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

    def skip(self) -> None:
        """Pass over a line that is no record."""
        self.again.popleft()
        self.number += 1

    def put_back(self, first: int) -> None:
        """Put back the lines of the record from the one with number *first* on, counted from 0."""
        self.again.extendleft(reversed(self.taken[first:]))
        del self.taken[first:]
        self.size = sum(map(len, self.taken))


def read_delimited(
    stream: io.BufferedReader,
    source: str,
    options: ReadingOptions,
) -> Iterator[Block]:
    """Yield the records of a CSV file with a header, or without one if its shape is known.

    Raises:
        MissingColumn: The header has no column `text`, or none that the user named; the error lists those that exist.
        Unreadable: The first line is too long for a header, or contains a column twice.
    """
    csv.field_size_limit(FIELD_LIMIT)
    lines = _Lines(stream, options)
    beginning = lines.beginning()
    if b"\0" in beginning[0]:
        raise Unreadable(
            "The file is not text",
            where=source,
            cause="its first line has zero bytes, like a picture or a program",
            remedy="name a file with a table in CSV, or call it as what it is (.parquet, .gz, .zip …)",
        )

    delimiter = max(DELIMITERS, key=lambda sign: beginning[0].count(sign.encode()))
    if named := SEPARATOR_LINE.fullmatch(beginning[0]):
        delimiter = named[1].decode("latin-1")
        lines.skip()
        del beginning[0]

    form = _Dialect.of(beginning or [b""], delimiter)
    try:
        header = next(form.reader(lines, strict=False), [])
    except csv.Error as error:
        raise Unreadable(
            "The file has no header",
            where=source,
            cause=str(error),
            remedy=HEADER,
        ) from error

    columns = [name.strip() for name in header]
    has_text = any(is_text(name, options.renamed) for name in columns)
    shape = None
    if has_text or not looks_like_record(columns):
        lines.next_record()
    elif shape := shape_of(form.records(beginning)):
        lines.put_back(0)
        columns = list(shape.columns)
    else:
        raise no_header(source, columns, delimiter)

    if not has_text and not shape:
        _require_header_first(beginning, source, options)

    lines.escaped = form.escaped
    printable = [name.encode("utf-8", "replace").decode() or "(nameless)" for name in columns]
    require_fields(source, printable, options)
    names = our_columns(columns, options.renamed)
    if repeated := {name for name in options.fields if names.count(name) > 1} - {RECORD_TYPE}:
        raise twice(source, repeated)

    records = _Records(
        lines,
        form,
        names,
        source,
        options,
        printable,
    )
    while block := records.block():
        if shape:
            block = replace(block, entries=(*block.entries, shape.entry(block.records)))
        yield block


def _require_header_first(
    beginning: Sequence[bytes],
    source: str,
    options: ReadingOptions,
) -> None:
    """Refuse a table whose header comes after a title or a comment.

    Raises:
        MissingColumn: It says in which line the header stands, and how to begin the file there.
    """
    for place, line in enumerate(beginning[1:HEADER_AMONG], start=2):
        words = re.split(r'[",;|\t\r\n]+', line.decode("utf-8", "replace"))
        names = [word.strip() for word in words if word.strip()]
        ours = sum(fold(name) in FOLDED for name in names)
        if ours > 1 and any(is_text(name, options.renamed) for name in names):
            raise MissingColumn(
                f"The names of the columns stand in line {place}, after a title or a comment",
                where=source,
                value=f"line {place}: {', '.join(names[:SHOWN_NAMES])}",
                remedy=f"begin the file there: {command_for(source, f'tail -n +{place}')} > reviews.csv",
            )


class _Records:
    """The records of a file after its header."""

    def __init__(
        self,
        lines: _Lines,
        form: _Dialect,
        names: list[str],
        source: str,
        options: ReadingOptions,
        header: list[str],
    ) -> None:
        self.lines = lines
        self.form = form
        self.names = names
        self.source = source
        self.options = options
        self.header = header
        self.places = {name: names.index(name) for name in options.fields if names.count(name) == 1}

    def block(self) -> Block | None:
        """Read records until a block is full; return None at the end of the file."""
        rows: list[list[str]] = []
        numbers: list[int] = []
        raws: list[bytes] = []
        problems: list[Problem] = []
        size = 0
        lines = self.lines
        self.reader = self.form.reader(lines)
        while size < self.options.block_bytes and (record := self._next()) is not None:
            row, problem = record
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

        columns = {}
        for name, place in self.places.items():
            columns[name] = [row[place] for row in rows]

        schema = dict.fromkeys(self.places, pl.String)
        loose = pl.DataFrame(columns, schema).with_columns(
            pl.Series("line", numbers, dtype=pl.Int64)
        )
        return convert(
            loose,
            self.source,
            raws.__getitem__,
            self.options,
            problems,
            names=self.header,
        )

    def _next(self) -> tuple[list[str], tuple[Reason, str] | None] | None:
        """Return the fields of the next record and the problem with it; None at the end of the file."""
        lines = self.lines
        try:
            row = next(self.reader)
            problem = self._problem(row)
        except StopIteration:
            return None
        except csv.Error as error:
            row = []
            problem = _refusal(lines.taken[0], error)

        if self.form.has_swallowed(lines.taken, len(self.names)):
            lines.put_back(0)
            self.form = replace(self.form, quoted=False)
            self.reader = self.form.reader(lines)
            return self._next()

        if not row and problem:
            lines.put_back(1)
            self.reader = self.form.reader(lines)

        return row, problem

    def _problem(self, row: list[str]) -> tuple[Reason, str] | None:
        names = self.names
        renamed = self.options.renamed
        if self.lines.broken:
            return Reason.ENCODING, self.lines.broken
        if row and len(row) != len(names):
            return Reason.MALFORMED, f"{len(row)} fields where the header has {len(names)}"

        place = self.places.get("text")
        if (
            row
            and place is not None
            and is_text(row[place].strip(), renamed)
            and our_columns([name.strip() for name in row], renamed) == names
        ):
            return (
                Reason.NOT_A_RECORD,
                "the header is repeated: several files with headers were put together",
            )

        return None


def _refusal(line: bytes, error: csv.Error) -> tuple[Reason, str]:
    if isinstance(line, _LongLine):
        return (Reason.TOO_LONG, line.detail)
    return (Reason.MALFORMED, str(error))
