"""Find the database of Prefect's server, and detect if a start would migrate it: Prefect does so without asking."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

from core.errors import ArtifactError, Damaged
from core.storing.migrations import Revisions, revisions_in

FILE = Path("prefect") / "prefect.db"
ELSEWHERE = ("PREFECT_API_DATABASE_CONNECTION_URL", "PREFECT_SERVER_DATABASE_CONNECTION_URL")
SCRIPTS = Path("server") / "database" / "_migrations" / "versions" / "sqlite"


def tables_of(home: Path) -> Revisions:
    """Return the revisions of Prefect's tables in a home folder; none if there are no tables or they are elsewhere.

    The file is opened for reading only, and Prefect is not imported.

    Raises:
        Damaged: The file is not a database.
        ArtifactError: A newer Prefect has made the tables.
    """
    file = home / FILE
    if _is_elsewhere() or not file.is_file() or not (stored := _stored(file)):
        return Revisions()
    spec = find_spec("prefect")
    places = spec.submodule_search_locations if spec else None
    known, newest = revisions_in(Path(place) / SCRIPTS for place in places or ())
    if known and stored not in known:
        raise ArtifactError(
            "Prefect's database was made by a newer Prefect", where=file, value=stored,
            remedy="use that release of the project, or restore an older backup",
        )
    return Revisions(stored, newest)


def database_file() -> Path | None:
    """Return the file of the tables of a server that this process starts; None if a variable names another place."""
    folder = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect")
    return None if _is_elsewhere() else folder / FILE.name


def _is_elsewhere() -> bool:
    return any(os.environ.get(name) for name in ELSEWHERE)


def _stored(file: Path) -> str:
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as database:
            known = database.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
            row = database.execute("SELECT version_num FROM alembic_version").fetchone() if known else None
    except sqlite3.DatabaseError as error:
        raise Damaged(
            "Prefect's database is damaged or not a database", where=file, cause=str(error),
            remedy="restore a backup; or move it aside, together with its -wal and -shm: the next server creates one",
        ) from error
    return str(row[0]) if row else ""
