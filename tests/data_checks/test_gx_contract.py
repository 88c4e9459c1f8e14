"""List all that the product uses of Great Expectations, so that a release that changes it fails here by name.

`make test-gx GX=1.23.2` runs this room's tests with another release of the package.
"""

import ast
import importlib
import inspect
from pathlib import Path

import pytest

from data_checks import gx
from data_checks.engine import SUMMARY

ROOMS = ("reviewlm", "core", "course", "corpus", "models", "evaluation", "data_checks", "tracking", "tasks", "flows")
ROOT = Path(gx.__file__).parents[1]
IMPORTED = {
    "great_expectations.core.expectation_validation_result": {
        "ExpectationSuiteValidationResult": ("results", "success", "suite_name", "batch_id", "statistics", "meta"),
        "ExpectationValidationResult": ("success", "expectation_config", "exception_info", "result"),
    },
    "great_expectations.core.run_identifier": {"RunIdentifier": ("run_name", "run_time")},
    "great_expectations.expectations.expectation_configuration": {
        "ExpectationConfiguration": ("type", "kwargs", "severity", "description"),
    },
    "great_expectations.expectations.metadata_types": {"FailureSeverity": ("value",)},
    "great_expectations.util": {"convert_to_json_serializable": ("data",)},
}
"""Names that `data_checks/gx.py` imports from modules of the package, with the arguments that it gives them."""


def imports_of(file: Path) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("great_expectations"):
            found.setdefault(str(node.module), set()).update(each.name for each in node.names)
        elif isinstance(node, ast.Import):
            found |= {each.name: set() for each in node.names if each.name.startswith("great_expectations")}
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in IMPORTED.items() for name in names])
def test_each_imported_name_takes_the_arguments_that_it_is_given(module: str, name: str) -> None:
    gx.great_expectations()
    imported = getattr(importlib.import_module(module), name)
    taken = inspect.signature(imported).parameters
    assert all(argument in taken for argument in IMPORTED[module][name]), list(taken)


def test_an_expectation_names_its_metrics_and_judges_values_that_it_is_given() -> None:
    """The two methods that the room is built on, called without an engine, as `gx.requests` and `gx.verdict` do."""
    expectation = gx.declared(
        "expect_column_values_to_be_between", {"column": "n", "max_value": 2, "mostly": 0.5}, "warning", "Small")
    wanted = {each.name: each for each in gx.requests(expectation, SUMMARY)}
    base = "column_values.between"
    assert {"table.row_count", f"{base}.unexpected_count", f"{base}.unexpected_values"} <= set(wanted)
    assert wanted[f"{base}.unexpected_count"].domain["column"] == "n"
    assert wanted[f"{base}.unexpected_count"].options["max_value"] == 2
    values = {"table.row_count": 10, f"{base}.unexpected_count": 3, f"{base}.unexpected_values": [7, 8, 9]}
    given = {each.id: values.get(name, 0 if name.endswith("count") else None) for name, each in wanted.items()}
    result = gx.verdict(expectation, given, SUMMARY)
    assert (result.success, result.result["unexpected_percent"]) == (True, 30.0)
    assert result.result["partial_unexpected_list"] == [7, 8, 9]
