"""Measure checks with polars: streaming queries give the figures of all checks of a table.

A check of rows ("between", "matches" …) says what each value should be; its figure is the share of rows that are so. A
check of a column ("mean", "different" …) limits a figure of all values. As in pandas, null and NaN are missing values,
and only `present` and `absent` judge them. Values are counted by 64-bit hashes, so that long ones take 8 bytes: of 7
million different values, two are taken for equal once in a million tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import polars as pl
from polars import selectors
from pydantic import AfterValidator, ConfigDict

from reviewlm.core.errors import Unreadable
from reviewlm.data_checks.report import CRITICAL, Severity
from reviewlm.data_checks.text_runs import RUNS, TEXTS_AT_A_TIME, runs_of

EXAMPLES = 5
TEXT = "text"
"""Column of which `RUNS` are measured, as columns of their own."""
OF_FACT = ("fact", "share")
"""Kinds of checks of a number that the stage reported about its result."""
SHARES = ("different", "share_of", "share")
COUNTED = ("unique", "different")
"""Kinds that count different values."""


def _require_kind(kind: str) -> str:
    if kind not in (kinds := (*OF_ROWS, *OF_COLUMN)):
        raise ValueError(f"it must be one of {', '.join(kinds)}")
    return kind


@dataclass(frozen=True)
class Check:
    """An expectation about a column, about rows or about a fact.

    Args:
        kind: One of `OF_ROWS`, `OF_COLUMN` or `OF_FACT`.
        column: Name of the column, or of the fact; empty for the whole table.
        min, max: Limits, inclusive; None: no limit.
        values: Accepted values.
        pattern: Regular expression of polars.
        other: A second column.
        mostly: Of a check of rows, the least share of judged rows that must be so.
        severity: "critical", "warning" or "info".
        description: The expectation in words.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")
    # Files may give checks of rows and columns; a stage's suite may judge facts, too.
    kind: Annotated[str, AfterValidator(_require_kind)]
    column: str = ""
    min: Any = None
    max: Any = None
    values: tuple[Any, ...] = ()
    pattern: str = ""
    other: str = ""
    mostly: float = 1.0
    severity: Severity = CRITICAL
    description: str = ""

    def options(self) -> dict[str, Any]:
        """Return the options that differ from their defaults, without column, severity and description."""
        default = Check(self.kind, self.column)
        shown = ("min", "max", "values", "pattern", "other", "mostly")
        return {
            name: getattr(self, name)
            for name in shown
            if getattr(self, name) != getattr(default, name)
        }


@dataclass(frozen=True)
class MeasuredCheck:
    """The figures of a check.

    Args:
        check: The check.
        value: The share of good rows, or the figure of the column; None if there is none.
        judged, failing: Numbers of rows of a check of rows.
        examples: Some failing values; of a private column, their lengths.
        error: Why it could not be measured, which says nothing about the data.
    """

    check: Check
    value: Any = None
    judged: int = 0
    failing: int = 0
    examples: tuple[Any, ...] = ()
    error: str = ""

    @property
    def of_rows(self) -> bool:
        """Whether the check judges each row."""
        return self.check.kind in OF_ROWS


@dataclass(frozen=True)
class Table:
    """A table to check.

    Args:
        source: The Parquet files of the table, in order.
        private: Columns whose values no report may quote.
    """

    source: tuple[Path, ...]
    private: frozenset[str] = frozenset()

    @classmethod
    def of(cls, source: Path, private: Iterable[str] = ()) -> Table:
        """Open a Parquet file or a folder of Parquet parts (in the order of their names).

        Raises:
            Unreadable: There is no such file, or no Parquet file in the folder.
        """
        if source.is_dir():
            paths = tuple(sorted(source.glob("*.parquet")))
        else:
            paths = (source,)

        if not paths or not all(path.is_file() for path in paths):
            raise Unreadable("There is no Parquet file to check", where=source)
        return cls(paths, frozenset(private))

    @cached_property
    def stored(self) -> dict[str, pl.DataType]:
        """Types of the columns.

        Raises:
            Unreadable: A file is not Parquet, or the parts have different columns.
        """
        schemas = {path: _schema(path) for path in self.source}
        first = schemas[self.source[0]]
        for path, schema in schemas.items():
            if schema != first:
                raise Unreadable(
                    "The parts of a table have different columns",
                    where=path,
                    value=sorted({name for name, _ in first.items() ^ schema.items()}),
                    remedy=f"write it with the columns and types of {self.source[0].name}",
                )

        return first

    @cached_property
    def schema(self) -> dict[str, pl.DataType]:
        """Types of all columns, with the measured ones (`RUNS`) of a table with texts."""
        measured = {}
        if self.stored.get(TEXT) == pl.String():
            measured = dict.fromkeys(RUNS, pl.Int32())

        return {
            **self.stored,
            **{name: kind for name, kind in measured.items() if name not in self.stored},
        }

    @cached_property
    def height(self) -> int:
        """Number of rows."""
        return int(self._stored_rows().select(pl.len()).collect().item())

    @cached_property
    def runs(self) -> pl.DataFrame:
        """The measured columns; they are small. Polars would hold all texts if it called `runs_of` in a query."""
        none = pl.DataFrame(schema=dict.fromkeys(RUNS, pl.Int32))
        return pl.concat([none, *(runs_of(texts).struct.unnest() for texts in self._texts())])

    def _texts(self) -> Iterator[pl.Series]:
        """Yield the texts some at a time."""
        from pyarrow.parquet import ParquetFile

        for path in self.source:
            with ParquetFile(path, pre_buffer=False) as file:
                for batch in file.iter_batches(TEXTS_AT_A_TIME, columns=[TEXT], use_threads=False):
                    # pyarrow also returns columns such as "text.en", which may stand first
                    yield pl.Series(TEXT, batch.column(TEXT), dtype=pl.String)

    def rows(self, columns: Iterable[str]) -> pl.LazyFrame:
        """Return the rows with these columns, measured ones included."""
        needed = list(dict.fromkeys(columns))
        measured = [name for name in needed if name not in self.stored]
        if len(measured) == len(needed):
            return self.runs.lazy().select(needed)
        rows = self._stored_rows()
        if measured:
            rows = pl.concat([rows, self.runs.lazy().select(measured)], how="horizontal")
        return rows.select(selectors.by_name(needed))

    def _stored_rows(self) -> pl.LazyFrame:
        return pl.scan_parquet(list(self.source))


def _schema(path: Path) -> dict[str, pl.DataType]:
    try:
        return dict(pl.read_parquet_schema(path))
    except (OSError, pl.exceptions.PolarsError) as error:
        raise Unreadable(
            "The Parquet file cannot be read",
            where=path,
            cause=str(error),
            remedy=_remedy_for(path),
        ) from error


def _remedy_for(path: Path) -> str:
    """Return the command that makes a table readable, by its suffix, or else ask for a whole file."""
    readers = {
        ".csv": "read_csv({name!r})",
        ".tsv": "read_csv({name!r}, separator='\\t')",
        ".jsonl": "read_ndjson({name!r})",
        ".ndjson": "read_ndjson({name!r})",
        ".json": "read_json({name!r})",
        ".feather": "read_ipc({name!r})",
        ".arrow": "read_ipc({name!r})",
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        return "name a table in Parquet; if it is one, fetch or copy the file again"
    call = f"polars.{reader.format(name=str(path))}"
    return (
        f"write it as Parquet: python -c \"import polars; {call}.write_parquet('table.parquet')\""
    )


def column_named(name: str) -> pl.Expr:
    """Return the column with exactly this name; `pl.col` takes `*` and `^…$` for patterns of names."""
    return selectors.by_name(name).as_expr()


def values_of(name: str, kind: pl.DataType) -> pl.Expr:
    """Return the values of a column, null where they are missing; floats in double precision, moments in UTC.

    In single precision 0.1 would equal the limit 0.1. In pandas, which compares as doubles, it does not.
    """
    values = column_named(name)
    if kind.is_float() or kind.is_decimal():
        return values.cast(pl.Float64).fill_nan(None)
    if isinstance(kind, pl.Datetime) and kind.time_zone:
        return values.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return values


def limit_of(limit: Any, kind: pl.DataType) -> Any:
    """Return a limit in a type that can be compared with the values of a column; dates are written as in ISO 8601.

    Raises:
        TypeError: They cannot be compared.
        ValueError: It is no date.
    """
    if limit is None:
        return None

    if isinstance(kind, pl.Date | pl.Datetime):
        moment = limit
        if isinstance(limit, str):
            moment = datetime.fromisoformat(limit)

        if isinstance(moment, datetime):
            if moment.tzinfo:
                return moment.astimezone(UTC).replace(tzinfo=None)
            return moment
        if isinstance(moment, date):
            return datetime(moment.year, moment.month, moment.day)
    elif (
        isinstance(limit, str)
        if kind == pl.String()
        else kind.is_numeric() and isinstance(limit, int | float)
    ):
        return limit

    raise TypeError(f"values of type {kind} cannot be compared with {limit!r}")


def _is_between(
    values: pl.Expr,
    least: Any,
    most: Any,
) -> pl.Expr:
    if least is None and most is None:
        raise ValueError("min and max cannot both be missing")
    if least is None:
        above = pl.lit(True)
    else:
        above = values >= least

    return above if most is None else above & (values <= most)


def _in_limits(
    check: Check,
    values: pl.Expr,
    kind: pl.DataType,
) -> pl.Expr:
    # A limit may be larger than any of them.
    values = values.cast(pl.Int128) if kind == pl.UInt64() else values
    return _is_between(values, limit_of(check.min, kind), limit_of(check.max, kind))


def _one_of(
    check: Check,
    values: pl.Expr,
    kind: pl.DataType,
) -> pl.Expr:
    if kind.is_numeric():
        values = values.cast(pl.Float64)
        kind = pl.Float64()
    elif isinstance(kind, pl.Date | pl.Datetime):
        values = values.cast(pl.Datetime("us"))
        kind = pl.Datetime("us")

    if kind == pl.Boolean():
        members = check.values
    else:
        members = tuple(limit_of(value, kind) for value in check.values)

    return values.is_in(pl.Series(members, dtype=kind).implode())


def _text(values: pl.Expr, kind: pl.DataType) -> pl.Expr:
    if kind != pl.String():
        raise TypeError(f"values of type {kind} are no texts")
    return values


OF_ROWS: dict[str, Callable[[Check, pl.Expr, pl.DataType], pl.Expr]] = {
    "present": lambda check, values, kind: values.is_not_null(),
    "absent": lambda check, values, kind: values.is_null(),
    "between": _in_limits,
    "length": lambda check, values, kind: _is_between(
        _text(values, kind).str.len_chars(), check.min, check.max
    ),
    "one_of": _one_of,
    "matches": lambda check, values, kind: _text(values, kind).str.contains(check.pattern),
    "free_of": lambda check, values, kind: ~_text(values, kind).str.contains(check.pattern),
    "unique": lambda check, values, kind: ~values.hash().is_duplicated(),
}
"""For each kind whether a row is as it should be."""


def _different(
    check: Check,
    values: pl.Expr,
    kind: pl.DataType,
) -> pl.Expr:
    return values.drop_nulls().hash().n_unique() / pl.max_horizontal(values.count(), 1)


def _mean(
    check: Check,
    values: pl.Expr,
    kind: pl.DataType,
) -> pl.Expr:
    if not kind.is_numeric():
        raise TypeError(f"values of type {kind} have no mean")
    return values.mean()


def _ratio(
    check: Check,
    values: pl.Expr,
    kind: pl.DataType,
) -> pl.Expr:
    """Return the sum of the finite values of a column for each one of another."""
    over = column_named(check.other).cast(pl.Float64)
    return values.filter(values.is_finite()).sum() / over.filter(over.is_finite()).sum()


OF_COLUMN: dict[str, Callable[[Check, pl.Expr, pl.DataType], pl.Expr]] = {
    "rows": lambda check, values, kind: pl.len(),
    "mean": _mean,
    "sum": lambda check, values, kind: values.sum(),
    "different": _different,
    "count_of": lambda check, values, kind: values.is_in(list(check.values)).sum(),
    "share_of": lambda check, values, kind: (
        values.is_in(list(check.values)).sum() / pl.max_horizontal(pl.len(), 1)
    ),
    "ratio": _ratio,
}
"""For each kind the figure of a column. `different`: share of the values that are different."""


def measure(
    table: Table,
    checks: Sequence[Check],
    facts: Mapping[str, Any],
) -> list[MeasuredCheck]:
    """Return the figures of checks, in order.

    Args:
        facts: Numbers by name, for checks of facts.

    Raises:
        Unreadable: The table cannot be read.
    """
    queries: dict[int, tuple[list[str], dict[str, pl.Expr]]] = {}
    results: dict[int, MeasuredCheck] = {}
    for place, check in enumerate(checks):
        try:
            if check.kind in OF_FACT:
                results[place] = MeasuredCheck(check, facts[check.column])
            elif check.kind == "rows":
                results[place] = MeasuredCheck(check, table.height)
            else:
                queries[place] = _query(table, check)
        except (KeyError, TypeError, ValueError, pl.exceptions.PolarsError) as error:
            results[place] = MeasuredCheck(check, error=_message(error))

    try:
        figures = _figures(table, checks, queries)
    except pl.exceptions.PolarsError:  # which of the checks is it?
        figures = {}
        for place, query in queries.items():
            try:
                figures |= _figures(table, checks, {place: query})
            except pl.exceptions.PolarsError as error:
                results[place] = MeasuredCheck(checks[place], error=_message(error))

    for place in queries.keys() - results.keys():
        check = checks[place]
        measured = figures[place]
        if check.kind in OF_COLUMN:
            results[place] = MeasuredCheck(check, measured["value"])
            continue
        judged = int(measured["judged"])
        good = int(measured["good"])
        if good < judged:
            examples = _examples(table, check)
        else:
            examples = ()

        results[place] = MeasuredCheck(
            check,
            good / judged if judged else 1.0,
            judged,
            judged - good,
            examples,
        )

    return [results[place] for place in range(len(checks))]


def _query(table: Table, check: Check) -> tuple[list[str], dict[str, pl.Expr]]:
    """Return the columns that a check reads and the expressions of its figures."""
    columns = [check.column, *filter(None, [check.other])]  # "" is a name, too
    for name in columns:
        if name not in table.schema:
            raise KeyError(f"the table has no column {name!r}")

    kind = table.schema[check.column]
    values = values_of(check.column, kind)
    if check.kind in OF_COLUMN:
        return columns, {"value": OF_COLUMN[check.kind](check, values, kind)}

    judged, good = _judgement(check, kind)
    if check.kind == "unique":  # missing values are no repetitions
        return columns, {
            "judged": judged.sum(),
            "good": OF_ROWS["unique"](check, values.drop_nulls(), kind).sum(),
        }

    return columns, {"judged": judged.sum(), "good": (judged & good).sum()}


def _judgement(check: Check, kind: pl.DataType) -> tuple[pl.Expr, pl.Expr]:
    """Return whether a row is judged, and whether it is as it should be."""
    values = values_of(check.column, kind)
    every = values.is_null() | values.is_not_null()
    judged = every
    if check.kind not in ("present", "absent"):
        judged = values.is_not_null()

    return judged, OF_ROWS[check.kind](check, values, kind)


def _figures(
    table: Table,
    checks: Sequence[Check],
    queries: Mapping[int, tuple[list[str], dict[str, pl.Expr]]],
) -> dict[int, dict[str, Any]]:
    """Return the figures of each query: in one pass over the stored columns and one over the measured ones.

    What counts different values has a pass of its own: polars 2.1 holds the whole table if it is joined to the others.
    """
    passes: dict[Any, list[int]] = {}
    for place, (columns, _) in queries.items():
        if checks[place].kind in COUNTED:
            group: int | str = place
        else:
            group = "stored" if columns[0] in table.stored else "measured"
        passes.setdefault(group, []).append(place)

    figures: dict[int, dict[str, Any]] = {}
    for places in passes.values():
        rows = table.rows(column for place in places for column in queries[place][0])
        wanted = []
        for place in places:
            for name, expression in queries[place][1].items():
                wanted.append(expression.alias(f"{place} {name}"))

        values = rows.select(wanted).collect(engine="streaming").row(0, named=True)
        for place in places:
            figures[place] = {name: values[f"{place} {name}"] for name in queries[place][1]}

    return figures


def _examples(table: Table, check: Check) -> tuple[Any, ...]:
    judged, good = _judgement(check, table.schema[check.column])
    failing = table.rows([check.column]).filter((judged & ~good).fill_null(False)).head(EXAMPLES)
    values = failing.collect(engine="streaming").to_series()
    if check.column in table.private:
        return tuple(None if value is None else f"{len(value):,} characters" for value in values)
    return tuple(values)


def _message(error: Exception) -> str:
    if isinstance(error, KeyError) and error.args:
        return str(error.args[0])
    return str(error)
