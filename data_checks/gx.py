"""Use Great Expectations: ask an expectation for its metrics, and let it judge their values.

This is the only module that knows the package, and it uses as little of it as possible. Of a class of expectations it
needs two methods, `get_validation_dependencies` and `metrics_validate`: between them polars measures all metrics in one
pass. An execution engine of our own, run by the package, would need more of its internals (its validator, its graph of
metrics, its retries) and read the table once per layer of that graph: three times for the suite "raw".
`tests/data_checks/test_gx_contract.py` lists all names that are used, and `make test-gx` runs it with another release.

Great Expectations takes over two seconds to import, so it is imported inside functions.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from core.errors import ReviewLMError
from data_checks.metrics.tables import MetricError
from data_checks.metrics.translation import MetricRequest


def great_expectations() -> Any:
    """Import Great Expectations on first use, without usage statistics and without the warnings of its imports."""
    os.environ["GX_ANALYTICS_ENABLED"] = "False"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import great_expectations
        import great_expectations.expectations
    return great_expectations


def release() -> str:
    """Return the version of the package."""
    return str(great_expectations().__version__)


def expect() -> Any:
    """Return Great Expectations' expectation classes; their default severity is critical."""
    return great_expectations().expectations


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the warnings of Great Expectations about its own use of pandas and pydantic, and no others."""
    with warnings.catch_warnings():
        for module in ("great_expectations", "pydantic", "marshmallow"):
            warnings.filterwarnings("ignore", module=rf"{module}\b.*")
        yield


def declared(kind: str, options: Mapping[str, Any], severity: str, description: str) -> Any:
    """Return the expectation of the class with that name, such as "expect_column_max_to_be_between".

    Raises:
        Exception: Of many kinds: there is no such class, or the options do not suit it.
    """
    great_expectations()
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
    from great_expectations.expectations.metadata_types import FailureSeverity

    with quiet():
        return ExpectationConfiguration(
            type=kind, kwargs=dict(options), severity=FailureSeverity(severity), description=description
        ).to_domain_obj()


def as_json(expectation: Any) -> dict[str, Any]:
    """Return type, kwargs, severity and description of an expectation: the values that `declared` takes."""
    written = expectation.configuration.to_json_dict()
    return {key: written.get(key) for key in ("type", "kwargs", "severity", "description")}


def requests(expectation: Any, result_format: Mapping[str, Any]) -> list[MetricRequest]:
    """Return the metrics whose values an expectation needs.

    Raises:
        ReviewLMError: One has no counterpart on polars, or the expectation has a row condition or suite parameters
            without values.
    """
    configuration = {"result_format": dict(result_format)}
    with quiet():
        dependencies = expectation.get_validation_dependencies(runtime_configuration=configuration)
    needed = []
    for each in dependencies.get_metric_configurations():
        options = {key: value for key, value in (each.metric_value_kwargs or {}).items() if key != "result_format"}
        needed.append(MetricRequest(each.metric_name, each.metric_domain_kwargs, options, each.id))
    reason = ""
    if getattr(expectation, "row_condition", None):
        reason = "it has a row_condition"
    elif expectation.suite_parameter_options:
        reason = f"its parameters {list(expectation.suite_parameter_options)} have no values"
    elif unknown := [request.name for request in needed if not request.known]:
        reason = f"it depends on {', '.join(unknown)}"
    if reason:
        raise ReviewLMError(
            f"The expectation {type(expectation).__name__} cannot be evaluated",
            where=str(expectation.description or ""), cause=reason,
            remedy="declare it with another class (data_checks/metrics/translation.py has those that can be), "
                   "or add its metric there",
        )
    return needed


def verdict(expectation: Any, values: Mapping[Any, Any], result_format: Mapping[str, Any]) -> Any:
    """Return Great Expectations' result for an expectation: its own verdict, or the error that prevents one.

    Args:
        values: Values of its `requests`, by id; a `MetricError` for one that could not be measured.
        result_format: Result format as Great Expectations defines it.
    """
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult
    from great_expectations.util import convert_to_json_serializable

    broken = next((value for value in values.values() if isinstance(value, MetricError)), None)
    if not broken:
        try:
            configuration = {"result_format": dict(result_format)}
            with quiet():
                result = expectation.metrics_validate(metrics=dict(values), runtime_configuration=configuration)
            # Some classes return NumPy booleans, which Great Expectations' own stores cannot write.
            result.success = bool(result.success)
            result.result = convert_to_json_serializable(result.result)
            return result
        except Exception as error:
            broken = MetricError(error)
    info = {"raised_exception": True, "exception_message": broken.message, "exception_traceback": broken.traceback}
    return ExpectationValidationResult(
        success=False, expectation_config=expectation.configuration, exception_info=info, result={})


def exception_in(info: Mapping[str, Any] | None) -> str:
    """Return the message of an exception inside Great Expectations, or "" if there was none.

    `exception_info` has one of two forms: flat, or a mapping from the id of each failed metric to its exception.
    """
    if not info:
        return ""
    shapes = [info] if "raised_exception" in info else [part for part in info.values() if isinstance(part, Mapping)]
    raised = [str(part.get("exception_message") or "no message") for part in shapes if part.get("raised_exception")]
    return "; ".join(dict.fromkeys(raised))


def suite_result(name: str, run: str, rows: int, columns: Sequence[str], results: Sequence[Any]) -> Any:
    """Return Great Expectations' result object for a whole suite, as its stores, checkpoints and actions need it.

    Args:
        name: Name of the suite and the table.
        rows: Number of rows of the table.
    """
    from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResult
    from great_expectations.core.run_identifier import RunIdentifier

    identifier = RunIdentifier(run_name=run, run_time=datetime.now(UTC))
    held = sum(bool(result.success) for result in results)
    return ExpectationSuiteValidationResult(
        results=list(results), success=held == len(results), suite_name=name, batch_id=f"{name}-whole",
        statistics={
            "evaluated_expectations": len(results), "successful_expectations": held,
            "unsuccessful_expectations": len(results) - held,
            "success_percent": held / len(results) * 100 if results else None,
        },
        meta={
            "great_expectations_version": release(), "run_id": identifier,
            "validation_time": identifier.run_time,
            "batch_spec": {"data_asset_name": name, "rows": f"{rows:,}", "columns": ", ".join(columns)},
            "batch_markers": {},
            "active_batch_definition": {"datasource_name": "polars", "data_asset_name": name},
        },
    )
