"""Start a Prefect server for one command, while the command imports its libraries.

Prefect would start such a server itself, but only with the first flow, in the terminal's process group and without a
password: Ctrl-C would end it before the run, a killed run would leave it running, and any page in a browser could read
it. This one is a child process (`core/processes/children.py`) with a password of its own. Nobody else uses it.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.request import urlopen

from core.credentials import one_time, prefect_client, prefect_server
from core.environment import home_folder
from core.errors import TrackingUnavailable
from core.processes.children import end_child, start_child
from core.services.ports import address_of

PROGRAM = "flows.server.private_program"
WAITING = 128
"""Requests that may wait until the server answers."""
READY_SECONDS, ASK_SECONDS, END_SECONDS = 180.0, 5.0, 10.0
URL = "PREFECT_API_URL"
WITHOUT = {"PREFECT_SERVER_UI_ENABLED": "false", "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false"}
"""Settings of a server without pages, and without the forms of blocks, which only pages show."""


@contextmanager
def private_server() -> Iterator[Callable[[], None]]:
    """Start a server and name it in Prefect's settings for the block; do nothing if they name a server already.

    Yield a function that waits until the server answers and raises TrackingUnavailable if it does not. The block may
    begin before: requests wait. The server ends with this process, after Prefect's threads have sent their last events.
    """
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    if settings.api.url:
        yield lambda: None
        return
    given = settings.server.api.auth_string or settings.api.auth_string
    credentials = given.get_secret_value() if given else one_time()
    with socket.create_server(("127.0.0.1", 0), backlog=WAITING) as listening:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        number = listening.fileno()
        environment = {**os.environ, **prefect_server(credentials), **WITHOUT}
        server = start_child(["-m", PROGRAM, str(number)], pass_fds=[number], env=environment)
    atexit.register(_end, server)
    with _named(f"{address}/api", credentials):
        yield lambda: _wait(server, f"{address}/api/health")


@contextmanager
def _named(url: str, credentials: str) -> Iterator[None]:
    """Name the server in the settings of this process.

    The variable is set only while Prefect reads it: here and in child processes, it says that a lasting server is used
    (`tasks/limits.py`). Without a heartbeat: only a lasting server acts on a missing one, and the end of each flow
    would wait up to a second for the thread that sends it.
    """
    from prefect.context import refresh_global_settings_context
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    links = {"PREFECT_UI_URL": os.environ.get("PREFECT_UI_URL") or address_of(home_folder(), "prefect")}
    before = {name: os.environ.get(name) for name in (URL, *links)}
    os.environ.update({URL: url, **links, **prefect_client(credentials)})
    refresh_global_settings_context()  # for Prefect's own threads, which do not see a context variable
    for name, value in before.items():
        os.environ.pop(name, None) if value is None else os.environ.update({name: value})
    with temporary_settings(updates={PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


def _wait(server: subprocess.Popen[Any], health: str) -> None:
    """Wait until the server answers."""
    until = time.monotonic() + READY_SECONDS
    while server.poll() is None and time.monotonic() < until:
        with suppress(OSError), urlopen(health, timeout=ASK_SECONDS) as answer:
            if answer.status == 200:
                return
    code = server.poll()
    why = f"it ended with exit code {code}" if code is not None else f"no answer in {READY_SECONDS:.0f} seconds"
    raise TrackingUnavailable(
        "The command's own Prefect server does not answer", where=health, cause=why,
        remedy="run the command again; what it has finished is kept. `reviewlm doctor` checks Prefect's database",
    )


def _end(server: subprocess.Popen[Any]) -> None:
    """Let the server write what it has received, then end it."""
    with suppress(OSError):
        server.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        server.wait(END_SECONDS)
    end_child(server)
