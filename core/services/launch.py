"""Start the services of `make ui` and `make up`: Prefect server, MLflow server, workers, the champion's server.

Each is started again when it fails (`core/processes/keep_running.py`). Libraries do less: `prefect server start
--background` keeps a bare process id and starts no guard, MLflow or workers; `supervisor` waits for no health page and
needs a configuration file and its own server.

Report which services run, and whether they answer.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from core.credentials import credentials_of, prefect_server
from core.environment import TRACKING_VARIABLE
from core.errors import ReviewLMError
from core.processes import keep_running
from core.processes.leftovers import lasting_environment, process_name
from core.services.join import OF_TERMINAL, environment_of
from core.services.pools import PROJECT, deploy, usable_pools
from core.services.service_list import (
    DEFAULT_PORTS,
    Service,
    free_port,
    keep_ports,
    kept_ports,
    remember,
    running,
    stop,
)

SERVERS = {
    "prefect": ("Prefect server", "flows.server.prefect_server", "/api/health"),
    "mlflow": ("MLflow server", "tracking.mlflow_server", "/health"),
}
"""Name, application and page that tells when it is ready, of each web server."""
CHAMPION = "serve"
Report = Callable[[str, float | None, str], object]
HEALTHY_SECONDS = 120.0
LOG_BYTES = 10_000_000
"""Size at which the next start of a service begins its log anew; the old one is kept beside it."""
OF_PREFECT = {"PREFECT_UI_API_URL": "/api", "PREFECT_SERVER_METRICS_ENABLED": "true"}
"""Environment of Prefect's server: its pages ask the server they came from, under the name that the browser used."""

SECONDS = 5.0
READY = {name: page for name, (_, _, page) in SERVERS.items()} | {CHAMPION: "/readyz"}
"""Page of each web server that tells whether it is ready."""


def start(
    home: Path, report: Report = lambda step, seconds, note: None, tracking_uri: str = "", serve: Sequence[str] = (),
    deploy_again: bool = False,
) -> dict[str, str]:
    """Start the services that do not run yet, set up pools, limits and deployments, and return the addresses.

    Args:
        report: Called with the name of each step, before it without seconds, and after it with its seconds and a note.
        tracking_uri: Database that MLflow's pages show and runs of the workers are written to; "": that of the home. An
            MLflow server has pages of its own.
        serve: Words after `python` that serve the champion, too, without its port; it opens the model after this
            function has returned. Empty: nothing is served.
        deploy_again: Also deploy what is deployed, as `prefect.yaml` says.

    Raises:
        ReviewLMError: A service does not answer in time; its log file is named and everything started here is stopped.
            Or the services that run use another tracking database.
    """
    home.mkdir(parents=True, exist_ok=True)
    services = {service.name: service for service in running(home)}
    before, elsewhere = set(services), tracking_uri.startswith("http")
    _require_tracking(services.values(), tracking_uri)
    os.environ[TRACKING_VARIABLE] = tracking_uri
    try:
        for name, (title, module, health) in SERVERS.items():
            if elsewhere and name == "mlflow":
                continue
            with _timed(report, title) as note:
                note += [services[name].address + ", runs already"] if name in services else [
                    _serve(home, services, name, module, health)]
        environment = environment_of(home, services)
        launch_one, pools = partial(_launch, home, services), usable_pools()
        with _timed(report, "pools, limits and deployments"):
            deploy(environment, pools, home, deploy_again)
        for pool in pools:
            if f"worker-{pool}" not in services:
                with _timed(report, f"worker of {pool}"):
                    command = worker_command(pool, f"reviewlm-{pool}")
                    launch_one(f"worker-{pool}", command, environment=environment)
        if serve and CHAMPION not in services:
            port = _port(home, CHAMPION)
            with _timed(report, "server of the champion"):
                launch_one(CHAMPION, [*serve, "--port", str(port)], f"http://127.0.0.1:{port}")
    except BaseException:
        stop(home, keep=before)
        raise
    return {
        "Prefect": services["prefect"].address,
        "MLflow": tracking_uri if elsewhere else services["mlflow"].address,
        **({"champion": services[CHAMPION].address} if CHAMPION in services else {}),
        "password": "`reviewlm services password` shows it",
        "workers": ", ".join(name for name in services if name.startswith("worker-")), "logs": str(home / "logs"),
        "stop": "make down",
    }


def _require_tracking(services: Iterable[Service], tracking_uri: str) -> None:
    for service in services:
        if service.tracking != tracking_uri:
            raise ReviewLMError(
                "The running services use another tracking database", where=service.name,
                value=service.tracking or "that of the home", remedy="stop them (`make down`) and start them again",
            )


def _serve(home: Path, services: dict[str, Service], name: str, module: str, health: str) -> str:
    """Start a web server on the loopback address: the application of *module*, behind `core/web_guard.py`.

    Wait until it answers. Return its address, with a note if it could not get the wanted port.
    """
    wanted = kept_ports(home).get(name, DEFAULT_PORTS[name])
    port = _port(home, name)
    address = f"http://127.0.0.1:{port}"
    environment = {**os.environ, "REVIEWLM_HOME": str(home)}
    environment.pop(OF_TERMINAL, None)
    if name == "prefect":
        environment |= {**OF_PREFECT, **prefect_server(credentials_of(home), address)}
    _launch(home, services, name, server_command(module, "127.0.0.1", port), address, health, environment)
    if port == wanted:
        return address
    return f"{address}, because another program uses port {wanted}, to which links of earlier runs lead"


def server_command(module: str, host: str, port: int) -> list[str]:
    """Return the words after `python` that run the application of a module."""
    return [
        "-m", "uvicorn", "--factory", f"{module}:application", "--host", host, "--port", str(port),
        "--lifespan", "on", "--log-level", "warning", "--no-access-log", "--no-proxy-headers", "--no-server-header",
    ]


def worker_command(pool: str, name: str) -> list[str]:
    """Return the words after `python` that run a worker of a pool."""
    return ["-m", "prefect", "worker", "start", "--pool", pool, "--name", name]


def _port(home: Path, name: str) -> int:
    """Return the port of a service: the one it had, or the next free one, which it keeps."""
    ports = kept_ports(home)
    port = free_port(ports.get(name, DEFAULT_PORTS[name]))
    keep_ports(home, {**ports, name: port})
    return port


@contextmanager
def _timed(report: Report, step: str) -> Iterator[list[str]]:
    """Report a step when the block begins, and its seconds when it ends; the block may add notes to the list."""
    began, notes = time.monotonic(), list[str]()
    report(step, None, "")
    try:
        yield notes
    except BaseException:
        notes.append("failed")
        raise
    finally:
        report(step, time.monotonic() - began, "; ".join(notes))


def _launch(
    home: Path, services: dict[str, Service], name: str, command: list[str], address: str = "", health: str = "",
    environment: dict[str, str] | None = None,
) -> None:
    logs = home / "logs"
    logs.mkdir(exist_ok=True)
    environment = lasting_environment(environment or os.environ)
    file = logs / f"{name}.log"
    if file.exists() and file.stat().st_size > LOG_BYTES:
        file.replace(file.with_suffix(".log.1"))
    with file.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", keep_running.__file__, *command], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            env=environment, cwd=PROJECT, start_new_session=True,
        )
    tracking = os.environ.get(TRACKING_VARIABLE, "")
    services[name] = Service(name, process_name(process.pid), address, str(home), tracking)
    remember(home, services.values())
    if health:
        _wait_until_healthy(address + health, process, file, name)


def _wait_until_healthy(url: str, process: subprocess.Popen[bytes], log: Path, name: str) -> None:
    """Wait until the process itself answers; the server of another home at the same port would answer, too."""
    until, port = time.monotonic() + HEALTHY_SECONDS, urlsplit(url).port or 0
    while time.monotonic() < until and process.poll() is None:
        with suppress(OSError, psutil.Error):  # any error status raises, too
            if port in _ports_of(process.pid):
                urllib.request.urlopen(url, timeout=SECONDS).close()
                return
        time.sleep(0.5)
    raise ReviewLMError(f"The {name} service does not answer", where=url, remedy=f"see {log}")


def _ports_of(pid: int) -> set[int]:
    """Return the ports at which a process and its children listen."""
    process = psutil.Process(pid)
    connections = [one for each in (process, *process.children(recursive=True)) for one in each.net_connections("tcp")]
    return {one.laddr.port for one in connections if one.status == psutil.CONN_LISTEN}


def status(home: Path) -> list[dict[str, Any]]:
    """Return name, state, address and process number of the services that run here, in the order of their start."""
    return [
        {"service": service.name, "state": _state(service), "address": service.address, "process": service.pid}
        for service in running(home)
    ]


def _state(service: Service) -> str:
    if service.name not in READY:
        return "runs"
    try:
        urllib.request.urlopen(service.address + READY[service.name], timeout=SECONDS).close()
    except OSError:  # any error status, too
        return "does not answer"
    return "answers"
