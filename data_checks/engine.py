"""Validate tables against expectation suites and write the Data Docs.

Nothing in this module depends on reviews. Polars evaluates the expectations (`data_checks/metrics/evaluation.py`) and
returns Great Expectations' own result objects, so its stores, pages, checkpoints and actions accept them.

Great Expectations takes over two seconds to import, so it is imported inside functions. Its context is kept in memory:
only the Data Docs are written to the disk. The context is a global variable of that package, hence the lock.
"""

from __future__ import annotations

import os
import shutil
import threading
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

from core.errors import ConfigError
from data_checks.escaping import escaped, escaped_words
from data_checks.metrics.evaluation import Report, evaluate
from data_checks.metrics.metrics import Metric
from data_checks.metrics.tables import CHUNK_ROWS, Table
from data_checks.report import ExpectationResult

SITE = "docs"
PAGES = ("expectations", "validations")
MARKER = ".reviewlm-data-docs"
"""Empty file in each folder of Data Docs that `publish` made: the pages in such a folder may be replaced."""
EXAMPLES = 5
SUMMARY: Mapping[str, Any] = {"result_format": "SUMMARY", "partial_unexpected_count": EXAMPLES}
_lock = threading.Lock()


@dataclass(frozen=True)
class Batch:
    """A table and the expectations on it.

    Args:
        name: Name of the suite and the table, as the Data Docs show it.
        table: Table, read in chunks.
        expectations: Instances of Great Expectations' classes, each with a description in words.
        tallies: Further metrics that are measured in the same pass.
    """

    name: str
    table: Table
    expectations: Sequence[Any]
    tallies: Mapping[str, Metric] = field(default_factory=dict)


@dataclass(frozen=True)
class Validated:
    """A batch with Great Expectations' results, in the order of its expectations, and the values of its tallies."""

    batch: Batch
    results: Sequence[Any]
    tallied: Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """Results in the order of the expectations, and the descriptions of the expectations that raised an error."""

    results: tuple[ExpectationResult, ...]
    broken: tuple[str, ...]


def validate(
    batch: Batch, rows: int = CHUNK_ROWS, report: Report | None = None, result_format: Mapping[str, Any] = SUMMARY
) -> Validated:
    """Validate a batch in chunks of at most *rows* rows; call *report* with the number of rows done and the total.

    Raises:
        ReviewLMError: An expectation cannot be evaluated, or the table cannot be read.
    """
    with quiet():
        great_expectations()
        for expectation in batch.expectations:
            expectation.id = expectation.id or str(uuid.uuid4())
        results, tallied = evaluate(batch.table, batch.expectations, result_format, rows, batch.tallies, report)
    return Validated(batch, results, tallied)


def publish(validated: Sequence[Validated], docs_folder: Path, name: str) -> Outcome:
    """Write the Data Docs of validated batches, and return the results as plain values.

    Args:
        validated: At least one batch.
        docs_folder: Folder for index.html and its pages; an earlier report in it is replaced.
        name: Name of the run, as the Data Docs show it.

    Raises:
        ConfigError: The folder holds other files.
    """
    with _lock, quiet():
        context = _context(docs_folder)
        for each in validated:
            _store(context, each, name)
        _write_pages(context)
    _drop_unused(docs_folder)
    results, broken = [], []
    for each in validated:
        for expectation, validation in zip(each.batch.expectations, each.results, strict=True):
            if error := exception_in(validation.exception_info):
                broken.append(f"{expectation.description} ({error})")
            else:
                results.append(_translated(expectation, validation))
    return Outcome(tuple(results), tuple(broken))


def run(batches: Sequence[Batch], docs_folder: Path, name: str, rows: int = CHUNK_ROWS) -> Outcome:
    """Validate batches and write the Data Docs: `validate` and `publish` in one call."""
    return publish([validate(batch, rows) for batch in batches], docs_folder, name)


def suite_result(validated: Validated, name: str) -> Any:
    """Return Great Expectations' result object for a whole suite, as its stores, checkpoints and actions need it."""
    from great_expectations import __version__
    from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResult
    from great_expectations.core.run_identifier import RunIdentifier
    from great_expectations.validator.validator import calc_validation_statistics

    run = RunIdentifier(run_name=name, run_time=datetime.now(UTC))
    results, batch = list(validated.results), validated.batch
    statistics = calc_validation_statistics(results)
    return ExpectationSuiteValidationResult(
        results=results, success=statistics.success, suite_name=batch.name, batch_id=f"{batch.name}-whole",
        statistics={
            "evaluated_expectations": statistics.evaluated_expectations,
            "successful_expectations": statistics.successful_expectations,
            "unsuccessful_expectations": statistics.unsuccessful_expectations,
            "success_percent": statistics.success_percent,
        },
        meta={
            "great_expectations_version": __version__, "run_id": run, "validation_time": run.run_time,
            "batch_spec": {
                "data_asset_name": batch.name, "rows": f"{batch.table.height:,}",
                "columns": ", ".join(batch.table.schema),
            },
            "batch_markers": {},
            "active_batch_definition": {"datasource_name": "polars", "data_asset_name": batch.name},
        },
    )


def exception_in(info: Mapping[str, Any] | None) -> str:
    """Return the message of an exception inside Great Expectations, or "" if there was none.

    `exception_info` has one of two forms: flat, or a mapping from the id of each failed metric to its exception.
    """
    if not info:
        return ""
    shapes = [info] if "raised_exception" in info else [part for part in info.values() if isinstance(part, Mapping)]
    raised = [str(part.get("exception_message") or "no message") for part in shapes if part.get("raised_exception")]
    return "; ".join(dict.fromkeys(raised))


def great_expectations() -> Any:
    """Import Great Expectations on first use, without usage statistics and without the warnings of its imports."""
    os.environ["GX_ANALYTICS_ENABLED"] = "False"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import great_expectations
        import great_expectations.expectations
    return great_expectations


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


def _context(docs_folder: Path) -> Any:
    from great_expectations.data_context.types.base import ProgressBarsConfig

    require_docs_folder(docs_folder)
    docs_folder.mkdir(parents=True, exist_ok=True)
    (docs_folder / MARKER).touch()
    for part in (*PAGES, "static"):
        shutil.rmtree(docs_folder / part, ignore_errors=True)
    (docs_folder / "index.html").unlink(missing_ok=True)
    context = great_expectations().get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    context.delete_data_docs_site("local_site")
    store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs_folder.absolute())}
    index = {"class_name": "DefaultSiteIndexBuilder"}
    site: Any = {"class_name": "SiteBuilder", "store_backend": store, "site_index_builder": index}
    context.add_data_docs_site(SITE, site | {"show_how_to_buttons": False})
    return context


def _store(context: Any, validated: Validated, name: str) -> None:
    """Add the suite and its results to the stores that the pages are built from."""
    from great_expectations.data_context.types.resource_identifiers import (
        ExpectationSuiteIdentifier,
        ValidationResultIdentifier,
    )

    suite = great_expectations().ExpectationSuite(name=validated.batch.name)
    suite.expectations = [escaped_words(each) for each in validated.batch.expectations]
    context.suites.add(suite)
    result = suite_result(replace(validated, results=[escaped(each) for each in validated.results]), name)
    identifier = ExpectationSuiteIdentifier(name=suite.name)
    context.validation_results_store.store_validation_results(
        suite_validation_result=result, expectation_suite_identifier=identifier,
        suite_validation_result_identifier=ValidationResultIdentifier(
            batch_identifier=result.batch_id, expectation_suite_identifier=identifier, run_id=result.meta["run_id"]),
    )


def _write_pages(context: Any) -> None:
    context.build_data_docs(site_names=[SITE])


def _drop_unused(docs_folder: Path) -> None:
    """Delete files that no page refers to: 4 MB of videos and fonts beside 50 KB of pages in every check."""
    ours = (docs_folder.glob("index.html"), *((docs_folder / part).rglob("*.html") for part in PAGES))
    pages = "".join(page.read_text(encoding="utf-8") for page in chain(*ours))
    for file in (docs_folder / "static").rglob("*"):
        if file.is_file() and file.name not in pages:
            file.unlink()


def _translated(expectation: Any, validation: Any) -> ExpectationResult:
    observed = _observed(validation.result, is_share="share" in str(expectation.description))
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


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the warnings of Great Expectations about its own use of pandas and pydantic, and no others."""
    with warnings.catch_warnings():
        for module in ("great_expectations", "pydantic", "marshmallow"):
            warnings.filterwarnings("ignore", module=rf"{module}\b.*")
        yield
