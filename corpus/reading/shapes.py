r"""Cut values out of thousands of plain JSON lines at once by their shape, without parsing the lines.

The lines of a review file differ only in their values: `{"review_id":"…","stars":4.0,"text":"…"}`. A `Shape` is learnt
from one such line. Another line has this shape if it has the same number of quotes, the same bytes between its values,
and values in plain form (see `cut`). Then the positions of its values follow from the shape. Other lines are skipped.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import orjson
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from corpus.reading.byte_index import ByteIndex, Mask, Positions
from corpus.reading.convert import parse_dates
from corpus.schema import FIELDS, VOTES

Bytes = NDArray[np.uint8]
Span = tuple[Positions, Positions]
ZERO = np.uint8(ord("0"))

STRINGS = ("review_id", "user_id", "business_id", "text", "date")
VOTE_DIGITS = 6
_KEY = re.compile(rb'[\s{,]*"([^"\\]+)"\s*:\s*')
_VALUE = re.compile(rb'"((?:[^"\\]|\\.)*)"|(null|true|false|-?[0-9][0-9.eE+-]*)(?=[\s,}])')
_PLAIN = {"stars": re.compile(rb"[0-9](\.[0-9])?"), **dict.fromkeys(VOTES, re.compile(rb"[0-9]+"))}
_END = re.compile(rb"\s*\}\s*")


class _Value(NamedTuple):
    """The position of a value in the learnt line, without quotes; *name* is empty if no column takes the value."""

    name: str
    start: int
    end: int


@dataclass(frozen=True)
class Shape:
    """The common part of all lines of one shape: *literals*, with the values of *names* between them.

    There is one more literal than names. A name is one of `FIELDS`, or empty for a string that no column takes.
    """

    literals: tuple[bytes, ...]
    names: tuple[str, ...]


def learn(line: bytes) -> Shape | None:
    """Return the shape of a line, or None if the line is not a plain record with a text."""
    values = _values(line)
    if values is None or all(value.name != "text" for value in values):
        return None
    edges = [0, *(edge for value in values for edge in (value.start, value.end)), len(line)]
    literals = tuple(line[edges[at] : edges[at + 1]] for at in range(0, len(edges), 2))
    return Shape(literals, tuple(value.name for value in values))


def _values(line: bytes) -> list[_Value] | None:
    """Return the values that may differ between lines, in order, or None if the line is not plain."""
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(record, dict) or not line.startswith(b"{"):
        return None
    votes = record.get("votes")
    if not isinstance(votes, dict | None) or (votes is not None and set(VOTES) & set(record)):
        return None
    found: list[_Value] = []
    keys, at, inner = 0, 0, False
    while key := _KEY.match(line, at):
        name, at, keys = key[1].decode(), key.end(), keys + 1
        if name == "votes" and votes is not None and not inner:
            inner = True
            continue
        field = name if name in (VOTES if inner else FIELDS) else ""
        value = _VALUE.match(line, at)
        if value is None or not _is_plain(field, value):
            return None
        if value[1] is not None or (field and value[2] != b"null"):
            found.append(_Value(field, *value.span(1 if value[2] is None else 2)))
        at = value.end()
        if inner and line[at : at + 1] == b"}":
            inner, at = False, at + 1
    # orjson keeps only one of two equal keys, so a different number of keys reveals repeated keys.
    return found if keys == len(record) + len(votes or ()) and _END.fullmatch(line, at) else None


def _is_plain(field: str, value: re.Match[bytes]) -> bool:
    string, other = value.groups()
    if not field:
        return True
    if other == b"null":
        return field != "text"
    if field in STRINGS:
        return string is not None
    return string is None and _PLAIN[field].fullmatch(other) is not None


def cut(index: ByteIndex, lines: Positions, shape: Shape, max_chars: int) -> tuple[Positions, pl.DataFrame]:
    """Return the *lines* that have the shape and plain values, and their fields.

    Plain values are: ids that begin and end with a visible ASCII character, stars such as 4 or 4.5, votes of up to
    `VOTE_DIGITS` digits, dates in a known format, and texts of at most *max_chars* characters. Only the text may
    contain escapes.

    Returns:
        The numbers of those lines, and a table with the columns of `FIELDS` in the shape, typed as in `COLUMNS`.
    """
    lines, spans = _spans(index, lines, shape)
    fits = _escapes_within(index, lines, *spans["text"])
    for name, (begin, end) in spans.items():
        if name in _PLAIN_BYTES:
            fits &= _PLAIN_BYTES[name](index.bytes, begin, end - begin)
    if not fits.all():
        lines, spans = lines[fits], {name: (begin[fits], end[fits]) for name, (begin, end) in spans.items()}
    frame = pl.DataFrame([_column(index, name, *span) for name, span in spans.items() if name])
    keep = pl.repeat(True, len(lines), eager=True)
    if "date" in frame.columns and frame["date"].null_count():
        keep &= frame["date"].is_not_null()
    begin, end = spans["text"]
    if int((end - begin).max(initial=0)) > max_chars:
        keep &= frame["text"].str.len_chars() <= max_chars
    return (lines, frame) if keep.all() else (lines[keep.to_numpy()], frame.filter(keep))


def _spans(index: ByteIndex, lines: Positions, shape: Shape) -> tuple[Positions, dict[str, Span]]:
    """Return the lines that have the literals of the shape, and where the values between the literals begin and end."""
    quotes = sum(literal.count(b'"') for literal in shape.literals)
    lines = lines[(index.counts[lines] == quotes) & ~index.odd[lines]]
    first, begin, ends = index.first[lines], index.starts[lines], index.ends[lines]
    fits = np.ones(len(lines), bool)
    spans = {}
    for number, literal in enumerate(shape.literals):
        offset = literal.find(b'"')
        # Only the last literal can be without a quote: it follows a number at the end of the line.
        at = ends - len(literal) if offset < 0 else index.quotes[first] - offset
        fits &= (at >= begin) if number else (at == begin)
        fits &= at + len(literal) <= ends
        if not fits.all():
            at = np.where(fits, at, 0)  # any position inside the block will do
        fits &= _equal(index, at, literal)
        if number:
            spans[shape.names[number - 1]] = (begin, at)
        first, begin = first + literal.count(b'"'), at + len(literal)
    fits &= begin == ends
    if fits.all():
        return lines, spans
    return lines[fits], {name: (begin[fits], end[fits]) for name, (begin, end) in spans.items()}


def _equal(index: ByteIndex, at: Positions, literal: bytes) -> Mask:
    """Compare the bytes at each position with the literal, eight at a time; the last eight may overlap."""
    size = len(literal)
    if size < 8:
        return (index.words[at] & np.uint64((1 << 8 * size) - 1)) == np.uint64(int.from_bytes(literal, "little"))
    equal = np.ones(len(at), bool)
    for offset in {*range(0, size - 7, 8), size - 8}:
        equal &= index.words[at + offset] == np.uint64(int.from_bytes(literal[offset : offset + 8], "little"))
    return equal


def _escapes_within(index: ByteIndex, lines: Positions, begin: Positions, end: Positions) -> Mask:
    """Return a mask of the lines whose escapes are all between *begin* and *end*."""
    within = np.ones(len(lines), bool)
    if not len(index.escapes) or not len(lines):
        return within
    row = np.searchsorted(lines, index.line_of(index.escapes))
    row[row == len(lines)] = 0
    of_lines = lines[row] == index.line_of(index.escapes)
    row, at = row[of_lines], index.escapes[of_lines]
    within[row[(at < begin[row]) | (at >= end[row])]] = False
    return within


def _is_visible(data: Bytes, begin: Positions, length: Positions) -> Mask:
    first, last = data[begin], data[begin + np.maximum(length, 1) - 1]
    return (length >= 1) & (first > 32) & (first < 127) & (last > 32) & (last < 127)


def _is_number(data: Bytes, begin: Positions, length: Positions) -> Mask:
    fits = (length >= 1) & (length <= VOTE_DIGITS) & ((length == 1) | (data[begin] != ZERO))
    for digit in range(VOTE_DIGITS):
        fits &= (digit >= length) | _is_digit(data[begin + digit])
    return fits


def _is_rating(data: Bytes, begin: Positions, length: Positions) -> Mask:
    """Allow one digit, or one digit on each side of a full stop."""
    half = (length == 3) & (data[begin + 1] == ord(".")) & _is_digit(data[begin + 2])
    return ((length == 1) | half) & _is_digit(data[begin])


def _is_digit(data: Bytes) -> Mask:
    return (data - ZERO) < 10  # unsigned bytes: values below "0" wrap round to large values


_PLAIN_BYTES: dict[str, Callable[[Bytes, Positions, Positions], Mask]] = {
    **dict.fromkeys(("review_id", "user_id", "business_id"), _is_visible),
    **dict.fromkeys(VOTES, _is_number), "stars": _is_rating,
}


def _column(index: ByteIndex, name: str, begin: Positions, end: Positions) -> pl.Series:
    data, length = index.bytes, end - begin
    if name in VOTES:
        value = np.zeros(len(begin), np.int32)
        for digit in range(int(length.max(initial=0))):
            value = np.where(digit < length, value * 10 + (data[begin + digit] - ZERO), value)
        return pl.Series(name, value)
    if name == "stars":
        tenths = np.where(length == 3, data[begin + 2] - ZERO, 0)
        return pl.Series(name, (((data[begin] - ZERO) * 10 + tenths) / 10).astype(np.float32))
    if name == "text":
        return _texts(index, begin, end)
    strings = pl.Series(name, _strings(index, begin, length))
    if name == "date":
        moments = _moments(data, begin, length)
        return parse_dates(strings) if moments is None else pl.Series(name, moments)
    return strings


def _moments(data: Bytes, begin: Positions, length: Positions) -> NDArray[np.datetime64] | None:
    """Return dates such as 2018-07-07 22:09:11, or None if one date has another format or does not exist."""
    if not (length == 19).all():
        return None
    signs = [data[begin + at] for at in range(19)]
    fits = np.ones(len(begin), bool)
    for at, sign in enumerate("0000-00-00 00:00:00"):
        fits &= _is_digit(signs[at]) if sign == "0" else signs[at] == ord(sign)
    century, year, month, day, hour, minute, second = (
        (signs[at] - ZERO) * np.int64(10) + (signs[at + 1] - ZERO) for at in (0, 2, 5, 8, 11, 14, 17)
    )
    fits &= (century > 0) & (month >= 1) & (month <= 12) & (day >= 1) & (hour < 24) & (minute < 60) & (second < 60)
    months = (century * 100 + year - 1970) * 12 + month - 1
    days = months.astype("datetime64[M]").astype("datetime64[D]") + (day - 1)
    fits &= days.astype("datetime64[M]") == months.astype("datetime64[M]")  # there is no 31st of April
    if not fits.all():
        return None
    return days.astype("datetime64[us]") + ((hour * 60 + minute) * 60 + second) * np.timedelta64(1_000_000, "us")


def _strings(index: ByteIndex, begin: Positions, length: Positions) -> pa.Array:
    """Return stretches of the block as strings that point into the block, without copying.

    Arrow's view of a string holds its length, its first four bytes, a buffer number and a position in the buffer.
    Strings of up to 12 bytes are stored in the view itself.
    """
    views = np.zeros((len(begin), 4), "<u4")
    views[:, 0] = length
    views[:, 1] = index.words[begin]
    views[:, 3] = begin
    short = np.flatnonzero(length <= 12)
    for part in range(3 if len(short) else 0):
        kept = np.clip(length[short] - 4 * part, 0, 4).astype(np.uint64)
        mask = (np.uint64(1) << (8 * kept)) - np.uint64(1)
        views[short, part + 1] = index.words[begin[short] + 4 * part] & mask
    return pa.Array.from_buffers(pa.string_view(), len(begin), [None, pa.py_buffer(views), pa.py_buffer(index.buffer)])


def _texts(index: ByteIndex, begin: Positions, end: Positions) -> pl.Series:
    texts = pl.Series("text", _strings(index, begin, end - begin))
    rows = np.flatnonzero(np.searchsorted(index.escapes, end) - np.searchsorted(index.escapes, begin))
    if not len(rows):
        return texts
    # Together with their quotes they are JSON strings; `ByteIndex` has checked their escapes.
    quoted = pl.Series(_strings(index, begin[rows] - 1, end[rows] - begin[rows] + 2))
    return texts.scatter(pl.Series(rows), quoted.str.json_decode(pl.String))
