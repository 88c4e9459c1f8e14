"""Unpack compressed streams of several formats, with a limit on their size and one error class for damage."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any, cast

import polars as pl

from core.errors import InputError
from corpus.schema import Limits

BUFFER = 1 << 20
ZIP = b"PK\x03\x04"
JSON = re.compile(rb'(?:\xef\xbb\xbf)?\s*(?:\{\s*"|\[\s*\{)')


class Damage(Exception):
    """An error of an unpacking library, of any class."""


DAMAGED = (
    Damage, EOFError, OSError, zlib.error, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile,
    pl.exceptions.PolarsError, pl.exceptions.PanicException,
)
"""Errors that damaged bytes can cause. The PanicException of polars is not a subclass of `Exception`."""


@contextmanager
def library() -> Iterator[None]:
    """Convert any error of an unpacking library to `Damage`; wrap calls of libraries only, never our own code."""
    try:
        yield
    except InputError:
        raise
    except MemoryError as error:  # the head of an LZMA stream may ask for a dictionary of 4 GiB
        raise Damage("to unpack it takes more memory than there is") from error
    except OSError as error:
        if error.filename is not None:
            raise  # an error of the disk, not of the content
        raise Damage(str(error)) from error
    except Exception as error:
        raise Damage(str(error) or type(error).__name__) from error


def unpacker_of(head: bytes) -> Callable[[IO[bytes]], IO[bytes]] | None:
    """Return the function that unpacks a stream with these first bytes, or None if it is not compressed."""
    return next((unpacker for magic, unpacker in _UNPACKERS.items() if head.startswith(magic)), None)


@contextmanager
def opened(unpacker: Callable[[IO[bytes]], IO[bytes]], stream: IO[bytes]) -> Iterator[IO[bytes]]:
    """Yield the stream that an unpacker makes, and close it afterwards.

    A stream of pyarrow must not be left to garbage collection: it calls Python code to close itself, and if that
    happens at the limit of recursion, pyarrow ends the process with a segmentation fault.
    """
    with library():
        content = unpacker(stream)
    try:
        yield content
    finally:
        with suppress(Exception):  # an error of damaged content has been raised by reading it
            content.close()


class Unpacked(io.RawIOBase):
    """The unpacked content of a packed stream, up to a limit, because a few kilobytes can unpack to petabytes.

    Args:
        stream: The stream that an unpacker returned.
        source: The name of the packed file.
        limits: Creates the error when the limit is exceeded.
        room: Largest number of unpacked bytes.
    """

    def __init__(self, stream: IO[bytes], source: str, limits: Limits, room: int) -> None:
        self.stream, self.source, self.limits, self.room, self.given = stream, source, limits, room, 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer; raise Unreadable beyond the limit."""
        with library():
            content = self.stream.read(len(buffer))
        buffer[: len(content)] = content
        self.given += len(content)
        if self.given > self.room:
            raise self.limits.too_much(self.source, self.room)
        return len(content)


def _gzip(stream: IO[bytes]) -> IO[bytes]:
    return cast(IO[bytes], gzip.GzipFile(fileobj=stream))


def _zstd(stream: IO[bytes]) -> IO[bytes]:
    import pyarrow  # Python's standard library has zstd only from version 3.14

    return cast(IO[bytes], pyarrow.CompressedInputStream(stream, "zstd"))


class _Following:
    """Compressed streams that follow each other in a file, with padding of zeros between them or after the last.

    Python's `LZMAFile` and `BZ2File` stop without a word at anything after the first that is no stream: padding, or a
    damaged head, would lose all that follows.

    Args:
        new: `bz2.BZ2Decompressor` or `lzma.LZMADecompressor`.
    """

    def __init__(self, stream: IO[bytes], new: Callable[[], Any]) -> None:
        self.stream, self.new, self.current = stream, new, new()

    def read(self, size: int) -> bytes:
        """Return the next bytes, at most *size*; empty at the end."""
        while True:
            if self.current.eof:
                packed = self._after_padding(self.current.unused_data)
                if not packed:
                    return b""
                self.current = self.new()
            else:
                packed = self.stream.read(BUFFER) if self.current.needs_input else b""
                if self.current.needs_input and not packed:
                    raise EOFError("it ends within a compressed stream")
            if found := self.current.decompress(packed, size):
                return cast(bytes, found)

    def _after_padding(self, packed: bytes) -> bytes:
        while not (packed := packed.lstrip(b"\0")):
            if not (packed := self.stream.read(BUFFER)):
                return b""
        return packed

    def close(self) -> None:
        """Do nothing: the packed stream belongs to the caller."""


def _bz2(stream: IO[bytes]) -> IO[bytes]:
    return cast(IO[bytes], _Following(stream, bz2.BZ2Decompressor))


def _xz(stream: IO[bytes]) -> IO[bytes]:
    return cast(IO[bytes], _Following(stream, lzma.LZMADecompressor))


_UNPACKERS: dict[bytes, Callable[[IO[bytes]], IO[bytes]]] = {
    b"\x1f\x8b": _gzip, b"\x28\xb5\x2f\xfd": _zstd, b"BZh": _bz2, b"\xfd7zXZ\x00": _xz,
    **{bytes([sign]) + b"\x2a\x4d\x18": _zstd for sign in range(0x50, 0x60)},
}
"""First bytes of compressed files, with the function that unpacks them; the last are skippable frames, as of pzstd."""


def holds_data(head: bytes) -> bool:
    """Return whether the first bytes are those of a packed file, of Parquet or of JSON, whatever the file's name is."""
    packed = unpacker_of(head) is not None or is_tar(head) or head.startswith(ZIP)
    return packed or head.startswith(b"PAR1") or JSON.match(head) is not None


def is_tar(head: bytes) -> bool:
    """Return whether these are the first 512 bytes of a tar; the zero tells it from a text with mustard in it."""
    return head[257:265].startswith((b"ustar\0", b"ustar  \0"))
