"""Flow runs of the command line end with their process; those of living processes and of workers are left alone."""

from __future__ import annotations

import subprocess
import sys

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.states import Completed, Running, State

from core.processes.leftovers import this_machine, this_process
from flows.server.own_runs import LABEL, end_left_runs, end_runs, ended_with_process


@flow(name="something", persist_result=False)
def something() -> str:
    return "done"


def made(process: str, state: State | None = None) -> str:
    """Make a flow run of a process and return its id."""
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(something, state=state or Running())
        if process:
            client.update_flow_run_labels(run.id, {LABEL: process})
        return str(run.id)


def states(*ids: str) -> list[str]:
    with get_client(sync_client=True) as client:
        return [client.read_flow_run(one).state_type.value for one in ids]


@pytest.mark.slow
def test_runs_of_a_dead_process_end_and_no_others(prefect_server: None) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    dead = f"{this_machine()} {process.pid} 1000"
    killed, finished = made(dead), made(dead, Completed())
    alive, elsewhere, of_worker = made(this_process()), made("another-host 1 0d1f 1 1000"), made("")
    end_left_runs()
    assert states(killed, finished) == ["CRASHED", "COMPLETED"]
    assert states(alive, elsewhere, of_worker) == ["RUNNING"] * 3
    assert end_runs(lambda name: name == this_process(), "Interrupted") == 1
    assert states(alive, elsewhere) == ["CRASHED", "RUNNING"]


@flow(name="whole", persist_result=False)
def whole() -> list[str]:
    return [*part(), own_state()]


@flow(name="part", persist_result=False)
def part() -> list[str]:
    assert end_runs(lambda name: name == this_process(), "Interrupted") == 1
    return [own_state()]


def own_state() -> str:
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    assert not context.flow_run.tags
    return states(str(context.flow_run.id))[0]


def test_a_command_s_flow_run_and_what_it_calls_end_together(prefect_server: None) -> None:
    assert ended_with_process(whole)() == ["CRASHED", "CRASHED"]
