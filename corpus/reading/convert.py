"""Convert a table of strings, from any format, to the typed table of reviews, with ids in one form.

This is the only place that interprets values. Every format goes through `convert`, so the same review in JSON lines,
CSV or Parquet becomes the same row.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

import polars as pl

from reviewlm.corpus.account import Entry, Outcome
from reviewlm.corpus.account_kinds import Kind
from reviewlm.corpus.reading.dates import (
    AS_DAYS,
    EARLIEST,
    FORMS,
    NO_NUMBER,
    STAND_IN,
    TWO_DIGITS,
    count_orders,
    latest_of,
    read_dates,
)
from reviewlm.corpus.reading.field_names import folder_fields, folders_without_day, our_fields
from reviewlm.corpus.schema import (
    FIELDS,
    LABEL,
    RECORD_TYPE,
    Block,
    BlockTraits,
    Problem,
    ReadingOptions,
    Reason,
    quarantine,
)

IDS = ("review_id", "user_id", "business_id")
DERIVED_ID = "sha-"
"""Prefix of a review_id that was derived from the content of a record without one. Equal ids are told apart by numbers."""
CERTAIN_ID = "rev-"
"""Prefix of a derived review_id if author, business and date are known: two such records are one review, exported twice."""
DERIVED_FROM = ("user_id", "business_id", "date", "text")
"""What does not change: stars are edited later, and the review must stay in its split."""
IS_DERIVED = rf"^{DERIVED_ID}[0-9a-f]{{28}}$"
_WHOLE = r"^(-?\d{1,15})\.0+$"
ROUNDED = r"^-?(\d{16,}\.\d+|\d(\.\d+)?[eE]\+\d+)$"
"""Numbers that a float cannot hold exactly, or as spreadsheets show them."""
WHY_ROUNDED = "a number that was rounded, so that different ids look the same; write ids as text"
UNKNOWN = ("", r"\N")
"""Values that mean "unknown" outside the text: CSV has no other way to write it, MySQL and Hive write the second."""
SHEET_ERROR = r"^#(?:NAME\?|REF!|VALUE!|N/A|NULL!|DIV/0!|NUM!|SPILL!|CALC!)$"
"""What a spreadsheet makes of an id that begins like a formula (`-kQ2…`, `=x…`): one value for many ids."""
STAND_INS = {
    "date": (STAND_IN, "dates that stand for none"),
    "stars": (NO_NUMBER, "ratings that are no number"),
    "review_id": (SHEET_ERROR, "ids of reviews that a spreadsheet has taken for formulas"),
    "user_id": (SHEET_ERROR, "ids of users that a spreadsheet has taken for formulas"),
    "business_id": (SHEET_ERROR, "ids of businesses that a spreadsheet has taken for formulas"),
}
"""By field, the pattern of values that stand for an unknown one, and what they are."""
OTHER_TYPES = ("business", "checkin", "photo", "tip", "user")
"""Values of the field `type` in records of Yelp's older files that are no reviews."""
OF_FIVE = r"(?i)^\s*(\d+(?:[.,]\d+)?)\s*(?:(?:/|out of|of)\s*5(?:[.,]0)?(?:\s*stars?)?|stars?)\s*$"
"""Ratings that say their scale: `4/5`, `4.0 out of 5 stars`, `4 stars`."""
DRAWN = r"^★{1,5}☆*$"
"""Ratings that are drawn: `★★★★☆`."""
DECIMAL_COMMA = r"^\s*([+-]?\d+),(\d+)\s*$"


def convert(
    loose: pl.DataFrame,
    source: str,
    raw: Callable[[int], bytes],
    options: ReadingOptions,
    problems: Sequence[Problem] = (),
    names: Iterable[str] = (),
) -> Block:
    """Convert the records of one stretch of a file to typed columns.

    Args:
        loose: Column `line` (Int64) and any of `FIELDS` as strings; absent ones become null. `LABEL` is kept if it is
            there. `RECORD_TYPE` is looked at.
        source: Value of the `source` column. Fields in its folders (`stars=5/`) are those of records that lack them.
        raw: Returns the bytes of the i-th record; called for bad records only.
        options: Longest text, names of fields, order of day and month, and the present moment.
        problems: Problems found before the conversion; they go into quarantine with the new ones.
        names: All names of fields in this stretch, as the file has them.
    """
    contradictions = _entries_of_contradictions(loose, source, options)
    loose = _without_gaps(loose, source, options)
    loose, entries = _without_stand_ins(loose, source)
    dates = read_dates(loose["date"], options.now, options.reads_month_first(source))
    ids = (one_form(pl.col(name)) for name in IDS)
    label = (name for name in loose.columns if name == LABEL)
    typed = loose.select(
        *ids,
        _stars(options.lowest_stars),
        "text",
        dates,
        pl.lit(source).alias("source"),
        "line",
        *label,
    )
    reason = _reasons(loose, typed, options.max_chars)
    all_problems = [*problems, *_problems(loose, reason, raw, options)]
    filled = {name: loose.height - loose[name].null_count() for name in FIELDS}
    traits = BlockTraits(source, filled, frozenset(names), count_orders(loose["date"]))
    good = _with_ids(typed.filter(reason.is_null()))
    entries += (
        *_entries_of_folders(loose, source, options),
        *contradictions,
        *_entries_of_days(loose["date"], typed["date"], source),
    )
    return Block(good, quarantine(source, all_problems), entries, traits)


def one_form(column: pl.Expr) -> pl.Expr:
    """Return ids, given as strings, in one form: a whole number without `.0`.

    pandas writes the whole numbers of a column with gaps as 1000.0, so `1000` and `1000.0` are one user: otherwise one
    person would stand in two splits.
    """
    return column.str.replace(_WHOLE, "$1")


def is_rounded(column: pl.Expr) -> pl.Expr:
    """Return whether an id, given as a string, is a number that has lost digits.

    A number that a program has rounded (1.23457E+17) would make many users one.
    """
    return column.str.contains(ROUNDED)


def derived_id(values: Sequence[object]) -> str:
    """Return the id of a record without one; records that agree in `DERIVED_FROM` get equal ids.

    Args:
        values: The values of `DERIVED_FROM`; None where unknown.
    """
    joined = "\x1f".join("" if value is None else str(value) for value in values)
    return (DERIVED_ID if None in values else CERTAIN_ID) + hashlib.sha256(
        joined.encode()
    ).hexdigest()[:28]


def _without_stand_ins(loose: pl.DataFrame, source: str) -> tuple[pl.DataFrame, tuple[Entry, ...]]:
    """Return the records with null for values that other programs write where there is none, and entries."""
    entries = []
    for name, (pattern, words) in STAND_INS.items():
        known = loose[name].str.contains(pattern).fill_null(False)
        if not known.any():
            continue
        example = loose[name].filter(known)[0]
        detail = f"{words}, such as {example!r}, are read as unknown"
        entries.append(
            Entry(
                "read",
                Outcome.REPAIRED,
                Kind.STAND_IN,
                int(known.sum()),
                source,
                detail,
                odd=True,
                about=name,
            )
        )
        loose = loose.with_columns(pl.when(~known).then(pl.col(name)).alias(name))

    return loose, tuple(entries)


def _entries_of_folders(
    loose: pl.DataFrame,
    source: str,
    options: ReadingOptions,
) -> list[Entry]:
    """Return an entry if records have no date of their own and their folder names none."""
    given = folder_fields(source)
    names = folders_without_day(given, options.renamed)
    if not names or not loose["date"].null_count():
        return []

    shown = ", ".join(f"{name}={given[name]}" for name in names)
    detail = (
        f"the folder {shown} names no day, so reviews in it without a date of their own have none"
    )
    count = loose["date"].null_count()
    return [
        Entry(
            "read",
            Outcome.NOTED,
            Kind.FOLDER_WITHOUT_DAY,
            count,
            source,
            detail,
            odd=True,
        )
    ]


def _entries_of_days(
    written: pl.Series,
    dates: pl.Series,
    source: str,
) -> list[Entry]:
    """Return an entry if dates are numbers of days, with an example of what they became."""
    as_days = written.str.contains(AS_DAYS).fill_null(False) & dates.is_not_null()
    if not as_days.any():
        return []

    row = int(as_days.arg_true()[0])
    detail = f"dates are numbers of days: {written[row]!r} is read as {dates[row]:%Y-%m-%d}"
    remedy = "if that is another day, write dates as 2024-05-31 (Excel for Macintosh may count from 1904)"
    kind = Kind.DATES_AS_DAYS
    count = int(as_days.sum())
    return [
        Entry(
            "read",
            Outcome.NOTED,
            kind,
            count,
            source,
            detail,
            remedy,
            odd=True,
        )
    ]


def _entries_of_contradictions(
    loose: pl.DataFrame,
    source: str,
    options: ReadingOptions,
) -> Iterator[Entry]:
    """Yield an entry for each field whose value in the records is another than that in the name of their folder."""
    for name, value in our_fields(source, options.renamed).items():
        if name not in loose.columns or name in options.unread:
            continue
        own = one_form(pl.col(name).str.strip_chars())
        folder = one_form(pl.lit(value))
        other = loose.filter(~own.is_in(UNKNOWN) & (own != folder))
        if other.height:
            example = other[name][0]
            detail = f"records have another {name} than their folder ({example!r}, not {value!r}) and keep their own"
            kind = Kind.OTHER_THAN_FOLDER
            yield Entry(
                "read",
                Outcome.NOTED,
                kind,
                other.height,
                source,
                detail,
                odd=True,
                about=name,
            )


def _without_gaps(
    loose: pl.DataFrame,
    source: str,
    options: ReadingOptions,
) -> pl.DataFrame:
    """Return all fields, stripped, with null for "unknown", and with values from the names of folders."""
    given = our_fields(source, options.renamed)
    columns: list[pl.Expr | str] = ["line"]
    for name in (*options.fields, *sorted(options.unread)):
        if name in options.unread:
            columns.append(pl.lit(None, pl.String).alias(name))
            continue
        if name not in loose.columns:
            if name in (*FIELDS, *given):
                columns.append(pl.lit(given.get(name), pl.String).alias(name))
            continue
        column = pl.col(name)
        if name != "text":
            stripped = column.str.strip_chars()
            column = pl.when(~stripped.is_in(UNKNOWN)).then(stripped).alias(name)
        if name == LABEL:
            # 4, 4.0 and "4.0" are one value: other programs write whole numbers with gaps in this way.
            column = one_form(column)
        if name in given:
            column = column.fill_null(pl.lit(given[name]))
        columns.append(column)

    return loose.select(columns)


def _with_ids(frame: pl.DataFrame) -> pl.DataFrame:
    """Give each record without a review_id an id derived from its content (see `derived_id`)."""
    lacking = frame["review_id"].is_null()
    if not lacking.any():
        return frame
    rows = frame.filter(lacking).select(DERIVED_FROM)
    ids = pl.Series([derived_id(row) for row in rows.iter_rows()], dtype=pl.String)
    column = frame["review_id"].scatter(lacking.arg_true(), ids)
    return frame.with_columns(column.alias("review_id"))


def _stars(lowest: int) -> pl.Expr:
    """Return the ratings as numbers, on a scale that begins at 1; null where they are none."""
    written = pl.col("stars").str.replace(OF_FIVE, "$1").str.replace(DECIMAL_COMMA, "$1.$2")
    drawn = written.str.count_matches("★").cast(pl.Float64)
    plain = written.cast(pl.Float64, strict=False)
    number = pl.when(written.str.contains(DRAWN)).then(drawn).otherwise(plain)
    number = (number + (1 - lowest)).cast(pl.Float32)  # in which 1e39 is not finite
    return pl.when(number.is_finite()).then(number).alias("stars")


def _reasons(
    loose: pl.DataFrame,
    typed: pl.DataFrame,
    max_chars: int,
) -> pl.Series:
    """Return the first problem of each record, or null."""

    def lost(name: str) -> pl.Series:
        return loose[name].is_not_null() & typed[name].is_null()

    rounded = loose.select(
        pl.any_horizontal(is_rounded(pl.col(name)).fill_null(False) for name in IDS)
    ).to_series()
    other: pl.Expr | pl.Series = pl.lit(False)
    if RECORD_TYPE in loose.columns:
        other = loose[RECORD_TYPE].str.to_lowercase().is_in(OTHER_TYPES)

    conditions = (
        (other, Reason.NOT_A_RECORD),
        (typed["text"].is_null(), Reason.MISSING_TEXT),
        (typed["text"].str.len_chars() > max_chars, Reason.TOO_LONG),
        (rounded, Reason.WRONG_TYPE),
        (lost("stars"), Reason.BAD_STARS),
        (lost("date"), Reason.BAD_DATE),
    )
    first: pl.Expr = pl.lit(None, pl.String)
    for condition, reason in reversed(conditions):
        first = pl.when(condition).then(pl.lit(reason.value)).otherwise(first)

    return pl.select(first).to_series()


def _problems(
    loose: pl.DataFrame,
    reasons: pl.Series,
    raw: Callable[[int], bytes],
    options: ReadingOptions,
) -> list[Problem]:
    rows = reasons.is_not_null().arg_true().to_list()
    problems = []
    for row in rows:
        reason = Reason(reasons[row])
        record = loose.row(row, named=True)
        problems.append(Problem(record["line"], reason, _detail(reason, record, options), raw(row)))
    return problems


def _detail(
    reason: Reason,
    record: dict[str, object],
    options: ReadingOptions,
) -> str:
    """Describe the bad value for the person who reads the quarantine."""
    if reason is Reason.MISSING_TEXT:
        return "the field 'text' is absent or null"
    if reason is Reason.TOO_LONG:
        return f"the text has {len(str(record['text']))} characters; source.max_chars allows {options.max_chars}"
    if reason is Reason.NOT_A_RECORD:
        return f"a record of the type {record[RECORD_TYPE]!r}, not a review"

    fields: tuple[str, ...] = {
        Reason.WRONG_TYPE: IDS,
        Reason.BAD_STARS: ("stars",),
        Reason.BAD_DATE: ("date",),
    }[reason]
    if reason is Reason.WRONG_TYPE:
        fields = tuple(name for name in IDS if re.search(ROUNDED, str(record[name])))

    values = ", ".join(f"{name} is {str(record[name])[:100]!r}" for name in fields)
    if reason is Reason.BAD_DATE:
        if re.match(TWO_DIGITS, str(record["date"])):
            values += ", whose year has two digits, so that day and year can be exchanged: write four digits"
        ends = f"from {EARLIEST:%Y-%m-%d} to {latest_of(options.now):%Y-%m-%d}"
        return f"{values}; read are {FORMS}, {ends}; leave an unknown date empty"

    if reason is Reason.WRONG_TYPE:
        return f"{values}: {WHY_ROUNDED}"
    return values
