"""Operate ReviewLM as a team does: services, runs of deployments, alerts; and kill its processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import psutil
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from reviewlm.core.credentials import credentials_of, prefect_client
from reviewlm.core.environment import prepare_environment
from reviewlm.core.services import launch, service_list
from reviewlm.flows.server.alert_addresses import SILENCE_DAYS, write_alerts

LOST_SECONDS = 75.0
"""Seconds without a heartbeat until a run is lost; in production it is 600."""
SECOND_ATTEMPT_SECONDS = 150.0
ENDED_SECONDS = 20.0
WORKER = "worker-cpu-pool"
SOON = 4.0
"""A process is killed at a random moment of this many seconds after its first training began."""


class Alerts:
    """A web hook that keeps the titles of the alerts it gets."""

    def __init__(self) -> None:
        titles: list[str] = []

        class Hook(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                titles.append(
                    json.loads(self.rfile.read(int(self.headers["Content-Length"])))["title"]
                )
                self.send_response(200)
                self.end_headers()

            def log_message(self, *said: Any) -> None:
                """Stay silent."""

        self._titles = titles
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
        self.address = f"json://127.0.0.1:{self._server.server_address[1]}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def taken(self) -> list[str]:
        """Return the titles that came since the last call."""
        taken = self._titles[:]
        del self._titles[: len(taken)]
        return taken


class Operation:
    """The services of one home folder, with alerts to a web hook of this process.

    Args:
        home: The home folder.
        seed: Seed of the moments at which processes are killed.
    """

    def __init__(self, home: Path, seed: int = 1) -> None:
        self.home = home
        self.alerts = Alerts()
        self._random = Random(seed)
        prepare_environment(home)  # before any framework reads its settings
        os.environ["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] = "30"
        write_alerts(home, [self.alerts.address], SILENCE_DAYS)

    def start(self) -> None:
        """Start the services that do not run, as `services start` does, with a short time until a run is lost."""
        launch.start(self.home)
        program = (
            "import sys; from pathlib import Path; from reviewlm.flows.server.alert_addresses import read_alerts;"
            "from reviewlm.flows.server.automations import set_up;"
            f"set_up(read_alerts(Path(sys.argv[1])), lost_seconds={LOST_SECONDS})"
        )
        environment = {
            "PREFECT_API_URL": self._server() + "/api",
            **prefect_client(credentials_of(self.home)),
        }
        subprocess.run(
            [sys.executable, "-c", program, str(self.home)],
            check=True,
            env={**os.environ, **environment},
        )

    def stop(self) -> None:
        """Stop the services."""
        service_list.stop(self.home)

    def run(
        self,
        deployment: str,
        parameters: dict[str, Any],
        kill: bool = False,
        worker_too: bool = False,
    ) -> FlowRun:
        """Run a deployment to its end, including a second attempt, and return the run.

        Args:
            deployment: `FLOW/NAME`.
            parameters: Parameters of the flow.
            kill: Kill the processes of the run's first attempt during its training.
            worker_too: Kill the worker with them, and start it again as an operator or systemd would.
        """
        with self._client() as client:
            found = client.read_deployment_by_name(deployment)
            run = client.create_flow_run_from_deployment(found.id, parameters=parameters)
            if kill:
                self._kill(client, run.id, worker_too)
            return _ended(client, run.id)

    def finish_others(self) -> None:
        """Wait for runs that automations have started, such as a retrain because of drift."""
        with self._client() as client:
            for run in client.read_flow_runs(limit=20):
                if run.deployment_id and not _state(client, run.id).is_final():
                    _ended(client, run.id)

    def _server(self) -> str:
        return next(
            service.address
            for service in service_list.running(self.home)
            if service.name == "prefect"
        )

    @contextmanager
    def _client(self) -> Iterator[SyncPrefectClient]:
        """Give a client of the running server; Prefect read its settings before the server was there."""
        known = {
            PREFECT_API_URL: self._server() + "/api",
            PREFECT_API_AUTH_STRING: credentials_of(self.home),
        }
        with temporary_settings(known), get_client(sync_client=True) as client:
            yield client

    def _kill(
        self,
        client: SyncPrefectClient,
        run_id: UUID,
        worker_too: bool,
    ) -> None:
        while not self._is_training(client, run_id):
            if _state(client, run_id).is_final():
                return
            time.sleep(0.2)

        time.sleep(self._random.uniform(0, SOON))
        service = next(
            service for service in service_list.running(self.home) if service.name == WORKER
        )
        keeper = psutil.Process(service.pid)
        killed = [one for worker in keeper.children() for one in worker.children(recursive=True)]
        killed += [*keeper.children(), keeper] if worker_too else []
        for one in killed:
            with suppress(psutil.Error):
                one.kill()

        # A worker that is not quite dead would not be started again.
        psutil.wait_procs(killed, ENDED_SECONDS)
        if worker_too:
            self.start()

    @staticmethod
    def _is_training(client: SyncPrefectClient, run_id: UUID) -> bool:
        tasks = client.read_task_runs(
            flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run_id]))
        )
        return any(task.name.startswith("fit") for task in tasks)


def _state(client: SyncPrefectClient, run_id: UUID) -> Any:
    return client.read_flow_run(run_id).state


def _ended(client: SyncPrefectClient, run_id: UUID) -> FlowRun:
    """Wait for the end of a run; a first crash is the end only if no second attempt follows."""
    crashed: float | None = None
    while True:
        run = client.read_flow_run(run_id)
        state = run.state
        assert state is not None
        if state.is_crashed() and run.run_count < 2:
            crashed = crashed or time.monotonic()
            if time.monotonic() - crashed > SECOND_ATTEMPT_SECONDS:
                return run
        elif state.is_final():
            return run
        time.sleep(0.5)
