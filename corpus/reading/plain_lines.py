"""Read plain JSON lines without the interpreter: strings and numbers go from the bytes of the file into columns.

A plain line is one flat object: strings in valid UTF-8, null, truth values, and numbers that Python would write with
the same digits. It has each field at most once, with the type that `corpus.schema.FIELDS` wants. All other lines are
left to `corpus.reading.jsonlines`, which alone decides what is wrong with a line. So both ways give the same.

No library is used, because none says which lines it did not understand. polars makes text of the number in
`{"text": 5}`, takes the first of two equal names where JSON readers take the last, and refuses all lines for one byte
that is not UTF-8. pyarrow refuses all lines for one value of another type.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np
import polars as pl

from corpus.reading.convert import convert
from corpus.schema import FIELDS, VOTES, Block, Limits

OLDER = "votes"
"""Field of older editions of the dataset, with an object; only null is plain."""

Places = tuple[np.ndarray, np.ndarray]
"""Where the values of a field begin (-1: null) and end, (L,) each."""


def read_plain(lines: bytes, first_line: int, source: str, limits: Limits) -> tuple[Block, list[int], list[bytes]]:
    """Return the records of the plain lines, and the numbers and bytes of the other lines.

    Args:
        lines: Whole lines; after the last one there may be no newline.
        first_line: Number of the first line.
    """
    from corpus.reading import line_kernels  # here, because numba's import takes half a second

    names = [name.encode() for name in (*FIELDS, OLDER)]
    kinds = [line_kernels.NUMBER if name in ("stars", *VOTES) else line_kernels.STRING for name in FIELDS]
    count = lines.count(b"\n") + (not lines.endswith(b"\n"))
    data, words = np.frombuffer(lines, np.uint8), _words(lines, len(lines))
    ends, plain = np.empty(count, np.int64), np.empty(count, bool)
    begin_FL, end_FL = np.empty((2, len(names), count), np.int64)
    line_kernels.objects(
        data, words, np.frombuffer(b"".join(names), np.uint8), np.cumsum([0, *map(len, names)]),
        np.array([*kinds, line_kernels.NEITHER]), ends, plain, begin_FL, end_FL,
    )  # fmt: skip
    starts = np.concatenate([[0], ends[:-1] + 1])
    plain &= ends - starts <= limits.max_record_bytes
    rows, left = np.flatnonzero(plain), np.flatnonzero(~plain).tolist()
    if left:
        begin_FL, end_FL = begin_FL.take(rows, axis=1), end_FL.take(rows, axis=1)
    found = _columns(data, words, dict(zip(FIELDS, zip(begin_FL, end_FL, strict=True), strict=False)))
    loose = pl.DataFrame(found).with_columns(pl.Series("line", rows + first_line, dtype=pl.Int64))

    def raw(row: int) -> bytes:
        return lines[starts[row] : ends[row]]

    block = convert(loose, source, lambda row: raw(rows[row]), limits.max_chars)
    return block, [first_line + row for row in left], [raw(row) for row in left]


def _columns(data: np.ndarray, words: np.ndarray, places: Mapping[str, Places]) -> dict[str, pl.Series]:
    """Return the fields as `convert` takes them.

    Numbers and dates are typed here if `convert` has no problem with any of them. Otherwise they are strings, so that
    its messages show what the file says.
    """
    numbers = {name: _numbers(data, *places[name]) for name in ("stars", *VOTES)}
    whole = all(numbers[name][1] for name in VOTES)
    typed = {name: found for name, (found, _) in numbers.items() if whole or name not in VOTES}
    if (dates := _dates(data, *places["date"])) is not None:
        typed["date"] = dates
    return {name: typed[name] if name in typed else _strings(data, words, *places[name]) for name in FIELDS}


def _words(buffer: bytes | np.ndarray, size: int) -> np.ndarray:
    """Return the eight bytes from each place of a buffer on as numbers, as far as there are eight."""
    from corpus.reading import line_kernels

    return np.ndarray((max(0, size - line_kernels.WORD + 1),), "<u8", buffer, strides=(1,))


def _strings(data: np.ndarray, words: np.ndarray, begin: np.ndarray, end: np.ndarray) -> pl.Series:
    """Return the JSON strings (or numbers) from each *begin* to its *end*; a negative *begin* gives null."""
    import pyarrow as pa

    from corpus.reading import line_kernels

    known, bounds = begin >= 0, np.zeros(len(begin) + 1, np.int64)
    out = np.empty(int((end - begin)[known].sum()), np.uint8)
    line_kernels.strings(data, words, begin, end, out, _words(out, len(out)), bounds[1:])
    valid = None if known.all() else pa.py_buffer(np.packbits(known, bitorder="little"))
    array = pa.LargeStringArray.from_buffers(len(begin), pa.py_buffer(bounds), pa.py_buffer(out), valid)
    return cast(pl.Series, pl.from_arrow(array))


def _numbers(data: np.ndarray, begin: np.ndarray, end: np.ndarray) -> tuple[pl.Series, bool]:
    """Return the numbers from each *begin* to its *end* as Float64, and whether all are whole and below 2^31."""
    from corpus.reading import value_kernels

    found = np.empty(len(begin), np.float64)
    whole = value_kernels.numbers(data, begin, end, found)
    return _with_gaps(pl.Series(found), begin), bool(whole)


def _dates(data: np.ndarray, begin: np.ndarray, end: np.ndarray) -> pl.Series | None:
    """Return the dates from each *begin* to its *end*; None if one is not written like 2018-07-07 22:09:11."""
    from corpus.reading import value_kernels

    found = np.empty(len(begin), np.int64)
    usual = value_kernels.dates(data, begin, end, found)
    return _with_gaps(pl.Series(found).cast(pl.Datetime("us")), begin) if usual else None


def _with_gaps(values: pl.Series, begin: np.ndarray) -> pl.Series:
    unknown = pl.Series(begin < 0)
    return values.set(unknown, None) if unknown.any() else values
