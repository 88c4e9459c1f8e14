"""Say on standard error what a command is doing, when it has written nothing for some seconds.

On a terminal that is one line, which counts the seconds and goes before anything else is written. In a file or a pipe
it is a line now and then.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

TERMINAL_SECONDS, FILE_SECONDS = 2.0, 60.0
"""Silence before the line on a terminal, and before the first line in a file; each later one waits twice as long."""
LOOK_SECONDS = 1.0
ERASE = "\x1b[2K"
CLEAR = f"\r{ERASE}"
CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
"""What a terminal does not show: colours, and how a bar moves the cursor."""


class WaitingLine:
    """The line of a command.

    Args:
        stream: Standard error.
        doing: Returns what the command does; empty where it waits for others, so that silence is right.
    """

    def __init__(self, stream: Any, doing: Callable[[], str]) -> None:
        self._stream, self._doing = stream, doing
        self._terminal = stream.isatty() and os.environ.get("TERM") != "dumb"
        self._lock = threading.RLock()
        self._shown = self._unfinished = False
        self._wait()

    def _wait(self) -> None:
        self._since, self._due = time.monotonic(), TERMINAL_SECONDS if self._terminal else FILE_SECONDS

    @contextmanager
    def away(self, text: str = "") -> Iterator[None]:
        """Remove the line, let the block write *text*, and begin to wait anew. After half a line nothing is shown."""
        with self._lock:
            if self._shown:
                self._write(CLEAR)
                self._shown = False
            yield
            if self._terminal and ERASE in text:
                text, self._unfinished = text.rpartition(ERASE)[2], False
            if plain := CONTROLS.sub("", text):
                self._unfinished = not plain.endswith("\n")
            self._wait()

    def look(self) -> None:
        """Show the line, with the seconds of silence, if it is time."""
        with self._lock:
            silent = time.monotonic() - self._since
            if silent < self._due or self._unfinished or not (doing := self._doing()):
                return
            line = f"{doing}, {silent:.0f} s"
            if self._terminal:
                self._write(f"{CLEAR}{line[: self._columns()]}")
                self._shown = True
            else:
                self._write(f"{time.strftime('%H:%M:%S')}  {line}\n")
                self._due = 2 * silent

    def _columns(self) -> int:
        with suppress(OSError, ValueError):
            return max(1, os.get_terminal_size(self._stream.fileno()).columns - 1)
        return 79

    def _write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()


@contextmanager
def waiting_line(stream: Any, doing: Callable[[], str]) -> Iterator[WaitingLine]:
    """Look at the silence of a command within this block; the arguments are those of `WaitingLine`."""
    line, ended = WaitingLine(stream, doing), threading.Event()

    def watch() -> None:
        while not ended.wait(LOOK_SECONDS):
            line.look()

    threading.Thread(target=watch, name="waiting line", daemon=True).start()
    try:
        yield line
    finally:
        ended.set()
        with line.away():
            pass
