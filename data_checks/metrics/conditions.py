"""Define the conditions on rows of Great Expectations' metrics as polars expressions: which values are unexpected."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any

import polars as pl
from dateutil.parser import parse

from data_checks.metrics.patterns import contains

Options = Mapping[str, Any]
Condition = Callable[[pl.Expr, Options, str, pl.DataType], pl.Expr]
"""Function from the values of a column, the metric's options, the column's name and type to the unexpected values."""


def _outside(values: pl.Expr, options: Options, column: str, kind: pl.DataType) -> pl.Expr:
    least, most = (_limit(options.get(name), kind, column) for name in ("min_value", "max_value"))
    if least is None and most is None:
        raise ValueError("min_value and max_value cannot both be None")
    if least is not None and most is not None and least > most:
        raise ValueError("min_value cannot be greater than max_value")
    return _beyond(values, least, most, options)


def _beyond(values: pl.Expr, least: Any, most: Any, options: Options) -> pl.Expr:
    below = pl.lit(False) if least is None else values <= least if options.get("strict_min") else values < least
    above = pl.lit(False) if most is None else values >= most if options.get("strict_max") else values > most
    return below | above


def _limit(limit: Any, kind: pl.DataType, column: str) -> Any:
    """Return the limit in a type that can be compared with the values of a column.

    Raises:
        TypeError: The values cannot be compared with the limit.
    """
    if limit is None:
        return None
    if kind.is_temporal():
        limit = parse(limit) if isinstance(limit, str) else limit
        if isinstance(limit, datetime) and limit.tzinfo is None:
            return limit
        if isinstance(limit, date) and not isinstance(limit, datetime):
            return datetime(limit.year, limit.month, limit.day)
    elif (kind.is_numeric() and isinstance(limit, int | float)) or (kind == pl.String() and isinstance(limit, str)):
        return limit
    raise TypeError(f"values of the column {column!r}, of type {kind}, cannot be compared with {limit!r}")


def _length_outside(values: pl.Expr, options: Options, column: str, kind: pl.DataType) -> pl.Expr:
    least, most = options.get("min_value"), options.get("max_value")
    if least is None and most is None:
        raise ValueError("Invalid configuration")
    return _beyond(_text(values, column, kind).str.len_chars().cast(pl.Int64), least, most, options)


def _text(values: pl.Expr, column: str, kind: pl.DataType) -> pl.Expr:
    if kind != pl.String():
        raise TypeError(f"values of the column {column!r} are not text but of type {kind}")
    return values


def _among(values: pl.Expr, members: Any, column: str, kind: pl.DataType) -> pl.Expr:
    """Return whether the values are in the set; ignore members of another type, which no value can equal."""
    if kind.is_numeric():
        numbers = [member for member in members if isinstance(member, int | float)]
        return values.cast(pl.Float64).is_in(pl.Series(numbers, dtype=pl.Float64, strict=False).implode())
    if kind == pl.String():
        texts = [member for member in members if isinstance(member, str)]
        return values.is_in(pl.Series(texts, dtype=pl.String).implode())
    if kind == pl.Boolean():
        return values.is_in(pl.Series([member for member in members if member in (0, 1)], dtype=pl.Boolean).implode())
    if kind.is_temporal():
        return values.is_in(pl.Series([_limit(member, kind, column) for member in members], dtype=kind).implode())
    raise TypeError(f"there are no sets for values of type {kind}, as the column {column!r} has")


def _member(expected: bool) -> Condition:
    def unexpected(values: pl.Expr, options: Options, column: str, kind: pl.DataType) -> pl.Expr:
        if options["value_set"] is None:  # no set: every value is expected
            return pl.lit(False)
        among = _among(values, options["value_set"], column, kind)
        return ~among if expected else among

    return unexpected


def _pair_not_in_set(first: pl.Expr, second: pl.Expr, options: Options) -> pl.Expr:
    pairs = options.get("value_pairs_set")
    if pairs is None:
        return pl.lit(False)
    expected = [first.eq_missing(pl.lit(a)) & second.eq_missing(pl.lit(b)) for a, b in pairs]
    return ~pl.any_horizontal(expected) if expected else pl.lit(True)


CONDITIONS: dict[str, Condition] = {
    "column_values.between": _outside,
    "column_values.in_set": _member(expected=True),
    "column_values.not_in_set": _member(expected=False),
    "column_values.value_length.between": _length_outside,
    "column_values.value_length.equals": lambda values, options, column, kind: (
        _text(values, column, kind).str.len_chars() != options["value"]),
    "column_values.match_regex": lambda values, options, column, kind: (
        ~contains(_text(values, column, kind), options["regex"])),
    "column_values.not_match_regex": lambda values, options, column, kind: (
        contains(_text(values, column, kind), options["regex"])),
}
"""Conditions on one column, whose missing values are not judged, by the metric's name."""
PAIR_CONDITIONS: dict[str, Callable[[pl.Expr, pl.Expr, Options], pl.Expr]] = {
    "column_pair_values.in_set": _pair_not_in_set,
    "column_pair_values.equal": lambda first, second, options: (first != second).fill_null(True),
    "column_pair_values.a_greater_than_b": lambda first, second, options: ~(
        (first >= second) if options.get("or_equal") else (first > second)).fill_null(False),
}
"""Conditions on two columns, by the metric's name."""
