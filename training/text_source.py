"""Open a text file or pipe, packed or not; a byte order mark of UTF-8 is no text, others mean another encoding."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from reviewlm.models.base import ModelError

UTF8 = b"\xef\xbb\xbf"
UTF16 = (b"\xff\xfe", b"\xfe\xff")
_MAGIC = 4


def mark_length(path: Path, begin: bytes) -> int:
    """Return how many bytes of a file's beginning (3) are a mark and no text.

    Raises:
        ModelError: kind "input": the mark is of UTF-16 or UTF-32.
    """
    if begin.startswith(UTF16) or begin == b"\0\0\xfe":
        convert = f"iconv -f UTF-16 -t UTF-8 {path.name}"
        raise ModelError(
            f"{path} is text in UTF-16 or UTF-32, as its first bytes say; convert it: {convert}",
            "input",
        )
    if begin.startswith(UTF8):
        return len(UTF8)
    return 0


@contextmanager
def open_text(path: Path) -> Iterator[IO[bytes]]:
    """Open a file or a pipe, only once; decompress gzip or zstandard, detected by the first bytes; skip UTF-8's mark.

    Raises:
        OSError: The file cannot be opened or read.
        ModelError: kind "input": it is text in UTF-16.
    """
    with ExitStack() as stack:
        text: Any = stack.enter_context(path.open("rb"))
        magic = text.read(_MAGIC)
        if text.seekable():
            text.seek(0)
        else:
            text = io.BufferedReader(_FromBegin(magic, text))
        if magic[:2] == b"\x1f\x8b":
            text = stack.enter_context(gzip.GzipFile(fileobj=text, mode="rb"))
        elif magic == b"\x28\xb5\x2f\xfd":
            import pyarrow  # only here: only zstandard needs it, until Python 3.14

            text = io.BufferedReader(
                stack.enter_context(pyarrow.CompressedInputStream(text, "zstd"))
            )
        text.read(mark_length(path, text.peek(len(UTF8))[: len(UTF8)]))
        yield text


class _FromBegin(io.RawIOBase):
    """A pipe whose first bytes have already been read."""

    def __init__(self, begin: bytes, rest: IO[bytes]) -> None:
        self._begin = begin
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._begin or self._rest.read(len(buffer))
        self._begin = b""
        buffer[: len(piece)] = piece
        return len(piece)
