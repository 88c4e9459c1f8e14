"""The checks between the stages: hold a table against its suite, report in words, write the Data Docs.

A suite looks at up to three tables: the columns and their types, the rows, and facts of the whole in one row. Where a
column is missing or of another type, that alone is reported, and what is expected of its values is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from core.config.run_config import ChecksConfig
from core.errors import ReviewLMError
from data_checks.engine import Batch, Validated, publish, validate
from data_checks.metrics.evaluation import Broken, Report
from data_checks.metrics.tables import Table
from data_checks.metrics.texts import MEASURES
from data_checks.report import CRITICAL, CheckReport, ExpectationResult
from data_checks.suites import expectations
from data_checks.suites.case import COLUMNS, PRIVATE, Case, columns_expected
from models.streams import CHUNK, DOCUMENTS, TokenStream
from models.tokens.vocabulary import UNK

__all__ = ["CheckReport", "ExpectationResult", "check", "token_table"]

PAGE = "index.html"


def check(
    stage: str,
    frame: pl.DataFrame | Path,
    limits: ChecksConfig,
    docs_folder: Path,
    name: str,
    facts: Mapping[str, Any] | None = None,
    report: Report | None = None,
) -> CheckReport:
    """Hold a table against the suite of its stage and write the Data Docs.

    Args:
        stage: "raw", "clean", "tokens", "predictions" or "samples".
        frame: The table, a Parquet file, or a folder of Parquet parts; only the columns of the suite are read. For
            "tokens" the folder of the stream, or what `token_table` returns.
        limits: Of the configuration.
        docs_folder: Gets index.html and its pages; an earlier report in it is replaced.
        name: Of the table, as the report shows it.
        facts: What the stage said of its result. raw: rows, quarantined. tokens, of a table: see `token_table`.
        report: Told how many rows are done, and of how many.

    Raises:
        models.base.ModelError: The folder of a token stream cannot be opened.
        ReviewLMError: There is no such suite, or a fact that it needs is absent.
    """
    if stage not in COLUMNS:
        raise ReviewLMError(f"There is no suite '{stage}'", remedy=f"one of {', '.join(COLUMNS)}")
    if stage == "tokens" and isinstance(frame, Path):
        frame, facts = token_table(TokenStream.open(frame))
    table = Table.of(frame, MEASURES, PRIVATE)
    types = {column: str(kind.base_type()) for column, kind in table.schema.items()}
    usable = [column for column, kinds in COLUMNS[stage].items() if types.get(column) in kinds]
    measured = [name for name, each in MEASURES.items() if each.source in usable]
    case = Case(stage, table, frozenset([*usable, *measured]), limits, dict(facts or {}))
    with_columns = validate(_columns(stage, types))
    rows = validate(_rows(case), limits.chunk_rows, report)
    judged = [with_columns, rows, *_whole(case, rows.tallied)]
    outcome = publish([each for each in judged if each.batch.expectations], docs_folder, name)
    critical = any(not result.passed and result.severity == CRITICAL for result in outcome.results)
    page = Path(docs_folder.name) / PAGE
    return CheckReport(stage, name, not critical and not outcome.broken, outcome.results, page, outcome.broken)


def token_table(stream: TokenStream) -> tuple[Path, dict[str, Any]]:
    """Return the table and the facts that the suite "tokens" wants of a stream, counted anew from its ids.

    A piece at a time: the stream may be larger than the memory.

    Returns:
        The table with a row per review, and the facts tokens (as the stream says), disagreeing (reviews whose row says
        otherwise than the offsets), unknown, largest_id and vocabulary_size.
    """
    unknown, largest = 0, -1
    for start in range(0, len(stream.ids), CHUNK):
        piece = np.asarray(stream.ids[start : start + CHUNK])
        unknown, largest = unknown + int(np.count_nonzero(piece == UNK)), max(largest, int(piece.max()))
    facts = {
        "tokens": int(stream.tokens), "disagreeing": _disagreeing(stream), "unknown": unknown, "largest_id": largest,
        "vocabulary_size": int(stream.vocabulary_size),
    }
    return stream.folder / DOCUMENTS, facts


def _disagreeing(stream: TokenStream) -> int:
    """Count the reviews whose row has another number of tokens than the offsets, those without a row included."""
    wrong = done = 0
    for rows in Table.of(stream.folder / DOCUMENTS).chunks(["tokens"]):
        # Neither the begin nor the star token is counted.
        lengths = np.diff(stream.offsets[done : done + rows.height + 1]).astype(np.int64) - 2
        found = rows["tokens"].to_numpy()
        wrong += int(np.count_nonzero(found[: len(lengths)] != lengths)) + abs(len(found) - len(lengths))
        done += rows.height
    return wrong + max(0, len(stream) - done)


def _columns(stage: str, schema: Mapping[str, str]) -> Batch:
    """Return one row per column that must be there, with the type it has ("missing" if it is not there)."""
    wanted = list(COLUMNS[stage])
    frame = pl.DataFrame({"column": wanted, "type": [schema.get(column, "missing") for column in wanted]})
    return Batch(f"{stage} columns", Table.of(frame), [columns_expected(COLUMNS[stage])])


def _rows(case: Case) -> Batch:
    """Return what is expected of each row, of the columns that can be judged, and what is measured beside it."""
    expected = [each for each in expectations.ROWS[case.stage](case) if each.column in case.usable]
    tallies = {
        name: metric for name, metric in expectations.TALLIES.get(case.stage, lambda case: {})(case).items()
        if case.usable.issuperset(metric.columns)
    }
    return Batch(f"{case.stage} rows", case.table, expected, tallies)


def _whole(case: Case, tallied: Mapping[str, Any]) -> list[Validated]:
    """Return the verdicts on the facts of the whole; of each only what can be judged.

    Raises:
        ReviewLMError: What they rest on could not be measured, which says nothing of the data.
    """
    for name, value in tallied.items():
        if isinstance(value, Broken):
            raise ReviewLMError(
                f"A data check of '{case.stage}' is broken: '{name}' could not be measured", cause=value.message,
                remedy="correct data_checks/suites/expectations.py",
            )
    if case.stage not in expectations.WHOLE:
        return []
    facts, expected = expectations.WHOLE[case.stage](case, tallied)
    frame = pl.DataFrame({fact: [value] for fact, value in facts.items()})
    return [validate(Batch(
        f"{case.stage} whole", Table.of(frame), [each for each in expected if each.column in frame.columns]))]
