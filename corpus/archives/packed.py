"""Unpack compressed streams of several formats, with a limit on their size and one error class for damage."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
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

    def seekable(self) -> bool:
        """Return whether the packed stream can be read from the start again."""
        return self.stream.seekable()

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position and reset the count of bytes, so that bytes read again do not count twice."""
        self.given = 0
        with library():
            return self.stream.seek(place, whence)

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


_UNPACKERS: dict[bytes, Callable[[IO[bytes]], IO[bytes]]] = {
    b"\x1f\x8b": _gzip, b"\x28\xb5\x2f\xfd": _zstd, b"BZh": bz2.BZ2File, b"\xfd7zXZ\x00": lzma.LZMAFile,
}
"""First bytes of compressed files, with the function that unpacks them."""
