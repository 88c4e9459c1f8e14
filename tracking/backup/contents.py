"""Choose what belongs to a backup of a home folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core.store import MANIFEST as RESULT
from core.storing.migrations import MARK
from tracking.runs.open_runs import marks_of

SQLITE = b"SQLite format 3\x00"
BESIDE = ("-wal", "-shm", "-journal")
"""Endings of the files that SQLite keeps beside a database; the copy of the database contains what is in them."""
LEFT_OUT = ("services.json", "home.lock", MARK)
"""Process ids of this machine, a lock, and the mark of an upgrade."""
UNFINISHED = (".lock", ".part", ".new")
STORE = "store"


@dataclass(frozen=True)
class HomeContents:
    """Files of a backup, by their kind.

    Args:
        databases: SQLite files, which are copied through SQLite.
        files: All other files.
        links: Links to a neighbour, such as `reports/latest`, with the neighbour's name.
    """

    databases: tuple[Path, ...]
    files: tuple[Path, ...]
    links: dict[str, str]

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(_size(path) for path in (*self.databases, *self.files))


def contents_of(home: Path, without_store: bool = False) -> HomeContents:
    """Return what to back up; with *without_store*, not the results that can be computed again.

    Left out: unfinished and damaged results, records of file states, locks, marks of running processes.
    """
    databases, files, links = [], list[Path](), dict[str, str]()
    for path in _below(home, without_store):
        if path.is_symlink():
            target = os.readlink(path)
            if target not in ("", ".", "..") and "/" not in target:
                links[path.relative_to(home).as_posix()] = target
        elif _is_database(path):
            databases.append(path)
        elif path.is_file():
            files.append(path)
    beside = {f"{database}{ending}" for database in databases for ending in BESIDE}
    return HomeContents(tuple(databases), tuple(path for path in files if str(path) not in beside), links)


def _below(home: Path, without_store: bool) -> Iterator[Path]:
    for place, folders, names in os.walk(home):
        folder = Path(place)
        links = [name for name in folders if (folder / name).is_symlink()]
        inside = {name for name in folders if _is_kept(home, folder / name, without_store)}
        folders[:] = sorted(inside.difference(links))
        for name in sorted([*names, *links]):
            top = folder == home
            if not name.endswith(UNFINISHED) and not (top and (name in LEFT_OUT or name.startswith("."))):
                yield folder / name


def _is_kept(home: Path, folder: Path, without_store: bool) -> bool:
    """Return whether a folder is backed up."""
    store = home / STORE
    hidden = folder.parent == home and folder.name.startswith(".")  # copies of databases that an upgrade migrates
    if hidden or folder == marks_of(home) or (without_store and folder == store):
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
