"""Name, open and check the SQLite databases of a home folder.

An address of SQLAlchemy (`sqlite:///FILE`) holds the path of a file as it is: a `?` in it begins the options. MLflow
decodes the address of an artifact folder twice, so that `%20` in the folder's name becomes a space. A home folder with
such a path would be split in two, so it is refused.

To compare the tables with the installed libraries, revisions are read from migration scripts, without importing the
library that they belong to.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from reviewlm.core.errors import ArtifactError, ConfigError

SQLITE = "sqlite"
DATABASE = "mlflow.db"
"""Dialect of SQLAlchemy; MLflow's database in a home folder."""
UNADDRESSABLE = re.compile(r"[?\x00-\x1f]|%[0-9A-Fa-f]{2}")


def require_addressable(folder: Path) -> None:
    """Refuse a folder whose path the addresses of databases and artifacts cannot hold.

    Raises:
        ConfigError: Names what stands in its path.
    """
    if match := UNADDRESSABLE.search(str(folder)):
        raise ConfigError(
            "The path of a home folder may hold no '?', no '%' with two hexadecimal digits, and no control character",
            where=folder,
            value=match[0],
            remedy="choose another folder with REVIEWLM_HOME",
        )


def database_address(file: Path, driver: str = SQLITE) -> str:
    """Return the address of a SQLite file, for SQLAlchemy.

    Args:
        file: The file.
        driver: Dialect, with the driver if it is another than Python's.

    Raises:
        ConfigError: No address can hold its path.
    """
    require_addressable(file)
    return f"{driver}:///{file}"


def home_database(home: Path) -> str:
    """Return the address of the MLflow database of a home folder."""
    return database_address(home / DATABASE)


def database_file(address: str) -> Path | None:
    """Return the file of a SQLite address, or None for any other kind of store."""
    prefix = f"{SQLITE}:///"
    if address.startswith(prefix):
        return Path(address.removeprefix(prefix).partition("?")[0])
    return None


def read_only(database: Path, timeout: float = 5.0) -> closing[sqlite3.Connection]:
    """Open a SQLite database for reading until the end of the block; *timeout* in seconds is for locks of others."""
    return closing(
        sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True, timeout=timeout)
    )


def other_users(database: Path) -> list[str]:
    """Return the names of processes that have a database open, e.g. "sqlite3 (process 412)", without this one.

    Only Linux tells, and only about processes of this user, or all to the administrator.
    """
    files = {str(database.absolute()) + ending for ending in ("", "-wal", "-shm")}
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        if int(process.name) == os.getpid():
            continue
        with suppress(OSError):  # it has ended, or belongs to another user
            opened = {os.readlink(number) for number in (process / "fd").iterdir()}
            if opened & files:
                name = (process / "comm").read_text(encoding="utf-8", errors="replace").strip()
                found.append(f"{name} (process {process.name})")

    return found


class FileIdentity(NamedTuple):
    """Numbers by which the system knows a file, whatever its name; None: there is none.

    Args:
        device: Number of the file system.
        number: Number of the file in it.
    """

    device: int
    number: int

    @classmethod
    def of(cls, file: Path) -> FileIdentity | None:
        """Return the identity of the file that has a name now."""
        try:
            about = file.stat()
        except OSError:
            return None
        return cls(about.st_dev, about.st_ino)


def damage_of(database: Path) -> str:
    """Return the damage that SQLite finds in a database, or ""; it takes 1.5 ms for each megabyte.

    Raises:
        sqlite3.Error: It cannot be read now, or is none.
    """
    with read_only(database) as connection:
        lines = [str(line) for (line,) in connection.execute("PRAGMA quick_check(3)")]
    if lines == ["ok"]:
        return ""
    return "; ".join(" ".join(line.split()) for line in lines)


@dataclass(frozen=True)
class LibraryTables:
    """A SQLite database of a home folder whose tables belong to a library.

    Args:
        library: Its name.
        file: The database.
        migration: Returns the Python program that migrates the database of a file, and its environment.
        stored: Revision of the tables; "" if there are none, or if they are in another database.
        installed: The newest revision of the installed library; "" if it is not known.
    """

    library: str
    file: Path
    migration: Callable[[Path], tuple[Sequence[str], Mapping[str, str]]]
    stored: str = ""
    installed: str = ""

    @property
    def older(self) -> bool:
        """Whether the library will migrate the tables."""
        return bool(self.stored and self.installed and self.stored != self.installed)


@cache
def installed_revisions(library: str, scripts: Path) -> tuple[set[str], str]:
    """Return the schema revisions (`revisions_in`) of an installed library without importing it.

    Args:
        library: Its name.
        scripts: Their folder in its package.
    """
    spec = find_spec(library.lower())
    places = spec.submodule_search_locations if spec else None
    return revisions_in(Path(place) / scripts for place in places or ())


def newest_revision(library: str, scripts: Path, stored: str, where: str) -> str:
    """Return the newest revision that an installed library knows, "" if there is not just one.

    Args:
        library: Its name.
        scripts: Folder of its migration scripts in its package.
        stored: Revision of a database's tables, "" if it has none.
        where: The database.

    Raises:
        ArtifactError: A newer version of the library has made the tables.
    """
    revisions, newest = installed_revisions(library, scripts)
    if stored and revisions and stored not in revisions:
        raise ArtifactError(
            f"The database was made by a newer {library}",
            where=where,
            value=stored,
            remedy=f"use that version of {library}, or restore an older backup",
        )
    return newest


def revisions_in(folders: Iterable[Path]) -> tuple[set[str], str]:
    """Return all revisions of the migration scripts in these folders, and the newest; "" if there is not just one."""
    made = set[str]()
    replaced = set[str]()
    for file in (file for folder in folders for file in folder.glob("*.py")):
        text = file.read_text(encoding="utf-8")
        made |= set(re.findall(r'^revision = "(\w+)"', text, re.MULTILINE))
        replaced |= set(re.findall(r'^down_revision = "(\w+)"', text, re.MULTILINE))
    heads = made - replaced
    return made, heads.pop() if len(heads) == 1 else ""


def stored_revision(file: Path) -> str:
    """Return the revision of a database's tables, which is opened for reading only; "" if it has none.

    Raises:
        sqlite3.DatabaseError: It is not a complete database, or cannot be opened now.
    """
    with read_only(file) as database:
        has_table = database.execute(
            "SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'"
        ).fetchone()
        row = None
        if has_table:
            row = database.execute("SELECT version_num FROM alembic_version").fetchone()

    if row:
        return str(row[0])
    return ""
