"""A child of a run sends its heartbeats, whatever the run does, ends with it, and tells it that it was cancelled."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from core.processes.children import end_child
from core.services import heartbeat
from tasks import flow_run

ROOT = Path(__file__).resolve().parents[3]


class Prefect(ThreadingHTTPServer):
    """Keeps path, user and events of each request; refuses the first one. Knows the states of one run."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.received: list[tuple[str, str | None, list[dict[str, Any]]]] = []
        self.several = threading.Event()
        self.states = ["RUNNING"]
        """What the run is at each look, from the first to the last one, which stays.

        Type of the state; its id, if that matters; message after a colon.
        """
        self.before = ""
        """Type of the state before that with the id "another"; "": the server does not say it."""
        self.refused = 0
        """Changes of the state that are still to be refused."""
        self.set: list[dict[str, Any]] = []


class Answer(BaseHTTPRequestHandler):
    server: Prefect

    def do_GET(self) -> None:
        if self.path == "/api/flow_run_states/?flow_run_id=a-run":
            self.send_response(200 if self.server.before else 503)
            self.end_headers()
            kinds = {"earlier": "PENDING", "mine": "RUNNING", "between": self.server.before, "another": "RUNNING"}
            self.wfile.write(json.dumps([{"id": known, "type": kind} for known, kind in kinds.items()]).encode())
            return
        assert self.path == "/api/flow_runs/a-run"
        states = self.server.states
        state = states.pop(0) if len(states) > 1 else states[0]
        self.send_response(200 if state else 503)
        self.end_headers()
        words, _, message = state.partition(": ")
        kind, _, known = words.partition(" ")
        told = {"id": known or "mine", "type": kind, "message": message or None}
        self.wfile.write(json.dumps({"state": told}).encode())

    def do_POST(self) -> None:
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/api/flow_runs/a-run/set_state":
            self.send_response(503 if self.server.refused else 201)
            if not self.server.refused:
                self.server.set.append(told)
            self.server.refused = max(0, self.server.refused - 1)
            self.end_headers()
            self.wfile.write(json.dumps({"status": "ACCEPT"}).encode())
            return
        self.server.received.append((self.path, self.headers["Authorization"], told))
        self.send_response(503 if len(self.server.received) == 1 else 204)
        self.end_headers()
        if len(self.server.received) == 3:
            self.server.several.set()

    def log_message(self, *said: Any) -> None:
        """Stay silent."""


@pytest.fixture
def prefect(monkeypatch: pytest.MonkeyPatch) -> Iterator[Prefect]:
    server = Prefect()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{server.server_address[1]}/api")
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "reviewlm:secret")
    monkeypatch.setenv("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "30")
    monkeypatch.setattr(flow_run, "HEARTBEAT_SECONDS", 0.02)
    yield server
    server.shutdown()
    server.server_close()


def test_heartbeats_are_events_of_the_run_that_go_on_after_a_failure(
    prefect: Prefect, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[Any]] = []
    start = flow_run.start_child

    def kept(program: list[str]) -> subprocess.Popen[Any]:
        started.append(start(program))
        return started[-1]

    monkeypatch.setattr(flow_run, "start_child", kept)
    monkeypatch.setattr(flow_run, "_alive", {})
    for _ in range(2):
        flow_run.keep_alive("a-run")
    [child] = started
    assert prefect.several.wait(60)
    end_child(child)
    assert {(path, user) for path, user, _ in prefect.received} == {("/api/events", "Basic cmV2aWV3bG06c2VjcmV0")}
    events = [event for _, _, told in prefect.received for event in told]
    assert {event["event"] for event in events} == {"reviewlm.flow-run.heartbeat"}
    assert {event["resource"]["prefect.resource.id"] for event in events} == {"prefect.flow-run.a-run"}
    assert len({event["id"] for event in events}) == len(events)


def test_the_child_of_a_process_that_begins_its_run_is_told_in_which_state(
    prefect: Prefect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one is started before the flow's module is imported; only the second can tell another process's run."""
    started: list[list[str]] = []
    ended: list[object] = []

    def start(program: list[str]) -> SimpleNamespace:
        started.append(program)
        return SimpleNamespace(number=len(started), wait=lambda: -9)

    monkeypatch.setattr(flow_run, "start_child", start)
    monkeypatch.setattr(flow_run, "end_child", lambda child: ended.append(child.number))
    monkeypatch.setattr(flow_run, "_alive", {})
    flow_run.keep_alive("a-run")
    begun = SimpleNamespace(id="a-run", state=SimpleNamespace(id="a-state"))
    monkeypatch.setattr(flow_run, "FlowRunContext", SimpleNamespace(get=lambda: SimpleNamespace(flow_run=begun)))
    for _ in range(2):  # a flow describes itself more than once
        flow_run.keep_alive("a-run")
    told = ["-m", "core.services.heartbeat", "a-run", "0.02"]
    assert started == [told, [*told, "a-state"]]
    assert ended == [1]


@pytest.mark.parametrize("lacking", ["PREFECT_API_URL", "PREFECT_FLOWS_HEARTBEAT_FREQUENCY"])
def test_where_no_server_waits_for_heartbeats_none_are_sent(
    prefect: Prefect, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    started: list[Any] = []
    monkeypatch.setattr(flow_run, "start_child", started.append)
    monkeypatch.setattr(flow_run, "_alive", {})
    monkeypatch.delenv(lacking)
    flow_run.keep_alive("another-run")
    assert started == []


def test_half_an_answer_of_a_server_that_is_killed_is_no_end_of_the_heartbeats(
    prefect: Prefect, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(answer: Answer) -> None:
        answer.send_response(200)
        answer.send_header("Content-Length", "100")
        answer.end_headers()
        answer.wfile.write(b'{"state": ')

    monkeypatch.setattr(Answer, "do_GET", half)
    with pytest.raises(Over):
        heartbeat.send_heartbeats("a-run", 30)
    assert len(prefect.received) > 20


class Over(Exception):
    """The test has seen enough looks."""


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between heartbeats, in which no time passes but that of a clock; more than twenty are too many."""
    paused, clock = list[float](), [0.0]

    def sleep(seconds: float) -> None:
        paused.append(seconds)
        clock[0] += seconds
        if len(paused) > 20:
            raise Over

    monkeypatch.setattr(heartbeat, "time", SimpleNamespace(sleep=sleep, monotonic=lambda: clock[0]))
    return paused


def test_a_cancelled_run_that_nobody_ends_is_set_to_cancelled_and_its_heartbeats_end(
    prefect: Prefect, pauses: list[float]
) -> None:
    """The worker that hears of a cancellation ends the run within 30 seconds."""
    prefect.states = ["CANCELLING"]
    heartbeat.send_heartbeats("a-run", 30)
    [told] = prefect.set
    assert told["force"]
    assert (told["state"]["type"], told["state"]["name"]) == ("CANCELLED", "Cancelled")
    assert pauses == [30]
    assert prefect.received == [], "a run that is about to end must not count as one that lives, and then as lost"


def test_a_heartbeat_that_the_server_did_not_take_is_sent_again_soon(prefect: Prefect, pauses: list[float]) -> None:
    with pytest.raises(Over):
        heartbeat.send_heartbeats("a-run", 30)
    assert pauses[:3] == [5, 30, 30]


def test_a_state_that_the_server_does_not_take_is_set_again(prefect: Prefect, pauses: list[float]) -> None:
    """A process that ended without that would leave the run Cancelling for ever."""
    prefect.states, prefect.refused = ["CANCELLING"], 2
    heartbeat.send_heartbeats("a-run", 30)
    assert (len(prefect.set), prefect.refused) == (1, 0)


def test_a_run_that_somebody_else_set_to_cancelled_ends_in_that_state(prefect: Prefect, pauses: list[float]) -> None:
    prefect.states = ["CANCELLED"]
    heartbeat.send_heartbeats("a-run", 30)
    assert prefect.set == []


@pytest.mark.parametrize(
    "states",
    [["RUNNING"], ["COMPLETED"], ["CRASHED"], ["CANCELLING", "RUNNING"], ["CANCELLING", "", "CANCELLING", "RUNNING"]],
)
def test_a_run_that_is_not_cancelled_goes_on(prefect: Prefect, pauses: list[float], states: list[str]) -> None:
    """Crashed may be a false alarm, and a run may be in its last state for a while before its process ends."""
    prefect.states = states
    with pytest.raises(Over):
        heartbeat.send_heartbeats("a-run", 30)
    assert prefect.set == []


def test_a_process_that_lives_takes_its_run_back_from_a_second_attempt_that_has_not_begun(
    prefect: Prefect, pauses: list[float]
) -> None:
    """Its machine was cut off, so that it was taken for lost; no worker has taken the second attempt yet."""
    prefect.states = ["RUNNING", "CRASHED", "SCHEDULED: Second attempt, the last one: the first one crashed", "RUNNING"]
    with pytest.raises(Over):
        heartbeat.send_heartbeats("a-run", 30)
    [told] = prefect.set
    assert (told["state"]["type"], told["state"]["name"], told["force"]) == ("RUNNING", "Running", True)
    assert told["state"]["message"] == "The first process lives after all; no second attempt"


@pytest.mark.parametrize("begun", ["mine", ""])
@pytest.mark.parametrize(
    ("before", "state", "replaced"),
    [
        pytest.param("PENDING", "RUNNING another", True, id="by the process of another worker"),
        pytest.param("PENDING", "RUNNING mine", False, id="this is the second attempt"),
        pytest.param("CRASHED", "RUNNING another", False, id="set in Prefect's pages"),
        pytest.param("SCHEDULED", "RUNNING another", False, id="a flow that tries again in the same process"),
        pytest.param("PENDING", f"RUNNING another: {heartbeat.LIVES['message']}", False, id="taken back just in time"),
        pytest.param("SCHEDULED", "PENDING another", False, id="taken by a worker, which may fail to begin it"),
        pytest.param("RUNNING", "CRASHED another", False, id="taken for lost"),
        pytest.param("", "RUNNING another", False, id="not known"),
    ],
)
def test_a_process_whose_run_another_one_has_begun_again_is_to_end(
    prefect: Prefect, pauses: list[float], before: str, state: str, replaced: bool, begun: str
) -> None:
    """It was cut off for so long that it was taken for lost. One that does not know its own state never ends so."""
    prefect.before, prefect.states = before, ["RUNNING mine", "", state]
    if replaced and begun:
        assert heartbeat.send_heartbeats("a-run", 30, begun) == heartbeat.IS_REPLACED
        assert len(prefect.received) == 2, "the other process sends its own"
    else:
        with pytest.raises(Over):
            heartbeat.send_heartbeats("a-run", 30, begun)
    assert prefect.set == []


@pytest.mark.parametrize("state", ["SCHEDULED", "SCHEDULED: by hand", "PENDING: Second attempt"])
def test_a_run_that_waits_for_another_reason_or_has_a_worker_is_not_taken_back(
    prefect: Prefect, pauses: list[float], state: str
) -> None:
    prefect.states = [state]
    with pytest.raises(Over):
        heartbeat.send_heartbeats("a-run", 30)
    assert prefect.set == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("state", "code", "said", "changes"),
    [
        ("CANCELLING", 128 + signal.SIGTERM, "Cancelled in Prefect; run the same command to resume", 1),
        # An exit code other than 0 would make the worker report the run, which goes on elsewhere, as crashed.
        ("RUNNING another", 0, "another process has begun this run again, and goes on with it", 0),
    ],
)
def test_the_process_of_a_run_that_is_cancelled_or_begun_elsewhere_cleans_up_and_ends_with_its_children(
    prefect: Prefect, tmp_path: Path, state: str, code: int, said: str, changes: int
) -> None:
    prefect.before, prefect.states = "PENDING", ["RUNNING", state]
    sleeper, cleaned = tmp_path / "sleeper.py", tmp_path / "cleaned"
    sleeper.write_text("import time; time.sleep(600)")
    program = f"""
import time
from pathlib import Path
from core.processes.children import start_child
from core.processes.interrupts import at_interrupt
from tasks import flow_run
flow_run.HEARTBEAT_SECONDS = 0.02
flow_run._begun_in = lambda run: "mine"
at_interrupt(Path({str(cleaned)!r}).touch)
print(start_child([{str(sleeper)!r}]).pid, flush=True)
flow_run.keep_alive("a-run")
time.sleep(600)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    child = psutil.Process(int(process.stdout.readline()))
    try:
        _, error = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == code
    assert said in error
    assert len(prefect.set) == changes
    assert cleaned.exists()
    assert psutil.wait_procs([child], timeout=30)[1] == []


@pytest.mark.slow
def test_heartbeats_end_with_the_process_of_the_run(prefect: Prefect) -> None:
    program = """
import time
from tasks import flow_run
flow_run.HEARTBEAT_SECONDS = 0.02
flow_run.keep_alive("a-run")
time.sleep(600)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    try:
        assert prefect.several.wait(60)
        [child] = psutil.Process(process.pid).children()
    finally:
        process.kill()
        process.wait()
    assert psutil.wait_procs([child], timeout=30)[1] == []


@pytest.mark.slow
def test_a_run_that_uses_no_processor_time_for_long_has_no_heartbeats(prefect: Prefect) -> None:
    """A stopped process stands for one whose threads wait for each other."""
    beat = "from core.services import heartbeat as it; it.STUCK_SECONDS = 0.5; it.send_heartbeats('a-run', 0.02)"
    program = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {beat!r}])
print(child.pid, flush=True)
while child.poll() is None:
    sum(range(10_000))
"""
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    child = psutil.Process(int(process.stdout.readline()))
    try:
        assert prefect.several.wait(60)
        process.send_signal(signal.SIGSTOP)
        time.sleep(2)
        before = len(prefect.received)
        time.sleep(1)
        assert len(prefect.received) == before
        process.send_signal(signal.SIGCONT)
        over = time.monotonic() + 60
        while len(prefect.received) == before:
            assert time.monotonic() < over
            time.sleep(0.02)
    finally:
        child.kill()
        process.kill()
        process.wait()
