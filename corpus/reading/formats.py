"""Detect the format of an unpacked file and call its reader.

The readers are `corpus.reading.jsonlines`, `corpus.reading.arrays` (JSON arrays), `corpus.reading.delimited` (CSV) and
`corpus.reading.parquet`; plain text is read here. All readers yield blocks of typed records, bounded by
`Limits.block_bytes`.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

import orjson
import polars as pl

from core.errors import Unreadable
from corpus.archives.names import uncompressed
from corpus.reading.arrays import read_array
from corpus.reading.convert import convert
from corpus.reading.delimited import read_delimited
from corpus.reading.field_names import text_names
from corpus.reading.jsonlines import read_json_lines
from corpus.reading.long_lines import next_line
from corpus.reading.parquet import read_parquet
from corpus.schema import Block, Limits, Problem, Reason

JSON_SUFFIXES = frozenset({".json", ".jsonl", ".ndjson"})
MARKS = {
    b"\xff\xfe\x00\x00": "UTF-32", b"\x00\x00\xfe\xff": "UTF-32", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16",
}
"""Byte-order marks of unsupported encodings. Longer marks come first, because one starts like a shorter one."""
WIDE = {
    b"\x00\x00\x00?": "UTF-32BE", b"?\x00\x00\x00": "UTF-32LE", b"\x00?\x00?": "UTF-16BE", b"?\x00?\x00": "UTF-16LE",
}
"""First four bytes of unsupported encodings without a mark, if the text begins with ASCII (all formats except .txt)."""


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
    if encoding := _wide_encoding(head):
        raise Unreadable(
            f"The file is in {encoding}", where=source, remedy=f"convert it: iconv -f {encoding} -t UTF-8"
        )
    if head.startswith(b"\xef\xbb\xbf"):
        stream.read(3)
        head = head[3:]
    if not head:
        return
    reader = {"array": read_array, "lines": read_json_lines, "csv": read_delimited, "parquet": read_parquet,
              "text": read_text}[_format(head, source, limits)]
    yield from reader(stream, source, limits)


def _wide_encoding(head: bytes) -> str:
    """Return the name of the encoding if the file is UTF-16 or UTF-32, otherwise an empty string."""
    for mark, encoding in MARKS.items():
        if head.startswith(mark):
            return encoding
    seen = bytes(0 if byte == 0 else ord("?") for byte in head[:4])
    return WIDE.get(seen, "")


def _format(head: bytes, source: str, limits: Limits) -> str:
    """Return the format: Parquet by its magic bytes, others by the suffix without compression and the first bytes."""
    if head.startswith(b"PAR1"):
        return "parquet"
    suffix, first = uncompressed(source).suffix.lower(), head.lstrip()[:1]
    if suffix in JSON_SUFFIXES:
        return "array" if first == b"[" and suffix == ".json" else "lines"
    if suffix in {".csv", ".tsv"}:
        return "csv"
    if suffix == ".txt":
        return "lines" if _is_review(head.lstrip().partition(b"\n")[0], limits) else "text"
    if first in (b"{", b"["):
        return "lines" if first == b"{" else "array"
    header = head.partition(b"\n")[0]
    if any(name.encode() in header for name in text_names(limits.renamed)):
        return "csv"
    raise Unreadable(
        "The file format is unknown", where=source, value=head[:40],
        remedy="give JSON lines, a JSON array, CSV, Parquet, or one document a line in a .txt file",
    )


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
            content = line.removesuffix(b"\n").removesuffix(b"\r")
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
            loose = pl.DataFrame({"line": numbers, "text": texts}, schema={"line": pl.Int64, "text": pl.String})
            yield convert(loose, source, lambda row, texts=texts: texts[row].encode(), limits.max_chars, problems)  # type: ignore[misc]
