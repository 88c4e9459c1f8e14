"""Read dates written in a documented list of forms; a date in another form, or an impossible one, is none.

A date that is guessed wrongly is worse than none: splits by month and drift depend on it. So two-digit years, serial
numbers of spreadsheets and names of months are not read.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl

FORMS = (
    "2024-05-31 or, the day first, 31-05-2024, each also with a time (18:30, 18:30:00, 18:30:00.5, after a space or T; "
    "Z or an offset like +02:00), or the seconds, milliseconds, microseconds or nanoseconds since 1970"
)
"""The forms that are read, in words."""
EARLIEST = datetime(1990, 1, 1)
"""There were no reviews on the web before; an earlier date is a wrong unit, a short year or a placeholder."""
AHEAD = timedelta(days=2)
"""How far after now a date may be: clocks differ, and so do days around the world."""

_DAYS = ("%Y-%m-%d", "%d-%m-%Y")
_TIMES = (" %H:%M:%S", "", " %H:%M:%S%.f", " %H:%M")
_OFFSETS = tuple(f"%Y-%m-%d{time}%z" for time in _TIMES if time)
_OFFSET = r"\d[+-]\d{2}:?\d{2}$"
_HOURS = r"(:[\d.]+[+-]\d{2})$"
"""An offset without minutes, as PostgreSQL writes it."""
_NUMBER = r"^\d+(\.\d*)?([eE]\+?\d+)?$"
_UNITS = ((1e11, 1_000_000.0), (1e14, 1_000.0), (1e17, 1.0), (float("inf"), 0.001))
"""Numbers below the first are seconds, and so on; the second is the microseconds of the unit. No two overlap."""


def latest_of(now: datetime) -> datetime:
    """Return the last moment that a date may have, without zone: the end of the day `AHEAD` of *now*, in UTC."""
    return (now + AHEAD).replace(hour=23, minute=59, second=59, microsecond=999_999, tzinfo=None)


def read_dates(column: pl.Series, now: datetime) -> pl.Series:
    """Return dates as UTC without zone, `Datetime("us")`; null if none of `FORMS` fits, or before 1990, or after *now*.

    Args:
        column: Strings, or moments of a format that has types.
        now: The present moment, in UTC.
    """
    parsed = _parsed(column) if column.dtype == pl.String else column.cast(pl.Datetime("us"))
    outside = ~parsed.is_between(EARLIEST, latest_of(now))
    return parsed.set(outside, None) if outside.any() else parsed


def _parsed(column: pl.Series) -> pl.Series:
    # Timestamps seldom repeat, so a cache of parsed values would not help.
    usual = column.str.to_datetime(_DAYS[0] + _TIMES[0], time_unit="us", strict=False, cache=False)
    if usual.null_count() == column.null_count():
        return usual
    text = column.str.strip_suffix("Z").str.strip_suffix(" UTC").str.replace(r"^(\d{4}-\d+-\d+)T", "$1 ")
    parsed = usual
    for form in (day + time for day in _DAYS for time in _TIMES):
        if parsed.null_count() == text.null_count():
            return parsed
        if form in _DAYS:
            again = text.str.to_date(form, strict=False).cast(pl.Datetime("us"))
        else:
            again = text.str.to_datetime(form, time_unit="us", strict=False)
        parsed = parsed.fill_null(again)
    return parsed.fill_null(_with_offset(text)).fill_null(_since_1970(text))


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
    return pl.select(micro.round().cast(pl.Int64, strict=False).cast(pl.Datetime("us"))).to_series()
