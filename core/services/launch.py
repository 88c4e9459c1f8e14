"""Start and watch the services of `make ui` and `make up`: Prefect, MLflow, workers, the champion's server.

Each is started again when it fails (`core/processes/keep_running.py`). Libraries do less: `prefect server start
--background` keeps a bare process id and starts no guard, MLflow or workers; `supervisor` waits for no health page and
needs a configuration file and its own server.
"""

from __future__ import annotations

import logging
import os
import platform
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from reviewlm.core.credentials import credentials_of, prefect_server
from reviewlm.core.environment import TRACKING_VARIABLE, busy, home_folder, prepare_environment
from reviewlm.core.errors import ConfigError, ReviewLMError
from reviewlm.core.processes import keep_running
from reviewlm.core.processes.interrupts import during
from reviewlm.core.processes.leftovers import hold, lasting_environment, process_name
from reviewlm.core.services.deployments import entries_of, shown_schedule
from reviewlm.core.services.join import OF_TERMINAL, environment_of
from reviewlm.core.services.pools import (
    POOLS,
    deploy,
    deploy_steps,
    settings_there,
    usable_pools,
    working_folder,
)
from reviewlm.core.services.service_list import (
    DEFAULT_PORTS,
    WATCH,
    Service,
    changing_services,
    end_service,
    end_services,
    kept_ports,
    killed_services,
    process_of,
    remember,
    running,
    take_port,
)

SERVERS = {
    "prefect": ("Prefect server", "reviewlm.flows.server.prefect_server", "/api/health"),
    "mlflow": ("MLflow server", "reviewlm.tracking.mlflow_server", "/health"),
}
"""Name, application and page that tells when it is ready, of each web server."""
WORKERS = {f"worker-{pool}": pool for pool in POOLS}
CHAMPION = "serve"
EVERYWHERE = "0.0.0.0"
HEALTHY_SECONDS = 1800.0
"""Time for a server that lives to answer: a busy machine needs minutes, and one that died ends the wait at once."""
LONG_SECONDS = 60.0
"""Time after which the wait for a server says what it waits for."""
WATCH_SECONDS = 10.0
"""Time between two looks at what was killed."""
LOG_TAIL = 4000
"""Bytes at the end of a log in which its last line is looked for."""
LOG_BYTES = 10_000_000
"""Size at which the next start of a service begins its log anew; the old one is kept beside it."""
OF_PREFECT = {"PREFECT_UI_API_URL": "/api", "PREFECT_SERVER_METRICS_ENABLED": "true"}
"""Environment of Prefect's server: its pages ask the server they came from, under the name that the browser used."""

SECONDS = 5.0
READY = {name: page for name, (_, _, page) in SERVERS.items()} | {CHAMPION: "/readyz"}
"""Page of each web server that tells whether it is ready."""
log = logging.getLogger(__name__)


def start(
    home: Path,
    tracking_uri: str = "",
    serve: Sequence[str] = (),
    deploy_again: bool = False,
    overwrite: bool = False,
) -> dict[str, str]:
    """Start the services that do not run yet, set up pools, limits and deployments, and return the addresses.

    Args:
        tracking_uri: Database that MLflow's pages show and runs of the workers are written to; "": that of the home. An
            MLflow server has pages of its own.
        serve: Words after `python` that serve the champion, too, without its port; it opens the model after this
            function has returned. Empty: nothing is served.
        deploy_again: Also deploy what `prefect.yaml` has changed since it was deployed.
        overwrite: Then also replace what somebody has changed in Prefect's pages.

    Raises:
        ReviewLMError: A service ended before it answered; its last message and its log file are named, and everything
            started here is stopped. Or the services that run use another tracking database.
    """
    home.mkdir(parents=True, exist_ok=True)
    with changing_services(home):
        return _start(
            home,
            tracking_uri,
            serve,
            deploy_again,
            overwrite,
        )


def _start(
    home: Path,
    tracking_uri: str,
    serve: Sequence[str],
    deploy_again: bool = False,
    overwrite: bool = False,
) -> dict[str, str]:
    services = {service.name: service for service in running(home)}
    killed = killed_services(home)
    before = set(services)
    elsewhere = tracking_uri.startswith("http")
    _require_tracking(services.values(), tracking_uri)
    os.environ[TRACKING_VARIABLE] = tracking_uri
    starter = Starter(home, services)
    try:
        names = tuple(SERVERS)
        if elsewhere:
            names = ("prefect",)

        # All start before the first one is waited for.
        notes = {name: starter.serve(name) for name in names}
        with _step(f"{SERVERS['prefect'][0]} at {notes['prefect']}"):
            starter.wait("prefect")
        environment = environment_of(home, services)
        pools = usable_pools()
        for step, carry_out in deploy_steps(
            environment,
            pools,
            home,
            deploy_again,
            overwrite,
        ):
            with _step(step):
                carry_out()
        for name in names[1:]:
            with _step(f"{SERVERS[name][0]} at {notes[name]}"):
                starter.wait(name)
        for name in (
            name for name, pool in WORKERS.items() if pool in pools and name not in services
        ):
            with _step(f"worker of {WORKERS[name]}"):
                starter.launch(name, command_of(name, "", 0), environment)
        if serve and CHAMPION not in services:
            with _step("server of the champion"):
                port = str(take_port(home, CHAMPION))
                starter.launch(
                    CHAMPION, [*serve, "--port", port], os.environ, f"http://127.0.0.1:{port}"
                )
    except BaseException:
        end_services(home, keep=before)
        remember(home, [*running(home), *killed])  # they are still to be started again
        raise

    started = {
        "Prefect": services["prefect"].address,
        "MLflow": tracking_uri if elsewhere else services["mlflow"].address,
    }
    if CHAMPION in services:
        started["champion"] = services[CHAMPION].address

    workers = [name for name in services if name.startswith("worker-")]
    started["password"] = "both pages ask for it; `reviewlm services password` shows it"
    started["workers"] = ", ".join(workers)
    started["logs"] = str(home / "logs")
    started["stop"] = "`reviewlm services stop`"
    return started


def schedules(home: Path) -> dict[str, str]:
    """Return the schedule of each deployment that has one, as Prefect's server has it; {} where no server of ours runs."""
    services = {service.name: service for service in running(home)}
    if "prefect" not in services:
        return {}

    there = settings_there(environment_of(home, services))
    ours = [entry["name"] for entry in entries_of(POOLS)]
    names = [name for name in ours if name in there and there[name]["schedules"]]
    return {name: shown_schedule(there[name]) for name in names}


def stay(
    home: Path,
    tracking_uri: str,
    serve: Sequence[str],
    told_to_end: threading.Event,
    pause: float = WATCH_SECONDS,
) -> None:
    """Start again each service whose guard was killed, until the services are stopped by `services stop`.

    A guard (`keep_running`) starts its program again, and nothing starts the guard. With Prefect's server gone no alert
    can come. This process is itself started again by systemd (`deploy/systemd`), and then finds the services running.

    Args:
        told_to_end: Ends the watch; the services run on.
        pause: Seconds between two looks.

    Raises:
        ReviewLMError: Another process watches the services of this home.
    """
    watch = hold(home / WATCH)
    if watch is None:  # `reviewlm doctor` may have looked just now
        time.sleep(1.0)
        watch = hold(home / WATCH)

    if watch is None:
        raise ReviewLMError(
            "Another process watches the services of this home already", where=home / WATCH
        )

    known = {*SERVERS, *WORKERS, *([CHAMPION] if serve else [])}
    try:
        while not told_to_end.wait(pause) and (running(home) or killed_services(home)):
            if not any(service.name in known for service in killed_services(home)):
                continue
            try:
                with changing_services(home):
                    # none, if it was `services stop` that ended them
                    if lost := [one.name for one in killed_services(home) if one.name in known]:
                        log.warning("killed: %s; starting again", ", ".join(lost))
                        _start(home, tracking_uri, serve)
            except ReviewLMError as error:
                log.warning("%s; trying again in %g s", error, LONG_SECONDS)
                told_to_end.wait(LONG_SECONDS)
    finally:
        os.close(watch)


def _require_tracking(services: Iterable[Service], tracking_uri: str) -> None:
    for service in services:
        if service.tracking != tracking_uri:
            raise ReviewLMError(
                "The running services use another tracking database",
                where=service.name,
                value=service.tracking or "that of the home",
                remedy="`reviewlm services stop`, then start them again",
            )


def command_of(
    name: str,
    host: str,
    port: int,
) -> list[str]:
    """Return the words after `python` that run a web server or the worker of a pool."""
    if pool := WORKERS.get(name):
        worker = f"reviewlm-{platform.node()}-{pool}"
        return ["-m", "prefect", "worker", "start", "--pool", pool, "--name", worker]

    return [
        "-m",
        "uvicorn",
        "--factory",
        f"{SERVERS[name][1]}:application",
        "--host",
        host,
        "--port",
        str(port),
        "--lifespan",
        "on",
        "--log-level",
        "warning",
        "--no-access-log",
        "--no-proxy-headers",
        "--no-server-header",
    ]


def variables_of(
    name: str,
    home: Path,
    origin: str,
) -> dict[str, str]:
    """Return the environment variables of a web server whose pages are at *origin*."""
    if name == "prefect":
        return {**OF_PREFECT, **prefect_server(credentials_of(home), origin)}
    return {}


@contextmanager
def _step(name: str) -> Iterator[None]:
    """Name a step while it lasts, and log its seconds when it has ended well."""
    began = time.monotonic()
    with during(f"starting: {name}"):
        yield
    log.info("%s: %.1f s", name, time.monotonic() - began)


@dataclass
class Starter:
    """Starts services of a home.

    Args:
        home: The folder.
        services: Those that run, by name; what is started comes to them.
        begun: Size of its log before, in bytes.
    """

    home: Path
    services: dict[str, Service]
    begun: dict[str, int] = field(default_factory=dict)

    def serve(self, name: str) -> str:
        """Start a web server on the loopback address, behind `core/web_guard.py`, unless it runs.

        Return its address, with a note if it could not get the wanted port.
        """
        if name in self.services:
            return f"{self.services[name].address}, runs already"

        kept = kept_ports(self.home)
        wanted = kept.get(name, DEFAULT_PORTS[name])
        port = take_port(self.home, name)
        address = f"http://127.0.0.1:{port}"
        environment = {
            **os.environ,
            "REVIEWLM_HOME": str(self.home),
            **variables_of(name, self.home, address),
        }
        environment.pop(OF_TERMINAL, None)
        self.launch(name, command_of(name, "127.0.0.1", port), environment, address)
        if port == wanted:
            return address

        links = ", to which links of earlier runs lead" if name in kept else ""
        return f"{address}, because another program uses port {wanted}{links}"

    def launch(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        address: str = "",
    ) -> None:
        """Start a program that is kept running, and note it among the services."""
        file = self._log(name)
        file.parent.mkdir(exist_ok=True)
        if file.exists() and file.stat().st_size > LOG_BYTES:
            file.replace(file.with_suffix(".log.1"))

        kept_running = [sys.executable, "-P", keep_running.__file__, *command]
        with file.open("ab") as log:
            self.begun[name] = log.tell()
            process = subprocess.Popen(
                kept_running,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=lasting_environment(environment),
                cwd=working_folder(self.home),
                start_new_session=True,
            )

        tracking = os.environ.get(TRACKING_VARIABLE, "")
        service = Service(
            name,
            process_name(process.pid),
            address,
            str(self.home),
            tracking,
        )
        try:
            remember(self.home, [*self.services.values(), service])
        except BaseException:  # no space, or an interrupt: nothing would stop it later
            end_service(service)
            raise

        self.services[name] = service

    def wait(self, name: str) -> None:
        """Wait until the page of a web server answers, as long as the server lives.

        Raises:
            ReviewLMError: It has ended, or lives for `HEALTHY_SECONDS` without an answer.
        """
        service = self.services[name]
        page = service.address + READY[name]
        program = _Program(service)
        began = time.monotonic()
        told = False
        # the process itself: the server of another home at the same port would answer, too
        while not (_listens(service.pid, urlsplit(page).port) and _answers(page)):
            waited = time.monotonic() - began
            lives = program.lives()
            if not lives or waited >= HEALTHY_SECONDS:
                how = f"no answer after {waited:.0f} s" if lives else "it has ended"
                raise ReviewLMError(
                    f"The {name} service does not answer",
                    where=page,
                    cause=": ".join([how, *self._last_line(name)]),
                    remedy=f"see {self._log(name)}",
                )

            if waited >= LONG_SECONDS and not told:
                told = True
                log.info(
                    "the %s service (process %d) lives, but does not answer yet; waiting for it. %sIts log: %s",
                    name,
                    service.pid,
                    f"{sentence}. " if (sentence := busy()) else "",
                    self._log(name),
                )

            time.sleep(0.5)

    def _last_line(self, name: str) -> list[str]:
        """Return the last line of a service's log, before it is told to stop and writes of that; [] for none."""
        with suppress(OSError):
            text = self._log(name).read_bytes()[self.begun.get(name, 0) :][-LOG_TAIL:]
            return [line for line in text.decode("utf-8", "replace").splitlines() if line.strip()][
                -1:
            ]
        return []

    def _log(self, name: str) -> Path:
        return self.home / "logs" / f"{name}.log"


class _Program:
    """The program that the guard of a service (`keep_running`) runs now: one that ends has not answered."""

    def __init__(self, guard: Service) -> None:
        self._guard = guard
        self._first: Service | None = None

    def lives(self) -> bool:
        """Return whether guard and program live; a guard that has not started its program yet counts."""
        if process_of(self._guard) is None:
            return False
        if self._first is not None:
            return process_of(self._first) is not None
        with suppress(psutil.Error):
            for child in psutil.Process(self._guard.pid).children():
                self._first = Service("", process_name(child.pid))
        return True


def _answers(url: str) -> bool:
    with suppress(OSError):  # any error status raises, too
        urllib.request.urlopen(url, timeout=SECONDS).close()
        return True
    return False


def _listens(pid: int, port: int | None) -> bool:
    """Return whether a process or a child of it listens at a port."""
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        connections = [
            one
            for each in (process, *process.children(True))
            for one in each.net_connections("tcp")
        ]
        return any(
            connection.laddr.port == port and connection.status == psutil.CONN_LISTEN
            for connection in connections
        )

    return False


def status(home: Path) -> list[dict[str, Any]]:
    """Return name, state (whether it answers), address and process number of the services here, in the order of their start."""
    return [
        {
            "service": service.name,
            "state": _state(service),
            "address": service.address,
            "process": service.pid,
        }
        for service in running(home)
    ]


def _state(service: Service) -> str:
    if service.name not in READY:
        return "runs"
    if _answers(service.address + READY[service.name]):
        return "answers"
    return "does not answer"


def run_in_foreground(name: str) -> None:
    """Replace this process by a service, so that it gets the signals; a worker deploys before.

    `python -m reviewlm.core.services.launch NAME` does so, for containers; NAME is that of `reviewlm services status`.
    There it listens on all addresses, so the published ports decide who may reach it. The `Host` header and the password
    are checked as always (`core/web_guard.py`).

    Raises:
        ConfigError: There is no such service, or a worker was not told where Prefect's server is.
    """
    if name not in (names := (*SERVERS, *WORKERS)):
        raise ConfigError(
            "There is no such service", value=name, remedy=f"name one of {', '.join(names)}"
        )

    prepare_environment(home := home_folder())
    if pool := WORKERS.get(name):
        address = os.environ.get("PREFECT_API_URL", "")
        if not address:
            raise ConfigError(
                "A worker needs the address of Prefect's server", remedy="set PREFECT_API_URL"
            )
        os.environ.update(
            environment_of(home, {"prefect": Service("prefect", "", address.removesuffix("/api"))})
        )
        deploy(dict(os.environ), [pool], home)
    else:
        os.environ.update(variables_of(name, home, os.environ.get("PREFECT_UI_URL", "")))

    os.chdir(working_folder(home))
    os.execv(
        sys.executable, [sys.executable, *command_of(name, EVERYWHERE, DEFAULT_PORTS.get(name, 0))]
    )


if __name__ == "__main__":
    run_in_foreground(sys.argv[1] if len(sys.argv) > 1 else "")
