"""Read plain JSON lines without the interpreter: strings and numbers go from the bytes of the file into columns.

A plain line is one flat object: strings in valid UTF-8, null, truth values, and numbers that Python would write with
the same digits. It has each field at most once, with the type that `corpus.schema.FIELDS` wants. All other lines are
left to `corpus.reading.jsonlines`, which alone decides what is wrong with a line. So both ways give the same.

No library is used, because none says which lines it did not understand. polars makes text of the number in
`{"text": 5}`, takes the first of two equal names where JSON readers take the last, and refuses all lines for one byte
that is not UTF-8. pyarrow refuses all lines for one value of another type.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import polars as pl

from corpus.reading.convert import convert
from corpus.schema import FIELDS, VOTES, Block, Limits

OLDER = "votes"
"""Field of older editions of the dataset, with an object; only null is plain."""


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
    data, words = _with_words(len(lines))
    data[: len(lines)] = np.frombuffer(lines, np.uint8)
    ends, plain = np.empty(count, np.int64), np.empty(count, bool)
    begin_FL, end_FL = np.empty((2, len(names), count), np.int64)
    line_kernels.objects(
        data, words, np.frombuffer(b"".join(names), np.uint8), np.cumsum([0, *map(len, names)]),
        np.array([*kinds, line_kernels.NEITHER]), ends, plain, begin_FL, end_FL,
    )  # fmt: skip
    starts = np.concatenate([[0], ends[:-1] + 1])
    plain &= ends - starts <= limits.max_record_bytes
    rows, left = np.flatnonzero(plain), np.flatnonzero(~plain).tolist()
    columns = {
        name: _strings(data, words, begin_FL[field, rows], end_FL[field, rows]) for field, name in enumerate(FIELDS)
    }
    loose = pl.DataFrame(columns).with_columns(pl.Series("line", rows + first_line, dtype=pl.Int64))

    def raw(row: int) -> bytes:
        return lines[starts[row] : ends[row]]

    block = convert(loose, source, lambda row: raw(rows[row]), limits.max_chars)
    return block, [first_line + row for row in left], [raw(row) for row in left]


def _with_words(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return space for so many bytes, with zeros after them, and the eight bytes from each place on as numbers."""
    from corpus.reading import line_kernels

    data = np.zeros(size + line_kernels.WORD, np.uint8)
    return data, np.ndarray((size + 1,), "<u8", data, strides=(1,))


def _strings(data: np.ndarray, words: np.ndarray, begin: np.ndarray, end: np.ndarray) -> pl.Series:
    """Return the JSON strings (or numbers) from each *begin* to its *end*; a negative *begin* gives null."""
    import pyarrow as pa

    from corpus.reading import line_kernels

    known, bounds = begin >= 0, np.zeros(len(begin) + 1, np.int64)
    out, out_words = _with_words(int((end - begin)[known].sum()))
    line_kernels.strings(data, words, begin, end, out, out_words, bounds[1:])
    valid = None if known.all() else pa.py_buffer(np.packbits(known, bitorder="little"))
    array = pa.LargeStringArray.from_buffers(len(begin), pa.py_buffer(bounds), pa.py_buffer(out), valid)
    return cast(pl.Series, pl.from_arrow(array))
