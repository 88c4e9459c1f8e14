"""Runs that have sent no heartbeat for long are noticed; those that live, or may live without heartbeats, are not."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from core.services import silent_runs
from core.services.pools import HEARTBEAT_SECONDS
from core.services.silent_runs import PENDING_SECONDS, SILENT_SECONDS, notice_silent

ROOT = Path(__file__).resolve().parents[3]
ASKED = {"env": {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}}
"""Job variables of a deployment that asks for heartbeats."""
LONG = SILENT_SECONDS + 60


def ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()


class Prefect(ThreadingHTTPServer):
    """Knows runs, when it received heartbeats of each, and job variables of deployments; keeps what is sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.runs: list[dict[str, Any]] = []
        self.heartbeats: dict[str, list[str]] = {}
        self.deployments: dict[str, dict[str, Any]] = {}
        self.sent: list[str] = []
        self.set: dict[str, dict[str, Any]] = {}
        self.users: set[str | None] = set()

    def add(
        self, name: str, state: str = "RUNNING", since: float = LONG, beats: list[float] | None = None,
        asked: dict[str, Any] | None = ASKED, pool: str = "cpu-pool", of_run: dict[str, Any] | None = None,
    ) -> None:
        """Add a run that came to its state so many seconds ago, with heartbeats received so many seconds ago."""
        self.runs.append({
            "id": name, "deployment_id": f"of-{name}", "work_pool_name": pool, "job_variables": of_run,
            "state": {"type": state, "timestamp": ago(since)},
        })  # fmt: skip
        self.heartbeats[name] = [ago(seconds) for seconds in beats or []]
        if asked is not None:
            self.deployments[f"of-{name}"] = asked


class Answer(BaseHTTPRequestHandler):
    server: Prefect

    def do_GET(self) -> None:
        kind, name = self.path.removeprefix("/api/").split("/")
        if kind == "work_pools":
            self.answer({"type": "kubernetes" if name == "cluster" else "process"})
        elif name in self.server.deployments:
            self.answer({"job_variables": self.server.deployments[name]})
        else:
            self.answer({"detail": "Deployment not found"}, 404)

    def do_POST(self) -> None:
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.users.add(self.headers["Authorization"])
        if self.path == "/api/flow_runs/filter":
            wanted = told["flow_runs"]
            assert wanted["deployment_id"] == {"is_null_": False}
            self.answer([run for run in self.server.runs if run["state"]["type"] in wanted["state"]["type"]["any_"]])
        elif self.path == "/api/events/filter":
            assert told["filter"]["event"] == {"name": ["prefect.flow-run.heartbeat"]}
            [resource] = told["filter"]["resource"]["id"]
            received = self.server.heartbeats[resource.removeprefix("prefect.flow-run.")]
            self.answer({"events": [{"received": one} for one in received]})
        elif self.path == "/api/events":
            [event] = told
            assert event["event"] == "prefect.flow-run.heartbeat"
            self.server.sent.append(event["resource"]["prefect.resource.id"])
            self.answer(None, 204)
        else:
            [name] = re.findall("/api/flow_runs/(.+)/set_state", self.path)
            self.server.set[name] = told
            self.answer({}, 201)

    def answer(self, told: Any, status: int = 200) -> None:
        self.send_response(status)
        self.end_headers()
        if told is not None:
            self.wfile.write(json.dumps(told).encode())

    def log_message(self, *said: Any) -> None:
        """Stay silent."""


@pytest.fixture
def prefect(monkeypatch: pytest.MonkeyPatch) -> Iterator[Prefect]:
    server = Prefect()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{server.server_address[1]}/api")
    monkeypatch.delenv("PREFECT_API_KEY", raising=False)
    yield server
    server.shutdown()
    server.server_close()


def test_the_server_is_told_of_a_run_that_was_killed_before_its_first_heartbeat(prefect: Prefect) -> None:
    prefect.add("killed")
    prefect.add("forgotten", beats=[SILENT_SECONDS + 1, SILENT_SECONDS + 31])
    assert notice_silent() == ["killed", "forgotten"]
    assert prefect.sent == ["prefect.flow-run.killed", "prefect.flow-run.forgotten"]
    assert prefect.set == {}


def test_nothing_is_sent_for_a_run_that_lives(prefect: Prefect) -> None:
    prefect.add("just-begun", since=SILENT_SECONDS - 30)
    prefect.add("slow", since=40_000, beats=[HEARTBEAT_SECONDS])
    prefect.add("of-a-wrong-clock", since=40_000, beats=[LONG, HEARTBEAT_SECONDS])
    prefect.add("ended", state="COMPLETED", since=40_000)
    assert notice_silent() == []
    assert (prefect.sent, prefect.set) == ([], {})


def test_nothing_is_sent_for_a_run_whose_process_may_send_no_heartbeats(prefect: Prefect) -> None:
    prefect.add("of-others", asked={})
    prefect.add("of-another-environment", of_run={"env": {"MINE": "1"}})
    prefect.add("of-a-removed-deployment", asked=None)
    prefect.add("killed")
    assert notice_silent() == ["killed"]
    assert prefect.sent == ["prefect.flow-run.killed"]


@pytest.mark.parametrize(
    ("since", "pool", "noticed"),
    [(PENDING_SECONDS - 60, "cpu-pool", False), (PENDING_SECONDS + 60, "cpu-pool", True), (40_000, "cluster", False)],
)
def test_a_run_that_a_worker_took_is_given_time_to_begin_and_a_job_of_kubernetes_any_time(
    prefect: Prefect, since: float, pool: str, noticed: bool
) -> None:
    prefect.add("taken", state="PENDING", since=since, pool=pool)
    assert notice_silent() == ["taken"] * noticed
    assert len(prefect.sent) == noticed


def test_a_cancelled_run_whose_process_is_gone_is_cancelled_and_not_crashed_and_tried_again(prefect: Prefect) -> None:
    prefect.add("gone", state="CANCELLING", beats=[LONG])
    prefect.add("about-to-end", state="CANCELLING", beats=[20.0])
    assert notice_silent() == ["gone"]
    assert prefect.sent == []
    [told] = prefect.set.values()
    assert (told["state"]["type"], told["state"]["name"], told["force"]) == ("CANCELLED", "Cancelled", True)


@pytest.mark.slow
def test_the_program_says_which_runs_it_found_and_nothing_of_a_server_that_is_away(prefect: Prefect) -> None:
    prefect.add("killed")
    environment = {**os.environ, "PREFECT_SERVER_API_AUTH_STRING": "reviewlm:secret", "PYTHONPATH": str(ROOT)}
    del environment["PREFECT_API_URL"]
    for port, said in ((prefect.server_address[1], "The flow run killed has sent no heartbeat for 240 s\n"), (9, "")):
        words = [sys.executable, "-m", silent_runs.__name__, f"http://127.0.0.1:{port}"]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout, done.stderr) == (0, said, "")
    assert prefect.users == {"Basic cmV2aWV3bG06c2VjcmV0"}
