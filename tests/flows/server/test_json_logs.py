"""With REVIEWLM_LOG_FORMAT=json, runs and workers write one JSON object for each message, with the id of the run."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from prefect import flow, task
from prefect.runtime import flow_run

from core.services.join import environment_of
from core.services.json_logs import OF_UVICORN, log_variables
from core.services.launch import server_command
from core.services.service_list import Service
from reviewlm.terminal import VARIABLE, JsonLine
from tests.flows.first_run import ROOT

NAME = "json_logs_test"


@task(name="say it", persist_result=False)
def say(what: str) -> None:
    logging.getLogger(NAME).warning(what)


@flow(name="sayings", persist_result=False)
def sayings() -> str:
    say("in a stage")
    say.submit("in a thread").wait()
    logging.getLogger(NAME).warning("in the flow")
    return str(flow_run.id)


def test_each_message_of_a_run_has_its_id(prefect_server: None) -> None:
    handler = logging.StreamHandler(written := io.StringIO())
    handler.setFormatter(JsonLine())
    logging.getLogger(NAME).addHandler(handler)
    try:
        run = sayings()
        logging.getLogger(NAME).warning("outside")
    finally:
        logging.getLogger(NAME).removeHandler(handler)
    told = [json.loads(line) for line in written.getvalue().splitlines()]
    assert {line["message"]: line.get("flow_run_id") for line in told} == {
        "in a stage": run, "in a thread": run, "in the flow": run, "outside": None,
    }  # fmt: skip


@pytest.mark.slow
def test_a_worker_and_its_runs_write_the_same_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = """
import logging
from prefect.logging import get_logger
from prefect.logging.configuration import setup_logging
setup_logging()
get_logger("worker").warning("Worker started")
run = {"flow_run_name": "quick-owl", "flow_run_id": "4711", "flow_name": "retrain"}
get_logger("flow_runs.worker").warning("Worker submitted", extra={**run, "flow_run": "no text"})
logging.getLogger("tasks.stage").warning("a line\\nand another [of ours]")
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("flows.train").exception("failed")
"""
    monkeypatch.setenv(VARIABLE, "json")
    monkeypatch.setenv("PREFECT_LOGGING_TO_API_ENABLED", "false")  # no server here
    environment = environment_of(tmp_path, {"prefect": Service("prefect", 0, 0.0, "http://127.0.0.1:1")})
    done = subprocess.run([sys.executable, "-c", program], env=environment, cwd=ROOT, capture_output=True, text=True,
                          check=True)  # fmt: skip
    started, submitted, ours, failed = [json.loads(line) for line in done.stderr.splitlines()]
    assert (started["message"], started["level"], "flow_run_id" in started) == ("Worker started", "warning", False)
    assert (submitted["flow"], submitted["flow_run"], submitted["flow_run_id"]) == ("retrain", "quick-owl", "4711")
    assert (ours["logger"], ours["message"]) == ("tasks.stage", "a line\nand another [of ours]")
    assert failed["exception"].endswith("ZeroDivisionError: division by zero")


@pytest.mark.slow
def test_a_server_writes_the_same_lines_for_uvicorn_for_libraries_and_for_mlflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The application cannot start, so that uvicorn has something to say."""
    (tmp_path / "failing_app.py").write_text("""
import logging

def application():
    async def app(scope, receive, send):
        import mlflow
        logging.getLogger("some.library").warning("of a library")
        logging.getLogger("mlflow.store").info("of MLflow")
        raise ValueError("cannot start")
    return app
""")
    monkeypatch.setenv(VARIABLE, "json")
    command = server_command("failing_app", "127.0.0.1", 0)
    environment = {**os.environ, **log_variables(), "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = subprocess.run([sys.executable, *command], env=environment, cwd=tmp_path, capture_output=True, text=True)
    told = [json.loads(line) for line in done.stderr.splitlines()]
    assert done.stdout == ""
    assert {line["logger"] for line in told} == {"some.library", "mlflow.store", "uvicorn.error"}
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in told)
    assert any("ValueError: cannot start" in line["message"] + line.get("exception", "") for line in told)


@pytest.mark.slow
def test_prefect_s_server_leaves_the_lines_as_they_are_although_it_sets_up_logging_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its application is made as uvicorn makes it, and is not started; tests/operation starts all services."""
    program = f"""
import logging
import uvicorn
uvicorn.Config("any:app", log_config={str(OF_UVICORN)!r}, log_level="warning", access_log=False)
from flows.server.prefect_server import application
application()
for name in {LOGGERS!r}:
    logging.getLogger(name).error("said by %s", name)
"""
    monkeypatch.setenv(VARIABLE, "json")
    environment = {**os.environ, **log_variables(), "PREFECT_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    environment.pop("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", None)
    done = subprocess.run([sys.executable, "-c", program], env=environment, cwd=ROOT, capture_output=True, text=True,
                          check=True)  # fmt: skip
    told = [json.loads(line) for line in done.stderr.splitlines()]
    assert [(line["logger"], line["message"]) for line in told] == [(name, f"said by {name}") for name in LOGGERS]


LOGGERS = ["uvicorn.error", "fastapi", "prefect.server.services", "prefect._internal", "docket.worker", "alembic"]


def test_without_the_setting_nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "text")
    assert log_variables() == {}
    assert "--log-config" not in server_command("any", "127.0.0.1", 0)
