"""Critical blocks, warning annotates, info only logs; and Great Expectations' own severities and actions agree."""

import logging

import polars as pl
import pytest

from core.errors import CheckFailed
from data_checks.engine import Batch, publish, validate
from data_checks.gx import expect
from data_checks.metrics.tables import Table
from data_checks.report import CRITICAL, CheckReport

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
