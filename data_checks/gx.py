"""Judge measured figures with Great Expectations; no other module imports the package.

Polars measures all figures of a table in one pass (`data_checks/checks.py`). They form a table of one row, with one
expectation for each column: its maximum, which is the figure, lies between limits. A share of rows has only a lower
limit. Of an expectation two methods are called, `get_validation_dependencies` and `metrics_validate`. Verdicts and
result objects are those of the package, so its stores, checkpoints and actions accept them. `make test-gx` runs the
tests with another release.

Great Expectations takes over two seconds to import, so it is imported inside functions. A third of that is scipy's
statistics, which only expectations need that are not used here: they are imported at their first use.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import import_module
from importlib.util import LazyLoader, find_spec, module_from_spec
from typing import Any

from reviewlm.core.processes.memory import lasting_objects
from reviewlm.data_checks.checks import MeasuredCheck


@dataclass(frozen=True)
class Verdict:
    """Results of Great Expectations on the figures of a table.

    Attributes:
        release: Its version.
        held: Whether each expectation holds.
        document: The results in its own form, as JSON.
    """

    release: str
    held: tuple[bool, ...]
    document: str


def judge_suite(
    measured: Sequence[MeasuredCheck],
    name: str,
    run: str,
    rows: int,
    columns: Sequence[str],
) -> Verdict:
    """Return the verdict on the figures of a table.

    Args:
        measured: The figures.
        name: Name of the suite.
        run: Name of the run, as reports show it.
        rows, columns: Number of rows and columns of the table.
    """
    results = [judge(each) for each in measured]
    whole = suite_result(
        name,
        run,
        rows,
        columns,
        results,
    )
    return Verdict(
        great_expectations().__version__,
        tuple(bool(result.success) for result in results),
        json.dumps(whole.to_json_dict(), indent=1, default=str),
    )


@cache
def great_expectations() -> Any:
    """Import Great Expectations on first use, without usage statistics and without the warnings of its imports."""
    os.environ["GX_ANALYTICS_ENABLED"] = "False"
    # Without the garbage collector, which makes the import a fifth longer.
    with warnings.catch_warnings(), lasting_objects():
        warnings.simplefilter("ignore", DeprecationWarning)
        import_at_first_use("scipy", "stats")
        import_module("great_expectations.expectations")
    return import_module("great_expectations")


def import_at_first_use(package: str, name: str) -> None:
    """Defer the import of a package's module until something in it is used; `import` alone does not load it then.

    Nothing changes if it is loaded already.
    """
    whole = f"{package}.{name}"
    if whole in sys.modules:
        return

    parent = import_module(package)
    spec = find_spec(whole)
    if spec is None or spec.loader is None:
        return

    spec.loader = LazyLoader(spec.loader)
    module = module_from_spec(spec)
    sys.modules[whole] = module
    setattr(parent, name, module)
    spec.loader.exec_module(module)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the warnings of Great Expectations about its own use of pandas and pydantic, and no others."""
    with warnings.catch_warnings():
        for module in ("great_expectations", "pydantic", "marshmallow"):
            warnings.filterwarnings("ignore", module=rf"{module}\b.*")
        yield


def judge(measured: MeasuredCheck) -> Any:
    """Return Great Expectations' result for a figure; its `success` is the verdict."""
    expectations = great_expectations().expectations
    check = measured.check
    if measured.of_rows:
        limits = {"min_value": check.mostly}
    else:
        limits = {"min_value": check.min, "max_value": check.max}

    from great_expectations.util import convert_to_json_serializable

    with quiet():
        expectation = expectations.ExpectColumnMaxToBeBetween(
            column=f"{check.kind} {check.column}".strip(),
            severity=check.severity,
            description=check.description,
            **limits,
        )
        dependencies = expectation.get_validation_dependencies(runtime_configuration=None)
        values = {each.id: measured.value for each in dependencies.get_metric_configurations()}
        result = expectation.metrics_validate(metrics=values, runtime_configuration=None)

    result.success = bool(result.success)
    result.result = convert_to_json_serializable(result.result)
    return result


def suite_result(
    name: str,
    run: str,
    rows: int,
    columns: Sequence[str],
    results: Sequence[Any],
) -> Any:
    """Return Great Expectations' result object for a whole suite, as its stores, checkpoints and actions need it.

    Args:
        name: Name of the suite.
        run: Name of the run, as reports show it.
        rows, columns: Number of rows and columns of the table.
        results: What `judge` returned.
    """
    version = great_expectations().__version__
    from great_expectations.core.expectation_validation_result import (
        ExpectationSuiteValidationResult,
    )
    from great_expectations.core.run_identifier import RunIdentifier

    identifier = RunIdentifier(run_name=run, run_time=datetime.now(UTC))
    held = sum(result.success for result in results)
    statistics = {
        "evaluated_expectations": len(results),
        "successful_expectations": held,
        "unsuccessful_expectations": len(results) - held,
        "success_percent": held / len(results) * 100 if results else None,
    }
    batch = {
        "data_asset_name": name,
        "rows": f"{rows:,}",
        "columns": ", ".join(columns),
    }
    meta = {
        "great_expectations_version": version,
        "run_id": identifier,
        "validation_time": identifier.run_time,
        "batch_spec": batch,
        "batch_markers": {},
        "active_batch_definition": {"datasource_name": "polars", "data_asset_name": name},
    }
    return ExpectationSuiteValidationResult(
        results=list(results),
        success=held == len(results),
        suite_name=name,
        batch_id=f"{name}-whole",
        statistics=statistics,
        meta=meta,
    )
