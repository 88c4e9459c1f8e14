"""Compile the conversion of plain JSON numbers and dates with numba, from the bytes of the lines.

`corpus.reading.line_kernels` says what plain numbers are, and finds where the values of L lines begin and end.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from models.compiled import kernel

_ZERO, _POINT = np.uint8(ord("0")), np.uint8(ord("."))
_DATE = np.array(list(b"0000-00-00 00:00:00"), np.uint8)
"""A zero stands for any digit."""
_MONTHS = np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])


@partial(kernel, fast=False)
def numbers(data_N: Any, begin_L: Any, end_L: Any, found_L: Any) -> Any:
    """Write plain numbers, which have at most 15 digits, so that the quotient is the nearest number; -1 begins none.

    Return whether all are whole and below 2^31.
    """
    small: Any = True
    for line in range(len(found_L)):
        value, divisor, tenth = np.int64(0), np.int64(1), np.int64(1)
        for at in range(max(begin_L[line], 0), end_L[line] if begin_L[line] >= 0 else 0):
            if data_N[at] == _POINT:
                tenth = np.int64(10)
            else:
                value = 10 * value + np.int64(data_N[at] - _ZERO)
                divisor *= tenth
        found_L[line] = value / divisor
        if value >= 1 << 31 or divisor > 1:
            small = small and value % divisor == 0 and value // divisor < 1 << 31
    return small


@kernel
def _whole(data_N: Any, at: int, digits: int) -> Any:
    value: Any = 0
    for n in range(at, at + digits):
        value = 10 * value + np.int64(data_N[n] - _ZERO)
    return value


@kernel
def _days(year: int, month: int, day: int) -> int:
    """Return the days from 1970 to a date: years begin in March, so that a leap day is the last one."""
    year -= month < 3
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return 365 * year + year // 4 - year // 100 + year // 400 + of_year - 719468


@kernel
def dates(data_N: Any, begin_L: Any, end_L: Any, found_L: Any) -> bool:
    """Write dates like 2018-07-07 22:09:11 in microseconds from 1970; False: one is not a date written so. -1: none."""
    for line in range(len(found_L)):
        at = begin_L[line]
        if at < 0:
            found_L[line] = 0
            continue
        if end_L[line] - at != len(_DATE):
            return False
        for n in range(len(_DATE)):
            sign = data_N[at + n]
            if sign != _DATE[n] and (_DATE[n] != _ZERO or sign < _ZERO or sign > _ZERO + 9):
                return False
        year, month, day = _whole(data_N, at, 4), _whole(data_N, at + 5, 2), _whole(data_N, at + 8, 2)
        hour, minute, second = _whole(data_N, at + 11, 2), _whole(data_N, at + 14, 2), _whole(data_N, at + 17, 2)
        leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
        if year < 1 or month < 1 or month > 12 or day < 1 or day > _MONTHS[month - 1] + (leap and month == 2):
            return False
        if hour > 23 or minute > 59 or second > 59:
            return False
        found_L[line] = 1_000_000 * (86_400 * _days(year, month, day) + 3_600 * hour + 60 * minute + second)
    return True
