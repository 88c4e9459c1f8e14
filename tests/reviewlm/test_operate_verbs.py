"""`ui start` names each step, and leads to the runs in MLflow, not to its welcome page; `gc` says what goes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from core.config.presets import load_config
from core.processes import services
from reviewlm.cli import app

RUNS = "http://127.0.0.1:5077/#/experiments/{}/runs?workflowType=machine_learning"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, migrated_home: Path) -> Path:
    """A home folder whose services are only said to be started."""
    def start(home: Path, report: services.Report) -> dict[str, str]:
        report("MLflow server", None, "")
        report("MLflow server", 2.5, "http://127.0.0.1:5077, because another program uses port 5000")
        return {"Prefect": "http://127.0.0.1:4277", "MLflow": "http://127.0.0.1:5077", "logs": str(home / "logs")}

    monkeypatch.setattr(services, "start", start)
    return migrated_home


def ui_start(*options: str) -> list[str]:
    done = CliRunner().invoke(app, ["ui", "start", *options], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout.splitlines()


def test_each_step_is_one_line_and_the_address_shown_is_that_of_the_runs(started: Path) -> None:
    lines = ui_start()
    assert lines[0] == "Starting the pages; the first start takes about a minute."
    step = "  MLflow server … 2.5 s, http://127.0.0.1:5077, because another program uses port 5000"
    assert step in lines
    assert f"Open the runs in MLflow: {RUNS.format(1)}" in lines
    assert [line for line in lines if "5077" in line] == [step, f"Open the runs in MLflow: {RUNS.format(1)}"]
    assert any(line.startswith("logs") for line in lines)
    (started / "logs").mkdir(exist_ok=True)
    (started / "logs" / "prefect.log").write_text("")
    assert ui_start()[0] == "Starting the pages."


def test_the_json_has_the_address_of_the_server_and_that_of_the_runs(started: Path) -> None:
    found: dict[str, Any] = json.loads(ui_start("--json")[-1])
    assert (found["MLflow"], found["runs"]) == ("http://127.0.0.1:5077", RUNS.format(1))


def test_the_page_shows_the_runs_of_the_home_wherever_others_are_tracked(started: Path) -> None:
    lines = ui_start("--set", "execution.tracking_uri=http://127.0.0.1:9")
    assert f"Open the runs in MLflow: {RUNS.format(1)}" in lines


def test_gc_says_what_would_go_and_then_removes_it(migrated_home: Path) -> None:
    from tasks.tracking.track import parent_run

    with parent_run(load_config("small"), "retrain"):
        pass
    crash = migrated_home / "crashes" / "reviewlm-x.log"
    crash.parent.mkdir()
    crash.write_text("Traceback")
    os.utime(crash, (1, 1))
    for options, goes in ((("--dry-run",), "would go"), ((), "gone")):
        done = CliRunner().invoke(app, ["gc", "--set", "upkeep.runs=1", *options], catch_exceptions=False)
        assert (done.exit_code, goes in done.stdout, crash.exists()) == (0, True, goes == "would go")
    found = json.loads(CliRunner().invoke(app, ["gc", "--json"], catch_exceptions=False).stdout.splitlines()[-1])
    assert found["dry_run"] is False
    assert found["notes"] == ["fewer than 5 runs have finished: all results count as recent"]


def test_the_flow_of_the_deployment_collects_too(migrated_home: Path) -> None:
    from flows.upkeep import upkeep

    assert upkeep.fn(overrides=["upkeep.runs=1"], dry_run=True)["dry_run"] is True
