"""Critical blocks, warning annotates, info only logs; and Great Expectations' own severities and actions agree."""

import logging
from typing import Literal

import polars as pl
import pytest

from core.errors import CheckFailed
from data_checks.engine import SUMMARY, Batch, publish, suite_result, validate
from data_checks.gx import expect
from data_checks.metrics.tables import Table
from data_checks.report import CRITICAL, INFO, WARNING, CheckReport
from tests.data_checks.on_pandas import validate_on_pandas

TABLE = Table.of(pl.DataFrame({"n": [1, 2, 3]}))


def judged(**limits):
    """One expectation per severity, each with the greatest value that it lets through."""
    expectations = [
        expect().ExpectColumnMaxToBeBetween(
            column="n", max_value=limit, severity=severity, description=f"At most {limit}")
        for severity, limit in limits.items()
    ]
    return validate(Batch("numbers", TABLE, expectations))


def report(folder, **limits):
    outcome = publish([judged(**limits)], folder / "docs", "numbers")
    critical = any(not each.passed and each.severity == CRITICAL for each in outcome.results)
    return CheckReport("raw", "numbers", not critical, outcome.results, folder / "docs/index.html", outcome.broken)


@pytest.mark.parametrize(
    ("limits", "blocks", "logged"),
    [
        ({"critical": 3, "warning": 3, "info": 3}, False, []),
        ({"critical": 2, "warning": 3, "info": 3}, True, []),
        ({"critical": 3, "warning": 2, "info": 3}, False, ["WARNING"]),
        ({"critical": 3, "warning": 3, "info": 2}, False, ["INFO"]),
        ({"critical": 2, "warning": 2, "info": 2}, True, ["WARNING", "INFO"]),
    ],
)
def test_what_a_failure_does_follows_its_severity(limits, blocks, logged, tmp_path, caplog):
    found = report(tmp_path, **limits)
    with caplog.at_level(logging.INFO, logger="data_checks.report"):
        if blocks:
            with pytest.raises(CheckFailed, match="At most 2"):
                found.require()
        else:
            assert found.require() is found
    assert [entry.levelname for entry in caplog.records if entry.name == "data_checks.report"] == logged
    assert len(found.warnings) == (limits["warning"] == 2)


def test_great_expectations_sees_the_same_severities():
    assert suite_result(judged(critical=3, warning=2, info=2), "run").get_max_severity_failure().value == WARNING
    assert suite_result(judged(critical=3, info=2), "run").get_max_severity_failure().value == INFO
    assert suite_result(judged(critical=3), "run").get_max_severity_failure() is None


def test_the_result_of_a_suite_has_the_statistics_of_great_expectations():
    result = suite_result(judged(critical=3, warning=2), "run")
    assert result.success is False
    assert result.statistics == {
        "evaluated_expectations": 2, "successful_expectations": 1, "unsuccessful_expectations": 1,
        "success_percent": 50.0,
    }
    assert result.to_json_dict()["results"][1]["result"] == {"observed_value": 3}


def test_an_action_of_a_checkpoint_takes_the_results():
    from great_expectations.checkpoint import Checkpoint
    from great_expectations.checkpoint.actions import ActionContext, ValidationAction
    from great_expectations.checkpoint.checkpoint import CheckpointResult
    from great_expectations.data_context.types.resource_identifiers import (
        ExpectationSuiteIdentifier,
        ValidationResultIdentifier,
    )

    told = []

    class Tell(ValidationAction):
        type: Literal["tell"] = "tell"

        def run(self, checkpoint_result, action_context=None):
            worst = self._get_max_severity_failure_from_checkpoint_result(checkpoint_result)
            told.append((checkpoint_result.success, worst))
            return {}

    result = suite_result(judged(critical=3, warning=2), "run")
    key = ValidationResultIdentifier(ExpectationSuiteIdentifier("numbers"), result.meta["run_id"], result.batch_id)
    whole = CheckpointResult.construct(
        run_id=result.meta["run_id"], run_results={key: result}, success=result.success,
        checkpoint_config=Checkpoint.construct(name="numbers", validation_definitions=[], actions=[]))
    Tell(name="tell").run(checkpoint_result=whole, action_context=ActionContext())
    assert told == [(False, WARNING)]
    assert whole.describe_dict()["statistics"]["unsuccessful_validations"] == 1


def test_the_form_of_results_is_that_of_great_expectations():
    expectation = expect().ExpectColumnValuesToBeBetween(column="n", max_value=10, description="Small")
    frame = pl.DataFrame({"n": range(60)})
    (ours,) = validate(Batch("n", Table.of(frame), [expectation]), 13).results
    (theirs,) = validate_on_pandas(frame.to_pandas(), [expectation], SUMMARY)
    without = {key: value for key, value in theirs.result.items() if key != "unexpected_index_query"}
    assert ours.result == without
