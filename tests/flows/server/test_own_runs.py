"""Flow runs of the command line end with their process; those of others are left alone."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.states import Completed, Running

from reviewlm.core.processes import interrupts
from reviewlm.core.processes.leftovers import hold, is_held
from reviewlm.flows.server.own_runs import LOCKS, end_lost_runs, ended_with_process


def state_of(run: UUID) -> str:
    with get_client(sync_client=True) as client:
        return str(client.read_flow_run(run).state_type.value)


@flow(name="whole", persist_result=False)
def whole() -> list[str]:
    return [*part(), own_state()]


@flow(name="part", persist_result=False)
def part() -> list[str]:
    interrupts._process.clean_ups.pop()()
    return [own_state()]


def own_state() -> str:
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    assert not context.flow_run.tags
    return state_of(context.flow_run.id)


def test_a_command_s_flow_run_ends_with_all_that_it_calls(
    prefect_server: None,
) -> None:
    with get_client(sync_client=True) as client:
        other = client.create_flow_run(whole, state=Running()).id
    assert ended_with_process(whole)() == ["CRASHED", "CRASHED"]
    assert state_of(other) == "RUNNING"


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REVIEWLM_HOME", str(tmp_path))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    return tmp_path


def test_the_next_command_ends_only_the_runs_of_killed_processes(
    prefect_server: None, own_home: Path
) -> None:
    folder = own_home / LOCKS
    folder.mkdir(parents=True)
    with get_client(sync_client=True) as client:
        lost, alive, unknown = (client.create_flow_run(whole, state=Running()).id for _ in range(3))
        done = client.create_flow_run(whole, state=Completed()).id
    for run in (lost, done):
        (folder / f"{run}.lock").touch()
    holder = hold(folder / f"{alive}.lock")
    assert holder is not None

    end_lost_runs()
    states = [state_of(run) for run in (lost, alive, unknown, done)]
    assert states == ["CRASHED", "RUNNING", "RUNNING", "COMPLETED"]
    assert [file.stem for file in folder.iterdir()] == [str(alive)]
    os.close(holder)


@flow(name="looks", persist_result=False)
def looks(home: str) -> list[bool]:
    return [is_held(file) for file in (Path(home) / LOCKS).iterdir()]


def test_a_flow_run_holds_its_lock_only_while_it_runs(prefect_server: None, own_home: Path) -> None:
    assert ended_with_process(looks)(str(own_home)) == [True]
    assert not list((own_home / LOCKS).iterdir())
