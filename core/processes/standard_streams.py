"""Keep standard output pure JSON with --json, end quietly when a pipe's reader has gone, and never be silent for long.

Not only this program but also libraries and child processes write to file descriptor 1. With --json, the descriptor
itself is therefore redirected to standard error. The one JSON document is written to a private copy of the original
descriptor.

A command that has written nothing for two seconds says on standard error what it is doing. On a terminal that is one
line, which counts the seconds and goes before anything else is written. In a file or a pipe it is a line after five
seconds, and further ones after ever longer waits.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from math import isfinite
from typing import Any

from reviewlm.core.errors import OutputClosed, ReviewLMError, disk_error
from reviewlm.core.processes.leftovers import age_of_process

JSON_OPTION = "--json"
STANDARD_OUTPUT = 1
STANDARD_ERROR = 2
TERMINAL_SECONDS = 2.0
FILE_SECONDS = 5.0
"""Silence before the line on a terminal, and before the first line in a file; each later one waits twice as long."""
LOOK_SECONDS = 0.25
ERASE = "\x1b[2K"
CLEAR = f"\r{ERASE}"
CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
"""What a terminal does not show: colours, and how a bar moves the cursor."""


document: dict[str, Any] | None = None
"""Results of a command with --json so far; written once, at the end, with the error if there is one."""
_kept: int | None = None
"""A copy of the descriptor of standard output, while only the document may be written to it."""


def as_json_line(result: Mapping[str, Any]) -> str:
    """Return a result as one line of ASCII: it is the same on any terminal and contains no other line break."""
    return json.dumps(_plain(result), default=str, allow_nan=False) + "\n"


def wants_json(arguments: Sequence[str]) -> bool:
    """Return whether a command line asks for JSON, even if it cannot be parsed; a help page is never JSON."""
    options = arguments
    if "--" in arguments:
        options = arguments[: arguments.index("--")]

    return JSON_OPTION in options and "--help" not in options


def open_closed_streams() -> None:
    """Open the null device for each stream that was closed at the start, else another file would get its descriptor.

    Python has no standard input then; it becomes an empty one.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115 (open until the process ends)


@contextmanager
def guarded_streams(doing: Callable[[], str] = str) -> Iterator[None]:
    """Distinguish failures of standard output from those of other files; ignore failures of standard error.

    Args:
        doing: What standard error says while nothing else is written, see `WaitingLine`.
    """
    before = sys.stdout, sys.stderr
    null = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (closed at the end of the block)
    line = WaitingLine(before[1] or null, doing, age_of_process())
    ended = threading.Event()
    sys.stdout = _Guarded(before[0] or null, _told_of_output, line)  # type: ignore[assignment]
    sys.stderr = _Guarded(before[1] or null, _ignore_failures, line)  # type: ignore[assignment]
    threading.Thread(
        target=line.watch,
        args=[ended],
        name="waiting line",
        daemon=True,
    ).start()
    try:
        yield
    finally:
        ended.set()
        with line.away():
            sys.stdout, sys.stderr = before
        null.close()


@contextmanager
def json_alone(enabled: bool) -> Iterator[dict[str, Any] | None]:
    """Reserve standard output for one JSON document, which is written at the end of the block unless it is empty.

    If it was written before (`answer_now`), nothing follows it: an error then stands on standard error alone.

    Args:
        enabled: Whether the command line has --json; otherwise nothing is changed.
    """
    global document, _kept
    if not enabled:
        yield None
        return

    with _ignore_failures():
        sys.stdout.flush()

    terminal = os.dup(STANDARD_OUTPUT)
    before = sys.stdout
    outer = (document, _kept)
    os.dup2(STANDARD_ERROR, STANDARD_OUTPUT)
    sys.stdout = sys.stderr
    document = {}
    _kept = terminal
    try:
        yield document
        expected = _kept is not None
        _kept = None
        if document and expected:
            _write_document(terminal, document)
    finally:
        os.dup2(terminal, STANDARD_OUTPUT)
        os.close(terminal)
        sys.stdout = before
        document, _kept = outer


def end_with(error: Mapping[str, Any]) -> None:
    """Write an error as the JSON document, if one is expected, and block later writes: the process is being ended."""
    terminal = _kept
    if terminal is not None:
        with suppress(OSError, ReviewLMError):
            answer_now({"error": error})
            os.dup2(os.open(os.devnull, os.O_WRONLY), terminal)


def answer_now(result: Mapping[str, Any]) -> None:
    """Write the JSON document now, for a command that goes on until it is ended; nothing is written after it."""
    global _kept
    terminal = _kept
    if terminal is not None:
        _kept = None
        _write_document(terminal, result)


def discard_output() -> None:
    """Discard buffered output: Python would try to write it again at exit, and report the failure."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, STANDARD_OUTPUT)
    os.close(null)
    with suppress(OSError):
        sys.stdout.flush()


class WaitingLine:
    """The line of a command.

    Args:
        stream: Standard error.
        doing: Returns what the command does; empty where it waits for others, so that silence is right.
        began_before: Seconds of silence on a terminal before the line was made.
    """

    def __init__(
        self,
        stream: Any,
        doing: Callable[[], str],
        began_before: float = 0.0,
    ) -> None:
        self._stream = stream
        self._doing = doing
        self._terminal = stream.isatty() and os.environ.get("TERM") != "dumb"
        self._lock = threading.RLock()
        self._shown = self._unfinished = False
        self._wait()
        if self._terminal:
            self._since -= began_before

    def _wait(self) -> None:
        self._since = time.monotonic()
        self._due = TERMINAL_SECONDS if self._terminal else FILE_SECONDS

    @contextmanager
    def away(self, text: str = "") -> Iterator[None]:
        """Remove the line, let the block write *text*, and begin to wait anew. After half a line nothing is shown."""
        with self._lock:
            if self._shown:
                self._write(CLEAR)
                self._shown = False
            yield
            if self._terminal and ERASE in text:
                text = text.rpartition(ERASE)[2]
                self._unfinished = False
            if plain := CONTROLS.sub("", text):
                self._unfinished = not plain.endswith("\n")
            self._wait()

    def show_if_due(self) -> None:
        """Show the line, with the seconds of silence, if it is time."""
        with self._lock:
            silent = time.monotonic() - self._since
            if silent < self._due or self._unfinished or not (doing := self._doing()):
                return
            if self._terminal:
                line = f"{doing}, {silent:.0f} s"
                self._write(f"{CLEAR}{line[: shutil.get_terminal_size().columns - 1]}")
                self._shown = True
            else:
                line = f"{doing} (no other news for {silent:.0f} s)"
                self._write(f"{time.strftime('%H:%M:%S')}  {line}\n")
                self._due = 2 * silent

    def watch(self, ended: threading.Event) -> None:
        """Look again and again until the command has ended."""
        while not ended.wait(LOOK_SECONDS):
            self.show_if_due()

    def _write(self, text: str) -> None:
        with _ignore_failures():
            self._stream.write(text)
            self._stream.flush()


class _Guarded:
    """A text stream that passes everything on, and writes and flushes within a block for its errors."""

    def __init__(
        self,
        stream: Any,
        guard: Callable[[], AbstractContextManager[Any]],
        line: WaitingLine,
    ) -> None:
        self._stream = stream
        self._guard = guard
        self._line = line

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write text."""
        with self._guard(), self._line.away(text):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Write buffered text."""
        with self._guard():
            self._stream.flush()


@contextmanager
def _told_of_output() -> Iterator[None]:
    """Turn the operating system's errors of standard output into ReviewLMErrors.

    Raises:
        OutputClosed: The reader has closed it.
        StoreFull: It is a file on a full disk.
        NotWritable: Any other error.
    """
    try:
        yield
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise OutputClosed("The reader of standard output has closed it") from error
        raise disk_error(
            error.errno, "standard output", str(error), "redirect it to another place"
        ) from error


def _ignore_failures() -> AbstractContextManager[None]:
    """Return a block that ignores failures: those of standard error can be reported nowhere."""
    return suppress(OSError, ValueError)


def _write_document(descriptor: int, result: Mapping[str, Any]) -> None:
    sys.stderr.write("")  # a waiting line goes
    content = as_json_line(result).encode("ascii")
    with _told_of_output():
        while content:
            content = content[os.write(descriptor, content) :]


def _plain(value: Any) -> Any:
    """Return the value with null for numbers that JSON cannot write."""
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not isfinite(value):
        return None
    return value
