"""`services start` names each step, and leads to the runs in MLflow, not to its welcome page; `gc` says what goes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from typer.testing import CliRunner

from reviewlm.cli import app
from reviewlm.core.config.presets import load_config
from reviewlm.core.processes.leftovers import process_name
from reviewlm.core.services import launch
from reviewlm.core.services.join import password_of
from reviewlm.core.services.service_list import Service, remember
from tests.core.http_server import http_server


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, migrated_home: Path) -> Path:
    """A home folder whose services are only said to be started."""

    def start(
        home: Path,
        tracking_uri: str,
        serve: list[str],
        *rest: Any,
    ) -> dict[str, str]:
        shown = tracking_uri or "http://127.0.0.1:5077"
        about = {
            "Prefect": "http://127.0.0.1:4277",
            "MLflow": shown,
            "logs": str(home / "logs"),
        }
        about["password"] = "`reviewlm services password` shows it"
        return {**about, **({"champion": "http://127.0.0.1:8077"} if serve else {})}

    monkeypatch.setattr(launch, "start", start)
    return migrated_home


def ui_start(*options: str) -> list[str]:
    done = CliRunner().invoke(app, ["services", "start", *options], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout.splitlines()


def test_runs_of_another_server_are_shown_there_also_if_it_is_away(started: Path) -> None:
    lines = ui_start("--set", "execution.tracking_uri=http://127.0.0.1:9")
    assert [line.rpartition(" ")[2] for line in lines if "which model is in use" in line] == [
        "http://127.0.0.1:9"
    ]


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "file"])
def test_passwords_are_told_once(
    terminal: bool,
    started: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "reviewlm.verbs.operate.sys",
        SimpleNamespace(stdout=SimpleNamespace(isatty=lambda: terminal)),
    )
    said = "\n".join(ui_start())
    password = password_of(started)
    assert said.count("password:") == int(terminal)
    assert (password in said) == terminal
    assert ("services password" in said) == (not terminal)


def test_without_a_champion_it_is_said_that_nothing_is_served(started: Path) -> None:
    lines = ui_start("--serve")
    assert not any(line.startswith("champion") for line in lines)
    assert (
        "Nothing is served yet, because there is no champion. After a promotion, start again."
        in lines
    )


def test_the_status_tells_whether_services_that_run_answer(migrated_home: Path) -> None:
    with http_server(lambda path, *_: (200 if path == "/api/health" else 503, "")) as address:
        mine = process_name(os.getpid())
        remember(
            migrated_home,
            [
                Service("prefect", mine, address),
                Service("worker-cpu-pool", mine),
                Service("serve", mine, address),
            ],
        )
        with patch.dict(os.environ):  # a command joins the services that run
            done = CliRunner().invoke(app, ["services", "status", "--json"], catch_exceptions=False)
    found = {row["service"]: row for row in json.loads(done.stdout.splitlines()[-1])["services"]}
    states = {name: row["state"] for name, row in found.items()}
    assert states == {
        "prefect": "answers",
        "worker-cpu-pool": "runs",
        "serve": "does not answer",
    }
    assert (found["prefect"]["address"], found["prefect"]["process"]) == (address, os.getpid())


@pytest.fixture
def old_crash(migrated_home: Path) -> Path:
    """The old log of a crash, in a home with a finished run."""
    from reviewlm.tasks.records.track import parent_run

    with parent_run(load_config("small"), "retrain"):
        pass
    crash = migrated_home / "crashes" / "reviewlm-x.log"
    crash.parent.mkdir()
    crash.write_text("Traceback")
    os.utime(crash, (1, 1))
    return crash


def gc(*options: str) -> str:
    """Return what `reviewlm home gc` prints."""
    done = CliRunner().invoke(app, ["home", "gc", *options], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_a_dry_gc_says_what_would_go(old_crash: Path) -> None:
    assert "would go" in gc("--set", "upkeep.runs=1", "--dry-run")
    assert old_crash.exists()


def test_gc_removes_what_is_old(old_crash: Path) -> None:
    assert "gone" in gc("--set", "upkeep.runs=1")
    assert not old_crash.exists()


@pytest.mark.usefixtures("old_crash")
def test_gc_gives_its_notes_as_json() -> None:
    found = json.loads(gc("--json").splitlines()[-1])
    assert found["dry_run"] is False
    assert found["notes"] == ["fewer than 5 runs have finished: all results count as recent"]
