"""A child of a run sends its heartbeats, whatever the run does, and ends with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from core.processes.children import end_child
from core.services import heartbeat
from tasks import flow_run
from tests.core.services.prefect_of_one_run import Answer, Over, Prefect

ROOT = Path(__file__).resolve().parents[3]


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


def test_a_heartbeat_that_the_server_did_not_take_is_sent_again_soon(prefect: Prefect, pauses: list[float]) -> None:
    with pytest.raises(Over):
        heartbeat.send_heartbeats("a-run", 30)
    assert pauses[:3] == [5, 30, 30]


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
