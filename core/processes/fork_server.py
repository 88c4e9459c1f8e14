"""Fork processes from one that has imported their libraries: `python -m reviewlm.core.processes.fork_server NUMBER`.

torch takes two seconds of a processor to import, and what a library holds in memory exists once in all processes that
are forked after it: two that score Kaggle's reviews had 597 MiB with their fork server, 802 MiB when each imported
torch itself.

NUMBER is that of a Unix socket, over which the parent sends a `ForkOrder` for each process, and with it one end of a
connection for the works, the file for standard error, and a socket on which the parent is told the number of the
process and, later, its exit code. Libraries are imported when the first order names them. All ends with the parent.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pkgutil import resolve_name
from typing import NoReturn

from reviewlm.core.processes.children import end_child, remember_child, start_child
from reviewlm.core.processes.forks import ForkedChild, fork_child
from reviewlm.models.threads import trust_fork

PROGRAM = "reviewlm.core.processes.fork_server"
PATIENCE = 2.0
"""Seconds to wait for the end of a server, which may be importing a library; then it is killed."""
LONGEST_ORDER = 1 << 16
KILLED = -9
"""Exit code of a process that was killed by SIGKILL."""
_loaded: set[str] = set()
"""Libraries that this process has loaded."""


@dataclass(frozen=True)
class ForkOrder:
    """Order to fork a process: its function, its name and the libraries that it finds loaded.

    Args:
        work: Function "module:name" that gets the connection; the process ends with it.
        name: Name of the process in lists; 15 characters of it are shown.
        libraries: Modules that are imported before the fork, and functions "module:name" without arguments that are
            called before it. None of them may compute with torch or polars: the threads for that would not exist in a
            forked process, where polars would wait for them without end.
    """

    work: str
    name: str
    libraries: tuple[str, ...] = ()


class ServedChild:
    """A process that a fork server has forked, used as a `subprocess.Popen` is.

    Attributes:
        pid: Its number; 0 if the server could not fork it.
    """

    def __init__(self, news: socket.socket) -> None:
        """Wait for the number of the process, or for the end of a server that could not fork it."""
        self.pid = 0
        self._code: int | None = None
        self._news = news
        self._lock = threading.Lock()
        try:
            self.pid = int(news.recv(32) or b"0")
            self._process = os.pidfd_open(self.pid)
        except OSError:
            self._end(self._told_code() if self.pid else KILLED)

    @property
    def returncode(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self.poll()

    def poll(self) -> int | None:
        """Return its exit code; None while it runs."""
        with self._lock:
            if self._code is None and select.select([self._news], [], [], 0)[0]:
                os.close(self._process)
                self._end(self._told_code())

            return self._code

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code when it has ended.

        Raises:
            subprocess.TimeoutExpired: It still runs after *timeout* seconds.
        """
        if self.poll() is None:
            with suppress(OSError, ValueError):  # another thread has heard its end
                select.select([self._news], [], [], timeout)

        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired([str(self.pid)], timeout or 0.0)
        return code

    def kill(self) -> None:
        """End it at once."""
        if self.poll() is None:
            with suppress(OSError):
                signal.pidfd_send_signal(self._process, signal.SIGKILL)

    def _told_code(self) -> int:
        """Return the exit code that the server tells; a server that was killed tells none, and its processes end with it."""
        try:
            return int(self._news.recv(32) or KILLED)
        except OSError:
            return KILLED

    def _end(self, code: int) -> None:
        self._code = code
        self._news.close()


class ForkServer:
    """A process of this one from which others are forked; it is started with the first of them.

    Args:
        environment: Its variables, and those of the processes.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._lock = threading.Lock()
        self._server: subprocess.Popen[bytes] | None = None

    def fork(
        self,
        order: ForkOrder,
        connection: int,
        messages: int,
    ) -> ServedChild:
        """Return a new process; one that could not be forked has ended.

        Args:
            connection: Descriptor of the connection that its work gets.
            messages: Descriptor of the file for its standard error.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        files = [connection, messages, theirs.fileno()]
        with (
            theirs,
            self._lock,
            suppress(BrokenPipeError),
        ):  # the server has just ended, which is heard
            self._start()
            socket.send_fds(self._control, [json.dumps(asdict(order)).encode()], files)

        child = ServedChild(ours)
        remember_child(child)
        return child

    def _start(self) -> None:
        """Start the server if it does not run."""
        if self._server is not None and self._server.poll() is None:
            return

        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            descriptor = theirs.fileno()
            self._server = start_child(
                ["-m", PROGRAM, str(descriptor)],
                stdout=subprocess.DEVNULL,
                env=self._environment,
                pass_fds=[descriptor],
            )

    def end(self) -> None:
        """End the server and all its processes, also those at work; the next order starts another one."""
        with self._lock:
            if self._server is None:
                return
            self._control.close()  # then it ends its processes itself, and waits for them, as only their parent can
            with suppress(subprocess.TimeoutExpired):
                self._server.wait(PATIENCE)
            end_child(self._server)
            self._server = None


def main() -> NoReturn:
    """Fork a process for each order of the parent."""
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    running: dict[int, tuple[ForkedChild, socket.socket]] = {}
    events = select.poll()
    events.register(control, select.POLLIN)
    while True:
        for descriptor, _ in events.poll():
            if descriptor in running:
                events.unregister(descriptor)
                child, parent = running.pop(descriptor)
                tell(parent, child.wait())
                parent.close()
                continue

            message, files, _, _ = socket.recv_fds(control, LONGEST_ORDER, 3)
            if not message:
                end_all([child for child, _ in running.values()])

            connection, messages, news = files
            parent = socket.socket(fileno=news)
            try:
                child = start(ForkOrder(**json.loads(message)), connection, messages)
            except OSError:
                parent.close()  # no more processes or memory, which the parent hears by it
                continue
            finally:
                os.close(connection)
                os.close(messages)

            tell(parent, child.pid)
            running[child.fileno()] = child, parent
            events.register(child, select.POLLIN)


def start(
    order: ForkOrder,
    connection: int,
    messages: int,
) -> ForkedChild:
    """Import the libraries of an order that are new, and fork its process.

    Raises:
        OSError: There are no more processes, or there is too little memory.
    """

    def work() -> None:
        trust_fork()
        resolve_name(order.work)(Connection(connection))

    load(order.libraries)
    return fork_child(
        work,
        order.name[:15],
        dict(os.environ),
        [connection],
        messages,
    )


def load(libraries: tuple[str, ...]) -> None:
    """Import modules and call functions that were not loaded before.

    An error is left to the process that needs the library: it has a connection to tell it.
    """
    new = [library for library in libraries if library not in _loaded]
    if not new:
        return

    gc.disable()
    for library in new:
        _loaded.add(library)
        module, _, function = library.partition(":")
        with suppress(Exception):
            found = importlib.import_module(module)
            if function:
                getattr(found, function)()

    gc.collect()
    gc.freeze()  # else the first collection in each process would copy the pages of all objects
    gc.enable()


def tell(parent: socket.socket, number: int) -> None:
    """Tell the parent a number, unless it has stopped listening."""
    with suppress(OSError):
        parent.send(str(number).encode())


def end_all(children: list[ForkedChild]) -> NoReturn:
    """End all processes, wait for their end, and end this one."""
    for child in children:
        child.kill()
    for child in children:
        child.wait()
    os._exit(0)


if __name__ == "__main__":
    main()
