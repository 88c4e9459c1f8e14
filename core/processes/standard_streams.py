"""Guard the standard streams: with --json standard output is JSON alone, and a reader that goes away is no defect.

Libraries and child processes write to file descriptor 1, not only this program. With --json the descriptor itself is
therefore turned to standard error, and the one JSON document is written to a copy of it that nobody else knows.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from math import isfinite
from typing import Any

from core.errors import FULL, NotWritable, OutputClosed, StoreFull

JSON_OPTION = "--json"
STANDARD_OUTPUT, STANDARD_ERROR = 1, 2


class JsonDocument:
    """What a verb with --json has found out so far; written once, at the very end, with its error if it has one."""

    def __init__(self) -> None:
        self.content: dict[str, Any] = {}

    def add(self, result: Mapping[str, Any]) -> None:
        """Put the values of a result into the document."""
        self.content.update(result)


document: JsonDocument | None = None
"""Of this process while a verb runs with --json; None otherwise."""
_kept: int | None = None
"""A copy of the descriptor of standard output, while nothing but the document may be written to it."""


def as_json_line(result: Mapping[str, Any]) -> str:
    """Return a result as one line of ASCII: the same on any terminal, and no character can be taken for a line end."""
    return json.dumps(_plain(result), default=str, allow_nan=False) + "\n"


def wants_json(arguments: Sequence[str]) -> bool:
    """Return whether a command line asks for JSON; also one that cannot be parsed. A page of help is never JSON."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return JSON_OPTION in options and "--help" not in options


@contextmanager
def guarded_streams() -> Iterator[None]:
    """Tell failures of standard output from those of other files; ignore those of standard error.

    A stream that was closed from the beginning is the null device: another file would get its descriptor.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    before = sys.stdout, sys.stderr
    null = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (of the whole process)
    sys.stdout = _Results(before[0] or null)  # type: ignore[assignment]
    sys.stderr = _Messages(before[1] or null)  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        null.close()


@contextmanager
def json_alone(wanted: bool) -> Iterator[JsonDocument | None]:
    """Keep standard output for one JSON document, which is written at the end of the block, if there is anything in it.

    Args:
        wanted: Whether the command line has --json; otherwise nothing is changed.
    """
    global document, _kept
    if not wanted:
        yield None
        return
    _flush(sys.stdout)
    kept, before, outer = os.dup(STANDARD_OUTPUT), sys.stdout, (document, _kept)
    os.dup2(STANDARD_ERROR, STANDARD_OUTPUT)
    sys.stdout, document, _kept = sys.stderr, JsonDocument(), kept
    try:
        yield document
        _kept = None
        if document.content:
            with _told_of_output():
                _write_all(kept, as_json_line(document.content).encode("ascii"))
    finally:
        os.dup2(kept, STANDARD_OUTPUT)
        os.close(kept)
        sys.stdout, (document, _kept) = before, outer


def end_with(error: Mapping[str, Any]) -> None:
    """Write an error as the JSON document, now and for good, if there is one to write: the process is being ended."""
    global _kept
    if (kept := _kept) is None:
        return
    _kept = None
    with suppress(OSError):
        _write_all(kept, as_json_line({"error": error}).encode("ascii"))
        os.dup2(os.open(os.devnull, os.O_WRONLY), kept)


def discard_output() -> None:
    """Let what was not written yet go nowhere: Python would try again at its end, and complain."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, STANDARD_OUTPUT)
    os.close(null)
    with suppress(OSError):
        sys.stdout.flush()


class _Stream:
    """A text stream that passes everything on; what it does about errors is said by its subclasses."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Results(_Stream):
    """Standard output: its errors become ours, so that they are not taken for those of another file."""

    def write(self, text: str) -> int:
        """Write text."""
        with _told_of_output():
            return int(self._stream.write(text))

    def flush(self) -> None:
        """Write what is waiting."""
        with _told_of_output():
            self._stream.flush()


class _Messages(_Stream):
    """Standard error: where nobody can be told, nothing is said."""

    def write(self, text: str) -> int:
        """Write text, if that is possible."""
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is waiting, if that is possible."""
        with suppress(OSError, ValueError):
            self._stream.flush()


@contextmanager
def _told_of_output() -> Iterator[None]:
    """Turn the operating system's errors of standard output into ours.

    Raises:
        OutputClosed: Nobody reads it any more.
        StoreFull: It is a file on a full disk.
        NotWritable: Another error.
    """
    try:
        yield
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise OutputClosed("Nobody reads the standard output any more") from error
        kind = StoreFull if error.errno in FULL else NotWritable
        raise kind(
            "The results cannot be written to standard output", cause=str(error),
            remedy="send it to a place with enough space that can be written to",
        ) from error


def _flush(stream: Any) -> None:
    with suppress(OSError, ValueError):
        stream.flush()


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


def _plain(value: Any) -> Any:
    """Return the value with null for what JSON has no number for."""
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not isfinite(value) else value
