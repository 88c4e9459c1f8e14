"""Compressed streams, whatever packed them: which library unpacks them, how much they may hold, how they fail."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, cast

import polars as pl

from core.errors import InputError
from corpus.schema import Limits

BUFFER = 1 << 20


class Damage(Exception):
    """What an unpacking library raised, of whatever class."""


DAMAGED = (
    Damage, EOFError, OSError, zlib.error, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile,
    pl.exceptions.PolarsError, pl.exceptions.PanicException,
)
"""What reading damaged bytes ends in; a panic of the table library is no `Exception`."""


@contextmanager
def library() -> Iterator[None]:
    """Take whatever an unpacking library raises for damage; around calls of libraries only, never of our own code."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except OSError as error:
        if error.filename is not None:
            raise  # the disk, not the content
        raise Damage(str(error)) from error
    except Exception as error:
        raise Damage(str(error) or type(error).__name__) from error


def unpacker_of(head: bytes) -> Callable[[IO[bytes]], IO[bytes]] | None:
    """Return what unpacks a stream that begins like this, None where it is not compressed."""
    return next((unpacker for magic, unpacker in _UNPACKERS.items() if head.startswith(magic)), None)


class Unpacked(io.RawIOBase):
    """What a packed stream holds, up to a limit: a few kilobytes may claim to be petabytes.

    Args:
        stream: Of an unpacker.
        source: The name of the packed file.
        limits: Words the refusal.
        room: Bytes that it may hold.
    """

    def __init__(self, stream: IO[bytes], source: str, limits: Limits, room: int) -> None:
        self.stream, self.source, self.limits, self.room, self.given = stream, source, limits, room, 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return whether the packed stream can start again."""
        return self.stream.seekable()

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; what is read again does not count twice."""
        self.given = 0
        with library():
            return self.stream.seek(place, whence)

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer; Unreadable beyond the limit."""
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
    import pyarrow  # Python's own library has zstd only from 3.14 on

    return cast(IO[bytes], pyarrow.CompressedInputStream(stream, "zstd"))


_UNPACKERS: dict[bytes, Callable[[IO[bytes]], IO[bytes]]] = {
    b"\x1f\x8b": _gzip, b"\x28\xb5\x2f\xfd": _zstd, b"BZh": bz2.BZ2File, b"\xfd7zXZ\x00": lzma.LZMAFile,
}
"""How compressed files begin, and what unpacks them."""
