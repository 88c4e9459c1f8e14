"""Write a backup of a home folder: a tar of its databases through SQLite's backup function, and of all other files.

The manifest, its last member, has size and SHA-256 of all others: an archive without it was cut off.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import sqlite3
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from core.errors import ConfigError, Damaged, EmptyInput, disk_errors
from core.output import output_file, require_output
from core.processes.leftovers import claimed_folder, remove_abandoned_folders
from core.sqlite_files import read_only
from core.store import MANIFEST as RESULT
from models.atomic_files import written_straight

ENDINGS = (".tar", ".tar.gz")
MANIFEST = "reviewlm-backup.json"
FORMAT = 1
LEVEL = 1
"""Of gzip: weights and Parquet become hardly smaller with a higher one, which takes several times as long."""
LOCK_SECONDS = 30.0
SCRATCH = ".reviewlm-backup-"
OWNER_ONLY = 0o600
Report = Callable[[int, int], object]
"""Called with the bytes done and all bytes."""

SQLITE = b"SQLite format 3\x00"
BESIDE = ("-wal", "-shm", "-journal")
"""Endings of the files that SQLite keeps beside a database; the copy of the database contains what is in them."""
LEFT_OUT = ("services.json",)
"""Process ids of this machine."""
UNFINISHED = (".lock", ".part", ".new")
STORE = "store"


@dataclass
class _Writer:
    """Adds files to an archive and notes their sizes and checksums."""

    tar: tarfile.TarFile
    total: int
    report: Report
    done: int = 0
    files: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, path: Path, name: str) -> None:
        """Add a file; one that was removed in the meantime is left out.

        A file that grows (a log) is added as long as it was at the beginning.
        """
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return
        with file:
            about = os.fstat(file.fileno())
            member = _member(name, about.st_size, about.st_mtime)
            counted = _Counted(file, about.st_size)
            self.tar.addfile(member, counted)  # type: ignore[arg-type]
        if counted.left:
            raise Damaged("A file became shorter while it was copied", where=path, remedy="make the backup again")
        self.files[name] = {"bytes": about.st_size, "sha256": counted.digest.hexdigest()}
        self.done += about.st_size
        self.report(self.done, self.total)

    def end(self, facts: dict[str, Any]) -> None:
        """Add the manifest."""
        text = json.dumps({"format": FORMAT, **facts, "files": self.files}, indent=1).encode()
        self.tar.addfile(_member(MANIFEST, len(text), time.time()), io.BytesIO(text))


class _Counted:
    """Reads a file up to a size and hashes what it reads."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.file, self.left, self.digest = file, size, hashlib.sha256()

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        block = self.file.read(min(size, self.left))
        self.left -= len(block)
        self.digest.update(block)
        return block


def write_backup(
    home: Path, to: Path, without_store: bool = False, report: Report = lambda done, of: None
) -> dict[str, Any]:
    """Write a backup of a home folder; runs may go on meanwhile. The file appears when it is complete.

    Args:
        home: The home folder.
        to: The archive, packed if its name ends with .gz. Only its owner may read it.
        without_store: Leave out results that can be computed again.
        report: Called after each file.

    Returns:
        file, bytes (of the archive), files, content_bytes, databases.

    Raises:
        ConfigError: The name has another ending, or is in the home folder.
        EmptyInput: There is no home folder.
        Damaged: A database is damaged.
        StoreFull, NotWritable: The disk.
    """
    if not to.name.endswith(ENDINGS):
        raise ConfigError("The name of a backup ends with .tar or .tar.gz", where="--to", value=to,
                          remedy=f"for example {to.name}.tar.gz")  # fmt: skip
    if not home.is_dir() or not any(home.iterdir()):
        raise EmptyInput("There is no home folder to back up", where=home, remedy="set REVIEWLM_HOME")
    if to.resolve().is_relative_to(home.resolve()):
        raise ConfigError("A backup cannot be in the folder that it is of", where="--to", value=to,
                          remedy="name a file in another folder, best on another disk")  # fmt: skip
    require_output(to, "--to")
    with _scratch(to.resolve().parent) as scratch:
        copies = {file: scratch / f"{number}.db" for number, file in enumerate(contents_of(home, without_store)[0])}
        for database, copy in copies.items():
            copy_database(database, copy)
        _, files = contents_of(home, without_store)  # listed now: all that the copied databases name are there
        part = to if written_straight(to) else scratch / to.name
        with output_file(part, OWNER_ONLY) as file, _tar_to(file, packed=to.name.endswith(".gz")) as tar:
            writer = _Writer(tar, sum(map(_size, (*copies, *files))), report)
            for database, copy in copies.items():
                writer.add(copy, database.relative_to(home).as_posix())
            for path in files:
                writer.add(path, path.relative_to(home).as_posix())
            writer.end({"created": time.time(), "home": str(home), "without_store": without_store})
        if part != to:
            with disk_errors(to):
                part.replace(to.resolve())  # a link stays a link
    return {
        "file": str(to), "bytes": to.stat().st_size, "files": len(writer.files),
        "content_bytes": writer.done, "databases": len(copies),
    }


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder beside the archive; remove it, and those of backups that were killed."""
    with disk_errors(folder):
        remove_abandoned_folders(folder, SCRATCH)
        scratch, owner = claimed_folder(folder, SCRATCH)
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        os.close(owner)


@contextmanager
def _tar_to(file: IO[bytes], packed: bool) -> Iterator[tarfile.TarFile]:
    """Write an archive into an open file."""
    zip = gzip.GzipFile(fileobj=file, mode="wb", compresslevel=LEVEL, filename="") if packed else nullcontext(file)
    with zip as stream, tarfile.open(
        fileobj=cast(IO[bytes], stream), mode="w|", format=tarfile.PAX_FORMAT
    ) as tar:
        yield tar


def copy_database(database: Path, copy: Path) -> None:
    """Copy a SQLite database that others may be writing, and check the copy.

    Raises:
        Damaged: It is damaged.
    """
    try:
        with (
            read_only(database, LOCK_SECONDS) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
            target.execute("PRAGMA journal_mode=DELETE")
            [verdict] = target.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        verdict = str(error)
    if verdict != "ok":
        raise Damaged(
            "A database cannot be copied", where=database, cause=verdict,
            remedy="restore it from an earlier backup, or move it aside (docs/runbook/home.md)",
        )


def _member(name: str, size: int, changed: float) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = size, int(changed), OWNER_ONLY
    return member


def contents_of(home: Path, without_store: bool = False) -> tuple[list[Path], list[Path]]:
    """Return the SQLite files and all other files to back up; with *without_store*, not what can be computed again.

    Left out: links, unfinished and damaged results, records of file states, locks, marks of running processes.
    """
    databases, files = list[Path](), list[Path]()
    for path in _below(home, without_store):
        if path.is_file() and not path.is_symlink():
            (databases if _is_database(path) else files).append(path)
    beside = {f"{database}{ending}" for database in databases for ending in BESIDE}
    return databases, [path for path in files if str(path) not in beside]


def _below(home: Path, without_store: bool) -> Iterator[Path]:
    for place, folders, names in os.walk(home):
        folder = Path(place)
        folders[:] = sorted(name for name in folders if _is_kept(home, folder / name, without_store))
        for name in sorted(names):
            top = folder == home
            if not name.endswith(UNFINISHED) and not (top and (name in LEFT_OUT or name.startswith("."))):
                yield folder / name


def _is_kept(home: Path, folder: Path, without_store: bool) -> bool:
    """Return whether a folder is backed up."""
    store = home / STORE
    hidden = folder.parent == home and folder.name.startswith(".")  # copies of databases that an upgrade migrates
    if hidden or (without_store and folder == store):
        return False
    if folder.parent == store:
        return not folder.name.startswith(".")  # unfinished and damaged results, records of file states
    if folder.parent.parent == store:
        return (folder / RESULT).is_file()
    return True


def _is_database(path: Path) -> bool:
    """Return whether a file is a SQLite database; one with a log may be open, so only SQLite may read the others.

    If this process opened and closed a database in another way, the system would release the locks of all its SQLite
    connections to it. It has none at this time.
    """
    if path.suffix != ".db":
        return False
    try:
        with path.open("rb") as file:
            return file.read(len(SQLITE)) == SQLITE
    except OSError:
        return False


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
