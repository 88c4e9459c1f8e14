"""Convert a table of strings, from any format, to the typed table of reviews.

This is the only place that interprets values. Every format goes through `convert`, so the same review in JSON lines,
CSV or Parquet becomes the same row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import polars as pl

from corpus.schema import COLUMNS, FIELDS, LABEL, LABELLED, VOTES, Block, Problem, Reason, quarantine

DERIVED_ID = "sha-"
"""Prefix of a review_id that was derived from the content of a record without an id."""

DATE_FORMATS = (
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%d",
    "%d-%m-%Y",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d %H:%M",
    "%d-%m-%Y %H:%M:%S",
)
"""Formats, tried in this order. A `Z` is dropped and an offset is applied: all dates are stored as UTC without zone."""

EARLIEST, LATEST = -62_135_596_800_000_000, 253_402_300_799_999_999
"""First and last microsecond of the years 1 to 9999, counted from 1970: Python's `datetime` has only these years."""
FAILURES = (pl.exceptions.PolarsError, pl.exceptions.PanicException, ValueError, OverflowError)
"""Errors that polars raises for a value that it cannot hold. Its PanicException is not a subclass of `Exception`."""

OFFSET = r"[+-][0-9]{2}:?[0-9]{2}$"


def convert(
    loose: pl.DataFrame,
    source: str,
    raw: Callable[[int], bytes],
    max_chars: int,
    problems: Sequence[Problem] = (),
) -> Block:
    """Convert the records of one stretch of a file to typed columns.

    Args:
        loose: Column `line` (Int64) and any of `FIELDS` as strings (or as numbers and dates, from formats that have
            types); absent ones become null. `LABEL` is kept if it is there.
        source: Value of the `source` column.
        raw: Returns the bytes of the i-th record; called for bad records only.
        max_chars: Longest text allowed, in characters.
        problems: Problems found before the conversion; they go into quarantine with the new ones.

    One unexpected value must not make the whole file fail. Where polars fails on a set of records, the set is halved
    until the records that cause the failure are found.
    """
    try:
        return _typed(loose, source, raw, max_chars, problems)
    except FAILURES as error:
        if loose.height < 2:
            return _unforeseen(loose, source, raw, problems, error)
    half = loose.height // 2
    first = convert(loose.head(half), source, raw, max_chars, problems)
    second = convert(loose.slice(half), source, lambda row: raw(half + row), max_chars)
    return Block(pl.concat([first.good, second.good]), pl.concat([first.bad, second.bad]).sort("line"))


def _unforeseen(
    loose: pl.DataFrame, source: str, raw: Callable[[int], bytes], problems: Sequence[Problem], error: BaseException
) -> Block:
    """Quarantine the one record on which polars fails; raise *error* if there is no record."""
    if loose.is_empty():
        raise error
    try:
        content = raw(0)
    except FAILURES:
        content = b""
    what = f"{type(error).__name__}: {error}".partition("\n")[0]
    problem = Problem(int(loose["line"][0]), Reason.WRONG_TYPE, f"no table can hold a value ({what})", content)
    return Block(pl.DataFrame(schema=_schema(loose)), quarantine(source, [*problems, problem]))


def _schema(loose: pl.DataFrame) -> pl.Schema:
    return pl.Schema(LABELLED if LABEL in loose.columns else COLUMNS)


def _typed(
    loose: pl.DataFrame, source: str, raw: Callable[[int], bytes], max_chars: int, problems: Sequence[Problem]
) -> Block:
    """Do the work of `convert` for records whose values polars can all hold."""
    if absent := [pl.lit(None, pl.String).alias(name) for name in FIELDS if name not in loose.columns]:
        loose = loose.with_columns(absent)
    # Outside the text an empty value means "unknown": CSV has no other way to write it.
    schema = _schema(loose)
    fields = [name for name in schema if name in (*FIELDS, LABEL)]
    strings = [name for name in fields if name != "text" and loose.schema[name] == pl.String]
    stripped = {name: pl.col(name).str.strip_chars() for name in strings}
    loose = loose.with_columns(pl.when(value != "").then(value).alias(name) for name, value in stripped.items())
    if LABEL in fields:  # 4, 4.0 and "4.0" are one value: other programs write whole numbers with gaps in this way
        loose = loose.with_columns(pl.col(LABEL).str.replace(r"^(-?\d+)\.0+$", "$1"))
    typed = loose.select(
        "review_id", "user_id", "business_id", _stars(), *(_votes(name) for name in VOTES), "text",
        _dates(loose["date"]), pl.lit(source).alias("source"), "line",
        *(name for name in fields if name == LABEL),
    )
    if _are_good(loose, typed, max_chars):
        return Block(_with_ids(typed).cast(schema), quarantine(source, problems))
    reason = _reasons(loose, typed, max_chars)
    found = [*problems, *_problems(loose, reason, raw, max_chars)]
    return Block(_with_ids(typed.filter(reason.is_null())).cast(schema), quarantine(source, found))


def _with_ids(frame: pl.DataFrame) -> pl.DataFrame:
    """Give each record without a review_id an id derived from its content (see `derived_id`)."""
    lacking = frame["review_id"].is_null()
    if not lacking.any():
        return frame
    fields = [name for name in FIELDS if name != "review_id"]
    rows = frame.filter(lacking).select(fields).cast({"stars": pl.Float32, "date": pl.Datetime("us")})
    ids = pl.Series([derived_id(row) for row in rows.iter_rows()], dtype=pl.String)
    column = frame["review_id"].scatter(lacking.arg_true(), ids)
    return frame.with_columns(column.alias("review_id"))


def derived_id(values: Sequence[object]) -> str:
    """Return the id of a record without one; records with equal content get equal ids.

    Args:
        values: user_id, business_id, stars, useful, funny, cool, text, date; None where unknown.
    """
    joined = "\x1f".join("" if value is None else str(value) for value in values)
    return DERIVED_ID + hashlib.sha256(joined.encode()).hexdigest()[:28]


def _dates(column: pl.Series) -> pl.Series:
    """Return dates as naive UTC `Datetime("us")`; null if none of `DATE_FORMATS` fits or the year is not 1-9999."""
    parsed = _parsed_dates(column)
    outside = ~parsed.to_physical().is_between(EARLIEST, LATEST)
    return parsed.set(outside, None) if outside.any() else parsed


def _parsed_dates(column: pl.Series) -> pl.Series:
    if column.dtype != pl.String:
        zone = getattr(column.dtype, "time_zone", None)
        naive = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if zone else column
        return naive.cast(pl.Datetime("us"))
    # Timestamps seldom repeat, so a cache of parsed values would not help.
    usual = column.str.to_datetime(DATE_FORMATS[0], time_unit="us", strict=False, cache=False)
    if usual.null_count() == column.null_count():
        return usual
    text = column.str.strip_suffix("Z").str.strip_suffix(" UTC")
    parsed = pl.Series(column.name, [None] * len(text), dtype=pl.Datetime("us"))
    for date_format in DATE_FORMATS:
        if parsed.null_count() == text.null_count():
            return parsed
        if date_format.endswith(("S", "f")) or date_format.endswith("M"):
            again = text.str.to_datetime(date_format, time_unit="us", strict=False)
        else:
            again = text.str.to_date(date_format, strict=False).cast(pl.Datetime("us"))
        parsed = parsed.fill_null(again)
    return parsed.fill_null(_with_offset(text))


def _with_offset(text: pl.Series) -> pl.Series:
    zoned = pl.select(pl.when(text.str.contains(OFFSET)).then(text.str.replace("T", " ", literal=True))).to_series()
    parsed = pl.Series([None] * len(text), dtype=pl.Datetime("us"))
    for date_format in ("%Y-%m-%d %H:%M:%S%z", "%Y-%m-%d %H:%M:%S%.f%z"):
        again = zoned.str.to_datetime(date_format, time_unit="us", strict=False)
        parsed = parsed.fill_null(again.dt.convert_time_zone("UTC").dt.replace_time_zone(None))
    return parsed


def _stars() -> pl.Expr:
    number = pl.col("stars").cast(pl.Float64, strict=False)
    return pl.when(number.cast(pl.Float32).is_finite()).then(number).alias("stars")  # 1e39 is finite in 64 bits only


def _votes(name: str) -> pl.Expr:
    """Read whole numbers, also in the form "3.0" that pandas writes for a column with gaps."""
    number = pl.col(name).cast(pl.Float64, strict=False)
    whole = number.is_finite() & (number == number.floor()) & (number.abs() < 2**31)
    return pl.when(whole).then(number).cast(pl.Int32).alias(name)


def _are_good(loose: pl.DataFrame, typed: pl.DataFrame, max_chars: int) -> bool:
    """Return whether it is certain that no record has a problem, by the number of nulls and of bytes."""
    kept = all(loose[name].null_count() == typed[name].null_count() for name in ("stars", *VOTES, "date"))
    texts = typed["text"]
    return bool(kept and texts.null_count() == 0 and (texts.str.len_bytes() <= max_chars).all())


def _reasons(loose: pl.DataFrame, typed: pl.DataFrame, max_chars: int) -> pl.Series:
    """Return the first problem of each record, or null."""

    def lost(name: str) -> pl.Series:
        return loose[name].is_not_null() & typed[name].is_null()

    votes = lost("useful") | lost("funny") | lost("cool")
    return pl.select(
        pl.when(typed["text"].is_null()).then(pl.lit(Reason.MISSING_TEXT.value))
        .when(typed["text"].str.len_chars() > max_chars).then(pl.lit(Reason.TOO_LONG.value))
        .when(lost("stars")).then(pl.lit(Reason.BAD_STARS.value))
        .when(votes).then(pl.lit(Reason.BAD_VOTES.value))
        .when(lost("date")).then(pl.lit(Reason.BAD_DATE.value))
    ).to_series()


def _problems(
    loose: pl.DataFrame, reasons: pl.Series, raw: Callable[[int], bytes], max_chars: int
) -> list[Problem]:
    rows = reasons.is_not_null().arg_true().to_list()
    found = []
    for row in rows:
        reason, record = Reason(reasons[row]), loose.row(row, named=True)
        found.append(Problem(record["line"], reason, _detail(reason, record, max_chars), raw(row)))
    return found


def _detail(reason: Reason, record: dict[str, object], max_chars: int) -> str:
    """Describe the bad value for the person who reads the quarantine."""
    if reason is Reason.MISSING_TEXT:
        return "the field 'text' is absent or null"
    if reason is Reason.TOO_LONG:
        return f"the text has {len(str(record['text']))} characters; source.max_chars allows {max_chars}"
    fields = {Reason.BAD_STARS: ("stars",), Reason.BAD_VOTES: VOTES, Reason.BAD_DATE: ("date",)}[reason]
    return ", ".join(f"{name} is {str(record[name])[:100]!r}" for name in fields)
