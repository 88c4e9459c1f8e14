"""Detect the format of an unpacked file and call its reader.

The readers are `reviewlm.corpus.reading.jsonlines` (and JSON arrays), `reviewlm.corpus.reading.delimited` (CSV) and
`reviewlm.corpus.reading.parquet`; plain text is read here. All readers yield blocks of typed records, bounded by
`Limits.block_bytes`.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from typing import cast

import numpy as np
import orjson
import polars as pl

from reviewlm.core.errors import Unreadable
from reviewlm.corpus.reading.archives import BOM, next_line, uncompressed
from reviewlm.corpus.reading.convert import convert, text_names
from reviewlm.corpus.reading.delimited import read_delimited
from reviewlm.corpus.reading.jsonlines import read_array, read_json_lines
from reviewlm.corpus.reading.parquet import read_parquet
from reviewlm.corpus.schema import FIELDS, Block, Limits, Problem, Reason

JSON_SUFFIXES = frozenset({".json", ".jsonl", ".ndjson"})
MARKS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
"""Byte-order marks of unsupported encodings. Longer marks come first, because one starts like a shorter one."""
WIDE = {
    b"\x00\x00\x00?": "UTF-32BE",
    b"?\x00\x00\x00": "UTF-32LE",
    b"\x00?\x00?": "UTF-16BE",
    b"?\x00?\x00": "UTF-16LE",
}
"""First four bytes of unsupported encodings without a mark, if the text begins with ASCII (all formats except .txt)."""
STAND_INS = {
    b"version https://git-lfs.github.com/spec/": (
        "a pointer of Git LFS",
        "fetch the file itself: git lfs pull",
    ),
    b"/annex/objects/": ("a pointer of git-annex", "fetch the file itself: git annex get"),
    b"<!doctype html": (
        "a web page",
        "it may say why the download failed; download the file again",
    ),
    b"<html": ("a web page", "it may say why the download failed; download the file again"),
    b"7z\xbc\xaf\x27\x1c": ("packed by 7-Zip", "unpack it"),
    b"rar!\x1a\x07": ("packed by RAR", "unpack it"),
    b"sqlite format 3\0": ("a database of SQLite", "write the table as CSV"),
    b"arrow1\0\0": ("in Arrow's own format (Feather)", "write the table as Parquet"),
    b"obj\x01": ("in the format Avro", "write the table as Parquet"),
    b"\xd0\xcf\x11\xe0": ("an old file of Excel or Word", "save the table as CSV"),
}
"""Beginnings (in lower case) of files that stand in for the reviews or hold them in a form that is not read."""
OPENS_OBJECT = re.compile(rb'\s*\{[ \t\r]*\n\s*"')
"""An object over several lines: its first line is a bracket, and the second a name."""
OPENS_ARRAY = re.compile(rb"\s*\[\s*[{\[]")


def read_stream(stream: io.BufferedReader, source: str, limits: Limits) -> Iterator[Block]:
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
        yield from READERS[format_of(head, source, limits)](stream, source, limits)


def _wide_encoding(head: bytes) -> str:
    """Return the name of the encoding if the file is UTF-16 or UTF-32, otherwise an empty string."""
    for mark, encoding in MARKS.items():
        if head.startswith(mark):
            return encoding
    seen = bytes(0 if byte == 0 else ord("?") for byte in head[:4])
    return WIDE.get(seen, "")


def format_of(head: bytes, source: str, limits: Limits) -> str:
    """Return the format: Parquet by its magic bytes, others by the suffix without compression and the first bytes.

    Raises:
        Unreadable: The format is unknown, the encoding is UTF-16 or UTF-32, or something else stands in for the file.
    """
    if encoding := _wide_encoding(head):
        raise Unreadable(
            f"The file is in {encoding}",
            where=source,
            remedy=f"convert it: iconv -f {encoding} -t UTF-8",
        )
    for beginning, (what, remedy) in STAND_INS.items():
        if head[: len(beginning)].lower() == beginning:
            raise Unreadable(
                f"The file is {what}, not the reviews", where=source, value=head[:60], remedy=remedy
            )
    if head.startswith(b"PAR1"):
        return "parquet"
    suffix, first, line = (
        uncompressed(source).suffix.lower(),
        head.lstrip()[:1],
        head.lstrip().partition(b"\n")[0],
    )
    if suffix in {".csv", ".tsv"}:
        return "csv"
    if OPENS_ARRAY.match(head) or OPENS_OBJECT.match(head):
        return "array"
    if suffix in JSON_SUFFIXES:
        return "array" if first == b"[" and suffix == ".json" else "lines"
    if suffix == ".txt":
        return (
            "lines" if _is_review(line, limits) else "csv" if _is_header(line, limits) else "text"
        )
    if first in (b"{", b"["):
        return "lines" if first == b"{" else "array"
    if any(name.encode() in line for name in text_names(limits.renamed)):
        return "csv"
    raise Unreadable(
        "The file format is unknown",
        where=source,
        value=head[:40],
        remedy="give JSON lines, a JSON array, CSV, Parquet, or one document a line in a .txt file",
    )


def _is_header(line: bytes, limits: Limits) -> bool:
    """Return whether a line names the text and another field of ours, and so is no review."""
    names = {limits.renamed.get(name, name) for name in FIELDS}
    words = set(re.split(r'[",;|\t\r]+', line.decode("utf-8", "replace")))
    return not words.isdisjoint(text_names(limits.renamed)) and len(words & names) > 1


def _is_review(line: bytes, limits: Limits) -> bool:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return isinstance(value, dict) and bool(text_names(limits.renamed) & value.keys())


def read_text(stream: io.BufferedReader, source: str, limits: Limits) -> Iterator[Block]:
    """Yield one document per line; empty lines are skipped. There is no id, date or rating."""
    number, more = 1, True
    while more:
        numbers: list[int] = []
        texts: list[str] = []
        problems: list[Problem] = []
        size = 0
        while size < limits.block_bytes and more:
            line, problem = next_line(stream, number, limits)
            content = line.removeprefix(BOM).removesuffix(b"\n").removesuffix(b"\r")
            more, size = bool(line), size + len(line)
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

            yield convert(loose, source, content_of, limits, problems)


READERS: dict[str, Callable[[io.BufferedReader, str, Limits], Iterator[Block]]] = {
    "array": read_array,
    "lines": read_json_lines,
    "csv": read_delimited,
    "parquet": read_parquet,
    "text": read_text,
}
"""Readers by the name of their format."""


def read_together(files: Sequence[tuple[str, bytes]], kind: str, limits: Limits) -> Iterator[Block]:
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

    def placed(rows: pl.DataFrame) -> pl.DataFrame:
        file = np.searchsorted(ends, rows["line"].to_numpy())
        before = np.concatenate([[0], ends])[file]
        return rows.with_columns(source=names[file], line=rows["line"] - pl.Series(before))

    for block in READERS[kind](stream, files[0][0], limits):
        yield Block(placed(block.good), placed(block.bad))
