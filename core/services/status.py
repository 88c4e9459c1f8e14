"""Report which services run, since when, with how much memory, and whether they answer."""

from __future__ import annotations

import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from core.services.launch import CHAMPION, SERVERS
from core.services.service_list import Service, process_of, running

SECONDS = 5.0
READY = {name: page for name, (_, _, page) in SERVERS.items()} | {CHAMPION: "/readyz"}
"""Page of each web server that tells whether it is ready."""


@dataclass(frozen=True)
class Status:
    """A service that runs.

    Args:
        name: Its name.
        address: Where a web server answers; "" for a worker.
        state: "answers" or "does not answer" for a web server, "runs" for a worker.
        since: Its start, to the minute (UTC).
        bytes: Memory of the process and its children.
        pid: Number of the process.
    """

    name: str
    address: str
    state: str
    since: str
    bytes: int
    pid: int


def status(home: Path) -> list[Status]:
    """Return the services that run on this machine, in the order of their start."""
    return [found for service in running(home) if (found := _status(service)) is not None]


def _status(service: Service) -> Status | None:
    """Return what a service does, or None if it has just ended."""
    if (process := process_of(service)) is None:
        return None
    memory = 0
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.Error):
            memory += one.memory_info().rss
    since = datetime.fromtimestamp(service.created, UTC).strftime("%Y-%m-%d %H:%M")
    return Status(service.name, service.address, _state(service), since, memory, service.pid)


def _state(service: Service) -> str:
    if service.name not in READY:
        return "runs"
    try:
        urllib.request.urlopen(service.address + READY[service.name], timeout=SECONDS).close()
    except OSError:  # any error status, too
        return "does not answer"
    return "answers"
