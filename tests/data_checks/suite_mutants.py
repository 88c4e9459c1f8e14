"""Generate rows from a suite: passing rows, and mutants that each break exactly one expectation.

The caller gives a table that meets the suite. This module contains the ways to break each class of expectation. A
mutant is kept only if the engine confirms that exactly its one expectation fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from core.errors import ReviewLMError
from data_checks.engine import Batch, validate
from data_checks.metrics.tables import Measure, Table

Measures = Mapping[str, Measure]
Change = Callable[[pl.DataFrame, int], pl.DataFrame]


@dataclass(frozen=True)
class Mutant:
    """A table with one defect.

    Args:
        expectation: Expectation that the table breaks.
        table: The rows.
        defect: Description of the change to the rows.
    """

    expectation: Any
    table: pl.DataFrame
    defect: str


def passing_rows(
    table: pl.DataFrame, expectations: Sequence[Any], rows: int, measures: Measures | None = None
) -> pl.DataFrame:
    """Return *rows* rows that meet the expectations: the rows of a table, repeated with new unique values.

    Args:
        table: Table that meets the expectations.
        expectations: Instances of Great Expectations' classes.
        rows: Number of rows to make.
        measures: See `Table.of`.

    Raises:
        ReviewLMError: The new rows do not meet the expectations: the given table does not meet them, or its rows cannot
            be repeated in this way.
    """
    unique = {each.column for each in expectations if type(each).__name__ == "ExpectColumnValuesToBeUnique"}
    distinct = {each.column for each in expectations if "Unique" in type(each).__name__ and hasattr(each, "column")}
    wanted = pl.concat([table] * -(-rows // max(1, table.height))).head(rows)
    number = pl.int_range(pl.len()).cast(pl.String)
    made = wanted.with_columns(
        (pl.col(column) + pl.lit(" " if column in distinct - unique else "") + number).alias(column)
        if table.schema[column] == pl.String() else pl.int_range(pl.len(), dtype=pl.Int64).alias(column)
        for column in sorted(distinct) if column in table.columns
    ) if rows > table.height else wanted
    if failing := failures(made, expectations, measures):
        raise ReviewLMError(
            "The rows made do not meet the suite", value=[each.description for each in failing],
            remedy="give a table that meets it",
        )
    return made


def mutants(
    table: pl.DataFrame, expectations: Sequence[Any], measures: Measures | None = None, private: Sequence[str] = ()
) -> Iterator[Mutant]:
    """Yield one mutant of the table per expectation; it breaks that expectation and no other.

    Args:
        table: Table that meets all expectations.
        expectations: Instances of Great Expectations' classes.
        measures: See `Table.of`.
        private: See `Table.of`.

    Raises:
        ReviewLMError: No mutant was found for an expectation.
    """
    for expectation in expectations:
        for defect, change in _changes(expectation, table):
            for rows in dict.fromkeys((1, _rows_over(expectation, table.height), table.height)):
                mutated = change(table, rows)
                if failures(mutated, expectations, measures, private) == [expectation]:
                    yield Mutant(expectation, mutated, f"{defect}, {rows} rows")
                    break
            else:
                continue
            break
        else:
            raise ReviewLMError(
                "No mutant breaks this expectation alone", where=str(expectation.description),
                value=type(expectation).__name__,
                remedy="say in tests/data_checks/suite_mutants.py how to break its class",
            )


def failures(
    table: pl.DataFrame, expectations: Sequence[Any], measures: Measures | None = None, private: Sequence[str] = ()
) -> list[Any]:
    """Return the expectations that a table does not meet, including broken ones."""
    results = validate(Batch("mutant", Table.of(table, measures, private), expectations)).results
    return [each for each, result in zip(expectations, results, strict=True) if not result.success]


def _rows_over(expectation: Any, height: int) -> int:
    """Return the number of wrong rows that just exceeds the share allowed by `mostly`."""
    return min(height, int((1 - float(getattr(expectation, "mostly", 1.0))) * height) + 2)


def _put(column: str, value: Any) -> Change:
    def change(table: pl.DataFrame, rows: int) -> pl.DataFrame:
        literal = pl.lit(value, dtype=table.schema[column])
        return table.with_columns(
            pl.when(pl.int_range(pl.len()) < rows).then(literal).otherwise(pl.col(column)).alias(column))

    return change


def _moved(column: str, value: int) -> Change:
    """Return a change that puts a number into rows and adds the difference to the last row, so the sum stays equal."""
    def change(table: pl.DataFrame, rows: int) -> pl.DataFrame:
        rows = min(rows, table.height - 1)
        put = _put(column, value)(table, rows)
        left = sum(table[column].to_list()) - sum(put[column].to_list()) + put[column][-1]
        last = pl.int_range(pl.len()) == table.height - 1
        kept = pl.when(last).then(left).otherwise(pl.col(column)).cast(put.schema[column])
        return put.with_columns(kept.alias(column))

    return change


def _differing(column: str, text: str) -> Change:
    """Return a change that puts a text with the row number into rows, so that no two texts are equal."""
    def change(table: pl.DataFrame, rows: int) -> pl.DataFrame:
        number = pl.int_range(pl.len())
        return table.with_columns(
            pl.when(number < rows).then(pl.lit(text) + number.cast(pl.String)).otherwise(pl.col(column)).alias(column))

    return change


def _changes(expectation: Any, table: pl.DataFrame) -> Iterator[tuple[str, Change]]:
    """Yield the ways to break an expectation of this class, the smallest change first."""
    kind, column = type(expectation).__name__, getattr(expectation, "column", "")
    if kind == "ExpectColumnValuesToNotBeNull":
        yield "missing", _put(column, None)
    elif kind in ("ExpectColumnValuesToBeUnique", "ExpectColumnProportionOfUniqueValuesToBeBetween"):
        yield "the value of another row", lambda frame, rows: _put(column, frame[column][-1])(frame, rows)
    elif kind in ("ExpectColumnValuesToBeBetween", "ExpectColumnMaxToBeBetween", "ExpectColumnMinToBeBetween",
                  "ExpectColumnSumToBeBetween"):
        yield from _beyond(expectation, column, table)
    elif kind == "ExpectColumnValueLengthsToBeBetween":
        if expectation.min_value:
            yield "too short", _put(column, "x" * (int(expectation.min_value) - 1))
        if expectation.max_value is not None:
            longer = int(expectation.max_value) + 1
            yield "too long", _differing(column, ("some words of no end " * (longer // 20 + 1))[:longer])
    elif kind in ("ExpectColumnValuesToBeInSet", "ExpectColumnDistinctValuesToBeInSet"):
        values = list(expectation.value_set)
        between = max((value for value in values if isinstance(value, int | float)), default=0) - 0.5
        yield "in no set", _put(column, "no such value" if table.schema[column] == pl.String() else between)
        yield "in no set", _put(column, max(values) + 1 if not isinstance(values[0], str) else "")
    elif kind == "ExpectColumnValuesToNotMatchRegex":
        for bad in ("\x07", "TrÃ¨s", "<eos>"):
            yield f"{bad!r} in a text", _differing(column, f"some words {bad} ")
    elif kind == "ExpectColumnValuesToMatchRegex":
        yield "another form", lambda frame, rows: frame.with_columns(
            pl.when(pl.int_range(pl.len()) < rows).then(pl.lit("?") + pl.col(column).str.slice(1))
            .otherwise(pl.col(column)).alias(column))


def _beyond(expectation: Any, column: str, table: pl.DataFrame) -> Iterator[tuple[str, Change]]:
    """Yield changes to values just beyond the limits; for the run measures of texts, to texts with long runs."""
    least, most = expectation.min_value, expectation.max_value
    if column in RUNS and most is not None:
        yield "repetition", _differing("text", RUNS[column](int(most) + 1))
        return
    step: Any = timedelta(days=1) if isinstance(most or least, datetime) else 1
    if most is not None:
        yield "too great", _put(column, _fitting(most + step, table.schema[column]))
    if least is not None:
        yield "too small", _put(column, _fitting(least - step, table.schema[column]))
        if table.schema[column].is_integer():
            yield "too small, the sum kept", _moved(column, int(least - 1))
    if table.schema[column].is_float():
        yield "no number", _put(column, float("inf"))


def _fitting(value: Any, kind: pl.DataType) -> Any:
    return int(value) if kind.is_integer() else value


RUNS: dict[str, Callable[[int], str]] = {
    "word_run": lambda times: "good " * times + "place ",
    "character_run": lambda times: "so" + "o" * times + " good ",
}
"""Functions that write a text with a run of at least the given number of words or characters, by measure."""
