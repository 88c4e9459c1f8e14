"""Choose the ports of the Prefect and MLflow pages and of the champion's server, and keep them in the home folder.

Pages of finished runs hold links to these ports. So a home keeps its ports (`HOME/ports.json`) from the first link on.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from core.errors import ReviewLMError
from core.output import write_output

FILE = "ports.json"
DEFAULT_PORTS = {"prefect": 4200, "mlflow": 5000, "serve": 8000}
PORTS = range(1024, 65_536)
"""Ports that a program of a user may take."""


def address_of(home: Path, name: str) -> str:
    """Return the address of the pages of "prefect" or "mlflow", for links: also while they are not running.

    The first time, this is the default port, or the next one that no other program uses.
    """
    ports = kept_ports(home)
    if name not in ports:
        ports[name] = DEFAULT_PORTS[name]
        with suppress(OSError, ReviewLMError):  # no free port, or a home that is read-only: only the link is at stake
            ports[name] = free_port(DEFAULT_PORTS[name])
            keep_ports(home, ports)
    return f"http://127.0.0.1:{ports[name]}"


def kept_ports(home: Path) -> dict[str, int]:
    """Return the ports of this home by service; none for a service that was never started or linked to."""
    with suppress(OSError, ValueError, AttributeError):
        kept = json.loads((home / FILE).read_text(encoding="utf-8"))
        return {name: kept[name] for name in DEFAULT_PORTS if kept.get(name) in PORTS}
    return {}


def keep_ports(home: Path, ports: Mapping[str, int]) -> None:
    """Write the ports to the home folder, if there is one."""
    if home.is_dir():
        write_output(home / FILE, json.dumps(ports))


def free_port(wanted: int) -> int:
    """Return *wanted*, or the next port that no other program uses."""
    for port in range(wanted, min(wanted + 100, PORTS.stop)):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):  # on POSIX it sets SO_REUSEADDR
            return port
    raise ReviewLMError(
        f"No free port from {wanted} to {wanted + 99}", remedy="stop a program that uses one of these ports"
    )
