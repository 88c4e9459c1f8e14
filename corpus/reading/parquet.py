"""Read Parquet in batches, and check values while they are Arrow types, so that a bad value affects only its row.

polars and Python accept only years 1 to 9999 and valid UTF-8, and fail or panic on other values. Therefore timestamps
are read as integers, and strings are validated before polars gets them.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import orjson
import polars as pl

from core.errors import Unreadable
from corpus.reading.archives import seekable
from corpus.reading.convert import IDS, convert, our_columns, require_fields
from corpus.schema import LABEL, RECORD_TYPE, VOTES, Block, Limits, Problem, Reason

if TYPE_CHECKING:
    import pyarrow

RECORDS_PER_BLOCK = 5_000
"""A low number, because a dictionary-encoded column can use one long text for all rows of a batch."""
ROW_BYTES = 64
"""Bytes counted for each row in the limit on unpacked size, because rows without values take no bytes."""
NUMBERS = ("stars", *VOTES)
EARLIEST, LATEST = -62_135_596_800_000_000, 253_402_300_799_999_999
"""First and last microsecond of the years 1 to 9999, counted from 1970: Python's `datetime` has only these years."""
PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
MICROSECONDS = 1_000_000
DAY = 86_400


def read_parquet(stream: io.BufferedReader, source: str, limits: Limits) -> Iterator[Block]:
    """Yield the records of a Parquet file.

    Inside an archive the file is copied first, because its table of contents is at the end.

    Raises:
        Unreadable: The file is damaged or unpacks to far more than its size, a column has the wrong type for its name,
            or a column occurs twice.
        MissingColumn: There is no column `text`, or none that the user named.
    """
    with seekable(stream) as file:
        number, left = 1, limits.room(_size(file))
        for batch in _batches(file, source, limits):
            left -= batch.nbytes + ROW_BYTES * batch.num_rows
            if left < 0:
                raise limits.too_much(source, limits.room(_size(file)))
            yield _block(batch, number, source, limits)
            number += batch.num_rows


def _size(file: Any) -> int:
    place = file.tell()
    size = int(file.seek(0, io.SEEK_END))
    file.seek(place)
    return size


def _batches(file: Any, source: str, limits: Limits) -> Iterator[pyarrow.RecordBatch]:
    """Yield the wanted columns under our names; errors of the library about damaged bytes become `Unreadable`."""
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(file, pre_buffer=False)
        columns = _wanted(table.schema_arrow.names, source, limits)
        for batch in table.iter_batches(RECORDS_PER_BLOCK, columns=columns):
            yield batch.rename_columns(our_columns(batch.schema.names, limits.renamed))
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise  # an error of the disk, not of the content
        raise _damaged(source, error) from error


def _wanted(names: Sequence[str], source: str, limits: Limits) -> list[str]:
    """Return the names in the file of the columns that are read."""
    require_fields(source, names, limits.renamed)
    ours = our_columns(names, limits.renamed)
    usable = [name for name, our in zip(names, ours, strict=True) if our in (*limits.fields, "votes")]
    if repeated := {name for name in usable if usable.count(name) > 1} - {RECORD_TYPE}:
        raise twice(source, repeated)
    return [name for name in usable if usable.count(name) == 1]


def twice(source: str, names: set[str]) -> Unreadable:
    """Return the error for a table with two columns of the same name, because one of them would be lost."""
    return Unreadable(
        "Two columns have the same name", where=source, value=", ".join(sorted(names)),
        remedy="rename or drop one of the two",
    )


def _damaged(source: str, error: Exception) -> Unreadable:
    return Unreadable(
        "The Parquet file is damaged or was cut off", where=source, cause=str(error) or type(error).__name__,
        remedy="fetch or copy the file again, or write it again with a library that checks",
    )


def _block(batch: pyarrow.RecordBatch, number: int, source: str, limits: Limits) -> Block:
    """Convert one batch to typed records; *number* is the number of its first record."""
    import pyarrow

    columns = {name: _whole_numbers(column) for name, column in zip(batch.schema.names, batch.columns, strict=True)}
    units = {name: unit for name, (_, unit) in columns.items() if unit}
    plain = pyarrow.RecordBatch.from_arrays([column for column, _ in columns.values()], list(columns))
    good, problems = _without_broken_strings(plain, number, source)
    frame = _plain(pl.DataFrame(pl.from_arrow(good.drop_columns(["line"]))), source, units, limits.fields)
    frame = frame.with_columns(line=pl.Series(good["line"].to_pylist(), dtype=pl.Int64))
    return convert(frame, source, lambda row: orjson.dumps(frame.row(row, named=True), default=str), limits, problems)


def _whole_numbers(column: pyarrow.Array) -> tuple[pyarrow.Array, str]:
    """Return timestamps as the integers in which they are stored, with their unit; other columns unchanged."""
    import pyarrow
    from pyarrow import types

    if types.is_timestamp(column.type):
        return column.view(pyarrow.int64()), column.type.unit
    if types.is_date32(column.type):
        return column.view(pyarrow.int32()).cast(pyarrow.int64()), "day"
    if types.is_date64(column.type):
        return column.view(pyarrow.int64()), "ms"
    return column, ""


def _without_broken_strings(
    batch: pyarrow.RecordBatch, number: int, source: str
) -> tuple[pyarrow.RecordBatch, list[Problem]]:
    """Return the rows whose strings are all UTF-8, with their numbers in `line`, and the other rows as problems."""
    import pyarrow

    lines = pyarrow.array(range(number, number + batch.num_rows), pyarrow.int64())
    batch = batch.append_column("line", lines)
    try:
        batch.validate(full=True)  # polars does not check that strings are UTF-8
        return batch, []
    except pyarrow.ArrowInvalid as error:
        try:
            problems = _broken_strings(batch)
            broken = {problem.line - number for problem in problems}
            valid = batch.take(pyarrow.array([row for row in range(batch.num_rows) if row not in broken], "int64"))
            valid.validate(full=True)
        except (pyarrow.ArrowException, IndexError, ValueError):
            raise _damaged(source, error) from error
        return valid, problems


def _broken_strings(batch: pyarrow.RecordBatch) -> list[Problem]:
    """Return a problem for each row with a string that is not UTF-8."""
    columns = {name: _as_bytes(column) for name, column in zip(batch.schema.names, batch.columns, strict=True)}
    names = [name for name in columns if name != "line"]
    problems = []
    for *values, line in zip(*(columns[name] for name in names), columns["line"], strict=True):
        record = dict(zip(names, values, strict=True))
        bad = [name for name, value in record.items() if isinstance(value, bytes) and not _is_text(value)]
        if bad:
            detail = f"{', '.join(repr(name) for name in bad)} is not UTF-8"
            problems.append(Problem(line, Reason.ENCODING, detail, _escaped(record)))
    return problems


def _as_bytes(column: pyarrow.Array) -> list[Any]:
    """Return the values of a column, with strings as bytes."""
    import pyarrow
    from pyarrow import types

    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if types.is_string(column.type) or types.is_large_string(column.type):
        large = types.is_large_string(column.type)
        column = column.cast(pyarrow.large_binary() if large else pyarrow.binary())
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError):  # times and durations that Python cannot hold; no column of ours has them
        return [str(column.type)] * len(column)


def _is_text(value: bytes) -> bool:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _escaped(record: dict[str, Any]) -> bytes:
    """Return a record as JSON, with each invalid byte as a lone surrogate, so that reading it again fails as before."""
    values = {k: v.decode("utf-8", "surrogateescape") if isinstance(v, bytes) else v for k, v in record.items()}
    return json.dumps(values, default=str).encode()


def _plain(frame: pl.DataFrame, source: str, units: dict[str, str], fields: Sequence[str]) -> pl.DataFrame:
    """Flatten nested votes, and convert the other types of the fields to strings, numbers or timestamps."""
    if "votes" in frame.columns:
        frame = _flat_votes(frame, source)
    frame = frame.select(name for name in fields if name in frame.columns)
    if RECORD_TYPE in frame.columns and not _is_expected(RECORD_TYPE, frame.schema[RECORD_TYPE]):
        frame = frame.drop(RECORD_TYPE)  # no field of ours
    for name, dtype in frame.schema.items():
        if (name in units and name != "date") or not _is_expected(name, dtype):
            raise _misnamed(name, source, f"moments ({units[name]})" if name in units else str(dtype))
    columns = {name: _readable(frame[name], units.get(name, "")) for name in frame.columns}
    return pl.DataFrame(columns)


def _misnamed(name: str, source: str, kind: str) -> Unreadable:
    if name == LABEL:
        return Unreadable("The field with the labels holds lists or objects", where=source, value=kind)
    what = {"text": "text", "date": "dates", "votes": "votes"}.get(name, "numbers" if name in NUMBERS else "ids")
    return Unreadable(f"The column {name!r} holds no {what}", where=source, value=kind)


def _flat_votes(frame: pl.DataFrame, source: str) -> pl.DataFrame:
    """Take votes out of the nested form of older editions; a flat vote has priority, as in JSON."""
    dtype = frame.schema["votes"]
    if dtype == pl.Null:
        return frame.drop("votes")
    if not isinstance(dtype, pl.Struct):
        raise _misnamed("votes", source, str(dtype))
    for name in (field.name for field in dtype.fields if field.name in VOTES):
        inside = frame["votes"].struct.field(name).alias(name)
        if not _is_expected(name, inside.dtype):
            raise _misnamed(name, source, str(inside.dtype))
        nested = _readable(inside, "")
        if name in frame.columns and _is_expected(name, frame.schema[name]):
            flat = _readable(frame[name], "")
            if flat.dtype != nested.dtype:
                flat, nested = flat.cast(pl.String), nested.cast(pl.String)
            nested = pl.select(pl.coalesce(flat, nested)).to_series()
        if name not in frame.columns or _is_expected(name, frame.schema[name]):
            frame = frame.with_columns(nested.alias(name))
    return frame.drop("votes")


def _is_expected(name: str, dtype: pl.DataType) -> bool:
    """Return whether a type can hold values of this column; the values are checked one by one later."""
    if dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        return True
    if name == LABEL:
        return not dtype.is_nested()
    if name == "date":
        return dtype.is_numeric()
    if name in NUMBERS:
        return dtype.is_numeric() or dtype == pl.Boolean
    return name in IDS and dtype.is_numeric()


def _readable(column: pl.Series, unit: str) -> pl.Series:
    if unit:
        return _moments(column, unit)
    if column.dtype.is_float():  # pandas writes gaps as not-a-number
        column = column.fill_nan(None)
    if column.name in NUMBERS and column.dtype.is_numeric():
        return column.cast(pl.Float64)
    return column.cast(pl.String)


def _moments(stored: pl.Series, unit: str) -> pl.Series:
    """Return timestamps as `Datetime("us")`, or as strings that show the stored integer if a year is not 1-9999."""
    if unit == "ns":
        within, micro = stored.is_not_null(), stored // 1_000
    else:
        scale = DAY * MICROSECONDS if unit == "day" else MICROSECONDS // PER_SECOND[unit]
        within, micro = stored.is_between(-(-EARLIEST // scale), LATEST // scale), stored * scale
    outside = stored.is_not_null() & ~within
    date = micro.set(outside, None).cast(pl.Datetime("us"))
    if not outside.any():
        return date
    named = stored.cast(pl.String) + f" {unit} since 1970"
    return date.dt.to_string("%Y-%m-%d %H:%M:%S%.6f").set(outside, None).fill_null(named)
