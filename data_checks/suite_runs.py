"""Check a table against the suite of its stage or one from a file, report in words and write the Data Docs.

A suite checks up to three tables: the columns and their types, the rows, and one row of facts about the whole table. If
a column is missing or has another type, only that is reported. The expectations on its values are skipped.
Files hold suites as JSON in Great Expectations' own terms, so that a user can edit them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from core.config.sections.data import ChecksConfig
from core.errors import ConfigError, ReviewLMError
from core.output import write_output
from data_checks import expectations, gx
from data_checks.engine import PAGE, SUMMARY, Batch, Validated, publish, require_docs_folder, validate
from data_checks.expectations import COLUMNS, PRIVATE, Case, columns_expected
from data_checks.metrics.tables import MetricError, Report, Table
from data_checks.metrics.texts import MEASURES
from data_checks.report import CRITICAL, CheckReport
from models.names import as_name, require_name
from models.streams import DOCUMENTS, TokenStream
from models.tokens.special import UNK

ADVICE = {
    "raw": ("`reviewlm data quarantine show` lists the records that could not be read, with reason, source and line.",),
}
"""What a reader can do if an expectation on the table of a stage failed."""
LIMITS = (
    "If the data are as they should be, change a limit: `reviewlm config list checks` lists them, and "
    "`--set checks.NAME=VALUE` sets one. All other limits are in data_checks/expectations.py."
)


def check(
    stage: str,
    frame: pl.DataFrame | Path,
    limits: ChecksConfig,
    docs_folder: Path,
    name: str,
    facts: Mapping[str, Any] | None = None,
    report: Report | None = None,
    data: str = "",
) -> CheckReport:
    """Validate a table against the suite of its stage and write the Data Docs.

    Args:
        stage: "raw", "clean", "tokens", "predictions" or "samples".
        frame: The table, a Parquet file, or a folder of Parquet parts; only the columns of the suite are read. For
            "tokens": the folder of the stream, or the result of `token_table`.
        limits: Limits from the configuration.
        docs_folder: Folder for index.html and its pages; an earlier report in it is replaced.
        name: Name of the table, as the report shows it.
        facts: Numbers that the stage reported about its result. "raw" needs `rows` and `quarantined`. "tokens" of a
            table needs those of `token_table`.
        report: Called with the number of rows done and the total.
        data: Which data the table was made from, for the page.

    Raises:
        models.base.ModelError: The folder of a token stream cannot be opened.
        ReviewLMError: There is no such suite, or a fact that it needs is missing.
    """
    if stage not in COLUMNS:
        raise ReviewLMError(f"There is no suite '{stage}'", remedy=f"one of {', '.join(COLUMNS)}")
    if stage == "tokens" and isinstance(frame, Path):
        frame, facts = token_table(TokenStream.open(frame))
    table = Table.of(frame, MEASURES, PRIVATE)
    types = types_of(table)
    usable = [column for column, kinds in COLUMNS[stage].items() if types.get(column) in kinds]
    measured = [name for name, each in MEASURES.items() if each.source in usable]
    case = Case(stage, table, frozenset([*usable, *measured]), limits, dict(facts or {}))
    with_columns = validate(columns_batch(stage, COLUMNS[stage], types))
    rows = validate(_rows(case), report=report)
    judged = [with_columns, rows, *_whole(case, rows.extra)]
    advice = [*ADVICE.get(stage, ()), LIMITS]
    return report_of(judged, docs_folder, stage, name, name, advice, {"Suite": stage, "Data": data})


def types_of(table: Table) -> dict[str, str]:
    """Return the type of each column, as suites name it."""
    return {column: str(kind.base_type()) for column, kind in table.schema.items()}


def columns_batch(suite: str, columns: Mapping[str, tuple[str, ...]], types: Mapping[str, str]) -> Batch:
    """Return the batch of the required columns: one row per column with its type, "missing" if it is absent."""
    kinds = [types.get(column, "missing") for column in columns]
    return Batch(f"{suite} columns", Table.of(pl.DataFrame({"column": list(columns), "type": kinds})),
                 [columns_expected(columns)])  # fmt: skip


def report_of(
    judged: Sequence[Validated], docs_folder: Path, suite: str, name: str, title: str, advice: Sequence[str],
    about: Mapping[str, str],
) -> CheckReport:  # fmt: skip
    """Write the Data Docs of validated batches under a title, and return the report of their suite on a table."""
    outcome = publish([each for each in judged if each.batch.expectations], docs_folder, title, advice, about)
    critical = any(not result.passed and result.severity == CRITICAL for result in outcome.results)
    page = Path(docs_folder.name) / PAGE
    return CheckReport(suite, name, not critical and not outcome.broken, outcome.results, page, outcome.broken)


def token_table(stream: TokenStream) -> tuple[Path, dict[str, Any]]:
    """Return the table and the facts that the suite "tokens" needs; unknown words and largest id come from the ids.

    The ids are read in pieces, since the stream may be larger than the memory.

    Returns:
        The file of the table with a row per review, and the facts: `tokens` (number in the stream's header),
        `disagreeing` (number of reviews whose length in the table differs from the offsets), `unknown`, `largest_id`
        and `vocabulary_size`.
    """
    unknown, largest = 0, -1
    for piece in stream.pieces():
        unknown, largest = unknown + int(np.count_nonzero(piece == UNK)), max(largest, int(piece.max()))
    facts = {
        "tokens": int(stream.tokens), "disagreeing": _disagreeing(stream), "unknown": unknown, "largest_id": largest,
        "vocabulary_size": int(stream.vocabulary_size),
    }
    return stream.folder / DOCUMENTS, facts


def _disagreeing(stream: TokenStream) -> int:
    """Count the reviews whose number of tokens differs between table and offsets, including reviews without a row."""
    wrong = done = 0
    for rows in Table.of(stream.folder / DOCUMENTS).chunks(["tokens"]):
        # A row counts neither the begin token nor the star token.
        lengths = np.diff(stream.offsets[done : done + rows.height + 1]).astype(np.int64) - 2
        counts = rows["tokens"].to_numpy()
        wrong += int(np.count_nonzero(counts[: len(lengths)] != lengths)) + abs(len(counts) - len(lengths))
        done += rows.height
    return wrong + max(0, len(stream) - done)


def _rows(case: Case) -> Batch:
    """Return the batch of the rows: the expectations on usable columns, and the further metrics of the same pass."""
    expected = [each for each in expectations.ROWS[case.stage](case) if each.column in case.usable]
    extra = {
        name: metric for name, metric in expectations.EXTRA_METRICS.get(case.stage, lambda case: {})(case).items()
        if case.usable.issuperset(metric.columns)
    }
    return Batch(f"{case.stage} rows", case.table, expected, extra)


def _whole(case: Case, extra: Mapping[str, Any]) -> list[Validated]:
    """Return the results for the facts of the whole table, as far as these facts are known.

    Raises:
        ReviewLMError: A metric that a fact needs could not be measured, which says nothing about the data.
    """
    for name, value in extra.items():
        if isinstance(value, MetricError):
            raise ReviewLMError(
                f"A data check of '{case.stage}' is broken: '{name}' could not be measured", cause=value.message,
                remedy="correct data_checks/expectations.py",
            )
    if case.stage not in expectations.WHOLE:
        return []
    facts, expected = expectations.WHOLE[case.stage](case, extra)
    frame = pl.DataFrame({fact: [value] for fact, value in facts.items()})
    return [validate(Batch(
        f"{case.stage} whole", Table.of(frame), [each for each in expected if each.column in frame.columns]))]


FORMAT = 1


@dataclass(frozen=True)
class Suite:
    """Expectations on a table.

    Args:
        name: Name shown in reports.
        expectations: Instances of Great Expectations' classes.
        columns: Required columns, each with the accepted types (of polars, without parameters).
        private: Columns whose values no report may quote.
    """

    name: str
    expectations: Sequence[Any]
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    private: tuple[str, ...] = ()


def save_suite(suite: Suite, file: Path) -> None:
    """Write a suite as JSON: each expectation with type, kwargs, severity and description."""
    expectations = [gx.as_json(expectation) for expectation in suite.expectations]
    content = {
        "format": FORMAT, "name": suite.name, "private": list(suite.private),
        "columns": {column: list(kinds) for column, kinds in suite.columns.items()}, "expectations": expectations,
    }
    write_output(file, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def load_suite(file: Path) -> Suite:
    """Read a suite that `save_suite` or a person wrote.

    Raises:
        ConfigError: The file is not a suite, or Great Expectations rejects an expectation: unknown or incomplete.
        ReviewLMError: An expectation cannot be evaluated on polars.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}; this version reads {FORMAT}")
        named = content["expectations"]
        columns = {str(name): tuple(kinds) for name, kinds in content.get("columns", {}).items()}
        head = require_name(str(content["name"])), columns, tuple(content.get("private", ()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        cause = f"{type(error).__name__}: {error}"
        raise ConfigError("This is not a suite of expectations", where=file, cause=cause) from error
    expectations = [_declared(file, number, each) for number, each in enumerate(named, start=1)]
    for expectation in expectations:
        gx.requests(expectation, SUMMARY)  # refuses an expectation that cannot be evaluated
    return Suite(head[0], expectations, head[1], head[2])


def check_with(
    file: Path, table: Path | pl.DataFrame, docs_folder: Path, name: str = ""
) -> CheckReport:
    """Validate a table against a suite from a file and write the Data Docs.

    If a column is missing or has another type, only that is reported. The expectations on its values are skipped.

    Args:
        table: A frame, a Parquet file, or a folder of Parquet parts.
        docs_folder: Folder for index.html and its pages; an earlier report in it is replaced.
        name: Name of the table, as the report shows it; default: the name of the suite.

    Raises:
        ConfigError: The file is not a suite, or the folder holds other files.
        Unreadable: The table cannot be read.
    """
    require_docs_folder(docs_folder)
    suite = load_suite(file)
    judged = Table.of(table, MEASURES, suite.private)
    types = types_of(judged)
    unusable = {column for column, kinds in suite.columns.items() if types.get(column) not in kinds}
    unusable |= {measure for measure, each in MEASURES.items() if each.source in unusable}
    usable = [each for each in suite.expectations if not unusable & set(_columns_of(each))]
    batches = [Batch(f"{suite.name} rows", judged, usable)]
    if suite.columns:
        batches.insert(0, columns_batch(suite.name, suite.columns, types))
    validated = [validate(batch) for batch in batches]
    advice = [f"If the data are as they should be, change the limit of the expectation in the suite, {file}."]
    title, about = as_name(name, suite.name), {"Suite": suite.name}
    return report_of(validated, docs_folder, suite.name, name or suite.name, title, advice, about)


def _columns_of(expectation: Any) -> list[str]:
    kwargs = expectation.configuration.kwargs
    named = [kwargs[key] for key in ("column", "column_A", "column_B") if key in kwargs]
    return [*named, *kwargs.get("column_list", ())]


def _declared(file: Path, number: int, written: Any) -> Any:
    try:
        words = written.get("description") or written["type"]
        return gx.declared(written["type"], written["kwargs"], written.get("severity") or CRITICAL, words)
    except Exception as error:
        raise ConfigError(
            "Great Expectations has no such expectation", where=f"{file}, expectation {number}", value=written,
            cause=f"{type(error).__name__}: {error}",
        ) from error
