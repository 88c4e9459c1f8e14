"""The heartbeats' process learns that a run was cancelled, or that another process has begun it, and ends the run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from core.services import heartbeat
from tasks import flow_run
from tests.core.services.prefect_of_one_run import Over, Prefect

ROOT = Path(__file__).resolve().parents[3]


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
