"""Silent runs are noticed and crashed ones tried again; those that live, were cancelled or are not ours are let be."""

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

from core.services import lost_runs
from core.services.heartbeat import HEARTBEAT_SECONDS
from core.services.lost_runs import (
    ATTEMPT_SECONDS,
    FIRST_SECONDS,
    PENDING_SECONDS,
    SILENT_SECONDS,
    notice_silent,
    try_again,
)

ROOT = Path(__file__).resolve().parents[3]
ASKED = {"env": {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}}
"""Job variables of a deployment that asks for heartbeats."""
SLOW = {"env": {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "180"}}
"""Those of a deployment of somebody else, with as many heartbeats as Prefect sends of itself."""
LONG = SILENT_SECONDS + 60
HOUR, DAY = 3600.0, 86_400.0


def ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()


class Prefect(ThreadingHTTPServer):
    """Knows runs, when it received heartbeats of each, and job variables of deployments; keeps what is sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.runs: list[dict[str, Any]] = []
        self.heartbeats: dict[str, list[str]] = {}
        self.deployments: dict[str, dict[str, Any]] = {}
        self.sent: list[tuple[str, str]] = []
        self.history: dict[str, list[dict[str, Any]]] = {}
        self.answer = "ACCEPT"
        self.set: dict[str, dict[str, Any]] = {}
        self.users: set[str | None] = set()

    def add(
        self, name: str, state: str = "RUNNING", since: float = LONG, beats: list[float] | None = None,
        asked: dict[str, Any] | None = ASKED, pool: str = "cpu-pool", of_run: dict[str, Any] | None = None,
        count: int = 1, before: tuple[tuple[str, str | None], ...] = (("PENDING", None), ("RUNNING", None)),
    ) -> None:
        """Add a run that came to its state so many seconds ago, with heartbeats received so many seconds ago.

        It has been running *count* times; *before* has the types and messages of its earlier states.
        """
        self.runs.append({
            "id": name, "deployment_id": f"of-{name}", "work_pool_name": pool, "job_variables": of_run,
            "run_count": count, "state": {"type": state, "timestamp": ago(since)}, "end_time": ago(since),
        })  # fmt: skip
        self.history[name] = [{"type": kind, "message": said} for kind, said in (*before, (state, None))]
        self.heartbeats[name] = [ago(seconds) for seconds in beats or []]
        if asked is not None:
            self.deployments[f"of-{name}"] = asked


class Answer(BaseHTTPRequestHandler):
    server: Prefect

    def do_GET(self) -> None:
        kind, name = self.path.removeprefix("/api/").split("/")
        if kind == "flow_run_states":
            self.answer(self.server.history[name.removeprefix("?flow_run_id=")])
        elif kind == "work_pools":
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
            after = wanted.get("end_time", {"after_": ago(10 * DAY)})["after_"]
            self.answer([
                run for run in self.server.runs
                if run["state"]["type"] in wanted["state"]["type"]["any_"] and run["end_time"] >= after
            ])  # fmt: skip
        elif self.path == "/api/events/filter":
            both = ["prefect.flow-run.heartbeat", "reviewlm.flow-run.heartbeat"]
            assert sorted(told["filter"]["event"]["name"]) == both
            [resource] = told["filter"]["resource"]["id"]
            received = self.server.heartbeats[resource.removeprefix("prefect.flow-run.")]
            self.answer({"events": [{"received": one} for one in received]})
        elif self.path == "/api/events":
            [event] = told
            self.server.sent.append((event["event"], event["resource"]["prefect.resource.id"]))
            self.answer(None, 204)
        else:
            [name] = re.findall("/api/flow_runs/(.+)/set_state", self.path)
            self.server.set[name] = told
            self.answer({"status": self.server.answer}, 201)

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
    silent = "reviewlm.flow-run.silent"
    assert prefect.sent == [(silent, "prefect.flow-run.killed"), (silent, "prefect.flow-run.forgotten")]
    assert prefect.set == {}


def test_a_running_run_without_a_first_heartbeat_is_noticed_after_a_minute(prefect: Prefect) -> None:
    """The server then waits two more; a first heartbeat that comes meanwhile is in time."""
    assert FIRST_SECONDS == 60
    prefect.add("killed", since=65)
    prefect.add("killed-again", since=65, count=2, beats=[200.0])  # that of its first attempt
    prefect.add("just-begun", since=55)
    prefect.add("begun-with-one", since=65, beats=[64.0])
    prefect.add("cancelled-just-now", state="CANCELLING", since=65, beats=[70.0])  # it sends none any more
    assert notice_silent() == ["killed", "killed-again"]
    assert [run for _, run in prefect.sent] == ["prefect.flow-run.killed", "prefect.flow-run.killed-again"]
    assert prefect.set == {}


def test_nothing_is_sent_for_a_run_that_lives(prefect: Prefect) -> None:
    prefect.add("just-begun", since=FIRST_SECONDS - 5)
    prefect.add("silent-for-less", since=40_000, beats=[SILENT_SECONDS - 30])
    prefect.add("slow", since=40_000, beats=[HEARTBEAT_SECONDS])
    prefect.add("of-a-wrong-clock", since=40_000, beats=[LONG, HEARTBEAT_SECONDS])
    prefect.add("ended", state="COMPLETED", since=40_000)
    assert notice_silent() == []
    assert (prefect.sent, prefect.set) == ([], {})


def test_nothing_is_sent_for_a_run_whose_process_may_send_no_heartbeats(prefect: Prefect) -> None:
    prefect.add("of-others", asked={})
    prefect.add("slow-of-others", asked=SLOW)
    prefect.add("slow-by-itself", of_run=SLOW)
    prefect.add("of-another-environment", of_run={"env": {"MINE": "1"}})
    prefect.add("of-a-removed-deployment", asked=None)
    prefect.add("killed")
    assert notice_silent() == ["killed"]
    assert prefect.sent == [("reviewlm.flow-run.silent", "prefect.flow-run.killed")]


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


def attempts(prefect: Prefect) -> dict[str, Any]:
    """Return the state that each run was set to; Prefect's rules must have allowed it."""
    assert not any(told["force"] for told in prefect.set.values())
    return {run: told["state"] for run, told in prefect.set.items()}


def test_a_crashed_run_is_scheduled_once_more_a_while_after_its_crash_and_its_last_heartbeat(prefect: Prefect) -> None:
    """A heartbeat comes every 30 seconds, so after 60 without one there is no process that sends them."""
    assert ATTEMPT_SECONDS == 60
    prefect.add("told-by-the-worker", "CRASHED", since=65, beats=[70, 100])
    prefect.add("taken-for-lost", "CRASHED", since=65, beats=[190, 220])
    prefect.add("without-heartbeats", "CRASHED", since=65)
    prefect.add("just-now", "CRASHED", since=55, beats=[65])
    assert try_again() == ["told-by-the-worker", "taken-for-lost", "without-heartbeats"]
    set_to = attempts(prefect)
    assert list(set_to) == ["told-by-the-worker", "taken-for-lost", "without-heartbeats"]
    for state in set_to.values():
        assert (state["type"], state["name"]) == ("SCHEDULED", "AwaitingRetry")
        assert state["message"].startswith("Second attempt, the last one")


def test_a_run_that_was_killed_while_it_imported_its_flow_is_tried_again(prefect: Prefect) -> None:
    """It was not Running yet, so Prefect has not counted that attempt; but its process has sent heartbeats."""
    prefect.add("killed-early", "CRASHED", since=65, beats=[190], count=0, before=(("PENDING", None),))
    assert try_again() == ["killed-early"]
    assert list(attempts(prefect)) == ["killed-early"]


def test_a_run_whose_process_lives_is_not_started_a_second_time_beside_it(prefect: Prefect) -> None:
    """It was taken for lost while its server was away. If it dies later, that is its first crash after all."""
    prefect.add("lives", "CRASHED", since=300, beats=[20, 50])
    prefect.add("lived-on-for-hours", "CRASHED", since=5 * HOUR, beats=[70, 100])
    assert try_again() == ["lived-on-for-hours"]
    assert list(attempts(prefect)) == ["lived-on-for-hours"]


SECOND = ("SCHEDULED", "Second attempt, the last one: …")
OF_BEFORE = ("SCHEDULED", "Second attempt")
"""What the automation of releases before said."""


@pytest.mark.parametrize(
    ("count", "before"),
    [
        pytest.param(2, (("RUNNING", None), ("CRASHED", None), SECOND, ("RUNNING", None)), id="its second attempt"),
        pytest.param(1, (("RUNNING", None), ("CRASHED", None), SECOND, ("PENDING", None)), id="before it began"),
        pytest.param(1, (("RUNNING", None), ("CRASHED", None), SECOND), id="while it waited"),
        pytest.param(1, (("RUNNING", None), ("CRASHED", None), OF_BEFORE), id="scheduled by an earlier release"),
        pytest.param(0, (("PENDING", None),), id="its first attempt never began"),
    ],
)
def test_a_run_is_tried_again_once(prefect: Prefect, count: int, before: tuple[tuple[str, str | None], ...]) -> None:
    prefect.add("crashed", "CRASHED", since=100, count=count, before=before)
    assert try_again() == []
    assert prefect.set == {}


@pytest.mark.parametrize("kind", ["CANCELLING", "CANCELLED"])
def test_a_run_that_was_ever_cancelled_is_not_tried_again_however_it_ended(prefect: Prefect, kind: str) -> None:
    """Prefect says Crashed of a cancelled run whose process gets SIGTERM from somebody else than the worker."""
    prefect.add("cancelled", "CRASHED", since=100, before=(("RUNNING", None), (kind, "no more")))
    assert try_again() == []
    assert prefect.set == {}


def test_runs_of_others_and_old_crashes_are_not_tried_again(prefect: Prefect) -> None:
    """Who runs a flow of their own on our server has not asked for a second attempt, which may do harm."""
    prefect.add("of-others", "CRASHED", since=100, asked={})
    prefect.add("slow-of-others", "CRASHED", since=100, asked=SLOW)
    prefect.add("of-a-removed-deployment", "CRASHED", since=100, asked=None)
    prefect.add("of-last-night", "CRASHED", since=8 * HOUR)
    prefect.add("of-last-week", "CRASHED", since=7 * DAY, beats=[70])
    assert try_again() == []
    assert prefect.set == {}


def test_an_attempt_that_prefect_refuses_is_none(prefect: Prefect) -> None:
    """As when somebody cancels the run between question and answer."""
    prefect.add("crashed", "CRASHED", since=100)
    prefect.answer = "REJECT"
    assert try_again() == []


@pytest.mark.slow
def test_the_program_says_which_runs_it_found_and_nothing_of_a_server_that_is_away(prefect: Prefect) -> None:
    prefect.add("killed")
    prefect.add("crashed", "CRASHED", since=100)
    found = "The flow run killed sends no heartbeats\nThe flow run crashed has crashed, and is scheduled "
    environment = {**os.environ, "PREFECT_SERVER_API_AUTH_STRING": "reviewlm:secret", "PYTHONPATH": str(ROOT)}
    del environment["PREFECT_API_URL"]
    for port, said in ((prefect.server_address[1], f"{found}once more\n"), (9, "")):
        words = [sys.executable, "-m", lost_runs.__name__, f"http://127.0.0.1:{port}"]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout, done.stderr) == (0, said, "")
    assert prefect.users == {"Basic cmV2aWV3bG06c2VjcmV0"}
