"""Say where the ranks of one fit meet that are on several machines."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

import psutil

from core.errors import ConfigError

ADDRESS_VARIABLE = "REVIEWLM_WORKER_ADDRESS"
"""Names the address at which other workers of a pool reach this machine; without it, its host name is used."""


@dataclass(frozen=True)
class Meeting:
    """Where the ranks of a fit meet.

    Args:
        address: "init_method" of torch.distributed: a port of the machine with the leading rank.
        first: Number of the first rank of this machine.
        ranks: Number of the ranks of all machines.
        interface: Network interface by which the other machines reach this one.
    """

    address: str
    first: int
    ranks: int
    interface: str


def own_address() -> str:
    """Return the address at which other machines reach this one."""
    return os.environ.get(ADDRESS_VARIABLE) or socket.gethostname()


def interface_of(address: str) -> str:
    """Return the network interface of this machine that has an address.

    Raises:
        ConfigError: No interface has it: it is that of another machine, or only a name for the loopback.
    """
    try:
        numbers = {str(found[4][0]) for found in socket.getaddrinfo(address, None)}
    except OSError as error:
        raise _not_here(address, str(error)) from error
    for name, places in psutil.net_if_addrs().items():
        if any(place.address.partition("%")[0] in numbers for place in places):
            return name
    raise _not_here(address, f"no network interface of this machine has {', '.join(sorted(numbers))}")


def _not_here(address: str, cause: str) -> ConfigError:
    return ConfigError(
        "Other machines cannot reach this worker at its address", where=socket.gethostname(), value=address,
        cause=cause, remedy="reviewlm worker start --address IP, with an address of this machine that they reach",
    )


def free_port_of(address: str) -> int:
    """Return a port of an address of this machine that is free now."""
    family, _, _, _, place = socket.getaddrinfo(address, 0, type=socket.SOCK_STREAM)[0]
    with socket.socket(family) as free:
        free.bind(place)
        return int(free.getsockname()[1])
