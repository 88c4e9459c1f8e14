"""Define the conditions on rows of Great Expectations' metrics as polars expressions: true for unexpected rows.

Regular expressions keep the meaning they have in Python, hence in Great Expectations on pandas. Polars uses Rust's
engine, which has no look-around and no references to groups, and gives some signs another meaning (`\\s`, `\\w`, `\\b`,
`$` before a final line feed). A pattern with any of these is searched by Python, which is slower but correct.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import polars as pl
from dateutil.parser import parse

from core.errors import ReviewLMError
from data_checks.metrics.metrics import present
from data_checks.metrics.tables import Table

DIFFERENT = re.compile(
    r"\\(?:[^xuUAafnrtv\W]|[<>])|\$|[*+?}]\+|\(\?(?!:)|\{(?:,|[^}]*\s)|\[\^?\]|\[[^\]]*\[|&&|--|~~"
)
"""Signs that Rust's engine refuses or may understand in another way than Python's."""


def contains(values: pl.Expr, pattern: str) -> pl.Expr:
    """Return whether Python's `re.search` finds the pattern in a text (null in null).

    Raises:
        ReviewLMError: The pattern is not a valid regular expression.
    """
    try:
        search = re.compile(pattern).search
    except re.error as error:
        raise ReviewLMError(
            "This is not a valid regular expression", value=pattern, cause=str(error), remedy="correct it in the suite"
        ) from error
    if not DIFFERENT.search(pattern) and _suits_rust(pattern):
        return values.str.contains(pattern)

    def matches(texts: pl.Series) -> pl.Series:
        hits = [None if text is None else search(text) is not None for text in texts]
        return pl.Series(texts.name, hits, pl.Boolean)

    return values.map_batches(matches, return_dtype=pl.Boolean)


def _suits_rust(pattern: str) -> bool:
    try:
        pl.Series([""]).str.contains(pattern)
    except pl.exceptions.ComputeError:
        return False
    return True


Options = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        name: Its name.
        kind: Its type.
        private: Whether no report may quote its values.
    """

    name: str
    kind: pl.DataType
    private: bool

    @classmethod
    def of(cls, table: Table, name: str) -> Column:
        """Return a column of a table.

        Raises:
            KeyError: The table has no such column.
        """
        if name not in table.schema:
            raise KeyError(f'The column "{name}" does not exist in the table')
        return cls(name, table.schema[name], name in table.private)

    @property
    def values(self) -> pl.Expr:
        """Its values, null where they are missing."""
        return present(self.name, self.kind)

    @property
    def shown(self) -> pl.Expr:
        """Its values as a report may show them: of a private column their lengths."""
        lengths = pl.format("{} characters", self.values.cast(pl.String).str.len_chars())
        return pl.when(self.values.is_not_null()).then(lengths) if self.private else self.values

    @property
    def text(self) -> pl.Expr:
        """Its values, if they are texts.

        Raises:
            TypeError: They are not.
        """
        if self.kind != pl.String():
            raise TypeError(f"values of the column {self.name!r} are not text but of type {self.kind}")
        return self.values

    @property
    def compared(self) -> pl.Expr:
        """Its values as they are compared with limits: moments with a time zone in UTC."""
        return self.values.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if self._zone else self.values

    @property
    def _zone(self) -> str | None:
        return self.kind.time_zone if isinstance(self.kind, pl.Datetime) else None

    def limit(self, limit: Any) -> Any:
        """Return a limit in a type that can be compared with the values; None for None.

        For moments with a time zone, a limit without one is in UTC.

        Raises:
            TypeError: The values cannot be compared with the limit.
        """
        if limit is None:
            return None
        if isinstance(self.kind, pl.Date | pl.Datetime):
            limit = parse(limit) if isinstance(limit, str) else limit
            if isinstance(limit, datetime) and limit.tzinfo is not None and self._zone:
                return limit.astimezone(UTC).replace(tzinfo=None)
            if isinstance(limit, datetime) and limit.tzinfo is None:
                return limit
            if isinstance(limit, date) and not isinstance(limit, datetime):
                return datetime(limit.year, limit.month, limit.day)
        elif isinstance(limit, str) if self.kind == pl.String() else self.kind.is_numeric() and _is_number(limit):
            return limit
        raise TypeError(f"values of the column {self.name!r}, of type {self.kind}, cannot be compared with {limit!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _outside(column: Column, options: Options) -> pl.Expr:
    least, most = (column.limit(options.get(name)) for name in ("min_value", "max_value"))
    if least is not None and most is not None and least > most:
        raise ValueError("min_value cannot be greater than max_value")
    return _beyond(column.compared, least, most, options)


def _length_outside(column: Column, options: Options) -> pl.Expr:
    lengths = column.text.str.len_chars().cast(pl.Int64)
    return _beyond(lengths, options.get("min_value"), options.get("max_value"), options)


def _beyond(values: pl.Expr, least: Any, most: Any, options: Options) -> pl.Expr:
    if least is None and most is None:
        raise ValueError("min_value and max_value cannot both be None")
    below = pl.lit(False) if least is None else values <= least if options.get("strict_min") else values < least
    above = pl.lit(False) if most is None else values >= most if options.get("strict_max") else values > most
    return below | above


def _in_set(column: Column, options: Options, without: bool) -> pl.Expr:
    """Return whether the values are in the set, or *without* if there is none; members of another type equal no value.

    Raises:
        TypeError: There are no sets for values of this type, or a member is no date.
    """
    members, kind, values = options["value_set"], column.kind, column.compared
    if members is None:
        return pl.lit(without)
    if kind.is_numeric():
        members, kind, values = filter(_is_number, members), pl.Float64(), values.cast(pl.Float64)
    elif kind == pl.String():
        members = (member for member in members if isinstance(member, str))
    elif kind == pl.Boolean():
        members = (member for member in members if member in (0, 1))
    elif isinstance(kind, pl.Date | pl.Datetime):
        members, kind = map(column.limit, members), pl.Datetime("us")
        values = values.cast(kind)
    else:
        raise TypeError(f"there are no sets for values of type {kind}, as the column {column.name!r} has")
    return values.is_in(pl.Series(list(members), dtype=kind, strict=False).implode())


def _pair_not_in_set(first: pl.Expr, second: pl.Expr, options: Options) -> pl.Expr:
    pairs = options.get("value_pairs_set")
    if pairs is None:
        return pl.lit(False)
    expected = [first.eq_missing(pl.lit(a)) & second.eq_missing(pl.lit(b)) for a, b in pairs]
    return ~pl.any_horizontal(expected) if expected else pl.lit(True)


CONDITIONS: dict[str, Callable[[Column, Options], pl.Expr]] = {
    "column_values.nonnull": lambda column, options: column.values.is_null(),
    "column_values.null": lambda column, options: column.values.is_not_null(),
    "column_values.between": _outside,
    "column_values.in_set": lambda column, options: ~_in_set(column, options, without=True),
    "column_values.not_in_set": lambda column, options: _in_set(column, options, without=False),
    "column_values.value_length.between": _length_outside,
    "column_values.value_length.equals": lambda column, options: column.text.str.len_chars() != options["value"],
    "column_values.match_regex": lambda column, options: ~contains(column.text, options["regex"]),
    "column_values.not_match_regex": lambda column, options: contains(column.text, options["regex"]),
}
"""Conditions on one column, by the name of the metric."""
JUDGE_MISSING = ("column_values.nonnull", "column_values.null")
"""Conditions that judge missing values too."""
PAIR_CONDITIONS: dict[str, Callable[[pl.Expr, pl.Expr, Options], pl.Expr]] = {
    "column_pair_values.in_set": _pair_not_in_set,
    "column_pair_values.equal": lambda first, second, options: (first != second).fill_null(True),
    "column_pair_values.a_greater_than_b": lambda first, second, options: ~(
        (first >= second) if options.get("or_equal") else (first > second)).fill_null(False),
}
"""Conditions on two columns, by the name of the metric."""
