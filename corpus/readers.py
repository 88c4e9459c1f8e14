"""Any input, as a stream of blocks of typed records: which files, how packed, which format.

A file may be compressed (gzip, zstd), an archive (tar, zip), or both; what lies inside is one of the formats of
`corpus.formats`. Magic bytes decide first, then the first character, then the name. Nothing is unpacked to disk.
"""

from __future__ import annotations

import gzip
import io
import logging
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, cast

from corpus.formats import read_stream
from corpus.names import distinct, is_review_member, looks_like_data, printable
from corpus.schema import Block, Limits
from reviewlm.errors import EmptyInput, InputError, Unreadable

log = logging.getLogger(__name__)

ENCRYPTED = 0x1
"""Flag of a zip member (APPNOTE 4.4.4, bit 0)."""
BUFFER = 1 << 20
ALWAYS_ALLOWED = 64 << 20
"""Bytes that any packed file may unpack to, however small it is."""
LAYERS = 8
"""How often a file may be packed, one time within another; there are archives that hold themselves."""
DAMAGED = (
    EOFError, OSError, zlib.error, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile, NotImplementedError
)
"""What the unpacking libraries raise."""


@dataclass
class Progress:
    """How far the reading is, in bytes of the files as they lie on the disk."""

    records: int = 0
    bytes_before: int = 0
    file: IO[bytes] | None = None
    source: str = ""
    in_source: int = 0

    @property
    def bytes_done(self) -> int:
        """Bytes of the finished files and of the one being read."""
        return self.bytes_before + (self.file.tell() if self.file and not self.file.closed else 0)


@dataclass(frozen=True)
class _Place:
    """Where in a file a stream stands: its name, how many bytes it may give, how often it may still be packed."""

    name: str
    limits: Limits
    room: int
    layers: int = LAYERS

    def inside(self, name: str = "", room: int | None = None) -> _Place:
        """Return the place one layer deeper; Unreadable where there are too many."""
        if not self.layers:
            raise Unreadable(
                "The file is packed too often", where=self.name, value=f"more than {LAYERS} layers",
                cause="it is made to be unpacked without end", remedy="unpack it first, if you trust it",
            )
        room = self.room if room is None else room
        return replace(self, name=name or self.name, room=room, layers=self.layers - 1)


def read(path: Path, name: str, limits: Limits, progress: Progress) -> Iterator[Block]:
    """Yield the blocks of a file, in order; the same file gives the same blocks.

    Args:
        path: The file.
        name: What the column `source` says of it.
        limits: See `Limits`.
        progress: Told how far the reading is.

    Raises:
        Unreadable: The file is truncated or in no known format; says how many of its records were read before.
        MissingColumn: The file has no text.
    """
    progress.source, progress.in_source = name, 0
    with _open(path) as file:
        progress.file, size = file, os.fstat(file.fileno()).st_size
        room = max(ALWAYS_ALLOWED, int(size * limits.max_expansion))
        yield from _guarded(path, progress, lambda: _unpack(file, _Place(name, limits, room)))
        progress.file = None
        progress.bytes_before += size


def _open(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise Unreadable("The file cannot be opened", where=path, cause=str(error)) from error


def _guarded(path: Path, progress: Progress, blocks: Callable[[], Iterator[Block]]) -> Iterator[Block]:
    """Count the records, and turn what the unpacking libraries raise into one of our errors."""
    try:
        for block in blocks():
            yield block
            progress.in_source += block.records
    except InputError:
        raise
    except DAMAGED as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise  # the disk, not the content
        raise Unreadable(
            "The file is damaged or was cut off", where=path,
            value=f"{progress.in_source} records were read before the damage", cause=str(error) or type(error).__name__,
            remedy="fetch or copy the file again; nothing of it has been kept",
        ) from error


def _unpack(file: IO[bytes] | io.RawIOBase, place: _Place) -> Iterator[Block]:
    """Look at the first bytes and go one layer deeper, to the plain content; no layer gives more than there is room."""
    stream = file if isinstance(file, io.BufferedReader) else io.BufferedReader(cast(io.RawIOBase, file), BUFFER)
    head = stream.peek(512)
    if head.startswith(b"\x1f\x8b"):
        plain = cast(IO[bytes], gzip.GzipFile(fileobj=stream))
        yield from _unpack(_Unpacked(plain, place.name, place.room), place.inside())
    elif head.startswith(b"\x28\xb5\x2f\xfd"):
        yield from _unpack(_Unpacked(_zstd(stream), place.name, place.room), place.inside())
    elif head[257:262] == b"ustar":
        yield from _tar(stream, place)
    elif head.startswith(b"PK\x03\x04"):
        yield from _zip(stream, place)
    else:
        yield from read_stream(stream, place.name, place.limits)


class _Unpacked(io.RawIOBase):
    """What a packed stream holds, up to a limit: a few kilobytes may claim to be petabytes."""

    def __init__(self, stream: IO[bytes], name: str, room: int) -> None:
        self.stream, self.source, self.room, self.given = stream, name, room, 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return whether the packed stream can start again."""
        return self.stream.seekable()

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; what is read again does not count twice."""
        self.given = 0
        return self.stream.seek(place, whence)

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer; Unreadable beyond the limit."""
        content = self.stream.read(len(buffer))
        buffer[: len(content)] = content
        self.given += len(content)
        if self.given > self.room:
            raise Unreadable(
                "The file unpacks to far more than its size", where=self.source, value=f"over {self.room:,} bytes",
                cause="it is made to fill a disk or a memory, or it is no text",
                remedy="if you trust it, raise source.max_expansion",
            )
        return len(content)


def _zstd(stream: IO[bytes]) -> IO[bytes]:
    import pyarrow  # Python's own library has zstd only from 3.14 on

    return cast(IO[bytes], pyarrow.CompressedInputStream(stream, "zstd"))


def _tar(stream: io.BufferedReader, place: _Place) -> Iterator[Block]:
    """Read the members named like reviews in one pass; only an archive without such a member is read twice."""
    found: list[str] = []
    yield from _members(stream, place, found, is_review_member)
    if not any(is_review_member(member) for member in found):
        data = any(looks_like_data(member) for member in found)
        _require(data and _can_start_again(stream), found, place.name)
        stream.seek(0)
        yield from _members(stream, place, found, looks_like_data)


def _can_start_again(stream: io.BufferedReader) -> bool:
    try:
        return stream.seekable()
    except AttributeError:  # a tar inside a tar: the outer stream has no such method
        return False


class _Header(tarfile.TarInfo):
    """The head of a member. Where none can be read `tarfile` would take the archive for ended, and lose the rest."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> _Header:
        """Read the next head; ReadError where it is damaged, or the archive stops without saying that it ends."""
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # typeshed has only the class above it
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"the head of a member cannot be read: {error}") from error


def _members(
    stream: io.BufferedReader, place: _Place, found: list[str], wanted: Callable[[str], bool]
) -> Iterator[Block]:
    taken: set[str] = set()
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header) as archive:
        for member in archive:
            if (member.issym() or member.islnk()) and wanted(member.name):
                log.warning("%s: %s is a link, which is not followed", place.name, printable(member.name))
            if not member.isfile():
                continue
            found.append(member.name)
            content = archive.extractfile(member) if wanted(member.name) else None
            if content is not None:
                yield from _unpack(content, place.inside(_member_name(place, member.name, taken)))


def _member_name(place: _Place, member: str, taken: set[str]) -> str:
    """Return what the column `source` says of a member: no two are the same, though the archive may have it so."""
    return f"{place.name}:{distinct(printable(member), taken)}"


def _zip(stream: io.BufferedReader, place: _Place) -> Iterator[Block]:
    plain = isinstance(stream.raw, io.FileIO)  # a packed stream goes backwards only by starting again
    seekable = cast(IO[bytes], stream) if plain else io.BytesIO(stream.read())
    with zipfile.ZipFile(seekable) as archive:
        members = [info for info in archive.infolist() if not info.is_dir()]
        reviews = [info for info in members if is_review_member(info.filename)]
        chosen = reviews or [info for info in members if looks_like_data(info.filename)]
        _require(bool(chosen), [info.filename for info in members], place.name)
        taken: set[str] = set()
        room = place.room
        for member in chosen:
            source = _member_name(place, member.filename, taken)
            if member.flag_bits & ENCRYPTED:
                raise Unreadable("The archive is encrypted", where=source, remedy="unpack it with its password first")
            with archive.open(member) as content:
                unpacked = _Unpacked(content, source, room)
                yield from _unpack(unpacked, place.inside(source, room))
                room -= unpacked.given


def _require(reviews: bool, found: Sequence[str], name: str) -> None:
    if not reviews:
        raise EmptyInput(
            "The archive holds no reviews", where=name, value=", ".join(found) or "it is empty",
            remedy="a member named *review*.json (or .csv, .txt, .parquet) is expected",
        )
