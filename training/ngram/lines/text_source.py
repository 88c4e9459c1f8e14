"""Read a text file as lines and as blocks of lines, with line numbers for error messages."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn, cast

from models.base import ModelError
from training.byte_order import UTF8, mark_length

BLOCK = 1 << 25
_MAGIC = 4


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a file or a pipe, only once; decompress gzip or zstandard, detected by the first bytes; skip UTF-8's mark.

    Raises:
        OSError: The file cannot be opened or read.
        ModelError: kind "input": it is text in UTF-16.
    """
    with ExitStack() as stack:
        raw = stack.enter_context(path.open("rb"))
        magic = raw.read(_MAGIC)
        if raw.seekable():
            raw.seek(0)
        else:
            raw = stack.enter_context(io.BufferedReader(_FromBegin(magic, raw)))
        text: IO[bytes] = raw
        if magic[:2] == b"\x1f\x8b":
            text = cast("IO[bytes]", stack.enter_context(gzip.GzipFile(fileobj=raw, mode="rb")))
        elif magic == b"\x28\xb5\x2f\xfd":
            import pyarrow  # only here: only zstandard needs it, until Python 3.14

            text = stack.enter_context(pyarrow.CompressedInputStream(raw, "zstd"))
        begin = text.read(len(UTF8))
        mark = mark_length(path, begin)
        if text is raw and raw.seekable():
            raw.seek(mark)
            yield raw
        else:
            yield stack.enter_context(io.BufferedReader(_FromBegin(begin[mark:], text)))


class _FromBegin(io.RawIOBase):
    """A pipe whose first bytes have already been read."""

    def __init__(self, read: bytes, rest: IO[bytes]) -> None:
        self._read, self._rest = read, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        piece = self._read[: len(view)] or self._rest.read(len(view))
        self._read = self._read[len(piece) :]
        view[: len(piece)] = piece
        return len(piece)


@dataclass
class LineSource:
    """A file as lines and as blocks of lines; `line` is the number of the next line."""

    path: Path
    stream: IO[bytes]
    block: bytes = b""
    at: int = 0
    line: int = 1
    done: bool = False
    held: bytes = b""

    def fail(self, expected: str, actual: object = None, line: int | None = None) -> NoReturn:
        """Raise the error of a damaged file."""
        shown = "" if actual is None else f", found {actual!r}"
        raise ModelError(f"{self.path}, line {line or self.line}: expected {expected}{shown}", kind="input")

    def fill(self) -> None:
        """Read the next block and append it to the unread rest of the current one."""
        try:
            more = self.stream.read(BLOCK)
        except (OSError, EOFError, zlib.error) as error:
            self.fail(f"more of the file ({error})")
        self.block, self.at, self.done = self.block[self.at :] + more, 0, not more

    def next_line(self, expected: str) -> bytes:
        """Return the next line that is not blank, without blanks around it."""
        if self.held:
            text, self.held = self.held, b""
            self.line += 1
            return text
        while True:
            end = self.block.find(b"\n", self.at)
            if end < 0 and not self.done:
                self.fill()
                continue
            if end < 0 and self.at >= len(self.block):
                self.fail(f"{expected}, found the end of the file")
            end = len(self.block) if end < 0 else end
            text, self.at = self.block[self.at : end].strip(b" \t\r"), end + 1
            self.line += 1
            if text:
                return text

    def back(self, text: bytes) -> None:
        """Put back the last line, so that `next_line` returns it again."""
        self.held = text
        self.line -= 1

    def entries(self) -> Iterator[tuple[int, bytes]]:
        """Yield blocks (number of the first line, whole lines) up to the next line that begins with a backslash."""
        while True:
            if self.at >= len(self.block) and not self.done:
                self.fill()
            if self.at >= len(self.block) or self.block.startswith(b"\\", self.at):
                return
            end = self.block.find(b"\n\\", self.at)
            if end < 0:
                end = len(self.block) - 1 if self.done else self.block.rfind(b"\n", self.at)
            if end < 0:
                self.fill()
                continue
            first, lines = self.line, self.block[self.at : end + 1]
            self.at, self.line = end + 1, self.line + lines.count(b"\n")
            yield first, lines
