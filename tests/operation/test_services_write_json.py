"""With REVIEWLM_LOG_FORMAT=json each line that the services and their runs write is JSON, whoever writes it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from core.services import service_list
from tests.flows.first_run import ROOT, TINY, user_environment
from tests.operation.started_services import Services, kill, until

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]
SAID = {
    **dict.fromkeys(["prefect", "mlflow", "serve"], "Invalid HTTP request received."), "worker-cpu-pool": "started!"
}  # fmt: skip
"""What each service says in this test, whose logs are otherwise short."""


def written(home: Path, name: str) -> list[dict[str, Any]]:
    """Return the lines of a service's log, each of which must be JSON."""
    lines = (home / "logs" / f"{name}.log").read_text().splitlines()
    told = []
    for line in lines:
        try:
            told.append(json.loads(line))
        except ValueError:
            raise AssertionError(f"{name}: {line}") from None
        assert {"time", "level", "logger", "message"} <= told[-1].keys(), line
    return told


def send_nonsense(address: str) -> None:
    """Send what is no HTTP, of which uvicorn warns."""
    with socket.create_connection(("127.0.0.1", urlsplit(address).port or 0)) as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        connection.recv(1_000)


def test_each_line_of_each_service_is_json_and_names_its_run(tmp_path: Path) -> None:
    home = tmp_path / "home"
    environment = user_environment(home) | {"REVIEWLM_LOG_FORMAT": "json", "PREFECT_WORKER_QUERY_SECONDS": "2"}
    ours = Services(home)

    def reviewlm(*words: str) -> None:
        command = [sys.executable, "-m", "reviewlm.cli", *words]
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr[-3_000:]
        assert [line for line in done.stderr.splitlines() if not line.startswith("{")] == []

    try:
        reviewlm("run", "--preset", TINY)
        reviewlm("services", "start", "--serve", "--preset", TINY)
        run = ours.run_of("retrain/demo", [])
        ours.wait_for(run, "Completed")
        broken = ours.run_of("retrain/demo", ["models.0.no_such_setting=1"])
        ours.wait_for(broken, "Failed", "Crashed")
        serving = {one.name: one for one in service_list.running(home)}["serve"]
        until(lambda: httpx.get(f"{serving.address}/readyz").status_code == 200, lambda: str(written(home, "serve")))
        for server in (one for one in service_list.running(home) if one.address):
            send_nonsense(server.address)
        names = {file.stem for file in (home / "logs").glob("*.log")}
        until(lambda: all(any(SAID[name] in line["message"] for line in written(home, name)) for name in names),
              lambda: str({name: written(home, name) for name in names}), 60)  # fmt: skip
        logs = {name: written(home, name) for name in names}
    finally:
        kill(ours.processes())
    assert names == SAID.keys()
    assert {line.get("flow_run_id") for line in logs["worker-cpu-pool"]} >= {run, broken}
