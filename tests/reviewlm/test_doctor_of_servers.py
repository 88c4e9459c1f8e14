"""`reviewlm doctor` on tracking stores, servers and their deployments."""

from __future__ import annotations

import os
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from reviewlm.core.errors import Damaged
from reviewlm.core.processes.leftovers import process_name
from reviewlm.core.services import service_list
from reviewlm.doctor import HealthLine
from tests.command_line import call
from tests.reviewlm.examined_homes import lines, made_prefect, only
from tests.tracking.runs.test_malformed_database import damaged_in_one_table


def test_a_database_with_the_tables_of_an_older_mlflow_is_a_problem_with_the_command_that_helps(
    migrated_home: Path,
) -> None:
    assert only("tracking").state == "ok"
    with closing(sqlite3.connect(migrated_home / "mlflow.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '0584bdc529eb'")
    line = only("tracking")
    assert (line.state, "older MLflow" in line.found) == ("problem", True)
    assert f"mlflow db upgrade sqlite:///{migrated_home}/mlflow.db" in line.remedy


def test_a_corrupt_database_is_a_problem(
    migrated_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    damaged_in_one_table(migrated_home / "mlflow.db")
    assert only("tracking").state == "problem"
    assert call(monkeypatch, capfd, "history").code == Damaged.exit_code


def test_a_corrupt_database_is_left_as_it_is(
    migrated_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    damaged_in_one_table(file := migrated_home / "mlflow.db")
    before = file.read_bytes()
    only("tracking")
    call(monkeypatch, capfd, "history")
    assert file.read_bytes() == before


def test_a_remote_tracking_server_that_does_not_answer_is_a_problem(own_home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    line = only("tracking", f"execution.tracking_uri=http://127.0.0.1:{port}")
    assert line.state == "problem"
    assert f"http://127.0.0.1:{port} does not answer" in line.found


def test_services_that_were_never_started_are_no_problem(own_home: Path) -> None:
    assert {line.state for line in lines("servers")} == {"ok"}


def test_a_service_that_was_killed_is_a_problem(own_home: Path) -> None:
    own_home.mkdir()
    killed = service_list.Service("prefect", f"{process_name(os.getpid())}0")
    service_list.remember(own_home, [killed])
    found = {line.check: line.state for line in lines("servers")}
    assert found == {"MLflow server": "ok", "services": "problem"}


PAGES = {"/api/admin/version": "3.0.0"}


@pytest.fixture
def older_prefect(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A running Prefect server of another version, without the worker that it should have; its password."""
    password = "x" * 32
    monkeypatch.setattr("reviewlm.doctor.usable_pools", lambda: ("cpu-pool",))
    with made_prefect(f"reviewlm:{password}", PAGES) as server:
        running = [service_list.Service("prefect", "", server.address)]
        monkeypatch.setattr(service_list, "running", lambda home: running)
        yield password


@pytest.mark.usefixtures("older_prefect")
def test_a_server_that_is_asked_without_its_password_is_named(own_home: Path) -> None:
    assert "does not accept the credentials" in lines("servers")[0].found
    assert not own_home.exists(), "no password was made"


def with_password(home: Path, password: str) -> dict[str, HealthLine]:
    """Return the lines about the servers of a home that has the password."""
    home.mkdir()
    (home / "ui-password").write_text(password + "\n")
    return {line.check: line for line in lines("servers")}


def test_a_server_of_another_version_is_named(own_home: Path, older_prefect: str) -> None:
    found = with_password(own_home, older_prefect)
    assert found["Prefect server"].state == "warning"
    assert "version 3.0.0" in found["Prefect server"].found
    assert found["MLflow server"].state == "ok"


def test_missing_workers_are_named(own_home: Path, older_prefect: str) -> None:
    found = with_password(own_home, older_prefect)
    assert found["workers"].found == "not running: worker-cpu-pool"
