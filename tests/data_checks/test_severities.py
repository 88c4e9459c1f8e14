"""Critical blocks, warning annotates, info only logs."""

import logging

import polars as pl
import pytest

from core.errors import CheckFailed
from data_checks.checks import Check
from data_checks.suite_runs import Suite, check_with, save_suite


def report(folder, **limits):
    """One check per severity, each with the greatest value that it lets through."""
    checks = [Check("between", "n", max=limit, severity=severity, description=f"At most {limit}")
              for severity, limit in limits.items()]  # fmt: skip
    save_suite(Suite("numbers", checks), folder / "suite.json")
    return check_with(folder / "suite.json", pl.DataFrame({"n": [1, 2, 3]}), folder / "docs")


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
