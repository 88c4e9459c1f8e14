"""What lies inside a file once it is unpacked: which format it is, and the readers of the simple ones.

JSON lines have `corpus.jsonlines`, JSON arrays `corpus.arrays`, CSV has `corpus.delimited`. All readers yield blocks of
typed records, bounded by `Limits.block_bytes`; only a Parquet file inside an archive is read into memory whole.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import PurePosixPath

import orjson
import polars as pl

from corpus.arrays import read_array
from corpus.convert import convert
from corpus.delimited import read_delimited
from corpus.jsonlines import read_json_lines
from corpus.long_lines import next_line
from corpus.schema import FIELDS, VOTES, Block, Limits, Problem, Reason, missing_text
from reviewlm.errors import Unreadable

JSON_SUFFIXES = frozenset({".json", ".jsonl", ".ndjson"})
RECORDS_PER_BLOCK = 20_000
NUMBERS = ("stars", *VOTES)


def read_stream(stream: io.BufferedReader, source: str, limits: Limits) -> Iterator[Block]:
    """Yield the records of one unpacked file.

    Args:
        stream: Positioned at the first byte.
        source: Name of the file (packed or not), which decides where the content leaves a choice.
        limits: See `Limits`.

    Raises:
        Unreadable: In no known format, or in UTF-16; or a Parquet file that is damaged, or whose columns cannot hold
            what their names say.
        MissingColumn: None of its records has a text.
    """
    head = stream.peek(1 << 16)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Unreadable("The file is in UTF-16", where=source, remedy="convert it: iconv -f UTF-16 -t UTF-8")
    if head.startswith(b"\xef\xbb\xbf"):
        stream.read(3)
        head = head[3:]
    if not head:
        return
    reader = {"array": read_array, "lines": read_json_lines, "csv": read_delimited, "parquet": _read_parquet,
              "text": _read_text}[_format(head, source)]
    yield from reader(stream, source, limits)


def _format(head: bytes, source: str) -> str:
    """Decide by the content where it is plain, else by the name without its packing."""
    if head.startswith(b"PAR1"):
        return "parquet"
    path = PurePosixPath(source)
    while path.suffix.lower() in {".gz", ".zst"}:
        path = path.with_suffix("")
    suffix, first = path.suffix.lower(), head.lstrip()[:1]
    if suffix in JSON_SUFFIXES:
        return "array" if first == b"[" and suffix == ".json" else "lines"
    if suffix in {".csv", ".tsv"}:
        return "csv"
    if suffix == ".txt":
        return "lines" if _is_review(head.lstrip().partition(b"\n")[0]) else "text"
    if first in (b"{", b"["):
        return "lines" if first == b"{" else "array"
    if b"text" in head.partition(b"\n")[0]:
        return "csv"
    raise Unreadable(
        "The format is not known", where=source, value=head[:40],
        remedy="give JSON lines, a JSON array, CSV, Parquet, or one document a line in a .txt file",
    )


def _is_review(line: bytes) -> bool:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return isinstance(value, dict) and "text" in value


def _read_text(stream: io.BufferedReader, source: str, limits: Limits) -> Iterator[Block]:
    """One document a line; empty lines are none. There is no id, date or rating."""
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


def _read_parquet(stream: io.BufferedReader, source: str, limits: Limits) -> Iterator[Block]:
    """Parquet, by batches; inside an archive it is read whole, since its table of contents stands at the end."""
    import pyarrow
    from pyarrow import parquet

    try:
        # Unpacking streams may be able to seek too, but start from the beginning whenever they go backwards.
        plain = isinstance(stream.raw, io.FileIO)
        file = parquet.ParquetFile(stream if plain else io.BytesIO(stream.read()), pre_buffer=False)
        names = file.schema_arrow.names
        if "text" not in names:
            raise missing_text(source, names)
        number = 1
        wanted = [name for name in names if name in (*FIELDS, "votes")]
        if repeated := {name for name in wanted if wanted.count(name) > 1}:
            raise Unreadable("A column is there twice", where=source, value=", ".join(sorted(repeated)))
        for batch in file.iter_batches(RECORDS_PER_BLOCK, columns=wanted):
            batch.validate(full=True)  # polars takes strings for UTF-8 that are not
            frame = _plain(pl.DataFrame(pl.from_arrow(batch)), source)
            frame = frame.with_columns(line=pl.int_range(number, number + frame.height, dtype=pl.Int64))
            yield convert(frame, source, lambda row, frame=frame: _as_json(frame, row), limits.max_chars)  # type: ignore[misc]
            number += frame.height
    except pyarrow.ArrowException as error:
        raise Unreadable(
            "The Parquet file is damaged or was cut off", where=source, cause=str(error),
            remedy="fetch or copy the file again; if a string is not UTF-8, write it again with a library that checks",
        ) from error


def _plain(frame: pl.DataFrame, source: str) -> pl.DataFrame:
    """Unnest votes, and turn other types of the fields into strings, numbers or dates."""
    if "votes" in frame.columns and isinstance(frame.schema["votes"], pl.Struct):
        frame = frame.drop(set(frame.columns) & {f.name for f in frame.schema["votes"].fields}).unnest("votes")
    frame = frame.select(name for name in FIELDS if name in frame.columns)
    for name, dtype in frame.schema.items():
        if not _is_expected(name, dtype):
            what = {"text": "text", "date": "dates"}.get(name, "numbers" if name in NUMBERS else "ids")
            raise Unreadable(f"The column {name!r} holds no {what}", where=source, value=str(dtype))
    return frame.with_columns(_readable(name, dtype) for name, dtype in frame.schema.items())


def _is_expected(name: str, dtype: pl.DataType) -> bool:
    """Return whether values of a type can be what a column should hold; which of them are is seen one by one."""
    if dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        return True
    if name == "date":
        return dtype in (pl.Date, pl.Datetime) or dtype.is_numeric()
    if name in NUMBERS:
        return dtype.is_numeric() or dtype == pl.Boolean
    return name != "text" and dtype.is_integer()


def _readable(name: str, dtype: pl.DataType) -> pl.Expr:
    if name in NUMBERS and dtype.is_numeric():
        return pl.col(name).cast(pl.Float64).fill_nan(None)  # pandas writes gaps as not-a-number
    if name == "date" and dtype.is_temporal():
        return pl.col(name)
    return pl.col(name).cast(pl.String)


def _as_json(frame: pl.DataFrame, row: int) -> bytes:
    return orjson.dumps(frame.row(row, named=True), default=str)
