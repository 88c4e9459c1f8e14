"""List and stop the services that `services start` has started on this machine, and choose their ports.

The started processes are written to `HOME/services.json` with process ids and their start in ticks since the boot. So
`stop` ends exactly these processes, and no other process that got a reused id, also after the clock was set.

Pages of finished runs hold links to these ports. So a home keeps its ports (`HOME/ports.json`) from the first link on.
"""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from reviewlm.core.errors import ReviewLMError, Unreadable
from reviewlm.core.output import write_output
from reviewlm.core.processes.interrupts import during, pending
from reviewlm.core.processes.leftovers import is_elsewhere, is_held, process_name

STATE = "services.json"
"""File with the list of services."""
LOCK = "services.lock"
"""Lock of changes of that list."""
WATCH = "services.watch"
"""Lock of the process that starts killed services again (`launch.stay`)."""
STOP_SECONDS = 20.0
INTERRUPTED_SECONDS = 0.5
"""Seconds for each service to stop when `services start` is interrupted and the user waits for its end."""
log = logging.getLogger(__name__)
FILE = "ports.json"
DEFAULT_PORTS = {
    "prefect": 4200,
    "mlflow": 5000,
    "serve": 8000,
}
PORTS = range(1024, 65_536)
"""Ports that a program of a user may take."""


@dataclass(frozen=True)
class Service:
    """A background process.

    Args:
        name: That of `reviewlm services status`.
        process: Its name, which guards against a reused process id (`core/processes/leftovers.py`).
        address: Of a server.
        home: The folder that it was started for.
        tracking: What MLflow's pages show, written as `execution.tracking_uri`.
    """

    name: str
    process: str
    address: str = ""
    home: str = ""
    tracking: str = ""

    @property
    def pid(self) -> int:
        """Its process id, where it runs."""
        return int(self.process.split()[-2])

    def is_of(self, home: Path) -> bool:
        """Whether the service was started for this folder, and not for the home that this folder is a copy of."""
        former = Path(self.home)
        return not self.home or not former.exists() or former.samefile(home)

    @property
    def is_here(self) -> bool:
        """Whether the service runs on the machine of this process, and not, for example, on the host of this container."""
        return not is_elsewhere(self.process)


@contextmanager
def changing_services(home: Path) -> Iterator[None]:
    """Hold the lock of the list of services: of two commands that start or stop them, the second one waits.

    Without it, both would start a worker, and the list would know only one of them.
    """
    lock = FileLock(home / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        wait = "wait for another command that starts or stops the services of this home"
        log.info("another command starts or stops the services of this home; waiting for its end")
        with during(wait):
            lock.acquire()

    try:
        yield
    finally:
        lock.release()


def running(home: Path) -> list[Service]:
    """Return the services that `start` started on this machine and that still run, in the order of their start."""
    return [
        service
        for service in _read_services(home)
        if service.is_here and service.is_of(home) and process_of(service) is not None
    ]


def killed_services(home: Path) -> list[Service]:
    """Return the services of this machine that were started and not stopped, and do not run: they were killed."""
    here = {service.name for service in running(home)}
    return [
        service
        for service in _read_services(home)
        if service.is_here and service.is_of(home) and service.name not in here
    ]


def is_watched(home: Path) -> bool:
    """Return whether a process starts killed services again."""
    return (home / WATCH).exists() and is_held(home / WATCH)


def _read_services(home: Path) -> list[Service]:
    file = home / STATE
    if not file.is_file():
        return []

    try:
        return [Service(**entry) for entry in json.loads(file.read_text(encoding="utf-8"))]
    except (ValueError, TypeError) as error:
        raise Unreadable(
            "The list of running services cannot be read",
            where=file,
            cause=str(error),
            remedy="stop the processes by hand and delete it",
        ) from error


def remember(home: Path, services: Iterable[Service]) -> None:
    """Write down the services of this machine; those of others, which may use this home too, stay."""
    entries = [asdict(service) for service in services]
    for service in _read_services(home):
        if not service.is_here:
            entries.append(asdict(service))

    if not entries:
        (home / STATE).unlink(missing_ok=True)
        return
    write_output(home / STATE, json.dumps(entries))


def process_of(service: Service) -> psutil.Process | None:
    """Return the process of a service, or None if it has ended."""
    try:
        process = psutil.Process(service.pid)
        same = process_name(service.pid) == service.process  # else its number was given to another
        if same and process.status() != psutil.STATUS_ZOMBIE:
            return process
        return None
    except psutil.Error:
        return None


def stop(home: Path) -> list[str]:
    """Stop the services, the last started first, each with its children; return the stopped names."""
    if not home.is_dir():
        return []
    with changing_services(home):
        return end_services(home)


def end_services(home: Path, keep: Collection[str] = ()) -> list[str]:
    """Stop the services except *keep*, as `stop` does; the caller holds the lock of the list."""
    there = running(home)
    ending = [service for service in reversed(there) if service.name not in keep]
    for service in ending:
        with during(f"stopping: {service.name}"):
            end_service(service)
    remember(home, [service for service in there if service.name in keep])
    return [service.name for service in ending]


def end_service(service: Service) -> None:
    """Stop the process of a service with its children; kill those that do not end in time."""
    process = process_of(service)
    if process is None:
        return

    family = [*process.children(recursive=True), process]
    for member in family:
        with suppress(psutil.Error):
            member.terminate()

    seconds = INTERRUPTED_SECONDS if pending() else STOP_SECONDS
    _, alive = psutil.wait_procs(family, timeout=seconds)
    for member in alive:
        with suppress(psutil.Error):
            member.kill()


def address_of(home: Path, name: str) -> str:
    """Return the address of the pages of "prefect" or "mlflow", for links: also while they are not running.

    The first time, this is the default port, or the next one that no other program uses.
    """
    port = kept_ports(home).get(name)
    if port is None:
        port = DEFAULT_PORTS[name]
        # No free port, or a home that is read-only: only the link is at stake.
        with suppress(OSError, ReviewLMError):
            port = take_port(home, name)
    return f"http://127.0.0.1:{port}"


def take_port(home: Path, name: str) -> int:
    """Return the port that a service can start at: the one it had, or the next free one, which it keeps."""
    ports = kept_ports(home)
    port = free_port(ports.get(name, DEFAULT_PORTS[name]))
    keep_ports(home, {**ports, name: port})
    return port


def kept_ports(home: Path) -> dict[str, int]:
    """Return the ports of this home by service; none for a service that was never started or linked to."""
    with suppress(OSError, ValueError, AttributeError):
        ports = json.loads((home / FILE).read_text(encoding="utf-8"))
        return {name: ports[name] for name in DEFAULT_PORTS if ports.get(name) in PORTS}
    return {}


def keep_ports(home: Path, ports: Mapping[str, int]) -> None:
    """Write the ports to the home folder, if there is one."""
    if home.is_dir():
        write_output(home / FILE, json.dumps(ports))


def free_port(first: int) -> int:
    """Return *first*, or the next port that no other program uses."""
    for port in range(first, min(first + 100, PORTS.stop)):
        with (
            suppress(OSError),
            socket.create_server(("127.0.0.1", port)),
        ):  # on POSIX it sets SO_REUSEADDR
            return port

    raise ReviewLMError(
        f"No free port from {first} to {first + 99}",
        remedy="stop a program that uses one of these ports",
    )
