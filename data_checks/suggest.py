"""Suggest a suite from a table: current properties with margins, to be reviewed and then required of other tables.

The table is measured in chunks, in two passes. This takes about 20 bytes of memory per row.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from data_checks.expectations import FLOATS, INTEGERS, INVISIBLE, TEXTS
from data_checks.gx import expect
from data_checks.metrics.conditions import contains
from data_checks.metrics.metrics import Metric, distinct, distinct_count, extreme, moments, numbers, present, total
from data_checks.metrics.tables import CHUNK_ROWS, MetricError, Table, measure
from data_checks.metrics.texts import MEASURES, MOJIBAKE
from data_checks.report import CRITICAL, INFO, WARNING
from data_checks.suite_runs import Suite

FEW, FEW_NUMBERS = 20, 6
"""Most distinct values of a column that gets a set of allowed values, for texts and for numbers.

There must also be `ROWS_OF_EACH` rows per value on average. The limit for numbers is lower, since small counts look
like a set until there are more rows."""
FAR = 5.0
"""Number of standard deviations: a maximum further above the mean shows a long tail, which grows with more rows."""
ROWS_OF_EACH = 10
EXACT = 1e-12
"""Share of a number below which its limits are not rounded."""
LONG = 60
"""Longest text, in characters, of a column that reports may quote."""
QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)
DAYS = 31
ID_CHARACTERS = {"digits": "0-9", "hexadecimal digits": "0-9a-f", "letters, digits, - and _": "A-Za-z0-9_-"}
FAMILIES = (INTEGERS, FLOATS, TEXTS)


def suggest(source: Path | pl.DataFrame, stage: str, rows: int = CHUNK_ROWS) -> Suite:
    """Return a suite that the table meets and that similar tables should meet.

    Args:
        source: A frame, a Parquet file, or a folder of Parquet parts.
        rows: Most rows of a chunk.

    Raises:
        Unreadable: The table cannot be read.
    """
    table = Table.of(source, MEASURES)
    figures = measure(table, _figures(table), rows)
    private = tuple(name for name in table.physical if _largest(figures, name) > LONG)
    expectations = [_whole(table)]
    for column, kind in table.schema.items():
        expectations += _of_column(column, kind, table.height, figures, column in private)
    columns = {name: _family(kind) for name, kind in table.physical.items()}
    return Suite(stage, expectations, columns, private)


def _family(kind: pl.DataType) -> tuple[str, ...]:
    name = str(kind.base_type())
    return next((family for family in FAMILIES if name in family), (name,))


def _figures(table: Table) -> dict[Hashable, Metric | MetricError]:
    """Return the metrics of each column, by column and name."""
    figures: dict[Hashable, Metric | MetricError] = {}
    for column, kind in table.schema.items():
        values = present(column, kind)
        figures[column, "missing"] = total((column,), values.is_null().sum())
        if kind.is_numeric() or kind == pl.Boolean() or kind == pl.String():
            figures[column, "set"] = distinct(column, kind, most=FEW)
        if kind.is_numeric() or isinstance(kind, pl.Date | pl.Datetime):
            figures[column, "least"] = extreme(column, kind, least=True)
            figures[column, "greatest"] = extreme(column, kind, least=False)
        if kind.is_numeric():
            figures[column, "moments"] = moments(column, kind)
        if kind.is_integer() or kind == pl.String():
            figures[column, "distinct"] = distinct_count(column, values)
        if kind == pl.String():
            figures |= _figures_of_texts(column)
    return figures


def _figures_of_texts(column: str) -> dict[Hashable, Metric]:
    figures: dict[Hashable, Metric] = {
        (column, "lengths"): numbers(column, pl.col(column).str.len_chars(), _quantiles),
    }
    for name, pattern in {"invisible": INVISIBLE.pattern, "mojibake": MOJIBAKE}.items():
        figures[column, name] = total((column,), contains(pl.col(column), pattern).sum())
    for name, members in ID_CHARACTERS.items():
        figures[column, name] = total((column,), contains(pl.col(column), f"[^{members}]").sum())
    return figures


def _quantiles(lengths: np.ndarray) -> list[int]:
    """Return the quantiles of lengths, with the minimum and the maximum."""
    if not len(lengths):
        return []
    return [int(length) for length in np.quantile(lengths, (0, *QUANTILES, 1), method="nearest")]


def _largest(figures: dict[Hashable, Any], column: str) -> int:
    lengths = figures.get((column, "lengths"))
    return lengths[-1] if lengths else 0


def _whole(table: Table) -> Any:
    return expect().ExpectTableRowCountToBeBetween(
        min_value=min(1, table.height), description="The table has rows" if table.height else "The table may be empty")


def _of_column(column: str, kind: pl.DataType, rows: int, figures: dict[Hashable, Any], private: bool) -> list[Any]:
    count = rows - figures[column, "missing"]
    expected = _presence(column, rows, count)
    if not count:
        return expected
    values = figures.get((column, "set"))
    few = FEW_NUMBERS if kind.is_numeric() else FEW
    in_set = isinstance(values, frozenset) and len(values) <= few and count >= ROWS_OF_EACH * len(values)
    if kind.is_numeric() and isinstance(values, frozenset):
        in_set = in_set and all(map(math.isfinite, values))  # JSON has no other numbers
    if isinstance(values, frozenset) and in_set and not private and column not in MEASURES:
        expected.append(expect().ExpectColumnValuesToBeInSet(
            column=column, value_set=sorted(values), description=f"{column} is one of {len(values)} values"))
    if kind.is_numeric():
        expected += _numbers(column, kind, count, figures)
    elif isinstance(kind, pl.Date | pl.Datetime):
        expected.append(_moments(column, figures[column, "least"], figures[column, "greatest"]))
    elif kind == pl.String() and not in_set:
        expected += _texts(column, count, figures, private)
    return expected + _repetition(column, count, figures, in_set)


def _moments(column: str, least: date, greatest: date) -> Any:
    """Return the expectation on dates or moments; those with a time zone are compared in UTC."""
    if isinstance(least, datetime) and isinstance(greatest, datetime) and least.tzinfo:
        least, greatest = (each.astimezone(UTC).replace(tzinfo=None) for each in (least, greatest))
    margin = max((greatest - least) / 10, timedelta(days=DAYS))
    first, last = type(least).min, type(greatest).max
    lower = least - margin if least - first > margin else first
    upper = greatest + margin if last - greatest > margin else last
    return expect().ExpectColumnValuesToBeBetween(
        column=column, min_value=lower, max_value=upper, severity=WARNING,
        description=f"{column} is from {lower:%Y-%m-%d} to {upper:%Y-%m-%d}")


def _presence(column: str, rows: int, count: int) -> list[Any]:
    gx = expect()
    if rows and not count:
        return [gx.ExpectColumnValuesToBeNull(column=column, severity=INFO, description=f"{column} is empty")]
    if count == rows:
        return [gx.ExpectColumnValuesToNotBeNull(column=column, description=f"{column} is never missing")]
    least = _share_below(count, rows)
    return [gx.ExpectColumnValuesToNotBeNull(
        column=column, mostly=least, severity=WARNING,
        description=f"{column} is known in at least {least:.1%} of rows")]


def _share_below(part: int, whole: int) -> float:
    """Return a share below part / whole, lower by the largest of three margins.

    The margins are three standard errors, one tenth of the distance to 1, and 0.01.
    """
    share = part / max(whole, 1)
    margin = max(0.01, 0.1 * (1 - share), 3 * math.sqrt(share * (1 - share) / max(whole, 1)))
    return max(0.0, math.floor((share - margin) * 1000) / 1000)


def _numbers(column: str, kind: pl.DataType, count: int, figures: dict[Hashable, Any]) -> list[Any]:
    """Return the limits of numbers and of their mean; a side on which they are infinite has none."""
    gx, spread = expect(), figures[column, "moments"]
    lower, upper = _limits(column, kind, figures[column, "least"], figures[column, "greatest"])
    mean, deviation = spread.mean, spread.deviation or 0.0
    at_least = dict(column=column, severity=WARNING, min_value=lower, description=f"{column} is at least {lower:g}")
    at_most = dict(column=column, severity=WARNING, max_value=upper, description=f"{column} is at most {upper:g}")
    both = {**at_least, **at_most, "description": f"{column} is from {lower:g} to {upper:g}"}
    rare = {**at_most, "mostly": 0.99, "description": f"{column} is at most {upper:g} in 99% of rows"}
    bounded = math.isfinite(lower), math.isfinite(upper)
    if bounded == (True, True):
        ranges = [at_least, rare] if figures[column, "greatest"] > mean + FAR * deviation else [both]
    else:
        ranges = [options for options, is_bounded in zip((at_least, at_most), bounded, strict=True) if is_bounded]
    expected = [gx.ExpectColumnValuesToBeBetween(**options) for options in ranges]
    margin = max(0.3 * deviation, 5 * deviation / math.sqrt(count))
    is_known = all(map(math.isfinite, (mean - margin, mean + margin)))
    if deviation and is_known and figures.get((column, "distinct")) != count:
        lowest, highest = _rounded(mean - margin, mean + margin)
        expected.append(gx.ExpectColumnMeanToBeBetween(
            column=column, min_value=lowest, max_value=highest, severity=WARNING,
            description=f"The mean of {column} is from {lowest:g} to {highest:g}"))
    return expected


def _limits(column: str, kind: pl.DataType, least: float, greatest: float) -> tuple[float, float]:
    """Return limits with margins around the numbers of a column; an infinite number is its own limit."""
    spread = greatest - least
    if not math.isfinite(spread):  # a number is infinite, or the two are as far apart as a float can be
        return least, greatest
    lower, upper = least - 0.25 * spread, greatest + (0.5 if column not in MEASURES else 1.0) * max(spread, 1)
    lower = max(lower, 0) if least >= 0 else lower
    lower, upper = (lower, upper) if math.isfinite(upper - lower) else (least, greatest)
    return (math.floor(lower), math.ceil(upper)) if kind.is_integer() else _rounded(lower, upper)


def _rounded(lower: float, upper: float) -> tuple[float, float]:
    """Round the limits outwards, to about three digits of their distance."""
    unit = 10.0 ** (math.floor(math.log10(upper - lower)) - 2) if upper > lower else 1e-6
    if unit <= EXACT * max(abs(lower), abs(upper)):  # these digits are not in the numbers
        return lower, upper
    digits = max(0, -math.floor(math.log10(unit)))
    return round(math.floor(lower / unit) * unit, digits), round(math.ceil(upper / unit) * unit, digits)


def _texts(column: str, count: int, figures: dict[Hashable, Any], private: bool) -> list[Any]:
    gx = expect()
    least, *quantiles, greatest = figures[column, "lengths"]
    members = next((name for name in ID_CHARACTERS if not figures[column, name]), "")
    if members and not private and least:
        size = f"{{{least}}}" if least == greatest else f"{{{max(1, least // 2)},{2 * greatest}}}"
        return [gx.ExpectColumnValuesToMatchRegex(
            column=column, regex=rf"\A[{ID_CHARACTERS[members]}]{size}\Z",
            description=f"{column} is {least} to {greatest} {members}" if least != greatest
            else f"{column} is {least} {members}")]
    expected = [gx.ExpectColumnValueLengthsToBeBetween(
        column=column, min_value=min(least, 1), max_value=2 * greatest + 1,
        description=f"{column} has {min(least, 1)} to {2 * greatest + 1:,} characters")]
    expected += _lengths(column, quantiles)
    for name, pattern, words in (
        ("invisible", INVISIBLE.pattern, "control or invisible characters"),
        ("mojibake", MOJIBAKE, "traces of a wrong encoding"),
    ):
        mostly = 1.0 if not figures[column, name] else _share_below(count - figures[column, name], count)
        expected.append(gx.ExpectColumnValuesToNotMatchRegex(
            column=column, regex=pattern, mostly=mostly, severity=WARNING,
            description=f"{column} shows no {words}" + (f" in at least {mostly:.1%} of rows" if mostly < 1 else "")))
    return expected


def _lengths(column: str, quantiles: list[int]) -> list[Any]:
    """Return the quantiles of the lengths as expectations on shares of rows, such as half up to the median."""
    expected = []
    for share, length in zip(QUANTILES, quantiles, strict=True):
        margin = min(0.05, share / 2, (1 - share) / 2)
        longest, shortest = math.ceil(length * 1.1), math.floor(length / 1.1)
        if share >= 0.5:
            expected.append(expect().ExpectColumnValueLengthsToBeBetween(
                column=column, max_value=longest, mostly=round(share - margin, 3), severity=WARNING,
                description=f"At least {share - margin:.1%} of {column} have at most {longest:,} characters"))
        if share <= 0.5 and shortest:
            expected.append(expect().ExpectColumnValueLengthsToBeBetween(
                column=column, min_value=shortest, mostly=round(1 - share - margin, 3), severity=WARNING,
                description=f"At least {1 - share - margin:.1%} of {column} have at least {shortest:,} characters"))
    return expected


def _repetition(column: str, count: int, figures: dict[Hashable, Any], in_set: bool) -> list[Any]:
    gx, distinct = expect(), figures.get((column, "distinct"))
    if distinct is None or in_set or column in MEASURES:
        return []
    if distinct == count:
        # A repeated value may be correct if texts are long or rows are few.
        severity = CRITICAL if _largest(figures, column) <= LONG and count >= FEW else WARNING
        return [gx.ExpectColumnValuesToBeUnique(
            column=column, severity=severity, description=f"{column} is different in every row")]
    share = distinct / count
    least = math.floor(max(0.0, share - max(0.02, 0.2 * share)) * 1000) / 1000
    # The share falls as a table grows, unless most values are distinct: no expectation at 0.5 or below.
    return [gx.ExpectColumnProportionOfUniqueValuesToBeBetween(
        column=column, min_value=least, severity=WARNING,
        description=f"At least {least:.1%} of {column} are different")] if share > 0.5 else []
