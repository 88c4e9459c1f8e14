"""Open a text file or pipe, packed or not; a byte order mark of UTF-8 is no text, others mean another encoding.

A file that is certainly no text, such as an archive or a pointer to a file that was not fetched, is said to be what it is.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shlex
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from reviewlm.models.base import ModelError
from reviewlm.models.text.foreign_files import LONGEST_BEGIN, foreign_file

UTF8 = b"\xef\xbb\xbf"
UTF16 = (b"\xff\xfe", b"\xfe\xff")
MAGIC_BYTES = 6
"""Number of first bytes that tell a packing."""
_PACKINGS: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": lambda packed: gzip.GzipFile(fileobj=packed, mode="rb"),
    **dict.fromkeys((b"BZh%d1A" % level for level in range(1, 10)), bz2.BZ2File),
    b"\xfd7zXZ\0": lzma.LZMAFile,
}
"""First bytes of packed files, and what unpacks them; for zstandard see `open_text`."""
UNPACKING_ERRORS = (EOFError, zlib.error, lzma.LZMAError)
"""Exceptions of packed files that are cut or damaged; others are an OSError."""
_READ_ELSEWHERE = {
    b"PK\x03\x04": ("a zip archive, or a document in one", "unpack it"),
    b"PAR1": ("a file in the format Parquet", ""),
}
"""Beginnings of files that other doors read."""
_AS_TEXT = "write its texts to a file, one a line"


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


def unpacker_of(begin: bytes) -> Callable[[Any], Any] | None:
    """Return the function that unpacks a stream with these first 6 bytes (gzip, bzip2, xz), or None."""
    return next((_PACKINGS[known] for known in _PACKINGS if begin.startswith(known)), None)


@contextmanager
def open_text(path: Path) -> Iterator[IO[bytes]]:
    """Open a file or a pipe, only once; decompress it, by its first bytes (gzip, bzip2, xz, zstandard); skip UTF-8's mark.

    Raises:
        OSError: The file cannot be opened or read. `UNPACKING_ERRORS` may be raised, too.
        ModelError: kind "input": it is text in UTF-16, or certainly no text.
    """
    with ExitStack() as stack:
        text: Any = stack.enter_context(path.open("rb"))
        magic = text.read(MAGIC_BYTES)
        if text.seekable():
            text.seek(0)
        else:
            text = io.BufferedReader(_FromBegin(magic, text))
        unpack = unpacker_of(magic)
        if unpack is not None:
            text = stack.enter_context(unpack(text))
        elif magic.startswith(b"\x28\xb5\x2f\xfd"):
            import pyarrow  # only here: only zstandard needs it, until Python 3.14

            text = io.BufferedReader(
                stack.enter_context(pyarrow.CompressedInputStream(text, "zstd"))
            )
        begin = text.peek(LONGEST_BEGIN)
        require_text(path, begin)
        text.read(mark_length(path, begin[: len(UTF8)]))
        yield text


def require_text(path: Path, begin: bytes) -> None:
    """Refuse a file that is certainly no text, and name its kind.

    Args:
        begin: Its first bytes, after it was unpacked.

    Raises:
        ModelError: kind "input": it is no text.
    """
    kind = foreign_file(begin)
    if kind is not None:
        remedy = "" if kind.is_table else kind.remedy_for(shlex.quote(str(path)))
        raise _no_text(path, kind.what, remedy)

    for known, (what, remedy) in _READ_ELSEWHERE.items():
        if begin.startswith(known):
            raise _no_text(path, what, remedy)


def _no_text(
    path: Path,
    what: str,
    remedy: str,
) -> ModelError:
    return ModelError(f"{path} is {what}, not a text: {remedy or _AS_TEXT}", "input")


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
