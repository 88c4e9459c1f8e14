"""Find an address and port where the ranks of one fit on several machines meet (rendezvous of torch.distributed)."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address

import psutil

from core.errors import ConfigError

ADDRESS_VARIABLE = "REVIEWLM_WORKER_ADDRESS"
"""Names the address at which other workers of a pool reach this machine; without it, its host name is used."""
REACH_SECONDS = 20.0


@dataclass(frozen=True)
class Meeting:
    """Where the ranks of a fit meet.

    Args:
        host: Address of the machine with the leading rank.
        port: Its port.
        first: Number of the first rank of this machine.
        ranks: Number of the ranks of all machines.
        interface: Network interface by which the other machines reach this one.
    """

    host: str
    port: int
    first: int
    ranks: int
    interface: str

    @property
    def address(self) -> str:
        """The "init_method" of torch.distributed."""
        return f"tcp://[{self.host}]:{self.port}" if ":" in self.host else f"tcp://{self.host}:{self.port}"


def own_address() -> str:
    """Return the address at which other machines reach this one."""
    return os.environ.get(ADDRESS_VARIABLE) or socket.gethostname()


def interface_of(address: str) -> str:
    """Return the network interface of this machine that has an address.

    Raises:
        ConfigError: No interface has it, or it is the host name and that means the loopback.
    """
    try:
        numbers = {str(found[4][0]) for found in socket.getaddrinfo(address, None)}
    except OSError as error:
        raise _not_here(address, str(error)) from error
    if address == socket.gethostname() and any(ip_address(number.partition("%")[0]).is_loopback for number in numbers):
        raise _not_here(address, f"it means {', '.join(sorted(numbers))}, which only this machine reaches")
    for name, places in psutil.net_if_addrs().items():
        if any(place.address.partition("%")[0] in numbers for place in places):
            return name
    raise _not_here(address, f"no network interface of this machine has {', '.join(sorted(numbers))}")


def _not_here(address: str, cause: str) -> ConfigError:
    return ConfigError(
        "Other machines cannot reach this worker at its address", where=socket.gethostname(), value=address,
        cause=cause, remedy="reviewlm worker start --address IP, with an address of this machine that they reach",
    )


@contextmanager
def listening_at(address: str) -> Iterator[int]:
    """Yield a free port of an address of this machine, which other machines can reach within the block."""
    family, _, _, _, place = socket.getaddrinfo(address, 0, type=socket.SOCK_STREAM)[0]
    with socket.socket(family) as listening:  # accepts nothing: the port is free again at once
        listening.bind(place)
        listening.listen()
        yield int(listening.getsockname()[1])


def require_reachable(host: str, port: int) -> None:
    """Raise ConfigError if no connection can be made; without this, each rank would wait for half an hour."""
    try:
        socket.create_connection((host, port), timeout=REACH_SECONDS).close()
    except OSError as error:
        raise ConfigError(
            "This worker cannot reach the leading worker", where=socket.gethostname(), value=f"{host}:{port}",
            cause=str(error), remedy="start the leading worker with --address and an address that this machine can "
            "reach; open the ports between both",
        ) from error
