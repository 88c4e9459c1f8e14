"""Save and load suites as JSON in Great Expectations' own terms, so that a user can edit them, and check tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from core.errors import ConfigError
from core.output import write_output
from data_checks import gx
from data_checks.engine import SUMMARY, Batch, require_docs_folder, validate
from data_checks.metrics.tables import Table
from data_checks.metrics.texts import MEASURES
from data_checks.report import CRITICAL, CheckReport
from data_checks.suites.suites import columns_batch, report_of, types_of
from models.names import as_name, require_name

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
