"""Pack many small files into few archives, so that one review a file costs little more than one a line.

The reading of a file costs some 50 ms and ten files in the store, however small it is. So small files are read as
members of a tar, which is kept beside what was read from it. The archives end where the hash of a name says so, not
after a fixed number: a file that comes or goes changes one archive, and the others are known.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import Unreadable
from corpus.reading.archives import PACK_MARK
from corpus.reading.sources import Source, identify, input_errors, source_names

PACK = "files.tar"
"""Name of the archive in the folder of a reading."""
SMALL = 64 << 10
"""Bytes of a file up to which it is small."""
MANY = 100
"""Small files up to which each is read on its own."""
FILES = 1_000
"""Files of an archive, on average."""


@dataclass(frozen=True)
class Pack(Source):
    """Small files that are read as one archive; `path` is that of the first, `sha256` that of the archive.

    Attributes:
        files: Paths and names, in order.
    """

    files: tuple[tuple[Path, str], ...] = ()

    def require_unchanged(self) -> None:
        """Do nothing: the archive is a copy, and is compared with its SHA-256 when it is written."""

    def write(self, folder: Path) -> Path:
        """Write the archive into a folder and return its path.

        Raises:
            Unreadable: A file has changed or is gone.
        """
        file, digest = folder / PACK, hashlib.sha256()
        temporary = file.with_suffix(".tmp")
        with temporary.open("wb") as out:
            for piece in _tar(self.files):
                digest.update(piece)
                out.write(piece)
        if digest.hexdigest() != self.sha256:
            raise Unreadable(
                "The files changed while they were being read", where=self.name,
                cause="another process is still writing to them", remedy="wait until they are complete",
            )
        return temporary.replace(file)


def all_sources(inputs: Sequence[Path | str], memory: Path | None = None) -> list[Source]:
    """Return the files that match paths, folders and globs, in order; small ones in packs if there are many.

    Args:
        memory: See `corpus.reading.sources.identify`.

    Raises:
        Unreadable, EmptyInput: See `corpus.reading.sources.source_names`.
    """
    names = source_names(inputs)
    with input_errors(Path()):
        small = {path: name for path, name in names.items() if path.is_file() and path.stat().st_size <= SMALL}
    if len(small) <= MANY:
        return [identify(path, name, memory) for path, name in names.items()]
    large = [identify(path, name, memory) for path, name in names.items() if path not in small]
    return large + [_pack(files) for files in _cut(small)]


def _cut(names: Mapping[Path, str]) -> Iterator[list[tuple[Path, str]]]:
    """Cut the sorted files after each whose name has a hash that is a multiple of `FILES`."""
    files: list[tuple[Path, str]] = []
    for path, name in sorted(names.items(), key=lambda item: item[1]):
        files.append((path.absolute(), name))
        if int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) % FILES == 0:
            yield files
            files = []
    if files:
        yield files


def _pack(files: Sequence[tuple[Path, str]]) -> Pack:
    digest, size = hashlib.sha256(), 0
    for piece in _tar(files):
        digest.update(piece)
        size += len(piece)
    name = f"{files[0][1]} to {files[-1][1]} ({len(files)} files)"
    return Pack(name, size, digest.hexdigest(), files[0][0], 0, tuple(files))


def _tar(files: Sequence[tuple[Path, str]]) -> Iterator[bytes]:
    """Yield the archive of some files in pieces; it depends on their names and contents alone."""
    yield _member(PACK_MARK, b"")
    for path, name in files:
        with input_errors(path):
            yield _member(name, path.read_bytes())
    yield b"\0" * 2 * tarfile.BLOCKSIZE


def _member(name: str, content: bytes) -> bytes:
    head = tarfile.TarInfo(name)
    head.size = len(content)
    return head.tobuf(tarfile.GNU_FORMAT) + content + b"\0" * (-len(content) % tarfile.BLOCKSIZE)

