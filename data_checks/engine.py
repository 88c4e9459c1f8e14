"""Runs suites with Great Expectations and translates its results; knows nothing of reviews.

Great Expectations takes over two seconds to import, so it is imported inside functions. Its context lives in memory:
nothing but the Data Docs touches the disk. It keeps that context in one global place, hence the lock.
"""

from __future__ import annotations

import os
import shutil
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from data_checks.report import ExpectationResult

SITE = "docs"
PARTS = ("expectations", "validations", "static")
EXAMPLES = 5
_lock = threading.Lock()


@dataclass(frozen=True)
class Batch:
    """A table and what is expected of it.

    Args:
        name: Of the suite and the table, as the Data Docs show it.
        frame: The table; only the columns that are looked at.
        expectations: Instances of Great Expectations' classes, each with a description in words.
    """

    name: str
    frame: pl.DataFrame
    expectations: Sequence[Any]


@dataclass(frozen=True)
class Outcome:
    """Results in the order of the expectations, and the ones that raised an error instead of judging."""

    results: tuple[ExpectationResult, ...]
    broken: tuple[str, ...]


def run(batches: Sequence[Batch], docs_folder: Path, name: str) -> Outcome:
    """Validate the batches and write the Data Docs.

    Args:
        batches: At least one.
        docs_folder: Gets index.html and what it needs; an earlier report in it is replaced.
        name: Of the run, as the Data Docs show it.
    """
    with _lock, _quiet():
        context = _context(docs_folder)
        validated = [(batch, _validate(context, batch, name)) for batch in batches]
        _write_pages(context)
    results, broken = [], []
    for batch, validations in validated:
        for expectation, validation in _in_order(batch.expectations, validations):
            if error := exception_in(validation.exception_info):
                broken.append(f"{expectation.description} ({error})")
            else:
                results.append(_translated(expectation, validation))
    return Outcome(tuple(results), tuple(broken))


def exception_in(info: Mapping[str, Any] | None) -> str:
    """Return the message of an exception inside Great Expectations, "" if there was none.

    `exception_info` comes in two shapes: flat, or keyed by the identity of each metric that failed.
    """
    if not info:
        return ""
    shapes = [info] if "raised_exception" in info else [part for part in info.values() if isinstance(part, Mapping)]
    raised = [str(part.get("exception_message") or "no message") for part in shapes if part.get("raised_exception")]
    return "; ".join(dict.fromkeys(raised))


def great_expectations() -> Any:
    """Import Great Expectations: late, without its usage statistics, and without the warnings of its own imports."""
    os.environ["GX_ANALYTICS_ENABLED"] = "False"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import great_expectations
        import great_expectations.expectations
    return great_expectations


def _context(docs_folder: Path) -> Any:
    from great_expectations.data_context.types.base import ProgressBarsConfig

    docs_folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
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


def _validate(context: Any, batch: Batch, name: str) -> Any:
    from great_expectations.core.run_identifier import RunIdentifier

    gx = great_expectations()
    suite = context.suites.add(gx.ExpectationSuite(name=batch.name))
    for expectation in batch.expectations:
        suite.add_expectation(expectation)
    asset = context.data_sources.add_pandas(batch.name).add_dataframe_asset(batch.name)
    definition = gx.ValidationDefinition(
        name=batch.name, data=asset.add_batch_definition_whole_dataframe("whole"), suite=suite
    )
    return context.validation_definitions.add(definition).run(
        batch_parameters={"dataframe": batch.frame.to_pandas()},
        result_format={"result_format": "SUMMARY", "partial_unexpected_count": EXAMPLES},
        run_id=RunIdentifier(run_name=name, run_time=datetime.now(UTC)),
    ).results


def _write_pages(context: Any) -> None:
    context.build_data_docs(site_names=[SITE])


def _in_order(expectations: Iterable[Any], validations: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Pair expectations and results; Great Expectations puts those that raised an error first."""
    by_id = {validation.expectation_config.id: validation for validation in validations}
    for expectation in expectations:
        yield expectation, by_id[expectation.id]


def _translated(expectation: Any, validation: Any) -> ExpectationResult:
    observed = _observed(validation.result)
    return ExpectationResult(
        expectation=validation.expectation_config.type,
        severity=str(expectation.severity.value),
        passed=bool(validation.success),
        observed=observed,
        sentence=f"{expectation.description} (observed: {observed})",
    )


def _observed(result: Mapping[str, Any]) -> str:
    """Say in a few words what was found: a value, or how many rows fail, with examples."""
    if "unexpected_count" not in result:
        value = result.get("observed_value")
        return f"{value:.6g}" if isinstance(value, float) else str(value)
    against, count = result["unexpected_count"], result["element_count"]
    counted = f"{against:,} of {count:,} rows fail"
    examples = dict.fromkeys(_shown(value) for value in result["partial_unexpected_list"])
    return f"{counted}, e.g. {', '.join(examples)}" if against else counted


def _shown(value: Any) -> str:
    if value is None or value != value:
        return "missing"
    return " ".join(str(part) for part in value)[:60] if isinstance(value, tuple | list) else str(value)[:60]


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what Great Expectations says of its own use of pandas and pydantic, and nothing else."""
    with warnings.catch_warnings():
        for module in ("great_expectations", "pydantic", "marshmallow"):
            warnings.filterwarnings("ignore", module=rf"{module}\b.*")
        yield
