"""Name, open and check the SQLite databases of a home folder.

An address of SQLAlchemy (`sqlite:///FILE`) holds the path of a file as it is: a `?` in it begins the options. MLflow
decodes the address of an artifact folder twice, so that `%20` in the folder's name becomes a space. A home folder with
such a path would be split in two, so it is refused.
"""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from reviewlm.core.errors import ConfigError

SQLITE = "sqlite"
"""SQLAlchemy's name of the dialect."""
DATABASE = "mlflow.db"
"""MLflow's database in a home folder."""
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
    """Numbers by which the system knows a file, whatever its name.

    Args:
        device: Number of the file system.
        number: Number of the file in it.
    """

    device: int
    number: int

    @classmethod
    def of(cls, file: Path) -> FileIdentity | None:
        """Return the identity of the file that has a name now; None: there is none."""
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
