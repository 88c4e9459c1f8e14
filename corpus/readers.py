"""Any input, as a stream of blocks of typed records: which files, how packed, which format.

A file may be compressed (gzip, zstd), an archive (tar, zip), or both; what lies inside is one of the formats of
`corpus.formats`. Magic bytes decide first, then the first character, then the name. Nothing is unpacked to disk.
"""

from __future__ import annotations

import gzip
import io
import logging
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from corpus.formats import read_stream
from corpus.schema import Block, Limits
from reviewlm.errors import EmptyInput, InputError, Unreadable

log = logging.getLogger(__name__)

DATA_SUFFIXES = frozenset({".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".txt", ".parquet"})
PACKED_SUFFIXES = frozenset({".gz", ".zst", ".tar", ".tgz", ".zip"})
ENCRYPTED = 0x1
"""Flag of a zip member (APPNOTE 4.4.4, bit 0)."""
SIBLINGS = ("business", "checkin", "tip", "user", "photo", "photos")
"""The other tables of the Yelp Open Dataset, which are no reviews; ignored in a folder or an archive."""

BUFFER = 1 << 20
ALWAYS_ALLOWED = 64 << 20
"""Bytes that any packed file may unpack to, however small it is."""


@dataclass
class Progress:
    """How far the reading is, in bytes of the files as they lie on the disk."""

    records: int = 0
    bytes_before: int = 0
    file: IO[bytes] | None = None
    source: str = ""
    in_source: int = field(default=0)

    @property
    def bytes_done(self) -> int:
        """Bytes of the finished files and of the one being read."""
        return self.bytes_before + (self.file.tell() if self.file and not self.file.closed else 0)


def looks_like_data(name: str) -> bool:
    """Return whether a file of a folder or an archive is read, judged by its name alone."""
    path = PurePosixPath(name)
    if path.name.startswith((".", "_")) or "__MACOSX" in path.parts:
        return False
    words = path.name.lower().replace("-", "_").replace(".", "_").split("_")
    if any(word in SIBLINGS for word in words) and not is_review_member(name):
        return False
    return any(suffix.lower() in DATA_SUFFIXES | PACKED_SUFFIXES for suffix in path.suffixes[-2:])


def is_review_member(name: str) -> bool:
    """Return whether a member's name says that it holds reviews, as in Yelp's own archive."""
    path = PurePosixPath(name)
    hidden = path.name.startswith((".", "_")) or "__MACOSX" in path.parts
    return "review" in path.name.lower() and not hidden and path.suffix.lower() not in {".pdf", ".md", ".html"}


def printable(name: str) -> str:
    """Return a file's name with question marks for bytes that are not UTF-8, which no table could hold."""
    return name.encode("utf-8", "replace").decode()


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
        yield from _guarded(path, progress, lambda: _unpack(file, name, limits, room))
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
    except (EOFError, OSError, zlib.error, tarfile.TarError, zipfile.BadZipFile, NotImplementedError) as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise  # the disk, not the content
        raise Unreadable(
            "The file is damaged or was cut off", where=path,
            value=f"{progress.in_source} records were read before the damage", cause=str(error) or type(error).__name__,
            remedy="fetch or copy the file again; nothing of it has been kept",
        ) from error


def _unpack(file: IO[bytes] | io.RawIOBase, name: str, limits: Limits, room: int) -> Iterator[Block]:
    """Look at the first bytes and go one layer deeper, to the plain content; no layer gives more than *room* bytes."""
    stream = file if isinstance(file, io.BufferedReader) else io.BufferedReader(cast(io.RawIOBase, file), BUFFER)
    head = stream.peek(512)
    if head.startswith(b"\x1f\x8b"):
        yield from _unpack(_Unpacked(cast(IO[bytes], gzip.GzipFile(fileobj=stream)), name, room), name, limits, room)
    elif head.startswith(b"\x28\xb5\x2f\xfd"):
        yield from _unpack(_Unpacked(_zstd(stream), name, room), name, limits, room)
    elif head[257:262] == b"ustar":
        yield from _tar(stream, name, limits, room)
    elif head.startswith(b"PK\x03\x04"):
        yield from _zip(stream, name, limits, room)
    else:
        yield from read_stream(stream, name, limits)


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


def _tar(stream: io.BufferedReader, name: str, limits: Limits, room: int) -> Iterator[Block]:
    """Read the members named like reviews in one pass; only an archive without such a member is read twice."""
    found: list[str] = []
    yield from _members(stream, name, limits, room, found, is_review_member)
    if not any(is_review_member(member) for member in found):
        _require(any(looks_like_data(member) for member in found) and _can_start_again(stream), found, name)
        stream.seek(0)
        yield from _members(stream, name, limits, room, found, looks_like_data)


def _can_start_again(stream: io.BufferedReader) -> bool:
    try:
        return stream.seekable()
    except AttributeError:  # a tar inside a tar: the outer stream has no such method
        return False


def _members(
    stream: io.BufferedReader, name: str, limits: Limits, room: int, found: list[str], wanted: Callable[[str], bool]
) -> Iterator[Block]:
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            if (member.issym() or member.islnk()) and wanted(member.name):
                log.warning("%s: %s is a link, which is not followed", name, printable(member.name))
            if not member.isfile():
                continue
            found.append(member.name)
            content = archive.extractfile(member) if wanted(member.name) else None
            if content is not None:
                yield from _unpack(content, f"{name}:{printable(member.name)}", limits, room)


def _zip(stream: io.BufferedReader, name: str, limits: Limits, room: int) -> Iterator[Block]:
    plain = isinstance(stream.raw, io.FileIO)  # a packed stream goes backwards only by starting again
    seekable = cast(IO[bytes], stream) if plain else io.BytesIO(stream.read())
    with zipfile.ZipFile(seekable) as archive:
        found = [info.filename for info in archive.infolist() if not info.is_dir()]
        chosen = list(filter(is_review_member, found)) or list(filter(looks_like_data, found))
        _require(bool(chosen), found, name)
        for member in chosen:
            source = f"{name}:{printable(member)}"
            if archive.getinfo(member).flag_bits & ENCRYPTED:
                raise Unreadable("The archive is encrypted", where=source, remedy="unpack it with its password first")
            with archive.open(member) as content:
                unpacked = _Unpacked(content, source, room)
                yield from _unpack(unpacked, source, limits, room)
                room -= unpacked.given


def _require(reviews: bool, found: Sequence[str], name: str) -> None:
    if not reviews:
        raise EmptyInput(
            "The archive holds no reviews", where=name, value=", ".join(found) or "it is empty",
            remedy="a member named *review*.json (or .csv, .txt, .parquet) is expected",
        )
