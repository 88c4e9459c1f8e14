"""A program in a terminal of its own: real keys through the line discipline, and all processes that it leaves."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import sys
import termios
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

MARKER = "REVIEWLM_DRILL"
CTRL_C, ECHO, BAR = b"\x03", "^C", "━"
ESCAPES = re.compile(r"\x1b\[[?0-9;]*[A-Za-z]")
"""Of terminals: colours, and what live bars are drawn with."""


@dataclass(frozen=True)
class Ended:
    """How a program ended after a key or a signal: exit code, seconds, what it wrote since, who is left."""

    code: int
    seconds: float
    lines: list[str]
    left: list[str]


def lines_of(said: str) -> list[str]:
    """Return the lines as a terminal shows them, without bars: one may be drawn again until the signal is heard."""
    shown = (
        ESCAPES.sub("", line).strip().rpartition("\r")[2]
        for line in said.replace(ECHO, "").split("\n")
    )
    return [line for line in map(str.strip, shown) if line and BAR not in line]


class Terminal:
    """Runs a Python program as the foreground job of a new terminal."""

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
    ) -> None:
        self.marker, self.written = uuid.uuid4().hex, b""
        self.pid, self.master = pty.fork()
        if self.pid == 0:  # pragma: no cover
            os.chdir(folder)
            os.execve(
                sys.executable,
                [sys.executable, *arguments],
                {
                    **os.environ,
                    **environment,
                    MARKER: self.marker,
                },
            )
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, b"\x28\x00\xc8\x00\x00\x00\x00\x00")
        os.set_blocking(self.master, False)

    def wait_for(self, condition: Callable[[], bool], seconds: float = 900.0) -> None:
        """Read what is written until the condition holds."""
        until = time.monotonic() + seconds
        while not condition():
            self._read()
            if self._ended() is not None or time.monotonic() > until:
                raise AssertionError(f"the program ended or was too slow:\n{self.text()[-3000:]}")

    def wait_for_end(self, seconds: float = 1800.0) -> int:
        """Read until the program has ended, and return its exit code."""
        until = time.monotonic() + seconds
        while (code := self._ended()) is None and time.monotonic() < until:
            self._read()
        assert code is not None, f"no end within {seconds} s:\n{self.text()[-3000:]}"
        while self._read():
            pass
        return code

    def text(self) -> str:
        """All that was written so far."""
        return self.written.decode(errors="replace").replace("\r\n", "\n")

    def press(self, key: bytes = CTRL_C, seconds: float = 60.0) -> Ended:
        """Press a key and wait for the end."""
        return self._end(lambda: os.write(self.master, key), seconds)

    def kill(self, number: int = signal.SIGTERM, seconds: float = 60.0) -> Ended:
        """Send a signal to the program alone and wait for the end."""
        return self._end(lambda: os.kill(self.pid, number), seconds)

    def processes(self) -> list[psutil.Process]:
        """Return all living processes that descend from the program, whatever they belong to now."""
        found = []
        for process in psutil.process_iter():
            try:
                alive = process.status() != psutil.STATUS_ZOMBIE
                if alive and process.environ().get(MARKER) == self.marker:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def close(self) -> None:
        """End everything."""
        for process in self.processes():
            process.kill()
        os.close(self.master)

    def _end(self, ask: Callable[[], object], seconds: float) -> Ended:
        self._read()
        before, began = len(self.written), time.monotonic()
        ask()
        while (code := self._ended()) is None:
            self._read()
            if time.monotonic() - began > seconds:
                raise AssertionError(f"no end within {seconds} s:\n{self.text()[-3000:]}")
        took = time.monotonic() - began
        while self._read():
            pass
        left = [" ".join(process.cmdline())[:200] for process in self.processes()]
        return Ended(code, took, lines_of(self.written[before:].decode(errors="replace")), left)

    def _read(self) -> bool:
        """Read what is there, for which it waits a moment; return whether there was anything."""
        select.select([self.master], [], [], 0.02)
        try:
            new = os.read(self.master, 65536)
        except OSError:  # nothing is there, or nobody has the terminal open any more
            time.sleep(0.02)
            return False
        self.written += new
        return bool(new)

    def _ended(self) -> int | None:
        pid, status = os.waitpid(self.pid, os.WNOHANG) if self.pid else (0, 0)
        return os.waitstatus_to_exitcode(status) if pid else None
