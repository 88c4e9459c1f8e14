"""Start child processes that do not receive the terminal's signals and that end when this process ends.

A terminal sends Ctrl-C to its whole foreground group. A child that dies of it looks like a failure to the code that
waits for it: a run would report that its fit failed, and try for minutes to reach its dead server. So each child has
its own session. Only this process receives the signal, and it ends the children (`core/processes/interrupts.py`).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

LAUNCHER = str(Path(__file__).with_name("child.py"))
_lock = threading.Lock()


class Child(Protocol):
    """A child process, started or forked; as of `subprocess.Popen`."""

    pid: int

    @property
    def returncode(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs, or until its end was asked for."""

    def kill(self) -> None:
        """End it at once."""

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code when it has ended."""


_children: set[Child] = set()


def start_child(
    program: Sequence[str],
    *,
    isolated: bool = False,
    group: bool = False,
    **options: Any,
) -> subprocess.Popen[Any]:
    """Start a Python program that ends when this process ends.

    Args:
        program: `-m`, a module and its arguments; or a file and its arguments.
        isolated: Hide the working directory and the user's Python settings from it (`python -I`).
        group: What it has started ends with this process, too: for programs that do not see to that themselves.
        options: Options of `subprocess.Popen`. The standard input is the lifeline and must stay open while the child is
            to run. So do not call `communicate`, which closes it.
    """
    command = [
        sys.executable,
        *(["-I"] if isolated else []),
        LAUNCHER,
        *(["--group"] if group else []),
        *program,
    ]
    child = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        start_new_session=True,
        **options,
    )
    remember_child(child)
    return child


def remember_child(child: Child) -> None:
    """Note a child, so that it ends with this process (`end_children`)."""
    with _lock:
        _children.difference_update([other for other in _children if other.returncode is not None])
        _children.add(child)


def end_child(child: Child) -> None:
    """Kill a child and the processes it has started, if it still runs, and wait for its end."""
    _kill(child)
    lifeline = getattr(child, "stdin", None)
    if lifeline:
        lifeline.close()
    child.wait()


def run_child(
    program: Sequence[str],
    timeout: float,
    *,
    isolated: bool = False,
    **options: Any,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and return its exit code and output.

    Raises:
        subprocess.TimeoutExpired: It was killed after *timeout* seconds.
    """
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as out,
        tempfile.TemporaryFile("w+", encoding="utf-8") as err,
    ):
        child = start_child(
            program,
            isolated=isolated,
            stdout=out,
            stderr=err,
            **options,
        )
        try:
            code = child.wait(timeout)
        finally:
            end_child(child)
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(list(program), code, out.read(), err.read())


def end_children(seconds: float) -> None:
    """Kill all children at once, and wait at most *seconds* for their end."""
    with _lock:
        children = list(_children)
    for child in children:
        _kill(child)
    until = time.monotonic() + seconds
    for child in children:
        with suppress(subprocess.TimeoutExpired):
            child.wait(max(0.0, until - time.monotonic()))


def _kill(child: Child) -> None:
    if child.returncode is not None:
        return
    with suppress(OSError):  # the child has just ended
        os.killpg(child.pid, signal.SIGKILL)
    child.kill()
