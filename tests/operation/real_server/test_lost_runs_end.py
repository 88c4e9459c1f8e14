"""On a real Prefect server with a worker: runs whose process is gone end, and are made again; others are left alone.

The waits are shortened: Prefect's heartbeats come every 30 seconds at most.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from reviewlm.core.services.pools import POOLS
from tests.flows.first_run import ROOT
from tests.operation.real_server.waiting_flow import NAME, PART
from tests.operation.started_services import (
    Record,
    Services,
    kill,
    running_prefect,
    start_worker,
    until,
)
from tests.programs import command

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1200)]
POOL = POOLS[0]
LOST = 70
RETRY = 20
PREFECT = (sys.executable, "-m", "prefect")
SCHEDULED = ["auto-scheduled"]
"""Tags of a run that a schedule has made."""


class Prefect(Services):
    """A server with a worker, whose deployments wait until a file is there."""

    def __init__(self, home: Path, environment: dict[str, str]) -> None:
        super().__init__(home)
        self.environment = {**environment, "PYTHONPATH": str(ROOT)}
        self.program(
            *PREFECT,
            "work-pool",
            "create",
            POOL,
            "--type",
            "process",
        )
        self.set_up()
        self.program(*command("deploy_waiting_flow", POOL, ROOT))
        self.start_worker()

    def program(self, *words: str) -> None:
        subprocess.run(
            words,
            env=self.environment,
            cwd=ROOT,
            check=True,
            timeout=300,
        )

    def set_up(self) -> None:
        """Set the automations up, as each start of the services does."""
        waits = {"lost_seconds": LOST, "retry_seconds": RETRY}
        self.program(*command("set_up_automations", "{}", json.dumps(waits)))

    def start_worker(self) -> None:
        start_worker(self.home, POOL, self.environment)

    def make(
        self,
        deployment: str,
        state: str = "SCHEDULED",
        tags: Sequence[str] = (),
        **parameters: Any,
    ) -> str:
        """Make a run of a deployment."""
        known = self.ask("GET", f"/deployments/name/{NAME}/{deployment}")["id"]
        made = {
            "parameters": parameters,
            "state": {"type": state},
            "tags": tags,
        }
        return str(self.ask("POST", f"/deployments/{known}/create_flow_run", made)["id"])

    def set(
        self,
        run: str,
        kind: str,
        message: str = "",
        force: bool = True,
    ) -> None:
        state = {"type": kind, "message": message}
        self.ask("POST", f"/flow_runs/{run}/set_state", {"state": state, "force": force})

    def history(self, run: str) -> list[str]:
        """Return the names of the states that a run has had, without the worker's."""
        states = self.ask("GET", f"/flow_run_states/?flow_run_id={run}")
        return [state["name"] for state in states if state["name"] not in ("Late", "Submitting")]

    def run_processes(self) -> list[psutil.Process]:
        """Return the processes in which the worker's runs are made."""
        return [one for one in self.processes("worker") if "prefect.engine" in one.cmdline()]

    def parts(self) -> list[str]:
        """Return the states of the runs that other runs have called."""
        found = self.ask(
            "POST",
            "/flow_runs/filter",
            {"flows": {"name": {"any_": [PART]}}, "sort": "START_TIME_ASC"},
        )
        return [one["state"]["name"] for one in found]

    def begin(self, deployment: str, file: Path) -> str:
        """Make a run, and return it when its part has begun and a heartbeat is on its way."""
        before = len(self.parts())
        run = self.make(deployment, file=str(file), seconds=600)
        beats = {
            "filter": {
                "event": {"name": ["prefect.flow-run.heartbeat"]},
                "resource": {"id": [f"prefect.flow-run.{run}"]},
            }
        }
        until(
            lambda: (
                len(self.parts()) > before and self.ask("POST", "/events/filter", beats)["events"]
            ),
            self.log,
        )
        return run


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefect]:
    with running_prefect(tmp_path_factory.mktemp("lost") / "home") as (services, environment):
        yield Prefect(services.home, environment)


@pytest.mark.drill(
    "worker and flow killed together",
    "kill -9 of the process of a run, whose worker lives, twice",
    "Crashed; the second attempt is the last one",
)
def test_a_killed_run_is_made_again_once(
    prefect: Prefect,
    tmp_path: Path,
    record_property: Record,
) -> None:
    run = prefect.begin("queued", tmp_path / "go on")
    kill(prefect.run_processes())
    prefect.wait_for(run, "Crashed")
    record_property("seconds until it runs again", prefect.wait_for(run, "Running"))
    assert prefect.history(run) == [
        "Scheduled",
        "Pending",
        "Running",
        "Crashed",
        "AwaitingRetry",
        "Pending",
        "Running",
    ]
    until(
        lambda: prefect.parts()[-1] == "Running" and len(prefect.run_processes()) == 1, prefect.log
    )
    kill(prefect.run_processes())
    prefect.wait_for(run, "Crashed")
    with pytest.raises(AssertionError):
        prefect.wait_for(
            run,
            "AwaitingRetry",
            "Pending",
            "Running",
            seconds=3 * RETRY,
        )


@pytest.mark.drill(
    "worker and flow killed together",
    "kill -9 of a run; a scheduled run begins before the second attempt",
    "the second attempt waits for it, and completes; a run that a person made waits, too",
)
def test_a_second_attempt_whose_place_was_taken_waits_for_it(
    prefect: Prefect, tmp_path: Path
) -> None:
    run = prefect.begin("queued", first := tmp_path / "first")
    kill(prefect.run_processes())
    prefect.wait_for(run, "Crashed")
    between = prefect.make(
        "queued",
        tags=SCHEDULED,
        file=str(tmp_path / "between"),
        seconds=600,
    )
    prefect.wait_for(between, "Running")
    by_hand = prefect.make("queued")
    for one in (run, by_hand):
        prefect.wait_for(one, "AwaitingConcurrencySlot")
    first.touch()
    (tmp_path / "between").touch()
    for one in (between, run, by_hand):
        prefect.wait_for(one, "Completed")
    assert [
        prefect.ask("GET", f"/flow_runs/{one}")["run_count"] for one in (between, run, by_hand)
    ] == [1, 2, 1]


@pytest.mark.drill(
    "worker and flow killed together", "kill -9 of worker and run", "made again by the next worker"
)
def test_a_run_of_a_dead_worker_is_made_by_the_next_one(
    prefect: Prefect,
    tmp_path: Path,
    record_property: Record,
) -> None:
    run = prefect.begin("queued", file := tmp_path / "go on")
    kill(prefect.processes("worker"))
    record_property("seconds until it has crashed", prefect.wait_for(run, "Crashed"))
    until(lambda: prefect.parts()[-1] == "Crashed", prefect.log)
    file.touch()
    prefect.start_worker()
    prefect.wait_for(run, "Completed")
    assert prefect.ask("GET", f"/flow_runs/{run}")["run_count"] == 2


@pytest.mark.drill(
    "cancelled", "cancelled in Prefect's page", "no process is left, and no second attempt"
)
def test_a_cancelled_run_ends_for_good(prefect: Prefect, tmp_path: Path) -> None:
    run = prefect.begin("free", tmp_path / "never")
    prefect.set(run, "CANCELLING", force=False)
    prefect.wait_for(run, "Cancelled")
    until(lambda: not prefect.run_processes(), prefect.log)
    until(lambda: prefect.parts()[-1] == "Cancelled", prefect.log, 120)
    with pytest.raises(AssertionError):
        prefect.wait_for(run, "Crashed", "AwaitingRetry", seconds=LOST + RETRY + 10)


@pytest.mark.drill(
    "machine rebooted",
    "a run that was lost before the services started",
    "made again after the start",
)
def test_what_ended_with_the_services_is_taken_up_by_their_next_start(prefect: Prefect) -> None:
    kill(prefect.processes("worker"))
    ended, lost = (prefect.make("free", state="PENDING") for _ in range(2))
    for run in (ended, lost):
        prefect.set(run, "RUNNING")
    prefect.set(ended, "CRASHED", "Execution was aborted by a termination signal.")
    prefect.set_up()
    prefect.wait_for(lost, "Crashed")
    prefect.wait_for(lost, "AwaitingRetry")
    assert prefect.ask("GET", f"/flow_runs/{lost}")["state"]["message"].startswith("Second attempt")
    assert prefect.state(ended) == "Crashed"
