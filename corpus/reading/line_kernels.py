"""Compile the reading of plain JSON lines with numba: each byte is looked at once, without holding the GIL.

`corpus.reading.plain_lines` says what a plain line is. Shapes: N bytes of some lines, L lines, F fields, M bytes of the
fields' names. A line that is not certainly plain JSON is left to others, so nothing here has to name an error.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from models.compiled import kernel

STRING, NUMBER, NEITHER = 1, 2, 0
"""Kinds of the value that a field must have; null is allowed for all of them."""

WORD = 8
"""Bytes that are looked at together."""
_NONE = -1
_ONES, _HIGHEST = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
_SPACES, _QUOTES, _BACKSLASHES, _NEWLINES = (np.uint64(ord(sign)) * _ONES for sign in ' "\\\n')
_MOST_DIGITS, _MOST_BEFORE_POINT, _MOST_PLACES = 15, 11, 4
_NEWLINE, _QUOTE, _BACKSLASH, _U, _ZERO, _POINT, _COLON, _COMMA, _OPEN, _CLOSE, _N = (
    np.uint8(ord(sign)) for sign in '\n"\\u0.:,{}n'
)
_NULL, _TRUE, _FALSE = (np.array(list(word), np.uint8) for word in (b"null", b"true", b"false"))
_BLANK, _SIMPLE, _IN_NAME, _DIGIT, _ESCAPE = np.zeros((5, 256), bool)
_BLANK[[ord(sign) for sign in " \t\r"]] = True
_SIMPLE[0x20:0x80] = True
_SIMPLE[[_QUOTE, _BACKSLASH]] = False
_IN_NAME[:0x7F] = _SIMPLE[:0x7F]
_DIGIT[ord("0") : ord("9") + 1] = True
_MEANT = np.zeros(256, np.uint8)
"""The byte that each sign after a backslash stands for."""
for _sign, _meant in zip('"\\/bfnrt', '"\\/\b\f\n\r\t', strict=True):
    _ESCAPE[ord(_sign)], _MEANT[ord(_sign)] = True, ord(_meant)
_HEX = np.full(256, _NONE, np.int64)
for _value in range(16):
    _HEX[[ord(f"{_value:x}"), ord(f"{_value:X}")]] = _value


@kernel
def _after_blanks(data_N: Any, at: int, stop: int) -> int:
    while at < stop and _BLANK[data_N[at]]:
        at += 1
    return at


@kernel
def _code(data_N: Any, at: int, stop: int) -> int:
    """Return the number that four hexadecimal digits write; -1: there are no four."""
    code = 0
    for n in range(at, at + 4):
        if n >= stop or _HEX[data_N[n]] < 0:
            return _NONE
        code = 16 * code + _HEX[data_N[n]]
    return code


@kernel
def _character_size(data_N: Any, at: int, stop: int) -> int:
    """Return the bytes of a character beyond ASCII in UTF-8 (Unicode 15, table 3-7); 0: it is not one."""
    lead = data_N[at]
    if lead < 0xC2 or lead > 0xF4:
        return 0
    size = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
    if at + size > stop:
        return 0
    low = 0xA0 if lead == 0xE0 else 0x90 if lead == 0xF0 else 0x80
    high = 0x9F if lead == 0xED else 0x8F if lead == 0xF4 else 0xBF
    if data_N[at + 1] < low or data_N[at + 1] > high:
        return 0
    for n in range(at + 2, at + size):
        if data_N[n] < 0x80 or data_N[n] > 0xBF:
            return 0
    return size


@kernel
def _escape_size(data_N: Any, at: int, stop: int) -> int:
    """Return the bytes of the escape that begins with the backslash at a place; 0: it is not one of a character."""
    if at + 1 >= stop:
        return 0
    if data_N[at + 1] != _U:
        return 2 if _ESCAPE[data_N[at + 1]] else 0
    code = _code(data_N, at + 2, stop)
    if code < 0 or code >> 10 == 0x37:  # the lower half of a surrogate pair
        return 0
    if code >> 10 != 0x36:
        return 6
    if at + 8 > stop or data_N[at + 6] != _BACKSLASH or data_N[at + 7] != _U:
        return 0
    return 12 if _code(data_N, at + 8, stop) >> 10 == 0x37 else 0


@kernel
def _has(word: Any, signs: Any) -> bool:
    """Return whether one of eight bytes is a sign; *signs* is eight times the sign."""
    other = word ^ signs
    return (other - _ONES) & ~other & _HIGHEST


@kernel
def _are_simple(word: Any) -> bool:
    """Return whether eight bytes are ASCII characters that a string may hold as they are, and no quote."""
    other = word - _SPACES | (word ^ _QUOTES) - _ONES | (word ^ _BACKSLASHES) - _ONES | word
    return not other & _HIGHEST


@kernel
def _string_end(data_N: Any, words_N: Any, at: int, stop: int) -> int:
    """Return the place of the quote that ends a string; -1: it is not valid."""
    while True:
        while at + WORD <= stop and _are_simple(words_N[at]):
            at += WORD
        while at < stop and _SIMPLE[data_N[at]]:
            at += 1
        if at >= stop or data_N[at] < 0x20:
            return _NONE
        if data_N[at] == _QUOTE:
            return at
        size = _escape_size(data_N, at, stop) if data_N[at] == _BACKSLASH else _character_size(data_N, at, stop)
        if not size:
            return _NONE
        at += size


@kernel
def _number_end(data_N: Any, at: int, stop: int) -> int:
    """Return the place after a number that Python would write with the same digits; -1: it is another one, or none.

    That is a whole number without sign and leading zeros, or one with few places, of which the last is not zero unless
    it is the only one. So 4, 4.0 and 0.25, but not -1, 4.50 or 1e5.
    """
    first = at
    while at < stop and _DIGIT[data_N[at]]:
        at += 1
    digits = at - first
    if digits == 0 or digits > _MOST_DIGITS or (digits > 1 and data_N[first] == _ZERO):
        return _NONE
    if at >= stop or data_N[at] != _POINT:
        return at
    first = at = at + 1
    while at < stop and _DIGIT[data_N[at]]:
        at += 1
    places = at - first
    usual = digits <= _MOST_BEFORE_POINT and 0 < places <= _MOST_PLACES and (places == 1 or data_N[at - 1] != _ZERO)
    return at if usual else _NONE


@kernel
def _word_end(data_N: Any, at: int, stop: int, word: Any) -> int:
    """Return the place after a word; -1: there is another one."""
    if at + len(word) > stop:
        return _NONE
    for n in range(len(word)):
        if data_N[at + n] != word[n]:
            return _NONE
    return at + len(word)


@kernel
def _field(data_N: Any, begin: int, end: int, names_M: Any, borders: Any, start: int) -> int:
    """Return the number of the field with a name, looked for from the field *start* on; -1: none has it."""
    count = len(borders) - 1
    for field in range(start, start + count):
        field -= count * (field >= count)
        first, size = borders[field], borders[field + 1] - borders[field]
        if size == end - begin:
            n = 0
            while n < size and data_N[begin + n] == names_M[first + n]:
                n += 1
            if n == size:
                return field
    return _NONE


@kernel
def _object(
    data_N: Any, words_N: Any, at: int, stop: int, names_M: Any, borders: Any, kinds_F: Any, begin_F: Any, end_F: Any
) -> bool:
    """Write where the values of an object's fields begin and end; return whether the line is plain."""
    begin_F[:], end_F[:], field = _NONE, _NONE, _NONE
    at = _after_blanks(data_N, at, stop)
    if at >= stop or data_N[at] != _OPEN:
        return False
    while True:
        at = _after_blanks(data_N, at + 1, stop)  # after the brace, or the comma
        if at >= stop or data_N[at] != _QUOTE:
            return False
        name = at = at + 1
        while at < stop and _IN_NAME[data_N[at]]:
            at += 1
        if at >= stop or data_N[at] != _QUOTE:
            return False
        field = _field(data_N, name, at, names_M, borders, field + 1)  # fields often come in our order
        at = _after_blanks(data_N, at + 1, stop)
        if at >= stop or data_N[at] != _COLON:
            return False
        begin = _after_blanks(data_N, at + 1, stop)
        if begin >= stop:
            return False
        kind, sign = NEITHER, data_N[begin]
        if sign == _QUOTE:
            kind, begin = STRING, begin + 1
            end = _string_end(data_N, words_N, begin, stop)
        elif _DIGIT[sign]:
            kind, end = NUMBER, _number_end(data_N, begin, stop)
        else:
            end = max(_word_end(data_N, begin, stop, _NULL), _word_end(data_N, begin, stop, _TRUE))
            end = max(end, _word_end(data_N, begin, stop, _FALSE))
        if end < 0:
            return False
        if field >= 0:
            null = sign == _N
            if end_F[field] >= 0 or not (null or (kind == kinds_F[field] and kind != NEITHER)):
                return False  # a field that is there twice, or of another type
            begin_F[field], end_F[field] = _NONE if null else begin, end
        at = _after_blanks(data_N, end + (kind == STRING), stop)
        if at < stop and data_N[at] == _CLOSE:
            return _after_blanks(data_N, at + 1, stop) == stop
        if at >= stop or data_N[at] != _COMMA:
            return False


@kernel
def _line_end(data_N: Any, words_N: Any, at: int, last: int) -> int:
    """Return the place of the next newline; *last* if there is none before."""
    while at + WORD <= last and not _has(words_N[at], _NEWLINES):
        at += WORD
    while at < last and data_N[at] != _NEWLINE:
        at += 1
    return at


@kernel
def objects(
    data_N: Any, words_N: Any, names_M: Any, borders: Any, kinds_F: Any, ends_L: Any, plain_L: Any, begin_FL: Any,
    end_FL: Any
) -> None:
    """Write where each line ends, whether it is plain, and where the values of its fields begin and end.

    Args:
        data_N: Bytes of L lines; the last line may be without a newline.
        words_N: The eight bytes that begin at each place of these, as numbers, as far as there are eight.
        names_M: Names of the fields, one after another.
        borders: (F + 1,) where they begin, and where the last one ends.
        kinds_F: Kind of each field.
        ends_L: Place of each newline.
        plain_L: What else is written of other lines means nothing.
        begin_FL: -1 for null, and for a field that is not there.
        end_FL: Place after the last byte of the value.
    """
    begin, last = 0, len(data_N)
    for line in range(len(ends_L)):
        end = _line_end(data_N, words_N, begin, last)
        values = begin_FL[:, line], end_FL[:, line]
        plain_L[line] = _object(data_N, words_N, begin, end, names_M, borders, kinds_F, values[0], values[1])
        ends_L[line], begin = end, end + 1


@kernel
def _put(code: int, out: Any, to: int) -> int:
    """Write a character in UTF-8; return the place after it."""
    if code < 0x80:
        out[to] = code
        return to + 1
    size = 2 if code < 0x800 else 3 if code < 0x10000 else 4
    for n in range(size - 1, 0, -1):
        out[to + n] = 0x80 | code & 0x3F
        code >>= 6
    out[to] = code | (0xF00 >> size) & 0xFF
    return to + size


@kernel
def strings(data_N: Any, words_N: Any, begin_L: Any, end_L: Any, out: Any, out_words: Any, ends_L: Any) -> None:
    """Write valid strings without their escapes one after another, and where each one ends; -1 begins no string."""
    to = 0
    for line in range(len(ends_L)):
        at, stop = begin_L[line], end_L[line]
        while 0 <= at < stop:
            if at + WORD <= stop and not _has(words_N[at], _BACKSLASHES):
                out_words[to] = words_N[at]
                at, to = at + WORD, to + WORD
            elif data_N[at] != _BACKSLASH:
                out[to] = data_N[at]
                at, to = at + 1, to + 1
            elif data_N[at + 1] != _U:
                out[to] = _MEANT[data_N[at + 1]]
                at, to = at + 2, to + 1
            else:
                code = _code(data_N, at + 2, stop)
                at += 6
                if code >> 10 == 0x36:  # the upper half of a surrogate pair
                    code = 0x10000 + ((code & 0x3FF) << 10) + (_code(data_N, at + 2, stop) & 0x3FF)
                    at += 6
                to = _put(code, out, to)
        ends_L[line] = to
