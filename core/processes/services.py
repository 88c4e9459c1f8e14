"""Start and stop the services of `make ui` and `make down`: a Prefect server, the MLflow UI and workers.

The started processes are written to `HOME/services.json` with process ids and their start in ticks since the boot. So
`stop` ends exactly these processes, and no other process that got a reused id, also after the clock was set.

Libraries do less: `prefect server start --background` keeps a bare process id and starts no guard, MLflow or workers;
`supervisor` (measured: 25 MB more memory) waits for no health page and needs a configuration file and its own server.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from core.credentials import PASSWORD_FILE, USER, credentials_of, password_of, prefect_client, prefect_server
from core.errors import ReviewLMError, Unreadable
from core.output import write_output
from core.processes.identity import is_gone, process_name, this_machine
from core.processes.interrupts import pending
from core.processes.leftovers import lasting_environment
from core.processes.pools import HEARTBEAT_SECONDS, PROJECT, automate, deploy, usable_pools
from core.processes.ports import DEFAULT_PORTS, free_port, keep_ports, kept_ports

STATE = "services.json"
SERVERS = {
    "prefect": ("Prefect server", "flows.server.prefect_server", "/api/health"),
    "mlflow": ("MLflow server", "tracking.mlflow_server", "/health"),
}
"""Name, application and page that tells when it is ready, of each web server."""
Report = Callable[[str, float | None, str], object]
HEARTBEATS = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS)}
"""Lets every flow run send signs of life, so that the server notices a run whose process is gone."""
HEALTHY_SECONDS = 120.0
STOP_SECONDS = 20.0
INTERRUPTED_SECONDS = 0.5
"""Seconds for each service to stop when `ui start` is interrupted and the user waits for its end."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Service:
    """A background process: `process` (its name, see `core.processes.identity`) guards against a reused process id.

    `machine` is where that id is valid, `home` the folder that the service was started for. Older entries have none of
    the three; for them, `created` (its start by the machine's clock, which may be set) is the guard.
    """

    name: str
    pid: int
    created: float
    address: str = ""
    machine: str = ""
    home: str = ""
    process: str = ""

    @property
    def is_here(self) -> bool:
        """Whether it was started where this process runs, and not, for example, on the host of this container."""
        name, here = (machine.rpartition(" ")[0] for machine in (self.machine, this_machine()))  # without the boot
        return name in ("", here)


def running(home: Path) -> list[Service]:
    """Return the services that `start` started on this machine and that still run, in the order of their start."""
    return [service for service in _remembered(home) if service.is_here and _process(service) is not None]


def forget(home: Path, keep: Collection[str] = ()) -> None:
    """Forget the services of this machine except *keep*, and stop none."""
    _remember(home, [service for service in running(home) if service.name in keep])


def _remembered(home: Path) -> list[Service]:
    file = home / STATE
    if not file.is_file():
        return []
    try:
        return [Service(**entry) for entry in json.loads(file.read_text(encoding="utf-8"))]
    except (ValueError, TypeError) as error:
        raise Unreadable(
            "The list of running services cannot be read", where=file, cause=str(error),
            remedy="stop the processes by hand and delete it",
        ) from error


def start(home: Path, report: Report = lambda step, seconds, note: None) -> dict[str, str]:
    """Start the services that do not run yet, set up pools, limits and deployments, and return the addresses.

    Args:
        home: Home folder of the services.
        report: Called with the name of each step, before it without seconds, and after it with its seconds and a note.

    Raises:
        ReviewLMError: A service does not answer in time; its log file is named and everything started here is stopped.
    """
    home.mkdir(parents=True, exist_ok=True)
    services = {service.name: service for service in running(home)}
    before = set(services)
    try:
        for name, (title, module, health) in SERVERS.items():
            with _timed(report, title) as note:
                note += [services[name].address + ", runs already"] if name in services else [
                    _serve(home, services, name, module, health)]
        environment = _environment(home, services)
        pools = usable_pools()
        with _timed(report, "pools, limits and deployments"):
            deploy(environment, pools, home)
        for pool in pools:
            if f"worker-{pool}" not in services:
                command = ["prefect", "worker", "start", "--pool", pool, "--name", f"reviewlm-{pool}"]
                with _timed(report, f"worker of {pool}"):
                    _launch(home, services, f"worker-{pool}", command, environment=environment)
    except BaseException:
        stop(home, keep=before)
        raise
    return {
        "Prefect": services["prefect"].address, "MLflow": services["mlflow"].address,
        "password": "`reviewlm ui password` shows it",
        "workers": ", ".join(name for name in services if name.startswith("worker-")), "logs": str(home / "logs"),
        "stop": "make down",
    }


def _environment(home: Path, services: Mapping[str, Service]) -> dict[str, str]:
    """Return the environment of workers, and of the commands that set up the Prefect server."""
    addresses = {"PREFECT_API_URL": services["prefect"].address + "/api"}
    if "mlflow" in services:
        addresses["REVIEWLM_MLFLOW_URL"] = services["mlflow"].address
    known = {**addresses, **prefect_client(credentials_of(home)), **HEARTBEATS, "REVIEWLM_PROJECT": str(PROJECT)}
    # The page of a run in Prefect shows our log messages; on a terminal, the command line shows them itself.
    environment = {**os.environ, **known, "PREFECT_LOGGING_LEVEL": "INFO"}
    environment.pop("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", None)
    if os.environ.get("REVIEWLM_LOG_FORMAT") == "json":  # see reviewlm/shown/json_lines.py
        environment["PREFECT_LOGGING_HANDLERS_CONSOLE_FORMATTER"] = "json"
    return environment


def renew_alerts(home: Path) -> bool:
    """Let a running Prefect server of this home take over changed alerts; return False if none runs."""
    services = {service.name: service for service in running(home)}
    if "prefect" not in services:
        return False
    automate(_environment(home, services), home)
    return True


def join(home: Path, tracking_uri: str = "") -> None:
    """Let this process use the running services: one Prefect server per database, and links that lead to its pages.

    The password is set only for our own servers: Prefect and MLflow would send it to any other server, too.

    Args:
        home: Home folder of the services.
        tracking_uri: Server or database that runs are written to; empty for the home's own database.
    """
    services = running(home)
    if services and _is_anothers(home / PASSWORD_FILE):
        log.warning("the services in %s belong to another user: continuing without them. For your own: "
                    "`reviewlm ui start` with another REVIEWLM_HOME", home)
        return
    for service in services:
        if service.name == "prefect":
            if os.environ.setdefault("PREFECT_API_URL", service.address + "/api") == service.address + "/api":
                for name, value in {**prefect_client(credentials_of(home)), **HEARTBEATS}.items():
                    os.environ.setdefault(name, value)
        elif service.name == "mlflow":
            os.environ.setdefault("REVIEWLM_MLFLOW_URL", service.address)
            if tracking_uri.rstrip("/") == service.address:
                os.environ.setdefault("MLFLOW_TRACKING_USERNAME", USER)
                os.environ.setdefault("MLFLOW_TRACKING_PASSWORD", password_of(home))


def _is_anothers(file: Path) -> bool:
    """Return whether a file belongs to another user."""
    try:
        return file.stat().st_uid != os.geteuid()
    except OSError:
        return False


def stop(home: Path, keep: Collection[str] = ()) -> list[str]:
    """Stop the services except *keep*, the last started first, each with its children; return the stopped names."""
    stopped, kept = [], []
    for service in reversed(running(home)):
        process = _process(service)
        if process is None:
            continue
        if service.name in keep:
            kept.append(service)
            continue
        family = [*process.children(recursive=True), process]
        for member in family:
            with suppress(psutil.Error):
                member.terminate()
        _, alive = psutil.wait_procs(family, timeout=INTERRUPTED_SECONDS if pending() else STOP_SECONDS)
        for member in alive:
            with suppress(psutil.Error):
                member.kill()
        stopped.append(service.name)
    _remember(home, kept[::-1])
    return stopped


def _serve(home: Path, services: dict[str, Service], name: str, module: str, health: str) -> str:
    """Start a web server on the loopback address: the application of *module*, behind `core/web_guard.py`.

    Return its address, with a note if it could not get the wanted port.
    """
    known = kept_ports(home)
    wanted = known.get(name, DEFAULT_PORTS[name])
    port = free_port(wanted)
    keep_ports(home, {**known, name: port})
    address = f"http://127.0.0.1:{port}"
    environment = {**os.environ, "REVIEWLM_HOME": str(home)}
    if name == "prefect":
        # The pages send requests to the server they came from, under the name that the browser used.
        environment |= {"PREFECT_UI_API_URL": "/api", **prefect_server(credentials_of(home), address)}
    command = [
        "python", "-m", "uvicorn", "--factory", f"{module}:application", "--host", "127.0.0.1", "--port", str(port),
        "--lifespan", "on", "--log-level", "warning", "--no-access-log", "--no-proxy-headers", "--no-server-header",
    ]
    _launch(home, services, name, command, address, health, environment)
    if port == wanted:
        return address
    earlier = f"; new links lead to port {port}, those in earlier runs still to {wanted}" if name in known else ""
    return f"{address}, because another program uses port {wanted}{earlier}"


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
    executable = str(Path(sys.executable).parent / command[0])
    with (logs / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            [executable, *command[1:]], stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment,
            cwd=PROJECT, start_new_session=True,
        )
    created = psutil.Process(process.pid).create_time()
    machine, named = this_machine(), process_name(process.pid)
    services[name] = Service(name, process.pid, created, address, machine, str(home), named)
    _remember(home, services.values())
    if health:
        _wait_until_healthy(address + health, process, logs / f"{name}.log", name)


def _remember(home: Path, services: Iterable[Service]) -> None:
    """Write down the services of this machine; those of others, which may use this home too, stay."""
    entries = [asdict(service) for service in [*services, *(one for one in _remembered(home) if not one.is_here)]]
    if not entries:
        (home / STATE).unlink(missing_ok=True)
        return
    write_output(home / STATE, json.dumps(entries))


def _wait_until_healthy(url: str, process: subprocess.Popen[bytes], log: Path, name: str) -> None:
    until = time.monotonic() + HEALTHY_SECONDS
    while time.monotonic() < until and process.poll() is None:
        with suppress(OSError), urllib.request.urlopen(url, timeout=5):  # any error status raises, too
            return
        time.sleep(0.5)
    raise ReviewLMError(f"The {name} service does not answer", where=url, remedy=f"see {log}")


def _process(service: Service) -> psutil.Process | None:
    try:
        process = psutil.Process(service.pid)
        late = abs(process.create_time() - service.created)
        same = not is_gone(service.process) if service.process else late < 1
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None
