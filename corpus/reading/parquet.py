"""Read Parquet in batches, and make each value text, as in CSV, so that a bad value affects only its row.

Arrow writes numbers and moments as text. Texts are validated before polars gets them, which fails or panics if they are
not UTF-8.
"""

from __future__ import annotations

import io
import json
import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import orjson
import polars as pl

from reviewlm.core.errors import Unreadable
from reviewlm.corpus.reading.archives import seekable
from reviewlm.corpus.reading.convert import IDS, convert
from reviewlm.corpus.reading.field_names import our_columns, require_fields
from reviewlm.corpus.reading.known_names import find_known, unread
from reviewlm.corpus.schema import LABEL, RECORD_TYPE, Block, Problem, ReadingOptions, Reason

if TYPE_CHECKING:
    import pyarrow

RECORDS_PER_BLOCK = 5_000
"""A low number, because a dictionary-encoded column can use one long text for all rows of a batch."""
MOST_SHOWN = 100
"""Characters that are shown of the type of a column."""
ROW_BYTES = 64
"""Bytes counted for each row in the limit on unpacked size, because rows without values take no bytes."""


def read_parquet(
    stream: io.BufferedReader,
    source: str,
    options: ReadingOptions,
) -> Iterator[Block]:
    """Yield the records of a Parquet file.

    Inside an archive the file is copied first, because its table of contents is at the end.

    Raises:
        Unreadable: The file is damaged or unpacks to far more than its size, a column has the wrong type for its name,
            or a column occurs twice.
        MissingColumn: There is no column `text`, or none that the user named.
    """
    with seekable(stream) as file:
        number = 1
        left = options.room(_size(file))
        for size, texts, names in _batches(file, source, options):
            left -= size
            if left < 0:
                raise options.too_much(source, options.room(_size(file)))
            yield _block(
                texts,
                number,
                source,
                options,
                names,
            )
            number += texts.num_rows


def _size(file: Any) -> int:
    place = file.tell()
    size = int(file.seek(0, io.SEEK_END))
    file.seek(place)
    return size


def _batches(
    file: Any,
    source: str,
    options: ReadingOptions,
) -> Iterator[tuple[int, pyarrow.RecordBatch, list[str]]]:
    """Yield the size of each batch, its wanted columns as text under our names, and the names of all columns.

    Errors of the library about damaged bytes become `Unreadable`.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(file, pre_buffer=False)
        columns = _columns_to_read(table.schema_arrow.names, source, options)
        for batch in table.iter_batches(RECORDS_PER_BLOCK, columns=columns):
            theirs = batch.schema.names
            ours = our_columns(theirs, options.renamed)
            texts = {}
            for name, their, column in zip(ours, theirs, batch.columns, strict=True):
                if name != RECORD_TYPE or _holds(RECORD_TYPE, column.type):
                    texts[name] = _as_text(name, their, column, source)

            size = batch.nbytes + ROW_BYTES * batch.num_rows
            yield size, pyarrow.RecordBatch.from_pydict(texts), table.schema_arrow.names
    except (pyarrow.ArrowException, IndexError, OSError, ValueError, OverflowError) as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise  # an error of the disk, not of the content
        raise _damage_error(source, error) from error


def _columns_to_read(
    names: Sequence[str],
    source: str,
    options: ReadingOptions,
) -> list[str]:
    """Return the names in the file of the columns that are read."""
    require_fields(source, names, options)
    ours = our_columns(names, options.renamed)
    usable = [name for name, our in zip(names, ours, strict=True) if our in options.fields]
    if repeated := {name for name in usable if usable.count(name) > 1} - {RECORD_TYPE}:
        raise twice(source, repeated)
    return [name for name in usable if usable.count(name) == 1]


def twice(source: str, names: set[str]) -> Unreadable:
    """Return the error for a table with two columns of the same name, because one of them would be lost."""
    return Unreadable(
        "Two columns have the same name",
        where=source,
        value=", ".join(sorted(names)),
        remedy="rename or drop one of the two",
    )


def _damage_error(source: str, error: Exception) -> Unreadable:
    return Unreadable(
        "The Parquet file is damaged or was cut off",
        where=source,
        cause=str(error) or type(error).__name__,
        remedy="fetch or copy the file again, or write it again with a library that checks",
    )


def _block(
    texts: pyarrow.RecordBatch,
    number: int,
    source: str,
    options: ReadingOptions,
    names: Sequence[str],
) -> Block:
    """Convert one batch to typed records; *number* is the number of its first record."""
    good, broken = _without_broken_texts(texts, source)
    frame = pl.DataFrame(pl.from_arrow(good))
    lines = pl.Series(
        [number + row for row in range(texts.num_rows) if row not in broken], dtype=pl.Int64
    )
    problems = [Problem(number + row, Reason.ENCODING, *why) for row, why in broken.items()]
    return convert(
        frame.with_columns(line=lines),
        source,
        lambda row: orjson.dumps(frame.row(row, named=True)),
        options,
        problems,
        names=names,
    )


def _holds(name: str, kind: pyarrow.DataType) -> bool:
    """Return whether a type can hold values of a field; the values are checked one by one later."""
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    if (
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_string_view(kind)
        or types.is_null(kind)
    ):
        return True
    if name == LABEL:
        return not types.is_nested(kind)
    if name == "text":
        return types.is_binary(kind) or types.is_large_binary(kind)

    number = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
    if name == "date":
        return number or types.is_timestamp(kind) or types.is_date(kind)

    return number and name in ("stars", *IDS)


def _remedy_for(
    name: str,
    theirs: str,
    kind: pyarrow.DataType,
    source: str,
) -> str:
    """Return the command or setting that makes a column of another type readable.

    Args:
        name: Our name of the column.
        theirs: Its name in the file.
    """
    from pyarrow import types

    if not types.is_nested(kind):
        if name == "text":
            return "say which column it is: --set source.fields.text=NAME"
        return f"do not read it: {unread(name)}"

    column = f"pl.col({theirs!r})"
    if types.is_struct(kind):
        fields = [kind.field(place).name for place in range(kind.num_fields)]
        likely = find_known(fields).get(name, name if name in fields else fields[0])
        taken = f"{column}.struct.field({likely!r})"
    elif types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        joined = f"{column}.cast(pl.List(pl.String)).list.join(' ')"
        taken = joined if name == "text" else f"{column}.list.first()"
    else:
        return f"do not read it: {unread(name)}" if name != "text" else "write it as text"

    code = (
        f"import polars as pl; pl.read_parquet({source!r}).with_columns({taken}.alias({name!r}))"
        ".write_parquet('reviews.parquet')"
    )
    quoted = shlex.quote(code) if set(code) & set('"$`\\!') else f'"{code}"'
    return f"take the value out of it: python -c {quoted}"


def _as_text(
    name: str,
    theirs: str,
    column: pyarrow.Array,
    source: str,
) -> pyarrow.Array:
    """Return a column as text; moments are in UTC, and a number that is none (NaN) is unknown, as pandas writes it.

    Raises:
        Unreadable: The column has another type than its name says.
    """
    import pyarrow
    from pyarrow import compute, types

    if not _holds(name, column.type):
        what = {
            "text": "text",
            "date": "dates",
            "stars": "numbers",
            LABEL: "labels",
        }.get(name, "ids")
        raise Unreadable(
            f"The column {theirs!r} holds no {what}",
            where=source,
            value=str(column.type)[:MOST_SHOWN],
            remedy=_remedy_for(name, theirs, column.type, source),
        )
    if types.is_timestamp(column.type):  # whole seconds are read in one step
        moments = column.view(pyarrow.timestamp(column.type.unit)).cast(pyarrow.large_string())
        return compute.replace_substring_regex(moments, r"\.0+$", "")

    # Arrow would write 12345678901.0 with an exponent, as if it had been rounded.
    if types.is_floating(column.type):
        column = pl.Series(pl.from_arrow(column)).fill_nan(None).cast(pl.String).to_arrow()

    if name == "text" and (types.is_binary(column.type) or types.is_large_binary(column.type)):
        # Old writers do not say that bytes are a text; `_without_broken_texts` validates them.
        return column.cast(pyarrow.large_binary()).view(pyarrow.large_string())

    return column.cast(pyarrow.large_string())


def _without_broken_texts(
    texts: pyarrow.RecordBatch, source: str
) -> tuple[pyarrow.RecordBatch, dict[int, tuple[str, bytes]]]:
    """Return the rows whose texts are all UTF-8; of each other row what is wrong, and the record as JSON.

    There each invalid byte is a lone surrogate, so that reading it again fails as before.
    """
    import pyarrow

    try:
        texts.validate(full=True)  # polars does not check that texts are UTF-8
        return texts, {}
    except pyarrow.ArrowInvalid as error:
        binary = pyarrow.schema([(name, pyarrow.large_binary()) for name in texts.schema.names])
        broken = {}
        for row, record in enumerate(texts.cast(binary).to_pylist()):
            if bad := [name for name, value in record.items() if value and not _is_utf8(value)]:
                escaped = dict.fromkeys(record)
                for name, value in record.items():
                    if value is not None:
                        escaped[name] = value.decode("utf-8", "surrogateescape")

                broken[row] = (
                    f"{', '.join(map(repr, bad))} is not UTF-8",
                    json.dumps(escaped).encode(),
                )
        if not broken:
            raise _damage_error(source, error) from error
        return texts.filter(
            pyarrow.array([row not in broken for row in range(texts.num_rows)])
        ), broken


def _is_utf8(value: bytes) -> bool:
    return value.decode("utf-8", "ignore").encode() == value
