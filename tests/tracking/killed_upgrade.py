"""An upgrade of a home with stand-ins of both databases, in a process that kills itself before a touch of a file.

The stand-ins are migrated in steps that are no transaction, as MLflow's are in SQLite.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from reviewlm.core.table_revisions import LibraryTables, stored_revision
from reviewlm.tracking import backup
from tests.programs import path_of

TOUCHES = {
    "open",
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "sqlite3.connect",
    "subprocess.Popen",
}
OLD, NEW = ("one", [("a",), ("b",)]), ("two", [("a", 0), ("b", 1)])
MIGRATION = path_of("migrate_until_killed")
DATABASES = {"MLflow": "mlflow.db", "Prefect": "prefect/prefect.db"}


def make_home(home: Path) -> None:
    for name in DATABASES.values():
        (file := home / name).parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(file, isolation_level=None)) as database:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("CREATE TABLE alembic_version (version_num TEXT)")
            database.execute("INSERT INTO alembic_version VALUES ('one')")
            database.execute("CREATE TABLE rows (name TEXT)")
            database.execute("INSERT INTO rows VALUES ('a'), ('b')")


def contents(home: Path) -> dict[str, Any]:
    """Return revision and rows of each database, which must be sound."""
    found = {}
    for library, name in DATABASES.items():
        with closing(sqlite3.connect(home / name)) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            [(revision,)] = database.execute("SELECT * FROM alembic_version")
            tables = {table for (table,) in database.execute("SELECT name FROM sqlite_master")}
            assert tables == {"alembic_version", "rows"}
            found[library] = (revision, database.execute("SELECT * FROM rows").fetchall())
    return found


def run(
    home: str,
    at: int = 0,
    die: int = -1,
    said: str = "",
) -> None:
    """Upgrade a home; die before the touch number `at`, or when the migration of a database comes to step `die`.

    Args:
        home: The home folder.
        at: 0: live on.
        die: -1: live on.
        said: File for the result and the number of touches.
    """
    base, seen = Path(home), 0

    def tables(library: str) -> LibraryTables:
        def migration(file: Path) -> tuple[list[str], dict[str, str]]:
            return [MIGRATION, str(file), str(die)], dict(os.environ)

        file = base / DATABASES[library]
        return LibraryTables(
            library,
            file,
            migration,
            stored_revision(file),
            "two",
        )

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event in TOUCHES and (
            event == "subprocess.Popen" or str(base.parent) in str(arguments[0])
        ):
            seen += 1
            if seen == at:
                os.kill(os.getpid(), signal.SIGKILL)

    backup.tables_of = lambda file: tables("MLflow")  # type: ignore[assignment]
    prefect = tables("Prefect")
    sys.addaudithook(look)
    result = backup.upgrade_home(base, prefect=prefect)
    touches = seen
    if said:
        Path(said).write_text(json.dumps({**result, "touches": touches}))
