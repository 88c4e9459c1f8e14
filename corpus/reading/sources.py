"""Find the input files, give each a stable name, and check that a file has not changed since it was hashed.

A name stays the same when more data arrive. It is the path below the given folder, or below the fixed part of a glob,
or the file name. Names get longer only where two would be equal.

Many small files are packed into few archives, so that one review a file costs little more than one a line: the reading
of a file costs some 50 ms and ten files in the store, however small it is. So small files are read as members of a tar,
which is kept beside what was read from it. The archives end where the hash of a name says so, not
after a fixed number: a file that comes or goes changes one archive, and the others are known.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeVar

from reviewlm.core.errors import EmptyInput, InputError, Unreadable, disk_errors, nearest
from reviewlm.core.store import sha256_of
from reviewlm.corpus.account import Entry, Outcome
from reviewlm.corpus.account_kinds import Kind
from reviewlm.corpus.reading import archives, member_names
from reviewlm.corpus.reading.field_names import FIELD, folder_fields
from reviewlm.corpus.reading.foreign import (
    describe_unknown,
    find_unread,
    require_no_address,
    require_no_arrow,
)
from reviewlm.corpus.reading.table_formats import (
    require_no_table_format,
    require_outside_table_formats,
)

DIGEST = 64
"""Number of hexadecimal digits of a SHA-256."""
HEAD = 8 << 10
"""Bytes at the beginning of a file without a suffix that tell what it is."""
SUFFIXES = member_names.DATA_SUFFIXES | member_names.PACKED_SUFFIXES
CHECK_PATH = "check the spelling and the working directory"
SKIP = "; or leave such files out: --set source.skip_missing=true"
PACK = "files.tar"
"""Name of the archive in the folder of a reading."""
SMALL_FILE_BYTES = 64 << 10
"""Bytes of a file up to which it is small."""
MANY_SMALL_FILES = 100
"""Small files up to which each is read on its own."""
FILES = 1_000
"""Files of an archive, on average."""


@dataclass(frozen=True)
class Listed:
    """A source file as recorded in the manifest of a data set."""

    name: str
    bytes: int
    sha256: str

    @property
    def key(self) -> str:
        """The SHA-256 of what the reviews depend on: the bytes and, if there are any, the fields in folder names."""
        fields = folder_fields(self.name)
        if not fields:
            return self.sha256
        return hashlib.sha256(
            f"{self.sha256} {json.dumps(fields, sort_keys=True)}".encode()
        ).hexdigest()


AnyListed = TypeVar("AnyListed", bound=Listed)


@dataclass(frozen=True)
class Source(Listed):
    """A source file on disk, in the state in which its bytes were hashed."""

    path: Path
    modified: int

    def require_unchanged(self) -> None:
        """Check that the file is still the one whose SHA-256 was taken.

        Raises:
            Unreadable: The file is gone, or its size or modification time differs.
        """
        with input_errors(self.path):
            now = self.path.stat()
        if (now.st_size, now.st_mtime_ns) != (self.bytes, self.modified):
            raise _change_error(self.path, self.bytes, now.st_size)


def _change_error(
    path: Path,
    before: int,
    after: int,
) -> Unreadable:
    return Unreadable(
        "The file changed while it was being read",
        where=path,
        value=f"{before} bytes before, {after} bytes now",
        cause="another process is still writing to it",
        remedy="wait until it is complete; none of its records were kept",
    )


@contextmanager
def input_errors(path: Path) -> Iterator[None]:
    """Convert errors of the operating system about an input into input errors.

    Raises:
        Unreadable: The file does not exist, is a folder, or may not be read.
    """
    try:
        yield
    except OSError as error:
        remedy = CHECK_PATH
        if isinstance(error, PermissionError):
            remedy = "give yourself read permission"

        raise Unreadable(
            "The input cannot be read",
            where=path,
            cause=str(error),
            remedy=remedy,
        ) from error


@dataclass(frozen=True)
class FoundFiles:
    """The files that an input names.

    Attributes:
        names: A stable name for each file, by its path; in order.
        entries: What was found and is not read, for the account.
    """

    names: dict[Path, str]
    entries: tuple[Entry, ...] = ()


def find_files(patterns: Iterable[str | Path], skip_missing: bool = False) -> FoundFiles:
    """Return the files that match paths, folders (searched recursively) and globs, each file once.

    Args:
        skip_missing: Leave out links to nothing, pipes and the like in folders and globs, with an entry that says so.

    Raises:
        Unreadable: A path does not exist or may not be read, a glob matches nothing; or without *skip_missing*, a file
            that is named like reviews is a link to nothing, a pipe or the like.
        EmptyInput: A folder holds no file that looks like reviews.
    """
    names: dict[Path, str] = {}
    entries: list[Entry] = []
    seen: set[str] = set()
    for given in patterns:
        require_no_address(given)
        pattern = Path(given)
        with input_errors(pattern):
            matches = _expand(pattern, skip_missing, entries)
        for path, name in matches.items():
            place = os.path.abspath(path)
            if place not in seen:
                seen.add(place)
                names[path] = member_names.printable(_with_fields_above(path, name))

    if not names:
        raise EmptyInput(
            "No input was given", where="source.input", remedy="name a file, a folder or a glob"
        )

    return FoundFiles(_distinct(names), tuple(entries))


def source_names(patterns: Iterable[str | Path], skip_missing: bool = False) -> dict[Path, str]:
    """Return the names of the files that `find_files` finds; arguments and errors are those of it."""
    return find_files(patterns, skip_missing).names


def _with_fields_above(path: Path, name: str) -> str:
    """Return a name that begins at the first folder above with a field: `stars=5/x.json`."""
    above = path.absolute().parts[: -1 - name.count("/")]
    for place, folder in enumerate(above):
        if FIELD.fullmatch(folder):
            return "/".join([*above[place:], name])

    return name


def _expand(
    path: Path,
    skip_missing: bool,
    entries: list[Entry],
) -> dict[Path, str]:
    if path.is_dir():
        found = _in_folder(path, skip_missing, entries)
        return {file: file.relative_to(path).as_posix() for file in found}
    if path.exists():
        if not path.is_file():
            raise Unreadable(
                "This is not a regular file", where=path, remedy="write its content to a file first"
            )
        require_outside_table_formats([path])
        return {path: path.name}
    if path.is_symlink():
        raise _link_to_nothing(path)
    if not any(sign in str(path) for sign in "*?["):
        beside = []
        if path.parent.is_dir():
            beside = [entry.name for entry in path.parent.iterdir()]

        raise Unreadable(
            "There is no such file or folder",
            where=path,
            remedy=f"{nearest(path.name, beside)}{CHECK_PATH}",
        )

    fixed_parts = takewhile(lambda part: set(part).isdisjoint("*?["), path.parts)
    anchor = Path(*fixed_parts)
    matches = sorted(anchor.glob(str(path.relative_to(anchor))), key=reading_order)
    files = [match for match in matches if match.is_file()]
    others = [match for match in matches if not match.is_file() and not match.is_dir()]
    entries += _missing(str(path), others, skip_missing)
    if not files:
        raise Unreadable("No file matches the pattern", where=path, remedy=CHECK_PATH)

    require_outside_table_formats(files)
    return {match: match.relative_to(anchor).as_posix() for match in files}


def reading_order(path: Path) -> tuple[Any, ...]:
    """Return the key by which files of a folder are sorted: by their names without suffixes, numbers as numbers.

    So `2023-05 (1).csv` and `2023-05-v2.csv` come after `2023-05.csv`, which they restate, and `part-10` after `part-9`.
    """
    stem = path.name
    while (suffix := Path(stem).suffix) and suffix.lower() in SUFFIXES:
        stem = stem.removesuffix(suffix)
    return *(_natural(part) for part in path.parts[:-1]), _natural(stem), _natural(path.name)


def _natural(name: str) -> tuple[tuple[int, str], ...]:
    parts = re.split(r"([0-9]{1,18})", name)
    keys = []
    for number, part in enumerate(parts):
        if number % 2:
            keys.append((int(part), ""))
        else:
            keys.append((-1, part))

    return tuple(keys)


def _missing(
    where: str,
    paths: Sequence[Path],
    skip_missing: bool,
) -> list[Entry]:
    """Return entries of links to nothing, pipes and the like.

    Raises:
        Unreadable: There are some, and they are not to be skipped.
    """
    entries = []
    for path in paths:
        if path.is_symlink():
            error = _link_to_nothing(path)
        else:
            error = _no_regular_file(path)

        if not skip_missing:
            raise error
        name = member_names.printable(path.name)
        detail = f"{name}: {error.what}"
        remedy, _, _ = error.remedy.partition(SKIP)
        entry = Entry(
            "find",
            Outcome.NOT_READ,
            Kind.MISSING_FILE,
            1,
            where,
            detail,
            remedy,
            odd=True,
            about=name,
        )
        entries.append(entry)

    return entries


def _link_to_nothing(path: Path) -> Unreadable:
    target = os.readlink(path)
    if ".git/annex/objects" in target.replace(os.sep, "/"):
        what = "The file is a link of git-annex, whose content is not here"
        remedy = f"fetch it: git annex get {path.name}"
    else:
        what = "The file is a link to nothing"
        remedy = "fetch the file that it points to, or remove the link"

    return Unreadable(
        what,
        where=path,
        value=f"-> {target}",
        remedy=remedy + SKIP,
    )


def _no_regular_file(path: Path) -> Unreadable:
    remedy = "write its content to a file, or move it out of the folder"
    return Unreadable("This is a pipe, socket or device", where=path, remedy=remedy + SKIP)


def _files_below(folder: Path, entries: list[Entry]) -> list[Path]:
    """Return all that is no folder; an unreadable folder is an error, while `rglob` would silently skip it."""
    paths: list[Path] = []
    for place, folders, files in os.walk(folder, onerror=_raise):
        for linked in (path for name in folders if (path := Path(place, name)).is_symlink()):
            place_of_link = member_names.printable(str(linked))
            entry = Entry(
                "find",
                Outcome.NOT_READ,
                Kind.LINKED_FOLDER,
                1,
                str(folder),
                f"{place_of_link} is a link to a folder, which is not followed",
                "name it with an --input of its own",
                odd=True,
                about=member_names.printable(linked.name),
            )
            entries.append(entry)
        paths += [Path(place, name) for name in files]

    return sorted(paths, key=reading_order)


def _raise(error: OSError) -> None:
    """Raise the error of `os.walk`, which leaves unreadable folders out by itself."""
    raise error


def _in_folder(
    folder: Path,
    skip_missing: bool,
    entries: list[Entry],
) -> list[Path]:
    seen = _files_below(folder, entries)
    names = {path: path.relative_to(folder).as_posix() for path in seen}
    require_no_table_format(str(folder), names.values())
    require_outside_table_formats([folder / "any"])
    require_no_arrow(str(folder), names.values())
    files: list[Path] = []
    others: list[Path] = []
    for path, name in names.items():
        if member_names.looks_like_data(name) or member_names.may_be_data(name):
            group = files if path.is_file() else others
            group.append(path)

    entries += _missing(str(folder), others, skip_missing)
    chosen = []
    for path in files:
        if member_names.looks_like_data(names[path]) or _holds_data(path):
            chosen.append(path)

    if not chosen:
        for path, known in find_unread(path for path in seen if path.is_file()):
            raise Unreadable(f"The file is {known[0]}", where=path, remedy=known[1])
        for path in (path for path, name in names.items() if member_names.may_be_data(name)):
            raise describe_unknown(_head(path), str(path))
        raise EmptyInput(
            "The folder holds no reviews",
            where=folder,
            value=f"{len(seen)} files" if seen else "an empty folder",
            remedy=f"files ending in {' '.join(sorted(SUFFIXES))} are read",
        )

    taken = {*chosen, *others}
    left_out = [name for path, name in names.items() if path not in taken]
    member_names.tell_left_out(str(folder), len(chosen), left_out)
    other_forms = _entries_of_other_forms([path for path in seen if path not in taken], names)
    entries += other_forms
    told = {entry.file for entry in other_forms}
    untold = [name for name in left_out if member_names.printable(name) not in told]
    entries += member_names.entries_of_left_out("find", str(folder), untold)
    return chosen


def _entries_of_other_forms(paths: Sequence[Path], names: Mapping[Path, str]) -> list[Entry]:
    """Return an entry for each file that may hold reviews in a form that is not read."""
    entries = []
    with input_errors(Path()):
        for path, known in find_unread(path for path in paths if path.is_file()):
            name = member_names.printable(names[path])
            detail = f"not read, for it is {known[0]}"
            kind = Kind.OTHER_FORM
            entries.append(
                Entry(
                    "find",
                    Outcome.NOT_READ,
                    kind,
                    1,
                    name,
                    detail,
                    known[1],
                    odd=True,
                )
            )

    return entries


def _holds_data(path: Path) -> bool:
    return archives.holds_data(_head(path)[:512])


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD)


def _distinct(names: dict[Path, str]) -> dict[Path, str]:
    """Put parent folders before equal names until they differ; names that are still equal get numbers."""
    while repeated := {name for name, count in Counter(names.values()).items() if count > 1}:
        longer = dict(names)
        for path, name in names.items():
            if name in repeated:
                longer[path] = _longer(path, name)

        if longer == names:
            break
        names = longer
    taken: dict[str, int] = {}
    return {path: member_names.distinct(name, taken) for path, name in names.items()}


def _longer(path: Path, name: str) -> str:
    parts = path.absolute().parts[1:]
    return member_names.printable("/".join(parts[-min(name.count("/") + 2, len(parts)) :]))


def identify(
    path: Path,
    name: str,
    memory: Path | None = None,
) -> Source:
    """Return the source with the SHA-256 of its bytes.

    Args:
        memory: Folder that caches digests by device, inode, size and times of change; None: always hash.

    Raises:
        Unreadable: The file may not be read, or changed while it was read.
        StoreFull, NotWritable: The folder *memory* cannot be written.
    """
    with input_errors(path), path.open("rb") as file:
        now = os.fstat(file.fileno())

    if not stat.S_ISREG(now.st_mode):
        raise Unreadable(
            "This is not a regular file", where=path, remedy="write its content to a file first"
        )

    record = None
    if memory:
        record = digest_record(now, memory)

    if record and (digest := read_digest(record)):
        return Source(
            name,
            now.st_size,
            digest,
            path,
            now.st_mtime_ns,
        )

    with input_errors(path):
        source = Source(
            name,
            now.st_size,
            sha256_of(path),
            path,
            now.st_mtime_ns,
        )

    source.require_unchanged()
    if record:
        write_digest(record, source.sha256)
    return source


def digest_record(now: os.stat_result, memory: Path) -> Path:
    """Return the file that holds the SHA-256 of a file in this state, or will hold it."""
    times = f"{now.st_mtime_ns}-{now.st_ctime_ns}"  # programs that copy files set the former, so it is not enough
    return memory / f"{now.st_dev}-{now.st_ino}-{now.st_size}-{times}"


def read_digest(record: Path) -> str:
    """Return a recorded SHA-256; "" if there is none, or, after a power loss, an empty one."""
    digest = record.read_text() if record.is_file() else ""
    return digest if len(digest) == DIGEST else ""


def write_digest(record: Path, sha256: str) -> None:
    """Record the SHA-256 of a file."""
    with disk_errors(record.parent):
        record.parent.mkdir(parents=True, exist_ok=True)
        temporary = record.with_suffix(f".{os.getpid()}")
        temporary.write_text(sha256)
        temporary.rename(record)


def originals(sources: Sequence[AnyListed]) -> dict[str, AnyListed]:
    """Return one source for each `Listed.key`, in order: of sources with the same one, that with the shortest name.

    Copies usually have longer names ("reviews (1).json", "backup/reviews.json"), so a copy that arrives later changes
    nothing.
    """
    chosen: dict[str, AnyListed] = {}
    for source in sources:
        best = chosen.setdefault(source.key, source)
        if (len(source.name), source.name) < (len(best.name), best.name):
            chosen[source.key] = source
    first_copies = set(chosen.values())
    return {source.key: source for source in sources if source in first_copies}


def cause_of(error: InputError, source: Source) -> InputError:
    """Return the cause of a failed reading: the error that the file changed, if it did, otherwise *error*."""
    try:
        source.require_unchanged()
    except Unreadable as changed:
        return changed
    return error


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
        file = folder / PACK
        digest = hashlib.sha256()
        temporary = file.with_suffix(".tmp")
        with temporary.open("wb") as out:
            for piece in _tar(self.files):
                digest.update(piece)
                out.write(piece)

        if digest.hexdigest() != self.sha256:
            raise Unreadable(
                "The files changed while they were being read",
                where=self.name,
                cause="another process is still writing to them",
                remedy="wait until they are complete",
            )

        return temporary.replace(file)


def all_sources(
    inputs: Sequence[Path | str],
    memory: Path | None = None,
    skip_missing: bool = False,
) -> list[Source]:
    """Return the files that match paths, folders and globs, in order; small ones in packs if there are many.

    Args:
        memory: See `reviewlm.corpus.reading.sources.identify`.
        skip_missing: See `reviewlm.corpus.reading.sources.find_files`, also for the errors.
    """
    return identify_all(find_files(inputs, skip_missing), memory)


def identify_all(found: FoundFiles, memory: Path | None = None) -> list[Source]:
    """Return found files as sources, in order; small ones in packs if there are many.

    Args:
        memory: See `reviewlm.corpus.reading.sources.identify`.

    Raises:
        Unreadable: A file may not be read, or changed while it was read.
    """
    names = found.names
    with input_errors(Path()):
        small = {}
        for path, name in names.items():
            if path.is_file() and path.stat().st_size <= SMALL_FILE_BYTES:
                small[path] = name

    if len(small) <= MANY_SMALL_FILES:
        return [identify(path, name, memory) for path, name in names.items()]

    large = [identify(path, name, memory) for path, name in names.items() if path not in small]
    return large + [_pack(files) for files in _cut(small)]


def _cut(names: Mapping[Path, str]) -> Iterator[list[tuple[Path, str]]]:
    """Cut the sorted files after each whose name has a hash that is a multiple of `FILES`."""
    files: list[tuple[Path, str]] = []
    for path, name in sorted(names.items(), key=lambda item: reading_order(Path(item[1]))):
        files.append((path.absolute(), name))
        if int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) % FILES == 0:
            yield files
            files = []
    if files:
        yield files


def _pack(files: Sequence[tuple[Path, str]]) -> Pack:
    digest = hashlib.sha256()
    size = 0
    for piece in _tar(files):
        digest.update(piece)
        size += len(piece)

    name = f"{files[0][1]} to {files[-1][1]} ({len(files)} files)"
    return Pack(
        name,
        size,
        digest.hexdigest(),
        files[0][0],
        0,
        tuple(files),
    )


def _tar(files: Sequence[tuple[Path, str]]) -> Iterator[bytes]:
    """Yield the archive of some files in pieces; it depends on their names and contents alone."""
    yield _member(archives.PACK_MARK, b"")
    for path, name in files:
        with input_errors(path):
            yield _member(name, path.read_bytes())
    yield b"\0" * 2 * tarfile.BLOCKSIZE


def _member(name: str, content: bytes) -> bytes:
    head = tarfile.TarInfo(name)
    head.size = len(content)
    return head.tobuf(tarfile.GNU_FORMAT) + content + b"\0" * (-len(content) % tarfile.BLOCKSIZE)
