"""Suggest a suite from a table: current properties with margins, to be reviewed and then required of other tables."""

from __future__ import annotations

import math
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from reviewlm.data_checks.checks import RUNS, Check, Table, values_of
from reviewlm.data_checks.report import CRITICAL, INFO, WARNING
from reviewlm.data_checks.suite_runs import Suite
from reviewlm.data_checks.suites import FLOATS, INTEGERS, INVISIBLE, TEXTS
from reviewlm.data_checks.text_runs import MOJIBAKE

FEW = 20
FEW_NUMBERS = 6
"""Most distinct values of a column that gets a set of allowed values, for texts and for numbers.

There must also be `ROWS_OF_EACH` rows per value on average. The limit for numbers is lower, since small counts look
like a set until there are more rows."""
ROWS_OF_EACH = 10
LONG = 60
"""Longest text, in characters, of a column that reports may quote."""
HALF = 0.45
"""Least share of the texts that are as short, or as long, as half of them are in the table."""
DAYS = 31
ID_CHARACTERS = {
    "digits": "0-9",
    "hexadecimal digits": "0-9a-f",
    "letters, digits, - and _": "A-Za-z0-9_-",
}
FAMILIES = (INTEGERS, FLOATS, TEXTS)


def suggest(source: Path, stage: str) -> Suite:
    """Return a suite that the table meets and that similar tables should meet.

    Args:
        source: A Parquet file, or a folder of Parquet parts.

    Raises:
        Unreadable: The table cannot be read.
    """
    table = Table.of(source)
    figures = {column: _figures(table, column, kind) for column, kind in table.schema.items()}
    private = tuple(name for name in table.stored if (figures[name].get("longest") or 0) > LONG)
    least = min(1, table.height)
    words = "The table has rows" if table.height else "The table may be empty"
    checks = [Check("rows", min=least, description=words)]
    for column, kind in table.schema.items():
        checks += _of_column(
            column,
            kind,
            table.height,
            figures[column],
            column in private,
        )

    columns = {name: _family(kind) for name, kind in table.stored.items()}
    return Suite(stage, checks, columns, private)


def _family(kind: pl.DataType) -> tuple[str, ...]:
    name = str(kind.base_type())
    return next((family for family in FAMILIES if name in family), (name,))


def _figures(
    table: Table,
    column: str,
    kind: pl.DataType,
) -> dict[str, Any]:
    """Return the figures of a column."""
    values = values_of(column, kind)
    wanted = {"count": values.count()}
    if kind.is_numeric() or kind in (pl.Boolean(), pl.String()):
        wanted["set"] = values.drop_nulls().unique().sort().head(FEW + 1).implode()

    if kind.is_numeric() or isinstance(kind, pl.Date | pl.Datetime):
        wanted |= {"least": values.min(), "greatest": values.max()}

    if kind.is_numeric():
        wanted |= {
            "mean": values.cast(pl.Float64).mean(),
            "deviation": values.cast(pl.Float64).std(),
        }

    if kind.is_integer() or kind == pl.String():
        wanted["distinct"] = values.drop_nulls().hash().n_unique()

    if kind == pl.String():
        lengths = values.str.len_chars()
        wanted |= {
            "shortest": lengths.min(),
            "median": lengths.quantile(0.5, "nearest"),
            "longest": lengths.max(),
        }
        patterns = {"invisible": INVISIBLE, "mojibake": MOJIBAKE}
        patterns |= {name: f"[^{members}]" for name, members in ID_CHARACTERS.items()}
        wanted |= {name: values.str.contains(pattern).sum() for name, pattern in patterns.items()}

    return table.rows([column]).select(**wanted).collect(engine="streaming").row(0, named=True)


def _of_column(
    column: str,
    kind: pl.DataType,
    rows: int,
    figures: dict[str, Any],
    private: bool,
) -> list[Check]:
    count = figures["count"]
    checks = [_presence(column, rows, count)]
    if not count:
        return checks

    values = figures.get("set", ())
    few = FEW_NUMBERS if kind.is_numeric() else FEW
    in_set = 0 < len(values) <= few and count >= ROWS_OF_EACH * len(values)
    if in_set and kind.is_numeric():
        in_set = all(map(math.isfinite, values))  # JSON has no other numbers

    if in_set and not private and column not in RUNS:
        words = f"{column} is one of {len(values)} values"
        checks.append(Check("one_of", column, values=tuple(values), description=words))

    if kind.is_numeric():
        checks += _numbers(column, kind, count, figures)
    elif isinstance(kind, pl.Date | pl.Datetime):
        checks.append(_moments(column, figures["least"], figures["greatest"]))
    elif kind == pl.String() and not in_set:
        checks += _texts(column, count, figures, private)

    return checks + _repetition(column, count, figures, in_set)


def _moments(
    column: str,
    least: date,
    greatest: date,
) -> Check:
    margin = max((greatest - least) / 10, timedelta(days=DAYS))
    first = type(least).min
    last = type(greatest).max
    lower = first
    if least - first > margin:
        lower = least - margin

    upper = last
    if last - greatest > margin:
        upper = greatest + margin

    return Check(
        "between",
        column,
        min=lower,
        max=upper,
        severity=WARNING,
        description=f"{column} is from {lower:%Y-%m-%d} to {upper:%Y-%m-%d}",
    )


def _presence(
    column: str,
    rows: int,
    count: int,
) -> Check:
    if rows and not count:
        return Check("absent", column, severity=INFO, description=f"{column} is empty")
    if count == rows:
        return Check("present", column, description=f"{column} is never missing")

    least = _share_below(count, rows)
    return Check(
        "present",
        column,
        mostly=least,
        severity=WARNING,
        description=f"{column} is known in at least {least:.1%} of rows",
    )


def _share_below(part: int, whole: int) -> float:
    """Return a share below part / whole, lower by the largest of three margins.

    The margins are three standard errors, one tenth of the distance to 1, and 0.01.
    """
    share = part / max(whole, 1)
    margin = max(0.01, 0.1 * (1 - share), 3 * math.sqrt(share * (1 - share) / max(whole, 1)))
    return max(0.0, math.floor((share - margin) * 1000) / 1000)


def _numbers(
    column: str,
    kind: pl.DataType,
    count: int,
    figures: dict[str, Any],
) -> list[Check]:
    """Return the limits of numbers, with margins around them, and of their mean; infinite numbers set no limit."""
    lower, upper = least, greatest = figures["least"], figures["greatest"]
    spread = greatest - least
    if math.isfinite(spread):
        if kind.is_integer():
            below = spread // 4
            above = -(-max(spread, 1) // 2)
        else:
            below = spread / 4
            above = max(spread, 1) / 2

        if least >= 0:
            lower = max(least - below, 0)
        else:
            lower = least - below

        upper = greatest + (max(spread, 1) if column in RUNS else above)

    checks = []
    if limits := {
        name: limit for name, limit in (("min", lower), ("max", upper)) if math.isfinite(limit)
    }:
        words = f"{column} is from {lower:g} to {upper:g}"
        checks.append(
            Check(
                "between",
                column,
                **limits,
                severity=WARNING,
                description=words,
            )
        )

    mean = figures["mean"]
    deviation = figures["deviation"] or 0.0
    margin = max(0.3 * deviation, 5 * deviation / math.sqrt(count))
    lowest = mean - margin
    highest = mean + margin
    if (
        deviation
        and math.isfinite(lowest)
        and math.isfinite(highest)
        and figures.get("distinct") != count
    ):
        checks.append(
            Check(
                "mean",
                column,
                min=lowest,
                max=highest,
                severity=WARNING,
                description=f"The mean of {column} is from {lowest:g} to {highest:g}",
            )
        )

    return checks


def _texts(
    column: str,
    count: int,
    figures: dict[str, Any],
    private: bool,
) -> list[Check]:
    least = figures["shortest"]
    greatest = figures["longest"]
    members = next((name for name in ID_CHARACTERS if not figures[name]), "")
    if members and not private and least:
        if least == greatest:
            size = f"{{{least}}}"
        else:
            size = f"{{{max(1, least // 2)},{2 * greatest}}}"

        if least == greatest:
            count_of = f"{least}"
        else:
            count_of = f"{least} to {greatest}"

        return [
            Check(
                "matches",
                column,
                pattern=rf"\A[{ID_CHARACTERS[members]}]{size}\z",
                description=f"{column} is {count_of} {members}",
            )
        ]

    longest = 2 * greatest + 1
    least_length = min(least, 1)
    length = f"{column} has {least_length} to {longest:,} characters"
    checks = [
        Check(
            "length",
            column,
            min=least_length,
            max=longest,
            description=length,
        )
    ]
    shorter = math.floor(figures["median"] / 1.1)
    longer = math.ceil(figures["median"] * 1.1)
    for limits, words in (
        ({"min": shorter}, f"at least {shorter:,}"),
        ({"max": longer}, f"at most {longer:,}"),
    ):
        checks.append(
            Check(
                "length",
                column,
                **limits,
                mostly=HALF,
                severity=WARNING,
                description=f"{HALF:.0%} of {column} have {words} characters",
            )
        )

    for name, pattern, words in (
        ("invisible", INVISIBLE, "control or invisible characters"),
        ("mojibake", MOJIBAKE, "traces of a wrong encoding"),
    ):
        mostly = 1.0
        if figures[name]:
            mostly = _share_below(count - figures[name], count)

        words = f"{column} shows no {words}" + (
            f" in at least {mostly:.1%} of rows" if mostly < 1 else ""
        )
        checks.append(
            Check(
                "free_of",
                column,
                pattern=pattern,
                mostly=mostly,
                severity=WARNING,
                description=words,
            )
        )

    return checks


def _repetition(
    column: str,
    count: int,
    figures: dict[str, Any],
    in_set: bool,
) -> list[Check]:
    distinct = figures.get("distinct")
    if distinct is None or in_set or column in RUNS:
        return []
    if distinct == count:
        # A repeated value may be correct if texts are long or rows are few.
        severity = WARNING
        if figures.get("longest", 0) <= LONG and count >= FEW:
            severity = CRITICAL

        return [
            Check(
                "unique",
                column,
                severity=severity,
                description=f"{column} is different in every row",
            )
        ]

    share = distinct / count
    least = math.floor(max(0.0, share - max(0.02, 0.2 * share)) * 1000) / 1000
    # The share falls as a table grows, unless most values are distinct: no check at 0.5 or below.
    if share > 0.5:
        return [
            Check(
                "different",
                column,
                min=least,
                severity=WARNING,
                description=f"At least {least:.1%} of {column} are different",
            )
        ]

    return []
