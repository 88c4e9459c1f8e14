"""Read dates in a documented list of forms, tell the order of day and month, and know the stand-ins for no date.

A date in another form, or an impossible one, is none. A date that is guessed wrongly is worse than none: splits by month
and drift depend on it. So years of two digits are not read, nor names of months in other languages than English.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

import polars as pl

FORMS = (
    "2024-05-31 (also 2024/05/31) or 31-05-2024 (the month first if the dates of the file show it; also 31/05/2024, "
    "31.05.2024), 31 May 2024 or May 31, 2024, each "
    "also with a time (18:30, 6:30 PM, 18:30:00, 18:30:00.5, after a space or T; Z or an offset like +02:00), or the seconds, "
    "milliseconds, microseconds or nanoseconds since 1970, or the days of a spreadsheet (45443) or since 1970"
)
"""The forms that are read, in words."""
EARLIEST = datetime(1990, 1, 1)
"""There were no reviews on the web before; an earlier date is a wrong unit, a short year or a placeholder."""
AHEAD = timedelta(days=2)
"""How far after now a date may be: clocks differ, and so do days around the world."""

_WORDS = r"nat|nan|none|null|nil|n/?a|#n/?a|<na>|undefined|unknown|-+|\?"
_ZEROS = r"0+(?:\.0*)?|-1|-62135596800(?:000)?"
_DAYS = (
    r"(?:0000.00.00|0001.01.01|1753.01.01|1899.12.3[01]|1900.01.0[01]|1970.01.01|9999.12.31"
    r"|00.00.0000|01.01.0001|01.01.1900|01.01.1970|31.12.9999|12.31.9999)"
    r"(?:[ t]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?)?(?:z| utc|[+-]00(?::?00)?)?"
)
STAND_IN = rf"(?i)^(?:{_WORDS}|{_ZEROS}|{_DAYS})$"
"""What programs write for an unknown date: MySQL's zeros, words of pandas and SQL, the first or last day of a calendar."""
NO_NUMBER = rf"(?i)^(?:{_WORDS})$"
"""What programs write for an unknown number."""

DAY = r"^(\d{1,2})[-/.](\d{1,2})[-/.]\d{4}(?:\D|$)"
MONTH = r"^\d{1,2}[-/.](\d{1,2})[-/.]\d{4}(?:\D|$)"
_SEPARATORS = r"^(\d{1,2})[-/.](\d{1,2})[-/.](\d{4})"
_YEAR_FIRST = r"^(\d{4})[/.](\d{1,2})[/.](\d{1,2})"
_ISO = "%Y-%m-%d"
_DAY_FIRST = "%d-%m-%Y"
_MONTH_FIRST = "%m-%d-%Y"
_TIMES = (" %H:%M:%S", "", " %H:%M:%S%.f", " %H:%M")
_HALF_DAYS = (" %I:%M:%S %p", " %I:%M %p")
"""Times of a clock with twelve hours: 6:30 PM."""
_OFFSETS = tuple(f"{_ISO}{time}%z" for time in _TIMES if time)
_OFFSET = r"\d[+-]\d{2}:?\d{2}$"
_HOURS = r"(:[\d.]+[+-]\d{2})$"
"""An offset without minutes, as PostgreSQL writes it."""
_NUMBER = r"^\d+(\.\d*)?([eE]\+?\d+)?$"
_UNITS = ((1e11, 1_000_000.0), (1e14, 1_000.0), (1e17, 1.0), (float("inf"), 0.001))
"""Numbers below the first are seconds, and so on; the second is the microseconds of the unit. No two overlap."""
AS_DAYS = r"^\d{4,5}(\.\d*)?$"
"""Numbers of days; as seconds they would be of 1970, which no date is."""
_SHEET_DAYS = (32_874, 25_569)
"""First of January 1990 and of 1970 in the days that spreadsheets count, from the end of 1899."""
_UNIX_DAYS = 7_305
"""First of January 1990 in days since 1970."""
_DAY_SECONDS = 86_400
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_NAME = (
    r"(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_WEEKDAY = r"(?:(?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|sun)(?:day)?\.?,?\s+)?"
_DAY_NUMBER = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?P<year>\d{4})"
_CLOCK = r"(?:(?:,?\s+(?:at\s+)?|t)(?P<time>\d{1,2}:\d{2}.*))?"
_NAMED = (
    rf"(?i)^{_WEEKDAY}{_DAY_NUMBER}(?:\s+of\s+|[\s/-]+){_NAME}[\s,/-]+{_YEAR}{_CLOCK}$",
    rf"(?i)^{_WEEKDAY}{_NAME}[\s-]+{_DAY_NUMBER}(?:,\s*|[\s-]+){_YEAR}{_CLOCK}$",
    rf"(?i)^{_YEAR}[\s/-]+{_NAME}[\s/-]+{_DAY_NUMBER}{_CLOCK}$",
    rf"(?i)^{_WEEKDAY}{_NAME}\s+{_DAY_NUMBER}\s+(?P<time>\d{{1,2}}:\d{{2}}\S*(?:\s+(?:[+-]\d{{4}}|utc|gmt))?)\s+{_YEAR}$",
)
"""Dates with the name of a month: 3 May 2021, May 3rd, 2021, 2021-May-03, and as the library of C writes them."""
TWO_DIGITS = r"^\d{1,2}[-/.]\d{1,2}[-/.]\d{2}(?:\D|$)"
"""Dates whose year has two digits, or whose year comes first with two."""


class DayMonthOrder(StrEnum):
    """The order of day and month that a date like 05-06-2023 allows."""

    DAY_FIRST = "day"
    MONTH_FIRST = "month"
    EITHER = "either"
    """It is another date in the other order. A date like 05-05-2023 is the same, and shows nothing."""


def count_orders(column: pl.Series) -> dict[str, int]:
    """Return how many dates of a column allow which order of day and month; those that begin with the year do not count.

    Args:
        column: Strings.
    """
    some = column.filter(column.str.contains(DAY).fill_null(False))
    if some.is_empty():
        return {}

    first = some.str.extract(DAY, 1).cast(pl.Int16)
    second = some.str.extract(MONTH, 1).cast(pl.Int16)
    day_fits = first.is_between(1, 31) & second.is_between(1, 12)
    month_fits = second.is_between(1, 31) & first.is_between(1, 12)
    dates_of_order = {
        DayMonthOrder.DAY_FIRST.value: day_fits & ~month_fits,
        DayMonthOrder.MONTH_FIRST.value: month_fits & ~day_fits,
        DayMonthOrder.EITHER.value: day_fits & month_fits & (first != second),
    }
    counts = {order: int(dates.sum()) for order, dates in dates_of_order.items()}
    return {order: count for order, count in counts.items() if count}


def latest_of(now: datetime) -> datetime:
    """Return the last moment that a date may have, without zone: the end of the day `AHEAD` of *now*, in UTC."""
    return (now + AHEAD).replace(
        hour=23,
        minute=59,
        second=59,
        microsecond=999_999,
        tzinfo=None,
    )


def read_dates(
    column: pl.Series,
    now: datetime,
    month_first: bool = False,
) -> pl.Series:
    """Return dates as UTC without zone, `Datetime("us")`; null if none of `FORMS` fits, or before 1990, or after *now*.

    Args:
        column: Strings.
        now: The present moment, in UTC.
        month_first: Dates that end with the year begin with the month.
    """
    parsed = _parse(column, _MONTH_FIRST if month_first else _DAY_FIRST)
    outside = ~parsed.is_between(EARLIEST, latest_of(now))
    if outside.any():
        return parsed.set(outside, None)
    return parsed


def is_date(value: str) -> bool:
    """Return whether a value is in one of `FORMS`."""
    return _parse(pl.Series([value]), _DAY_FIRST).null_count() == 0


def _parse(column: pl.Series, year_last: str) -> pl.Series:
    parsed = _parse_numbers(column, year_last)
    if parsed.null_count() == column.null_count():
        return parsed
    named = _in_numbers(column)
    if named.null_count() == len(named):
        return parsed
    return parsed.fill_null(_parse_numbers(named, year_last))


def _in_numbers(column: pl.Series) -> pl.Series:
    """Return dates with the name of a month as 2021-05-03, with their time; null for all others."""
    found = pl.Series([None] * len(column), dtype=pl.String)
    for pattern in _NAMED:
        groups = column.str.extract_groups(pattern).struct.unnest()
        if groups["year"].null_count() == len(groups):
            continue

        clock = pl.lit(None, pl.String)
        if "time" in groups.columns:
            clock = pl.col("time").str.replace(r"(?i)\s*(?:utc|gmt)$", "")
            clock = clock.str.replace(r"\s+([+-])", "$1")

        name = pl.col("month").str.to_lowercase().str.slice(0, 3)
        number = name.replace_strict(list(_MONTHS), range(1, 13), default=None)
        day = pl.format("{}-{}-{}", "year", number, "day")
        written = day + pl.lit(" ") + clock.fill_null("")
        found = found.fill_null(groups.select(written.str.strip_chars()).to_series())

    return found


def _parse_numbers(column: pl.Series, year_last: str) -> pl.Series:
    # Timestamps seldom repeat, so a cache of parsed values would not help.
    usual = column.str.to_datetime(
        _ISO + _TIMES[0],
        time_unit="us",
        strict=False,
        cache=False,
    )
    if usual.null_count() == column.null_count():
        return usual

    text = (
        column.str.strip_suffix("Z")
        .str.strip_suffix(" UTC")
        .str.replace(_SEPARATORS, "$1-$2-$3")
        .str.replace(_YEAR_FIRST, "$1-$2-$3")
        .str.replace(r"^(\d+-\d+-\d+)T", "$1 ")
    )
    parsed = usual
    for day in (_ISO, year_last):
        for time in (*_TIMES, *_HALF_DAYS):
            if parsed.null_count() == text.null_count():
                return parsed
            parsed = parsed.fill_null(_in_form(text, day + time))

    return parsed.fill_null(_with_offset(text)).fill_null(_since_1970(text))


def _in_form(text: pl.Series, form: str) -> pl.Series:
    if "%M" in form:
        return text.str.to_datetime(form, time_unit="us", strict=False)
    return text.str.to_date(form, strict=False).cast(pl.Datetime("us"))


def _with_offset(text: pl.Series) -> pl.Series:
    text = text.str.replace(_HOURS, "${1}00")
    zoned = pl.select(pl.when(text.str.contains(_OFFSET)).then(text)).to_series()
    parsed = pl.Series([None] * len(text), dtype=pl.Datetime("us"))
    for form in _OFFSETS:
        again = zoned.str.to_datetime(form, time_unit="us", strict=False)
        parsed = parsed.fill_null(again.dt.convert_time_zone("UTC").dt.replace_time_zone(None))
    return parsed


def _since_1970(text: pl.Series) -> pl.Series:
    """Return moments given as a number, whose unit its size tells."""
    number = pl.when(text.str.contains(_NUMBER)).then(text.cast(pl.Float64, strict=False))
    micro = pl.lit(None, pl.Float64)
    for limit, unit in reversed(_UNITS):
        micro = pl.when(number < limit).then(number * unit).otherwise(micro)

    first, since = _SHEET_DAYS
    days = pl.when(number >= first).then(number - since).otherwise(number)
    seconds = (days * _DAY_SECONDS).round()
    are_days = text.str.contains(AS_DAYS) & (number >= _UNIX_DAYS)
    micro = pl.when(are_days).then(seconds * 1_000_000).otherwise(micro)
    return pl.select(micro.round().cast(pl.Int64, strict=False).cast(pl.Datetime("us"))).to_series()
