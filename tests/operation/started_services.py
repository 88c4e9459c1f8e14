"""The services of `services start` in a home of their own, whole or Prefect's server alone; deployed trainings."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from reviewlm.core.credentials import credentials_of
from reviewlm.core.services import launch, service_list
from reviewlm.core.services.join import environment_of
from reviewlm.core.services.pools import request
from reviewlm.core.services.service_list import keep_ports
from tests.flows.first_run import ROOT, TINY, mlflow_rows, user_environment

LONG_FIT = ["models.1.training.epochs=30", "execution.workers=1"]
LINES = 40
"""Lines of the journal after which the training is in full swing."""
Record = Callable[[str, object], None]


@dataclass
class Services:
    """A home folder with a Prefect server, an MLflow server and a worker."""

    home: Path

    def verb(self, *words: str) -> None:
        """Run `reviewlm` as a user of this home does."""
        command = [sys.executable, "-m", "reviewlm.cli", *words]
        environment = user_environment(self.home)
        done = subprocess.run(
            command,
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, done.stderr[-3_000:]

    def processes(self, name: str = "") -> list[psutil.Process]:
        """Return the processes of all services, or of one, with all that they have started."""
        found = []
        for service in service_list.running(self.home):
            if name in service.name:
                found += [(top := psutil.Process(service.pid)), *top.children(recursive=True)]
        return found

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
    ) -> Any:
        """Send a request to Prefect's server."""
        [server] = [one for one in service_list.running(self.home) if one.name == "prefect"]
        answer = request(
            f"{server.address}/api{path}",
            credentials_of(self.home),
            body,
            60,
            method,
        )
        return answer.json() if answer.content else None

    def run_of(self, deployment: str, overrides: list[str]) -> str:
        """Let the worker run a deployment; return the id of the flow run."""
        known = self.ask("GET", f"/deployments/name/{deployment}")["id"]
        parameters = {"preset": TINY, "overrides": overrides}
        return str(
            self.ask("POST", f"/deployments/{known}/create_flow_run", {"parameters": parameters})[
                "id"
            ]
        )

    def state(self, run: str) -> str:
        return str(self.ask("GET", f"/flow_runs/{run}")["state"]["name"])

    def wait_for(self, run: str, *states: str, seconds: float = 900) -> float:
        """Wait until a flow run is in one of these states; return the seconds."""
        return until(
            lambda: self.state(run) in states, lambda: f"{self.state(run)}: {self.log()}", seconds
        )

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
                files = {
                    name: about["sha256"]
                    for name, about in manifest["files"].items()
                    if "bundle" in name
                }
                found[file.parent.name] = json.dumps(files, sort_keys=True)
        return found

    def from_mlflow(self, query: str) -> list[Any]:
        return mlflow_rows(self.home, query)

    def assert_nothing_doubled(self) -> None:
        curves = "SELECT run_uuid, key, step, count(*) FROM metrics WHERE key LIKE 'train/%' GROUP BY 1, 2, 3"
        assert [row for row in self.from_mlflow(curves) if row[3] > 1] == []
        assert self.from_mlflow("SELECT version FROM model_versions WHERE status <> 'READY'") == []


def until(
    found: Callable[[], Any],
    about: Callable[[], str],
    seconds: float = 900,
) -> float:
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


@contextmanager
def running_prefect(home: Path, *pools: str) -> Iterator[tuple[Services, dict[str, str]]]:
    """Give Prefect's server with the workers of these pools, and the environment of its clients; stop them at the end.

    Two seconds pass before a worker looks for runs again, instead of ten.
    """
    started: dict[str, service_list.Service] = {}
    home.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING"):
            patch.delenv(name, raising=False)
        patch.setenv("PREFECT_HOME", str(home / "prefect"))
        patch.setenv("REVIEWLM_HOME", str(home))
        patch.setenv("PREFECT_WORKER_QUERY_SECONDS", "2")
        # The usual one may be that of other tests.
        with socket.create_server(("127.0.0.1", 0)) as free:
            keep_ports(home, {"prefect": free.getsockname()[1]})
        try:
            (starter := launch.Starter(home, started)).serve("prefect")
            starter.wait("prefect")
            environment = environment_of(home, started)
            for pool in pools:
                start_worker(home, pool, environment)
            yield Services(home), environment
        finally:
            service_list.stop(home)


def start_worker(
    home: Path,
    pool: str,
    environment: dict[str, str],
) -> None:
    """Start the worker of a pool beside the services that run."""
    command = ["-m", "prefect", "worker", "start", "--pool", pool, "--type", "process"]
    launch.Starter(home, running_in(home)).launch(f"worker-{pool}", command, environment)


def running_in(home: Path) -> dict[str, service_list.Service]:
    return {service.name: service for service in service_list.running(home)}


@contextmanager
def running_services(home: Path) -> Iterator[Services]:
    """Give services, and the results of an undisturbed run; kill the services at the end."""
    ours = Services(home)
    try:
        ours.verb("services", "start")
        ours.wait_for(ours.run_of("retrain/demo", LONG_FIT), "Completed")
        yield ours
    finally:
        kill(ours.processes())


@contextmanager
def fitted_again(ours: Services) -> Iterator[None]:
    """Let services run without the fit of the undisturbed run, which is the same at the end, and nothing doubled."""
    ours.verb("services", "start")
    fits = ours.fits()
    ours.forget_fit()
    yield
    ours.assert_nothing_doubled()
    assert ours.fits() == fits
