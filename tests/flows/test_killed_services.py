"""The services of `reviewlm ui start` and a training of theirs: killed, cut off and cancelled; the training goes on."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from core.credentials import credentials_of
from core.services import service_list
from core.services.pools import HEARTBEAT_SECONDS
from flows.server.automations import LOST_SECONDS
from tests.flows.first_run import ROOT, TINY, mlflow_rows, user_environment

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(3600)]
LONG_FIT = ["models.1.training.epochs=30", "execution.workers=1"]
LINES = 40
"""Lines of the journal after which the training is in full swing."""
TRIES = 30
LOOKBACK_SECONDS = 900
"""A server that was restarted waits so long for the event before a crash, if that was less than five minutes ago."""
Record = Callable[[str, object], None]


@dataclass
class Services:
    """A home folder with a Prefect server, an MLflow server and a worker."""

    home: Path

    def verb(self, *words: str) -> None:
        """Run `reviewlm` as a user of this home does."""
        command = [sys.executable, "-m", "reviewlm.cli", *words]
        environment = user_environment(self.home)
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stderr[-3_000:]

    def processes(self, name: str = "") -> list[psutil.Process]:
        """Return the processes of all services, or of one, with all that they have started."""
        found = []
        for service in service_list.running(self.home):
            if name in service.name:
                found += [(top := psutil.Process(service.pid)), *top.children(recursive=True)]
        return found

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request to Prefect's server."""
        [server] = [one for one in service_list.running(self.home) if one.name == "prefect"]
        user, password = credentials_of(self.home).split(":", 1)
        answer = httpx.request(method, f"{server.address}/api{path}", json=body, auth=(user, password), timeout=60)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def run_of(self, deployment: str, overrides: list[str]) -> str:
        """Let the worker run a deployment; return the id of the flow run."""
        known = self.ask("GET", f"/deployments/name/{deployment}")["id"]
        parameters = {"preset": TINY, "overrides": overrides}
        return str(self.ask("POST", f"/deployments/{known}/create_flow_run", {"parameters": parameters})["id"])

    def state(self, run: str) -> str:
        return str(self.ask("GET", f"/flow_runs/{run}")["state"]["name"])

    def wait_for(self, run: str, *states: str, seconds: float = 900) -> float:
        """Wait until a flow run is in one of these states; return the seconds."""
        return until(lambda: self.state(run) in states, lambda: f"{self.state(run)}: {self.log()}", seconds)

    def wait_for_training(self) -> None:
        journals = lambda: [len(file.read_bytes().splitlines()) for file in self._journals()]  # noqa: E731
        until(lambda: max(journals(), default=0) >= LINES, self.log)

    def _journals(self) -> list[Path]:
        return list(self.home.glob("store/.work/*/metrics.jsonl"))

    def log(self) -> str:
        return (self.home / "logs" / "worker-cpu-pool.log").read_text()[-3_000:]

    def forget_fit(self) -> None:
        """Remove the LSTM from the store, so that it is fitted again."""
        for digest in self.fits():
            subprocess.run(["rm", "-r", str(self.home / "store" / "fit" / digest)], check=True)

    def fits(self) -> dict[str, str]:
        """Return the checksum of each stored LSTM of words, by the digest of its artifact."""
        found = {}
        for file in self.home.glob("store/fit/*/manifest.json"):
            manifest = json.loads(file.read_text())
            if manifest["facts"]["name"] == "lstm":
                files = {name: about["sha256"] for name, about in manifest["files"].items() if "bundle" in name}
                found[file.parent.name] = json.dumps(files, sort_keys=True)
        return found

    def from_mlflow(self, query: str) -> list[Any]:
        return mlflow_rows(self.home, query)

    def assert_nothing_doubled(self) -> None:
        curves = "SELECT run_uuid, key, step, count(*) FROM metrics WHERE key LIKE 'curves/%' GROUP BY 1, 2, 3"
        assert [row for row in self.from_mlflow(curves) if row[3] > 1] == []
        assert self.from_mlflow("SELECT version FROM model_versions WHERE status <> 'READY'") == []


def until(found: Callable[[], Any], about: Callable[[], str], seconds: float = 900) -> float:
    """Wait until something is so; return the seconds. A server that is away is no error."""
    began = time.monotonic()
    while time.monotonic() < began + seconds:
        with suppress(httpx.TransportError, ValueError):  # ValueError: no server runs
            if found():
                return round(time.monotonic() - began, 1)
        time.sleep(0.5)
    raise AssertionError(about())


def kill(processes: list[psutil.Process]) -> None:
    """Kill -9 all at once."""
    for process in processes:
        with suppress(psutil.Error):
            process.kill()
    assert psutil.wait_procs(processes, timeout=30)[1] == []


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Services, and the results of an undisturbed run."""
    ours = Services(tmp_path_factory.mktemp("services") / "home")
    try:
        ours.verb("ui", "start")
        ours.wait_for(ours.run_of("retrain/demo", LONG_FIT), "Completed")
        yield ours
    finally:
        kill(ours.processes())


@pytest.fixture
def undisturbed(started: Services) -> Iterator[tuple[Services, dict[str, str]]]:
    """The services, all running, and the fit that an undisturbed run made, which is not there any more."""
    started.verb("ui", "start")
    fits = started.fits()
    started.forget_fit()
    yield started, fits
    started.assert_nothing_doubled()
    assert started.fits() == fits


@pytest.mark.drill("Prefect server away", "kill -9 and restart of the server in a training", "the run is Completed")
def test_a_run_outlives_a_restart_of_the_server(
    undisturbed: tuple[Services, dict[str, str]], record_property: Record
) -> None:
    ours, _ = undisturbed
    run = ours.run_of("retrain/demo", LONG_FIT)
    ours.wait_for_training()
    began = time.monotonic()
    kill(ours.processes("prefect"))
    ours.verb("ui", "start")
    record_property("seconds without a server", round(time.monotonic() - began))
    ours.wait_for(run, "Completed")
    assert ours.ask("GET", f"/flow_runs/{run}")["run_count"] == 1


@pytest.mark.drill(
    "worker and flow killed together", "kill -9 of worker and flow in a training",
    "Crashed, slot free; the second attempt makes the same model",
)  # fmt: skip
def test_a_run_whose_worker_died_with_it_is_tried_again_by_the_next_worker(
    undisturbed: tuple[Services, dict[str, str]], record_property: Record
) -> None:
    ours, _ = undisturbed
    run = ours.run_of("retrain/demo", LONG_FIT)
    ours.wait_for_training()
    kill(ours.processes("worker"))
    record_property("seconds until noticed", ours.wait_for(run, "Crashed", "AwaitingRetry"))
    ours.verb("ui", "start")
    record_property("seconds until it runs again", ours.wait_for(run, "Running", "Completed"))
    ours.wait_for(run, "Completed")
    assert ours.ask("GET", f"/flow_runs/{run}")["run_count"] == 2


@pytest.mark.drill(
    "worker and flow killed together", "the opposite: a fit that stands still for longer than lost runs are given",
    "not taken for lost: Completed",
)  # fmt: skip
def test_a_healthy_run_that_makes_no_progress_for_long_is_not_taken_for_lost(
    undisturbed: tuple[Services, dict[str, str]], record_property: Record
) -> None:
    ours, _ = undisturbed
    run = ours.run_of("retrain/demo", LONG_FIT)
    ours.wait_for_training()
    [fit] = [one for one in ours.processes("worker") if "tasks.fitting.fit_worker" in one.cmdline()]
    fit.suspend()
    time.sleep(LOST_SECONDS + HEARTBEAT_SECONDS)
    fit.resume()
    ours.wait_for(run, "Completed")
    record_property("seconds without progress", LOST_SECONDS + HEARTBEAT_SECONDS)
    states = ours.ask("GET", f"/flow_run_states/?flow_run_id={run}")
    assert [state["message"] for state in states if "No sign of life" in (state["message"] or "")] == []


@pytest.mark.drill("cancelled", "cancelled in Prefect's UI in a training", "no process is left; the next run resumes")
def test_a_cancelled_run_leaves_no_process_and_the_next_one_goes_on(
    undisturbed: tuple[Services, dict[str, str]], record_property: Record
) -> None:
    ours, _ = undisturbed
    before = len(ours.processes())
    run = ours.run_of("retrain/demo", LONG_FIT)
    ours.wait_for_training()
    ours.ask("POST", f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
    record_property("seconds until cancelled", ours.wait_for(run, "Cancelled"))
    until(lambda: len(ours.processes()) <= before, lambda: str([one.cmdline() for one in ours.processes()]))
    kept = max(len(file.read_bytes().splitlines()) for file in ours._journals())
    assert list(ours.home.glob("store/.work/*/checkpoints/*.json"))
    again = ours.run_of("retrain/demo", LONG_FIT)
    ours.wait_for(again, "Completed")
    record_property("lines of the journal kept", kept)
    assert ours.from_mlflow("SELECT name FROM runs WHERE status = 'RUNNING'") == []


@pytest.mark.drill(
    "machine rebooted", "kill -9 of servers, worker, flow and fit; then `reviewlm ui start`",
    "Crashed; the second attempt makes the same model; the schedule goes on",
)  # fmt: skip
def test_after_a_reboot_the_run_is_tried_again_and_the_schedule_goes_on(
    undisturbed: tuple[Services, dict[str, str]], record_property: Record
) -> None:
    ours, _ = undisturbed
    upkeep = ours.ask("GET", "/deployments/name/upkeep/upkeep")
    [schedule] = ours.ask("GET", f"/deployments/{upkeep['id']}/schedules")
    hourly = {"active": True, "schedule": {"interval": 3600}}
    ours.ask("PATCH", f"/deployments/{upkeep['id']}/schedules/{schedule['id']}", hourly)
    run = ours.run_of("retrain/demo", LONG_FIT)
    ours.wait_for_training()
    kill(ours.processes())
    assert service_list.running(ours.home) == []
    began = time.monotonic()
    ours.verb("ui", "start")
    record_property("seconds until all services run", round(time.monotonic() - began))
    record_property("seconds until noticed", ours.wait_for(run, "Crashed", "AwaitingRetry", "Completed"))
    ours.wait_for(run, "Completed", seconds=LOOKBACK_SECONDS + 900)
    waiting = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}, "deployment_id": {"any_": [upkeep["id"]]}}}
    until(lambda: ours.ask("POST", "/flow_runs/filter", waiting), ours.log)
