"""Flow runs of the command line end with their process; those of living processes and of workers are left alone."""

from __future__ import annotations

import subprocess
import sys

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.states import Completed, Running, State

from core.config.presets import load_config
from core.config.run_config import RunConfig
from core.processes.leftovers import this_machine, this_process
from flows.retrain import resolve
from flows.server.own_runs import PREFIX, end_left_runs, end_runs, ended_with_process
from tasks.track import prefect_link


@flow(name="something", persist_result=False)
def something() -> str:
    return "done"


def made(process: str, state: State | None = None) -> str:
    """Make a flow run of a process and return its id."""
    with get_client(sync_client=True) as client:
        tags = [f"{PREFIX}{process}"] if process else []
        run = client.create_flow_run(something, tags=tags, state=state or Running())
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


def test_a_flow_run_of_the_command_line_carries_the_name_of_its_process(prefect_server: None) -> None:
    with ended_with_process():
        state = something(return_state=True)
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(state.state_details.flow_run_id)
    assert f"{PREFIX}{this_process()}" in run.tags


@flow(name="named", persist_result=False)
def named() -> None:
    part(resolve("demo", ["data/yelp.csv", "more.json"], None))


@flow(name="part", flow_run_name="{config.title}", persist_result=False)
def part(config: RunConfig) -> None:
    resolve("small", None, None)


def test_a_flow_run_says_its_preset_and_its_data_in_its_name_and_tags(prefect_server: None) -> None:
    with ended_with_process():
        state = named(return_state=True)
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(state.state_details.flow_run_id)
    assert run.name == "demo, yelp.csv and 1 more"
    assert {"preset: demo", "data: yelp.csv and 1 more", f"{PREFIX}{this_process()}"} <= set(run.tags)


@flow(name="linked", persist_result=False)
def linked() -> str:
    resolve("demo", ["a](www.evil.example).csv"], None)
    return prefect_link()


def test_the_name_of_a_file_is_text_in_the_link_from_mlflow(prefect_server: None) -> None:
    link = linked().replace("\\]", "")
    assert link.startswith("[Prefect run demo, a(")
    assert link.count("](") == 1


def test_a_configuration_names_its_data_in_a_few_words() -> None:
    assert load_config("demo").title == "demo, embedded corpus"
    assert load_config("small").with_input(["/far/away/reviews/"]).title == "small, reviews"
