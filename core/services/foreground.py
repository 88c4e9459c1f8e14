"""Run one service in the foreground, for containers: `python -m core.services.foreground NAME`.

NAME is that of `reviewlm services status`: prefect, mlflow, worker-cpu-pool, worker-gpu-pool.

`reviewlm services start` starts all of them on one machine and lets them listen on the loopback address. In a container
each listens on all addresses, so the published ports decide who may reach it. The `Host` header and the password are
checked as always (`core/web_guard.py`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from core.environment import home_folder, prepare_environment
from core.errors import ConfigError
from core.services import launch
from core.services.join import environment_of
from core.services.launch import SERVERS, WORKERS
from core.services.pools import PROJECT, deploy
from core.services.service_list import DEFAULT_PORTS, Service

EVERYWHERE = "0.0.0.0"


def command_of(name: str) -> Sequence[str]:
    """Return the words after `python` that run a service.

    Raises:
        ConfigError: There is no such service.
    """
    if name not in (names := (*SERVERS, *WORKERS)):
        raise ConfigError("There is no such service", value=name, remedy=f"name one of {', '.join(names)}")
    return launch.command_of(name, EVERYWHERE, DEFAULT_PORTS.get(name, 0))


def variables_of(name: str, home: Path, given: Mapping[str, str]) -> dict[str, str]:
    """Return what a service needs in its environment beside what it was given.

    Args:
        home: Home folder, which has the password.
        given: The environment. A worker needs `PREFECT_API_URL`.

    Raises:
        ConfigError: A worker was not told where Prefect's server is.
    """
    if name not in WORKERS:
        return launch.variables_of(name, home, given.get("PREFECT_UI_URL", ""))
    if not (address := given.get("PREFECT_API_URL", "")):
        raise ConfigError("A worker needs the address of Prefect's server", remedy="set PREFECT_API_URL")
    return environment_of(home, {"prefect": Service("prefect", "", address.removesuffix("/api"))})


def run(name: str) -> None:
    """Replace this process by a service, so that it gets the signals; a worker deploys before."""
    command, home = command_of(name), home_folder()
    prepare_environment(home)
    os.environ.update(variables_of(name, home, os.environ))
    if pool := WORKERS.get(name):
        deploy(dict(os.environ), [pool], home)
    os.chdir(PROJECT)
    os.execv(sys.executable, [sys.executable, *command])


if __name__ == "__main__":
    run(sys.argv[1] if len(sys.argv) > 1 else "")
