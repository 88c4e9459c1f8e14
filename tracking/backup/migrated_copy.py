"""Migrate a copy of a SQLite database, and put it in the place of the original in one transaction.

A migration that fails or is killed leaves the original as it was. The copy is written into the original through SQLite,
not renamed: a log that a killed process left beside the original would else be applied to the new file.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from core.errors import ArtifactError, ConfigError
from core.processes.children import run_child
from core.storing.migrations import LibraryTables, stored_revision
from tracking.backup.write import copy_database

LINES = 8
LONGEST = 86_400.0
"""Seconds for a migration, which may rewrite gigabytes."""
PATIENCE = 60.0
"""Seconds to wait for a process that reads or writes the original."""


@contextmanager
def migrated_copy(tables: LibraryTables, folder: Path, backup: str) -> Iterator[Callable[[], None]]:
    """Yield a function that puts a migrated copy of a database in its place.

    Args:
        tables: The database.
        folder: For the copy.
        backup: The archive that the message about a failure names.

    Raises:
        ArtifactError: The migration failed.
        ConfigError: Another process wrote into the original meanwhile, or locks it (raised by the function, which then
            changes nothing).
        Damaged: The database is damaged.
    """
    copy = folder / tables.library / tables.file.name
    copy.parent.mkdir()
    with closing(sqlite3.connect(tables.file, timeout=PATIENCE)) as original:
        before = _changes(original)
        copy_database(tables.file, copy)
        _migrate(tables, copy, backup)

        def put_back() -> None:
            try:
                if _changes(original) != before:
                    raise _in_use(tables.file, "it was written to during the upgrade")
                with closing(sqlite3.connect(copy)) as migrated:
                    migrated.backup(original, progress=_give_up_after(PATIENCE, tables.file))
            except sqlite3.Error as error:
                raise ArtifactError(
                    f"{tables.library}'s migrated tables cannot be written", where=tables.file, cause=str(error),
                    remedy="mend that, e.g. free some space; then `reviewlm upgrade` again",
                ) from error

        yield put_back


def _migrate(tables: LibraryTables, copy: Path, backup: str) -> None:
    program, environment = tables.migration(copy)
    done = run_child(program, LONGEST, env=dict(environment))
    after = stored_revision(copy)
    if done.returncode or after != tables.revisions.installed:
        raise ArtifactError(
            f"{tables.library} could not migrate its database", where=tables.file, value=f"tables of revision {after}",
            cause="\n".join((done.stdout + done.stderr).splitlines()[-LINES:]),
            remedy=f"it is as it was; to go back to the release before: reviewlm restore {backup} --home FOLDER",
        )


def _changes(database: sqlite3.Connection) -> int:
    """Return a number that changes when another connection writes."""
    return int(database.execute("PRAGMA data_version").fetchone()[0])


def _give_up_after(seconds: float, file: Path) -> Callable[[int, int, int], object]:
    """Return a function that SQLite calls after each step, and that ends the waiting for another process."""
    until = time.monotonic() + seconds

    def look(status: int, remaining: int, total: int) -> None:
        if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) and time.monotonic() > until:
            raise _in_use(file, "it is locked")

    return look


def _in_use(file: Path, cause: str) -> ConfigError:
    return ConfigError(
        "The home folder is in use", where=file, cause=cause, remedy="end what uses it, then `reviewlm upgrade` again"
    )
