"""Start a Prefect server for one command, before the command imports Prefect and its other libraries.

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
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any
from urllib.request import urlopen

from filelock import FileLock, Timeout

from core.credentials import one_time, prefect_client, prefect_server
from core.environment import home_folder
from core.errors import NotWritable, ReviewLMError, StoreFull, TrackingUnavailable
from core.processes.children import end_child, start_child
from core.services.service_list import address_of
from flows.server.tables import database_file, require_current_tables

PROGRAM = "flows.server.private_program"
log = logging.getLogger(__name__)
LINES = 2_000
"""Lines of a start that are kept; the tracebacks of one error have some 800."""
REFUSALS: Mapping[str, type[StoreFull | NotWritable]] = {
    "disk is full": StoreFull, "No space left": StoreFull, "quota exceeded": StoreFull,
    "readonly database": NotWritable, "unable to open database file": NotWritable, "Read-only file": NotWritable,
    "Permission denied": NotWritable, "disk I/O error": NotWritable,
}  # fmt: skip
"""Words of SQLite and of the operating system where the disk refuses, and what that is."""
WAITING = 128
"""Requests that may wait until the server answers."""
READY_SECONDS, ASK_SECONDS, PAUSE_SECONDS, END_SECONDS = 180.0, 1.0, 0.1, 10.0
START_FAILED, STARTS = 3, 5
"""Exit code of uvicorn if the application does not start, as where two processes make one database's tables; and how
often it is started."""
URL = "PREFECT_API_URL"
GIVEN = ("PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING")
WITHOUT = {
    "PREFECT_SERVER_UI_ENABLED": "false", "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
    "PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",
}  # fmt: skip
"""Settings of a server without pages, and without the forms of blocks, which only pages show. Else it would import all
collections of blocks, Ray among them, to see whether one has changed."""

UNASKED = {"PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "false", "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false"}
"""Settings of its clients. Else each asks whether it wants tokens of browsers, and for its version: ten requests."""


@contextmanager
def private_server() -> Iterator[Callable[[], None]]:
    """Start a server and name it in Prefect's settings for the block; do nothing if they name a server already.

    Yield a function that waits until the server answers and raises TrackingUnavailable if it does not. The block may
    begin before: requests wait. The server ends with this process, after Prefect's threads have sent their last events.

    Only Prefect knows whether a profile names a server. Its import takes seconds, so the start does not wait for it.
    """
    if os.environ.get(URL):
        yield lambda: None
        return
    require_current_tables(home_folder())
    credentials = next((os.environ[name] for name in GIVEN if os.environ.get(name)), "") or one_time()
    environment = {**os.environ, **prefect_server(credentials), **WITHOUT}
    server = _PrivateServer(environment, database_file())
    atexit.register(server.end)
    from prefect.settings import get_current_settings

    if get_current_settings().api.url:
        server.end()
        yield lambda: None
        return
    with _named(f"{server.address}/api", credentials):
        yield server.wait


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
    before = {name: os.environ.get(name) for name in (URL, *links, *UNASKED)}
    os.environ.update({URL: url, **links, **UNASKED, **prefect_client(credentials)})
    try:
        refresh_global_settings_context()  # for Prefect's own threads, which do not see a context variable
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
    with temporary_settings(updates={PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


class _PrivateServer:
    """The server's process, at a socket of this one.

    Args:
        environment: Its variables.
        database: The file of its tables; None if they are not in SQLite.
    """

    def __init__(self, environment: Mapping[str, str], database: Path | None = None) -> None:
        self._environment = environment
        self._database, self._said, self._answers = database, deque[bytes](maxlen=LINES), False
        self._making_tables = _turn_to_make(database) if database else None
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=WAITING)
        self.address = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._process = self._started()

    def wait(self) -> None:
        """Wait until the server answers; start it again where its start failed, as beside another first command.

        Raises:
            StoreFull, NotWritable: The disk refused what it wrote.
            TrackingUnavailable: It ended, or does not answer.
        """
        try:
            self._wait()
        finally:
            if self._making_tables:
                self._making_tables.release()

    def _wait(self) -> None:
        health, until, starts = f"{self.address}/api/health", time.monotonic() + READY_SECONDS, 1
        while time.monotonic() < until:
            if (code := self._process.poll()) is not None:
                if code != START_FAILED or starts == STARTS or self._refusal():
                    break
                self._process, starts = self._started(), starts + 1
            with suppress(OSError, HTTPException), urlopen(health, timeout=ASK_SECONDS) as answer:
                if answer.status == 200:
                    self._answers = True
                    self._listening.close()  # so that a request fails if the server is gone
                    return
            time.sleep(PAUSE_SECONDS)
        code = self._process.poll()
        if refusal := self._refusal():
            raise refusal
        why = f"it ended with exit code {code}" if code is not None else f"no answer in {READY_SECONDS:.0f} seconds"
        lines = self._told()
        log.debug("the server told:\n%s", "\n".join(lines))
        why += f": {lines[-1].strip()}" if lines else ""
        raise TrackingUnavailable(
            "The command's own Prefect server does not answer", where=health, cause=why,
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

    def _started(self) -> subprocess.Popen[Any]:
        number = self._listening.fileno()
        command = ["-m", PROGRAM, str(number)]
        process = start_child(command, pass_fds=[number], env=self._environment, stderr=subprocess.PIPE)
        self._reader = threading.Thread(target=self._read, args=(process.stderr,), daemon=True)
        self._reader.start()
        return process

    def _read(self, lines: IO[bytes]) -> None:
        """Pass on what the server says on standard error once it answers; a failed start is said in one sentence."""
        for line in lines:
            if self._answers:
                sys.stderr.write(line.decode("utf-8", "replace"))
            else:
                self._said.append(line)

    def _told(self) -> list[str]:
        """Return the lines that it has said before it answered."""
        lines = (line.decode("utf-8", "replace").rstrip() for line in list(self._said))
        return [line for line in lines if line]

    def _refusal(self) -> ReviewLMError | None:
        """Return the error of the disk that a server which has ended has told; None if it has told none."""
        self._reader.join(END_SECONDS)
        for words, kind in REFUSALS.items():
            if cause := next((line.strip() for line in self._told() if words in line), ""):
                what = "No space is left on the disk" if kind is StoreFull else "The folder cannot be written to"
                return kind(
                    what, where=self._database.parent if self._database else home_folder(), cause=cause,
                    remedy="free some space" if kind is StoreFull else "give yourself write permission",
                )
        return None


def _turn_to_make(database: Path) -> FileLock:
    """Return a lock, held if this server is the first to make these tables; else wait until another one has made them.

    Two servers that make them at once fail, and making takes longer than a busy machine needs for all starts.
    """
    lock = FileLock(database.with_name(f"{database.name}.first"))
    with suppress(Timeout, OSError):
        lock.acquire(timeout=READY_SECONDS)
    if database.exists():
        lock.release()
    return lock
