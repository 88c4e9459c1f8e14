"""Start a Prefect server for one command, before the command imports its other libraries.

Where the system can fork, the server is a fork of the command that keeps what it has imported of Prefect: 2 of 5 seconds
of a processor. Elsewhere it is a program that starts before the command imports Prefect.

Prefect would start such a server itself, but only with the first flow, in the terminal's process group and without a
password: Ctrl-C would end it before the run, a killed run would leave it running, and any page in a browser could read
it. This one is a child process (`core/processes/children.py`) with a password of its own. Nobody else uses it.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPException
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from filelock import FileLock, Timeout

from reviewlm.core.credentials import one_time, prefect_client, prefect_server
from reviewlm.core.environment import home_folder, variables
from reviewlm.core.errors import ReviewLMError, TrackingUnavailable, disk_error_in
from reviewlm.core.processes.children import end_child, start_child
from reviewlm.core.processes.forks import ForkedChild, can_fork, fork_child
from reviewlm.core.processes.interrupts import during
from reviewlm.core.processes.memory import lasting_objects
from reviewlm.core.services.service_list import address_of
from reviewlm.flows.server.tables import database_file, require_current_tables, turn_to_make

PROGRAM = "reviewlm.flows.server.prefect_server"
FORKED = "prefect_server"
"""Name of the server's process where it is forked; the command line is that of the command."""
SHARED = ("prefect.main", "sqlalchemy.orm", "alembic", "fastapi")
"""Libraries that the server needs, and the command too, sooner or later."""
log = logging.getLogger(__name__)
WAITING = 128
"""Requests that may wait until the server answers."""
READY_SECONDS = 1800.0
ASK_SECONDS = 1.0
PAUSE_SECONDS = 0.1
END_SECONDS = 10.0
"""Time for a server that lives to answer: a busy machine needs minutes. One that has ended is not waited for."""
URL = "PREFECT_API_URL"
GIVEN = ("PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING")
WITHOUT = {
    "PREFECT_SERVER_UI_ENABLED": "false",
    "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
    "PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PY_KEY_VALUE_DISABLE_BEARTYPE": "true",
}
"""Settings of a server without pages, and without the forms of blocks, which only pages show. Else it would import all
collections of blocks, Ray among them, to see whether one has changed. It writes the states of tasks together, once a
second at most, not each by four statements that SQLAlchemy compiles anew; and a store that it does not use is imported
without checks of types."""

UNASKED = {
    "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "false",
    "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false",
}
"""Settings of its clients. Else each asks whether it wants tokens of browsers, and for its version: ten requests."""


def lasting_server() -> None:
    """Wait for nothing: a server that was there before the command answers."""


@contextmanager
def private_server() -> Iterator[Callable[[], None]]:
    """Start a server and name it in Prefect's settings for the block; do nothing if they name a server already.

    Yield a function that waits until the server answers and raises TrackingUnavailable if it does not; `lasting_server`
    if none was started. The block may begin before: requests wait. The server ends with this process, after Prefect's
    threads have sent their last events.

    Only Prefect knows whether a profile names a server. Its import takes seconds, so the start does not wait for it.
    """
    if os.environ.get(URL):
        yield lasting_server
        return

    require_current_tables(home_folder())
    credentials = (
        next((os.environ[name] for name in GIVEN if os.environ.get(name)), "") or one_time()
    )
    environment = {
        **os.environ,
        **prefect_server(credentials),
        **WITHOUT,
    }
    server = None
    if not can_fork():
        server = _PrivateServer(_start, environment, database_file())

    with lasting_objects():
        for library in SHARED:
            import_module(library)

    from prefect.settings import get_current_settings

    if get_current_settings().api.url:
        if server is not None:
            server.end()
        yield lasting_server
        return

    if server is None:
        server = _PrivateServer(_fork, environment, database_file())

    atexit.register(server.end)
    with _name_server(f"{server.address}/api", credentials):
        yield server.wait


@contextmanager
def _name_server(url: str, credentials: str) -> Iterator[None]:
    """Name the server in the settings of this process.

    The variable is set only while Prefect reads it: here and in child processes, it says that a lasting server is used
    (`tasks/execution/limits.py`). Without a heartbeat: only a lasting server acts on a missing one, and the end of each flow
    would wait up to a second for the thread that sends it.
    """
    from prefect.context import refresh_global_settings_context
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    links = {
        "PREFECT_UI_URL": os.environ.get("PREFECT_UI_URL") or address_of(home_folder(), "prefect")
    }
    os.environ.update(prefect_client(credentials))
    with variables(
        {
            URL: url,
            **links,
            **UNASKED,
        }
    ):
        refresh_global_settings_context()  # for Prefect's own threads, which do not see a context variable

    with temporary_settings(updates={PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


Start = Callable[[Mapping[str, str], int, int], "subprocess.Popen[Any] | ForkedChild"]
"""Function (variables, descriptor of the socket, descriptor of standard error) → the server's process."""


def _start(
    environment: Mapping[str, str],
    descriptor: int,
    messages: int,
) -> subprocess.Popen[Any]:
    """Start the server as a program."""
    return start_child(
        ["-m", PROGRAM, str(descriptor)],
        pass_fds=[descriptor],
        env=environment,
        stderr=messages,
    )


def _fork(
    environment: Mapping[str, str],
    descriptor: int,
    messages: int,
) -> ForkedChild:
    """Fork the server."""

    def serve() -> None:
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()  # they were read from the variables of the command
        import_module(PROGRAM).serve_at(descriptor)

    return fork_child(
        serve,
        FORKED,
        environment,
        [descriptor],
        messages,
    )


class _PrivateServer:
    """The server's process, at a socket of this one.

    Args:
        start: Starts it.
        environment: Its variables.
        database: The file of its tables; None if they are not in SQLite.
    """

    def __init__(
        self,
        start: Start,
        environment: Mapping[str, str],
        database: Path | None = None,
    ) -> None:
        if database:
            self._folder = database.parent
        else:
            self._folder = home_folder()

        self._making_tables = None
        if database:
            self._making_tables = _turn_to_make(database)

        self._listening = socket.create_server(("127.0.0.1", 0), backlog=WAITING)
        self.address = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115 (as long as the server)
        self._process = start(environment, self._listening.fileno(), self._messages.fileno())

    def wait(self) -> None:
        """Wait until the server answers.

        Raises:
            StoreFull, NotWritable: The disk refused what it wrote.
            TrackingUnavailable: It ended, or does not answer.
        """
        health = f"{self.address}/api/health"
        until = time.monotonic() + READY_SECONDS
        try:
            with during("wait for the command's own Prefect server"):
                while self._process.poll() is None and time.monotonic() < until:
                    with suppress(OSError, HTTPException), urlopen(health, timeout=ASK_SECONDS):
                        self._listening.close()  # so that a request fails if the server is gone
                        return

                    time.sleep(PAUSE_SECONDS)

            raise self._error()
        finally:
            if self._making_tables:
                self._making_tables.release()

    def _error(self) -> ReviewLMError:
        """Return why the server does not answer, by its last message or by what the disk refused."""
        code = self._process.poll()
        self._messages.seek(0)
        lines = []
        for line in self._messages.read().decode("utf-8", "replace").splitlines():
            if line.strip():
                lines.append(line.strip())

        refused = disk_error_in(lines, self._folder)
        if refused is not None:
            return refused

        log.debug("the server wrote:\n%s", "\n".join(lines))
        if code is not None:
            why = f"it ended with exit code {code}"
        else:
            why = f"no answer in {READY_SECONDS:.0f} seconds"

        return TrackingUnavailable(
            "The command's own Prefect server does not answer",
            where=self.address,
            cause=": ".join([why, *lines[-1:]]),
            remedy="run the command again; what it has finished is kept",
        )

    def end(self) -> None:
        """Let the server write what it has received, then end it."""
        if self._making_tables:
            self._making_tables.release()
        with suppress(OSError):
            self._process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        end_child(self._process)
        self._listening.close()
        self._messages.close()


def _turn_to_make(database: Path) -> FileLock:
    """Return a lock, held if this server is the first to make these tables; else wait until another one has made them.

    Two servers that make them at once fail, and making takes longer than a busy machine needs for all starts.
    """
    lock = FileLock(turn_to_make(database))
    with suppress(Timeout, OSError):
        lock.acquire(timeout=READY_SECONDS)
    if database.exists():
        lock.release()
    return lock
