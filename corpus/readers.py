"""Any input, as a stream of blocks of typed records: which files, how packed, which format.

A file may be compressed (gzip, zstd), an archive (tar, zip), or both; what lies inside is one of the formats of
`corpus.formats`. Magic bytes decide first, then the first character, then the name. Nothing is unpacked to disk.
"""

from __future__ import annotations

import gzip
import io
import logging
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, cast

from corpus.formats import read_stream
from corpus.schema import Block, Limits
from reviewlm.errors import EmptyInput, InputError, Unreadable

log = logging.getLogger(__name__)

DATA_SUFFIXES = frozenset({".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".txt", ".parquet"})
PACKED_SUFFIXES = frozenset({".gz", ".zst", ".tar", ".tgz", ".zip"})
SIBLINGS = ("business", "checkin", "tip", "user", "photo", "photos")
"""The other tables of the Yelp Open Dataset, which are no reviews; ignored in a folder or an archive."""

BUFFER = 1 << 20
CHECK_PATH = "check the spelling and the working directory"


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


def expand_inputs(patterns: Iterable[str | Path]) -> list[Path]:
    """Return the files that the patterns mean, each once: paths, folders (searched recursively) and globs.

    Raises:
        Unreadable: A path does not exist, or a glob matches nothing.
        EmptyInput: A folder holds nothing that looks like reviews.
    """
    files: dict[Path, None] = {}
    for pattern in patterns:
        for path in _expand(Path(pattern)):
            files.setdefault(path)
    if not files:
        raise EmptyInput("No input was given", where="source.input", remedy="name a file, a folder or a glob")
    return list(files)


def _expand(path: Path) -> list[Path]:
    if path.is_dir():
        return _in_folder(path)
    if path.exists():
        return [path]
    if any(sign in str(path) for sign in "*?["):
        anchor = Path(path.anchor) if path.is_absolute() else Path()
        relative = path.relative_to(path.anchor) if path.is_absolute() else path
        matches = sorted(match for match in anchor.glob(str(relative)) if match.is_file())
        if matches:
            return matches
        raise Unreadable("No file matches the pattern", where=path, remedy=CHECK_PATH)
    raise Unreadable("There is no such file or folder", where=path, remedy=CHECK_PATH)


def _in_folder(folder: Path) -> list[Path]:
    seen = sorted(path for path in folder.rglob("*") if path.is_file())
    chosen = [path for path in seen if looks_like_data(path.relative_to(folder).as_posix())]
    if not chosen:
        raise EmptyInput(
            "The folder holds no reviews", where=folder, value=f"{len(seen)} files" if seen else "an empty folder",
            remedy=f"files ending in {' '.join(sorted(DATA_SUFFIXES | PACKED_SUFFIXES))} are read",
        )
    if len(chosen) < len(seen):
        log.info("%s: %d of %d files are read, the others do not look like reviews", folder, len(chosen), len(seen))
    return chosen


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


def source_names(paths: Sequence[Path]) -> list[str]:
    """Return what the `source` column says for each file: the path below the folder that all files share."""
    if len(paths) == 1:
        return [printable(paths[0].name)]
    parts = [path.absolute().parts for path in paths]
    shared = 0
    while all(len(other) - 1 > shared and other[shared] == parts[0][shared] for other in parts):
        shared += 1
    return [printable("/".join(other[shared:])) for other in parts]


def printable(name: str) -> str:
    """Return a file's name with question marks for bytes that are not UTF-8, which no table could hold."""
    return name.encode("utf-8", "replace").decode()


def read(paths: Sequence[Path], limits: Limits, progress: Progress) -> Iterator[Block]:
    """Yield the blocks of all files, in order; the same files give the same blocks.

    Raises:
        Unreadable: A file is truncated or in no known format; says how many of its records were read before.
        MissingColumn: A file has no text.
    """
    for path, name in zip(paths, source_names(paths), strict=True):
        progress.source, progress.in_source = name, 0
        with _open(path) as file:
            progress.file = file
            yield from _guarded(path, progress, lambda file=file, name=name: _unpack(file, name, limits))  # type: ignore[misc]
            progress.file = None
        progress.bytes_before += path.stat().st_size


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
    except (EOFError, OSError, zlib.error, tarfile.TarError, zipfile.BadZipFile) as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise  # the disk, not the content
        raise Unreadable(
            "The file is damaged or was cut off", where=path,
            value=f"{progress.in_source} records were read before the damage", cause=str(error) or type(error).__name__,
            remedy="fetch or copy the file again; nothing of it has been kept",
        ) from error


def _unpack(file: IO[bytes], name: str, limits: Limits) -> Iterator[Block]:
    """Look at the first bytes and go one layer deeper, until there is plain content."""
    stream = file if isinstance(file, io.BufferedReader) else io.BufferedReader(cast(io.RawIOBase, file), BUFFER)
    head = stream.peek(512)
    if head.startswith(b"\x1f\x8b"):
        yield from _unpack(cast(IO[bytes], gzip.GzipFile(fileobj=stream)), name, limits)
    elif head.startswith(b"\x28\xb5\x2f\xfd"):
        yield from _unpack(_zstd(stream), name, limits)
    elif head[257:262] == b"ustar":
        yield from _tar(stream, name, limits)
    elif head.startswith(b"PK\x03\x04"):
        yield from _zip(stream, name, limits)
    else:
        yield from read_stream(stream, name, limits)


def _zstd(stream: IO[bytes]) -> IO[bytes]:
    import pyarrow  # Python's own library has zstd only from 3.14 on

    return cast(IO[bytes], pyarrow.CompressedInputStream(stream, "zstd"))


def _tar(stream: io.BufferedReader, name: str, limits: Limits) -> Iterator[Block]:
    """Read the members named like reviews in one pass; only an archive without such a member is read twice."""
    found: list[str] = []
    yield from _members(stream, name, limits, found, is_review_member)
    if not any(is_review_member(member) for member in found):
        _require(any(looks_like_data(member) for member in found) and _can_start_again(stream), found, name)
        stream.seek(0)
        yield from _members(stream, name, limits, found, looks_like_data)


def _can_start_again(stream: io.BufferedReader) -> bool:
    try:
        return stream.seekable()
    except AttributeError:  # a tar inside a tar: the outer stream has no such method
        return False


def _members(
    stream: io.BufferedReader, name: str, limits: Limits, found: list[str], wanted: Callable[[str], bool]
) -> Iterator[Block]:
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            if not member.isfile():
                continue
            found.append(member.name)
            content = archive.extractfile(member) if wanted(member.name) else None
            if content is not None:
                yield from _unpack(content, f"{name}:{printable(member.name)}", limits)


def _zip(stream: io.BufferedReader, name: str, limits: Limits) -> Iterator[Block]:
    plain = isinstance(stream.raw, io.FileIO)  # a packed stream goes backwards only by starting again
    seekable = cast(IO[bytes], stream) if plain else io.BytesIO(stream.read())
    with zipfile.ZipFile(seekable) as archive:
        found = [info.filename for info in archive.infolist() if not info.is_dir()]
        chosen = list(filter(is_review_member, found)) or list(filter(looks_like_data, found))
        _require(bool(chosen), found, name)
        for member in chosen:
            with archive.open(member) as content:
                yield from _unpack(content, f"{name}:{printable(member)}", limits)


def _require(reviews: bool, found: Sequence[str], name: str) -> None:
    if not reviews:
        raise EmptyInput(
            "The archive holds no reviews", where=name, value=", ".join(found) or "it is empty",
            remedy="a member named *review*.json (or .csv, .txt, .parquet) is expected",
        )
