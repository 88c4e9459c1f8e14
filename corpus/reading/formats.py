"""Detect the format of an unpacked file and call its reader.

The readers are those of `reviewlm.corpus.reading`: `jsonlines`, `json_arrays`, `delimited` (CSV) and `parquet`; plain
text is read here. All readers yield blocks of typed records, bounded by `ReadingOptions.block_bytes`.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import cast

import numpy as np
import orjson
import polars as pl

from reviewlm.core.errors import Unreadable
from reviewlm.corpus.reading.convert import convert
from reviewlm.corpus.reading.delimited import read_delimited
from reviewlm.corpus.reading.field_names import FOLDED, fold, is_text
from reviewlm.corpus.reading.foreign import (
    command_for,
    describe_unknown,
    one_line,
    require_no_stand_in,
)
from reviewlm.corpus.reading.json_arrays import read_array, read_contained
from reviewlm.corpus.reading.json_refusals import has_text
from reviewlm.corpus.reading.jsonlines import read_json_lines
from reviewlm.corpus.reading.lines import BOM, next_line
from reviewlm.corpus.reading.member_names import without_compression
from reviewlm.corpus.reading.parquet import read_parquet
from reviewlm.corpus.reading.wrappings import has_several, is_container
from reviewlm.corpus.schema import FIELDS, Block, Problem, ReadingOptions, Reason

JSON_SUFFIXES = frozenset({".json", ".jsonl", ".ndjson"})
MARKS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
"""Byte-order marks of unsupported encodings. Longer marks come first, because one starts like a shorter one."""
WIDE_ENCODINGS = {
    b"\x00\x00\x00?": "UTF-32BE",
    b"?\x00\x00\x00": "UTF-32LE",
    b"\x00?\x00?": "UTF-16BE",
    b"?\x00?\x00": "UTF-16LE",
}
"""First four bytes of unsupported encodings without a mark, if the text begins with ASCII (all formats except .txt)."""
LINE_ENDS = r"tr '\r' '\n'"
OPENS_OBJECT = re.compile(rb'\s*\{[ \t\r]*\n\s*"')
"""An object over several lines: its first line is a bracket, and the second a name."""
OPENS_ARRAY = re.compile(rb"\s*\[\s*[{\[]")


def read_stream(
    stream: io.BufferedReader,
    source: str,
    options: ReadingOptions,
) -> Iterator[Block]:
    """Yield the records of one unpacked file.

    Args:
        stream: Positioned at the first byte.
        source: Name of the file (packed or not); its suffix helps to choose the format.

    Raises:
        Unreadable: The format is unknown, the encoding is UTF-16 or UTF-32, or columns of a table have wrong types.
        MissingColumn: No record has a text.
    """
    head = stream.peek(1 << 16)
    if head.startswith(BOM):
        stream.read(len(BOM))
        head = head[len(BOM) :]
    if head:
        yield from READERS[format_of(head, source, options)](stream, source, options)


def _wide_encoding(head: bytes) -> str:
    """Return the name of the encoding if the file is UTF-16 or UTF-32, otherwise an empty string."""
    for mark, encoding in MARKS.items():
        if head.startswith(mark):
            return encoding
    seen = bytes(0 if byte == 0 else ord("?") for byte in head[:4])
    return WIDE_ENCODINGS.get(seen, "")


def format_of(
    head: bytes,
    source: str,
    options: ReadingOptions,
) -> str:
    """Return the format: Parquet by its magic bytes, others by the suffix without compression and the first bytes.

    Raises:
        Unreadable: The format is unknown, the encoding is UTF-16 or UTF-32, or something else stands in for the file.
        MissingColumn: It is a table without a suffix and without a header.
    """
    require_no_stand_in(head, source)
    if encoding := _wide_encoding(head):
        raise Unreadable(
            f"The file is in {encoding}",
            where=source,
            remedy="convert it: "
            + command_for(source, f"iconv -f {encoding} -t UTF-8")
            + f" > reviews{suffix_of(source)}",
        )
    if head.startswith(b"PAR1"):
        return "parquet"

    suffix = suffix_of(source)
    first = head.lstrip()[:1]
    line = head.lstrip().partition(b"\n")[0]
    if b"\r" in head and b"\n" not in head and first not in (b"{", b"["):
        raise Unreadable(
            "The lines end with carriage returns only, as old programs of the Macintosh write them",
            where=source,
            remedy=f"write line ends: {command_for(source, LINE_ENDS)} > reviews{suffix}",
        )
    if suffix in {".csv", ".tsv"}:
        return "csv"
    if is_container(head, partial(has_text, options=options)):
        return "contained"
    if OPENS_ARRAY.match(head) or OPENS_OBJECT.match(head) or _has_objects_in_lines(head):
        return "array"
    if suffix in JSON_SUFFIXES:
        return "array" if first == b"[" and suffix == ".json" else "lines"
    if suffix == ".txt":
        if _is_review(line, options):
            return "lines"
        return "csv" if _is_header(line, options) else "text"
    if first in (b"{", b"["):
        return "lines" if first == b"{" else "array"

    theirs = options.renamed.get("text", "text").encode()
    if b"text" in line.lower() or theirs in line:
        return "csv"

    raise describe_unknown(head, source)


def suffix_of(source: str) -> str:
    """Return the suffix of a name without that of its compression, in small letters."""
    return without_compression(source).suffix.lower()


def _has_objects_in_lines(head: bytes) -> bool:
    """Return whether the first two lines, or the only one, hold several objects each."""
    lines = [line for line in head.split(b"\n", 3)[:3] if line.strip()][:2]
    return bool(lines) and all(has_several(line) for line in lines)


def _is_header(line: bytes, options: ReadingOptions) -> bool:
    """Return whether a line names the text and another field of ours, and so is no review."""
    names = {options.renamed.get(name, name) for name in FIELDS}
    words = set(re.split(r'[",;|\t\r]+', line.decode("utf-8", "replace")))
    has_name = any(is_text(word, options.renamed) for word in words)
    return has_name and sum(word in names or fold(word) in FOLDED for word in words) > 1


def _is_review(line: bytes, options: ReadingOptions) -> bool:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return isinstance(value, dict) and any(is_text(name, options.renamed) for name in value)


def read_text(
    stream: io.BufferedReader,
    source: str,
    options: ReadingOptions,
) -> Iterator[Block]:
    """Yield one document per line; empty lines are skipped. There is no id, date or rating."""
    number = 1
    more = True
    while more:
        numbers: list[int] = []
        texts: list[str] = []
        problems: list[Problem] = []
        size = 0
        while size < options.block_bytes and more:
            line, problem = next_line(stream, number, options)
            content = line.removeprefix(BOM).removesuffix(b"\n").removesuffix(b"\r")
            if number == 1:
                _require_lines(
                    stream,
                    line,
                    problem,
                    source,
                    options,
                )
            more = bool(line)
            size += len(line)
            if problem:
                problems.append(problem)
            elif content.strip():
                try:
                    texts.append(content.decode("utf-8"))
                    numbers.append(number)
                except UnicodeDecodeError as error:
                    problems.append(Problem(number, Reason.ENCODING, str(error), content))
            number += 1
        if texts or problems:
            loose = pl.DataFrame(
                {"line": numbers, "text": texts}, schema={"line": pl.Int64, "text": pl.String}
            )

            def content_of(row: int, texts: list[str] = texts) -> bytes:
                return texts[row].encode()

            yield convert(
                loose,
                source,
                content_of,
                options,
                problems,
            )


def _require_lines(
    stream: io.BufferedReader,
    line: bytes,
    problem: Problem | None,
    source: str,
    options: ReadingOptions,
) -> None:
    """Refuse a file that is one line which is longer than a document may be.

    Raises:
        Unreadable: It says how to cut the line.
    """
    # A character takes four bytes at most.
    too_long = problem is not None or len(line) > 4 * options.max_chars
    if (too_long or len(line.decode("utf-8", "ignore")) > options.max_chars) and not stream.peek(1):
        if problem:
            length = problem.detail.partition(",")[0]
        else:
            length = f"{len(line):,} bytes"

        raise one_line(source, length)


READERS: dict[str, Callable[[io.BufferedReader, str, ReadingOptions], Iterator[Block]]] = {
    "array": read_array,
    "contained": read_contained,
    "lines": read_json_lines,
    "csv": read_delimited,
    "parquet": read_parquet,
    "text": read_text,
}
"""Readers by the name of their format."""


def read_together(
    files: Sequence[tuple[str, bytes]],
    kind: str,
    options: ReadingOptions,
) -> Iterator[Block]:
    """Yield the records of many small files at once, because each block costs milliseconds.

    Args:
        files: Names and contents; all names have the same fields in their folders.
        kind: "lines" or "text".
    """
    names = pl.Series([name for name, _ in files])
    ends = np.cumsum([content.count(b"\n") + 1 for _, content in files])
    stream = cast(
        io.BufferedReader,
        io.BufferedReader(io.BytesIO(b"".join(content + b"\n" for _, content in files))),
    )

    def with_places(rows: pl.DataFrame) -> pl.DataFrame:
        file = np.searchsorted(ends, rows["line"].to_numpy())
        before = np.concatenate([[0], ends])[file]
        return rows.with_columns(source=names[file], line=rows["line"] - pl.Series(before))

    for block in READERS[kind](stream, files[0][0], options):
        yield replace(block, good=with_places(block.good), bad=with_places(block.bad))
