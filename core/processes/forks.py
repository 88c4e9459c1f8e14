"""Fork a child process: it keeps the libraries that this process has imported, and ends when this process ends.

A program that is started anew imports them again. Prefect alone takes a second of a processor, and a command's own
server needs what the command needs. Only Linux can: other systems have libraries that do not live on in a fork.

The child has one thread, that of the fork. So it must not use what works with threads and was used before it: the table
engine, numeric libraries, the terminal. It never returns to the code that has forked it, and runs no clean-ups of it.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from reviewlm.core.processes.child import end_with_parent
from reviewlm.core.processes.children import remember_child

ENDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that end the child, unless this process ignores them."""


def can_fork() -> bool:
    """Return whether this system has all that a fork needs."""
    if sys.platform != "linux":
        return False

    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):  # an older kernel, or one that forbids it
        return False
    return True


class ForkedChild:
    """A forked process, used as a `subprocess.Popen` is.

    Attributes:
        pid: Its number.
        returncode: Its exit code, negative for a signal; None while it runs.
    """

    stdin = None

    def __init__(self, pid: int, lifeline: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._lifeline = lifeline
        self._ended = os.pidfd_open(pid)
        self._lock = threading.Lock()

    def fileno(self) -> int:
        """Return the descriptor that can be read when the process has ended and its end was not yet asked for."""
        return self._ended

    def poll(self) -> int | None:
        """Return its exit code; None while it runs."""
        with self._lock:
            if self.returncode is None:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    self.returncode = os.waitstatus_to_exitcode(status)
                    os.close(self._ended)
                    os.close(self._lifeline)

            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code when it has ended.

        Raises:
            subprocess.TimeoutExpired: It still runs after *timeout* seconds.
        """
        if self.poll() is None:
            milliseconds = None if timeout is None else timeout * 1000
            ended = select.poll()
            ended.register(self._ended, select.POLLIN)
            ended.poll(milliseconds)

        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired([str(self.pid)], timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


def fork_child(
    work: Callable[[], object],
    name: str,
    environment: Mapping[str, str],
    keep: Collection[int],
    messages: int,
) -> ForkedChild:
    """Fork a process that does some work and ends; it is a session of its own.

    Args:
        work: Its work.
        name: Name of the process in lists, at most 15 characters.
        environment: Its variables.
        keep: Descriptors of files that stay open in it, beside standard output.
        messages: Descriptor that becomes its standard error.
    """
    lifeline, end = os.pipe()
    pid = os.fork()
    if not pid:
        _work(
            work,
            name,
            environment,
            {*keep, lifeline},
            messages,
            lifeline,
        )

    os.close(lifeline)
    child = ForkedChild(pid, end)
    remember_child(child)
    return child


def _work(
    work: Callable[[], object],
    name: str,
    environment: Mapping[str, str],
    keep: Collection[int],
    messages: int,
    lifeline: int,
) -> NoReturn:
    """Do the work of the child in what is left of its parent, and end the process."""
    code = 1
    try:
        _leave_parent(name, environment, keep, messages)
        threading.Thread(
            target=end_with_parent,
            args=(lifeline,),
            name="lifeline",
            daemon=True,
        ).start()
        work()
        code = 0
    except SystemExit as end:
        if isinstance(end.code, int):
            code = end.code
    except BaseException:  # nothing may return to the code of the parent
        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stderr.flush()
        os._exit(code)


def _leave_parent(
    name: str,
    environment: Mapping[str, str],
    keep: Collection[int],
    messages: int,
) -> None:
    """Give up signals, files, loggers and variables of the parent."""
    signal.set_wakeup_fd(-1)
    for number in ENDED:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)

    os.setsid()
    with suppress(OSError):
        Path("/proc/self/comm").write_text(name)

    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.dup2(messages, 2)
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        if descriptor > 2 and descriptor not in keep:
            with suppress(OSError):
                os.close(descriptor)

    sys.stdin = open(0, closefd=False)  # noqa: SIM115 (until the end of the process)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False, errors="backslashreplace")  # noqa: SIM115
    known = logging.root.manager.loggerDict.values()
    for logger in (logging.root, *known):
        if isinstance(logger, logging.Logger):
            logger.handlers.clear()

    os.environ.clear()
    os.environ.update(environment)
