"""Validate tables against expectation suites and write the Data Docs.

Nothing in this module depends on reviews. Polars measures what the expectations ask for, chunk by chunk, and Great
Expectations' own classes judge it (`data_checks/gx.py`). So verdicts and result objects are the same as on pandas, and
its stores, checkpoints and actions accept them. The page is our own (`data_checks/page.py`).
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any

from core.errors import ConfigError
from data_checks import gx
from data_checks.metrics.metrics import Metric
from data_checks.metrics.tables import CHUNK_ROWS, MetricError, Report, Table, guarded, measure
from data_checks.page import CheckedTable, CheckPage, ShownResult, as_options
from data_checks.report import ExpectationResult

PAGE, RESULTS = "index.html", "validation.json"
"""The page of a check, and its results in Great Expectations' own form."""
MARKER = ".reviewlm-data-docs"
"""Empty file in each folder of Data Docs that `publish` made: the pages in such a folder may be replaced."""
EXAMPLES = 5
SUMMARY: Mapping[str, Any] = {"result_format": "SUMMARY", "partial_unexpected_count": EXAMPLES}


@dataclass(frozen=True)
class Batch:
    """A table and the expectations on it.

    Args:
        name: Name of the suite and the table, as the Data Docs show it.
        table: Table, read in chunks.
        expectations: Instances of Great Expectations' classes, each with a description in words.
        extra_metrics: Further metrics that are measured in the same pass, by name.
    """

    name: str
    table: Table
    expectations: Sequence[Any]
    extra_metrics: Mapping[str, Metric] = field(default_factory=dict)


@dataclass(frozen=True)
class Validated:
    """A batch with Great Expectations' results, in the order of its expectations, and the values of its extra metrics.

    An extra metric that raised an exception has a `MetricError` as its value.
    """

    batch: Batch
    results: Sequence[Any]
    extra: Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """Results in the order of the expectations, and the descriptions of the expectations that raised an error."""

    results: tuple[ExpectationResult, ...]
    broken: tuple[str, ...]


def validate(batch: Batch, rows: int = CHUNK_ROWS, report: Report | None = None) -> Validated:
    """Validate a batch in one pass over its table, and further ones where values may be repeated.

    Args:
        batch: Table, expectations and extra metrics.
        rows: Most rows of a chunk; the verdicts do not depend on it.
        report: Called in the first pass with the number of rows done and the total.

    Raises:
        ReviewLMError: An expectation cannot be evaluated on polars.
        Unreadable: The table cannot be read.
    """
    for expectation in batch.expectations:
        expectation.id = expectation.id or str(uuid.uuid4())
    requested = [gx.requests(expectation, SUMMARY) for expectation in batch.expectations]
    metrics: dict[Hashable, Metric | MetricError] = dict(batch.extra_metrics.items())
    for request in chain(*requested):
        if request.key not in metrics:
            metrics[request.key] = guarded(request.metric, batch.table, EXAMPLES)
    measured = measure(batch.table, metrics, rows, report)
    results = [
        gx.verdict(expectation, {each.id: each.value(measured[each.key]) for each in requests}, SUMMARY)
        for expectation, requests in zip(batch.expectations, requested, strict=True)
    ]
    return Validated(batch, results, {name: measured[name] for name in batch.extra_metrics})


def publish(
    validated: Sequence[Validated], docs_folder: Path, name: str, advice: Sequence[str] = (),
    about: Mapping[str, str] = MappingProxyType({}),
) -> Outcome:
    """Write the Data Docs of validated batches, and return the results as plain values.

    Args:
        validated: At least one batch.
        docs_folder: Folder for index.html and validation.json; an earlier report in it is replaced.
        name: Name of the run, as the Data Docs show it.
        advice: What a reader can do if an expectation failed, in sentences; commands between backticks.
        about: Facts that tell the reader what was checked, e.g. the name of the suite.

    Raises:
        ConfigError: The folder holds other files.
    """
    _empty(docs_folder)
    whole = [suite_result(each, name) for each in validated]
    findings, broken = [], []
    for each in validated:
        for expectation, validation in zip(each.batch.expectations, each.results, strict=True):
            if error := gx.exception_in(validation.exception_info):
                broken.append((str(expectation.description), error))
            else:
                findings.append(_finding(each.batch, expectation, validation))
    tables = [CheckedTable(one.batch.name, one.batch.table.height, tuple(one.batch.table.schema)) for one in validated]
    page = CheckPage(name, datetime.now(UTC), gx.release(), tables, findings, broken, advice, about)
    (docs_folder / PAGE).write_text(page.to_html(), encoding="utf-8")
    written = json.dumps([result.to_json_dict() for result in whole], indent=1, default=str)
    (docs_folder / RESULTS).write_text(written, encoding="utf-8")
    return Outcome(tuple(one.result for one in findings), tuple(f"{words} ({error})" for words, error in broken))


def suite_result(validated: Validated, name: str) -> Any:
    """Return Great Expectations' result object for a whole suite, as its stores, checkpoints and actions need it."""
    batch = validated.batch
    return gx.suite_result(batch.name, name, batch.table.height, list(batch.table.schema), validated.results)


def require_docs_folder(folder: Path) -> None:
    """Raise an error if the folder holds other files: the Data Docs could be mixed with them or overwrite them.

    Raises:
        ConfigError: The folder is not new, not empty, and was not made by `publish`.
    """
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARKER).is_file():
        raise ConfigError(
            "This folder holds other things than Data Docs of ours", where=folder,
            remedy="name a new or empty folder, or remove what is in it",
        )


def _empty(docs_folder: Path) -> None:
    """Make the folder for the Data Docs; remove those that an earlier call wrote into it."""
    require_docs_folder(docs_folder)
    docs_folder.mkdir(parents=True, exist_ok=True)
    (docs_folder / MARKER).touch()
    for file in (PAGE, RESULTS):
        (docs_folder / file).unlink(missing_ok=True)


def _finding(batch: Batch, expectation: Any, validation: Any) -> ShownResult:
    options, figures = validation.expectation_config.kwargs, validation.result
    columns = [str(options[key]) for key in ("column", "column_A", "column_B") if key in options]
    columns += map(str, options.get("column_list", ()))
    rows = ""
    if "element_count" in figures:
        share = figures["unexpected_count"] / max(1, figures["element_count"])
        rows = f"{figures['unexpected_count']:,} of {figures['element_count']:,} ({share:.2%})"
    return ShownResult(
        _translated(expectation, validation), batch.name, str(expectation.description), ", ".join(columns),
        as_options(options), rows,
        tuple(dict.fromkeys(_shown(value) for value in figures.get("partial_unexpected_list", ()))),
        not batch.table.private.isdisjoint(columns),
    )


def _translated(expectation: Any, validation: Any) -> ExpectationResult:
    observed = _observed(
        validation.result, is_share=any(sign in str(expectation.description) for sign in ("share", "% of"))
    )
    return ExpectationResult(
        expectation=validation.expectation_config.type,
        severity=str(expectation.severity.value),
        passed=bool(validation.success),
        observed=observed,
        sentence=f"{expectation.description} (observed: {observed})",
    )


def _observed(result: Mapping[str, Any], is_share: bool) -> str:
    """Return the observed value as short text, or the number of failing rows with examples."""
    if "element_count" not in result:
        value = result.get("observed_value")
        if is_share and isinstance(value, int | float):
            return f"{value:.4%}"
        if value is None and "unexpected_count" in result:
            wrong = [*result.get("partial_unexpected_list", ()), *result.get("partial_missing_list", ())]
            examples = f", e.g. {', '.join(map(_shown, wrong[:EXAMPLES]))}" if wrong else ""
            return f"{result['unexpected_count'] + result.get('missing_count', 0):,} values differ{examples}"
        return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}" if isinstance(value, float) else str(value)
    against, count = result["unexpected_count"], result["element_count"]
    counted = f"{against:,} of {count:,} rows fail"
    shown = dict.fromkeys(_shown(value) for value in result["partial_unexpected_list"])
    return f"{counted}, e.g. {', '.join(shown)}" if against else counted


def _shown(value: Any) -> str:
    if value is None or value != value:
        return "missing"
    return " ".join(str(part) for part in value)[:60] if isinstance(value, tuple | list) else str(value)[:60]
