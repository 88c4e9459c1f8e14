"""Find the database of Prefect's server, and refuse to start a server that would migrate it: Prefect does not ask."""

from __future__ import annotations

import os
import sqlite3
from functools import partial
from pathlib import Path

from reviewlm.core.environment import LEASES
from reviewlm.core.errors import ArtifactError, Damaged
from reviewlm.core.sqlite_files import database_address
from reviewlm.core.table_revisions import LibraryTables, newest_revision, stored_revision

LIBRARY = "prefect"
"""Name of its distribution."""
FILE = Path("prefect") / "prefect.db"
ELSEWHERE = ("PREFECT_API_DATABASE_CONNECTION_URL", "PREFECT_SERVER_DATABASE_CONNECTION_URL")
SCRIPTS = Path("server") / "database" / "_migrations" / "versions" / "sqlite"
UPGRADE = ("-m", "prefect", "server", "database", "upgrade", "--yes")


def tables_of(home: Path) -> LibraryTables:
    """Return Prefect's tables in a home folder; without a revision if there are none or they are elsewhere.

    The file is opened for reading only, and Prefect is not imported.

    Raises:
        Damaged: The file is not a database.
        ArtifactError: A newer Prefect has made the tables.
    """
    file = home / FILE
    migration = partial(_migration, home)
    try:
        if is_elsewhere() or not file.is_file():
            stored = ""
        else:
            stored = stored_revision(file)
    except sqlite3.DatabaseError as error:
        raise Damaged(
            "Prefect's database is damaged or not a database",
            where=file,
            cause=str(error),
            remedy="restore a backup; or move it aside, together with its -wal and -shm: the next server creates one",
        ) from error

    return LibraryTables(
        "Prefect",
        file,
        migration,
        stored,
        newest_revision("Prefect", SCRIPTS, stored, str(file)),
    )


def require_current_tables(home: Path) -> None:
    """Check that the server of a home folder would not migrate its tables: without a backup there is no way back.

    Raises:
        Damaged: The file is not a database.
        ArtifactError: An older or a newer Prefect has made the tables.
    """
    tables = tables_of(home)
    if tables.older:
        raise ArtifactError(
            "Prefect's database was made by an older Prefect",
            where=tables.file,
            value=tables.stored,
            remedy="`reviewlm home upgrade` backs up the home and migrates it",
        )


def database_file() -> Path | None:
    """Return the file of the tables of a server that this process starts; None if a variable names another place."""
    folder = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect")
    return None if is_elsewhere() else folder / FILE.name


def newest_tables() -> str:
    """Return the newest revision of the installed Prefect's tables; "" if it is not known."""
    return newest_revision("Prefect", SCRIPTS, "", "")


def turn_to_make(database: Path) -> Path:
    """Return the file of the lock under which the tables of a new database are made."""
    return database.with_name(f"{database.name}.first")


def is_elsewhere() -> bool:
    """Return whether a variable names another database of Prefect's server than that of the home folder."""
    return any(os.environ.get(name) for name in ELSEWHERE)


def _migration(home: Path, file: Path) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the program that migrates a copy of Prefect's database, and its environment.

    Prefect's home is that of the original: a migration may write leases of limits, which are files in it.
    """
    environment = {}
    for name, value in os.environ.items():
        if name not in (*ELSEWHERE, "PREFECT_API_URL"):
            environment[name] = value

    environment.setdefault(*LEASES)
    named = {
        ELSEWHERE[1]: database_address(file, "sqlite+aiosqlite"),
        "PREFECT_HOME": str((home / FILE).parent),
    }
    return UPGRADE, environment | named
