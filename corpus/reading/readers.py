"""Read any input file, packed or not, as a stream of blocks of typed records.

A file can be compressed (gzip, zstd, bzip2, xz), an archive (tar, zip), or both. Its content is in one of the formats
of `corpus.reading.formats`. Magic bytes decide how it is packed; the format follows from magic bytes, the suffix and
the first characters. Errors of the unpacking libraries about damaged bytes (`corpus.archives.packed`) become
`Unreadable` here.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, cast

from core.errors import EmptyInput, InputError, Unreadable
from corpus.archives.names import distinct, is_review_member, looks_like_data, printable
from corpus.archives.packed import BUFFER, DAMAGED, Unpacked, library, opened, unpacker_of
from corpus.archives.seekable import seekable
from corpus.archives.tar_members import tar_members
from corpus.reading.formats import read_stream
from corpus.schema import Block, Limits

ENCRYPTED = 0x1
"""Flag of a zip member (APPNOTE 4.4.4, bit 0)."""
NAMED = 20
"""Largest number of members listed in an error."""
LAYERS = 8
"""Largest number of nested packings of a file; some archives contain themselves."""


@dataclass
class Progress:
    """Progress of the reading, in bytes of the files on disk."""

    records: int = 0
    bytes_before: int = 0
    file: IO[bytes] | None = None
    source: str = ""
    in_source: int = 0

    @property
    def bytes_done(self) -> int:
        """Bytes of the finished files and of the part read from the current file."""
        return self.bytes_before + (self.file.tell() if self.file and not self.file.closed else 0)


@dataclass(frozen=True)
class _Place:
    """Position of a stream in nested packings: its name, the bytes it may give, the layers that may still follow."""

    name: str
    limits: Limits
    room: int
    layers: int = LAYERS

    def inside(self, name: str = "", room: int | None = None) -> _Place:
        """Return the place one layer deeper; raise Unreadable if there are too many layers."""
        if not self.layers:
            raise Unreadable(
                "The file is compressed too many times", where=self.name, value=f"more than {LAYERS} layers",
                cause="it may be a decompression bomb", remedy="unpack it first, if you trust it",
            )
        room = self.room if room is None else room
        return replace(self, name=name or self.name, room=room, layers=self.layers - 1)


def read(path: Path, name: str, limits: Limits, progress: Progress) -> Iterator[Block]:
    """Yield the blocks of a file, in order; the same file gives the same blocks.

    Args:
        name: Value of the column `source`.
        progress: Updated while the file is read.

    Raises:
        Unreadable: The file is truncated or has no known format; the error gives the number of records read before.
        MissingColumn: The file has no text.
    """
    progress.source, progress.in_source = name, 0
    with _open(path) as file:
        progress.file, size = file, os.fstat(file.fileno()).st_size
        yield from _guarded(path, progress, lambda: _unpack(file, _Place(name, limits, limits.room(size))))
        progress.file = None
        progress.bytes_before += size


def _open(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise Unreadable("The file cannot be opened", where=path, cause=str(error)) from error


def _guarded(path: Path, progress: Progress, blocks: Callable[[], Iterator[Block]]) -> Iterator[Block]:
    """Count the records, and convert errors of the unpacking libraries to `Unreadable`."""
    try:
        for block in blocks():
            yield block
            progress.in_source += block.records
    except InputError:
        raise
    except DAMAGED as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise  # an error of the disk, not of the content
        raise Unreadable(
            "The file is damaged or was cut off", where=path,
            value=f"{progress.in_source} records were read before the damage", cause=str(error) or type(error).__name__,
            remedy="fetch or copy the file again; none of its records were kept",
        ) from error


def _unpack(file: IO[bytes] | io.RawIOBase, place: _Place) -> Iterator[Block]:
    """Check the first bytes and unpack one layer after another; no layer may give more bytes than `place.room`."""
    stream = file if isinstance(file, io.BufferedReader) else io.BufferedReader(cast(io.RawIOBase, file), BUFFER)
    head = stream.peek(512)
    if unpacker := unpacker_of(head):
        with opened(unpacker, stream) as content:
            yield from _unpack(Unpacked(content, place.name, place.limits, place.room), place.inside())
    elif head[257:262] == b"ustar":
        yield from _tar(stream, place)
    elif head.startswith(b"PK\x03\x04"):
        yield from _zip(stream, place)
    else:
        yield from read_stream(stream, place.name, place.limits)


def _tar(stream: io.BufferedReader, place: _Place) -> Iterator[Block]:
    """Read the members named like reviews in one pass; only an archive without such members is read twice."""
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
    except AttributeError:  # a tar inside a tar: the outer stream does not have this method
        return False


def _members(
    stream: io.BufferedReader, place: _Place, found: list[str], wanted: Callable[[str], bool]
) -> Iterator[Block]:
    taken: dict[str, int] = {}
    for name, content in tar_members(stream, place.name, wanted, found):
        yield from _unpack(content, place.inside(_member_name(place, name, taken)))


def _member_name(place: _Place, member: str, taken: dict[str, int]) -> str:
    """Return the `source` value of a member; it is unique even if the archive holds one name twice."""
    return f"{place.name}:{distinct(printable(member), taken)}"


def _zip(stream: io.BufferedReader, place: _Place) -> Iterator[Block]:
    with seekable(stream) as file:
        with library():
            archive = zipfile.ZipFile(file)
            members = [info for info in archive.infolist() if not info.is_dir()]
        reviews = [info for info in members if is_review_member(info.filename)]
        chosen = reviews or [info for info in members if looks_like_data(info.filename)]
        _require(bool(chosen), [info.filename for info in members], place.name)
        taken: dict[str, int] = {}
        room = place.room
        for member in chosen:
            inside = place.inside(_member_name(place, member.filename, taken), room)
            if member.flag_bits & ENCRYPTED:
                raise Unreadable(
                    "The archive is encrypted", where=inside.name, remedy="unpack it with its password first"
                )
            with library():
                content = archive.open(member)
            unpacked = Unpacked(content, inside.name, inside.limits, room)
            yield from _unpack(unpacked, inside)
            room -= unpacked.given


def _require(reviews: bool, found: Sequence[str], name: str) -> None:
    if not reviews:
        raise EmptyInput(
            "The archive holds no reviews", where=name, value=", ".join(map(printable, found[:NAMED])) or "it is empty",
            remedy="a member named *review*.json (or .csv, .txt, .parquet) is expected",
        )
