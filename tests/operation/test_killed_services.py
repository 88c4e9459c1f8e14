"""The services of `services start` and a training of theirs: killed, cut off and cancelled; the training goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from reviewlm.flows.server.automations import WAITS
from tests.operation.started_services import (
    LONG_FIT,
    Record,
    Services,
    fitted_again,
    kill,
    running_services,
    until,
)

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(3600)]
LOOK_SECONDS = 30.0
"""Seconds that the server and a busy machine may take: it looks every five for heartbeats that have not come."""


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    with running_services(tmp_path_factory.mktemp("services") / "home") as ours:
        yield ours


@pytest.fixture
def ours(started: Services) -> Iterator[Services]:
    """The services, all running; the fit that an undisturbed run made is not there any more."""
    with fitted_again(started):
        yield started


@pytest.mark.drill(
    "Prefect server away", "kill -9 and restart of the server in a training", "the run is Completed"
)
def test_a_run_outlives_a_restart_of_the_server(ours: Services, record_property: Record) -> None:
    run = ours.run_of("retrain/demo", LONG_FIT)
    ours.wait_for_training()
    began = time.monotonic()
    kill(ours.processes("prefect"))
    ours.verb("services", "start")
    record_property("seconds without a server", round(time.monotonic() - began))
    ours.wait_for(run, "Completed")
    assert ours.ask("GET", f"/flow_runs/{run}")["run_count"] == 1


def test_the_place_that_a_run_holds_outlives_a_restart_of_the_server(started: Services) -> None:
    """A run is ended when its place cannot be renewed, which the server is asked for every 225 seconds."""
    started.verb("services", "start")
    limits = "/v2/concurrency_limits"
    started.ask("POST", f"{limits}/", {"name": "restart", "limit": 1})
    wanted = {
        "names": ["restart"],
        "slots": 1,
        "lease_duration": 300,
    }
    taken = started.ask("POST", f"{limits}/increment-with-lease", wanted)
    kill(started.processes("prefect"))
    started.verb("services", "start")
    started.ask("POST", f"{limits}/leases/{taken['lease_id']}/renew", {"lease_duration": 300})
    started.ask("POST", f"{limits}/decrement-with-lease", {"lease_id": taken["lease_id"]})
    assert started.ask("GET", f"{limits}/restart")["active_slots"] == 0


@pytest.mark.drill(
    "worker and flow killed together",
    "kill -9 of worker and flow in a training",
    "Crashed, slot free; the second attempt makes the same model",
)
def test_a_run_whose_worker_died_with_it_is_tried_again_by_the_next_worker(
    ours: Services, record_property: Record
) -> None:
    run = ours.run_of("retrain/demo", LONG_FIT)
    ours.wait_for_training()
    kill(ours.processes("worker"))
    noticed = ours.wait_for(run, "Crashed", "AwaitingRetry")
    record_property("seconds until noticed", noticed)
    assert noticed <= WAITS["lost_seconds"] + LOOK_SECONDS
    ours.verb("services", "start")
    record_property("seconds until it runs again", ours.wait_for(run, "Running", "Completed"))
    ours.wait_for(run, "Completed")
    assert ours.ask("GET", f"/flow_runs/{run}")["run_count"] == 2


@pytest.mark.drill(
    "cancelled",
    "cancelled in Prefect's UI in a training",
    "no process is left; the next run resumes",
)
def test_the_run_after_a_cancelled_one_goes_on_with_its_training(
    ours: Services, record_property: Record
) -> None:
    before = len(ours.processes())
    run = ours.run_of("retrain/demo", LONG_FIT)
    ours.wait_for_training()
    ours.ask("POST", f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
    record_property("seconds until cancelled", ours.wait_for(run, "Cancelled"))
    until(
        lambda: len(ours.processes()) <= before,
        lambda: str([one.cmdline() for one in ours.processes()]),
    )
    kept = max(len(file.read_bytes().splitlines()) for file in ours._journals())
    assert list(ours.home.glob("store/.work/*/checkpoints/*.safetensors"))
    again = ours.run_of("retrain/demo", LONG_FIT)
    ours.wait_for(again, "Completed")
    record_property("lines of the journal kept", kept)
    assert ours.from_mlflow("SELECT name FROM runs WHERE status = 'RUNNING'") == []
