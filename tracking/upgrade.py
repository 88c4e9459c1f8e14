"""Bring a home folder to the installed version: back it up, then migrate the databases of MLflow and Prefect.

Migrations are slow and not always one transaction, so they work on copies. When all copies are migrated, each takes the
place of its database in one transaction of SQLite's (a renamed file would meet the log that a killed process left
beside the original). An upgrade that fails or is killed leaves each database as it was or migrated; repeat it.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.errors import ArtifactError, ConfigError
from core.processes.children import run_child
from core.services import service_list
from core.sqlite_files import DATABASE, LibraryTables, Revisions, stored_revision
from tracking.backup import copy_database, write_backup
from tracking.database import tables_of
from tracking.runs.record import open_locks

BACKUP = "{home}-before-upgrade-{time}.tar.gz"
COPIES = ".upgrade-"
NONE = LibraryTables("Prefect", Path(), Revisions(), lambda file: ((), {}))
LINES = 8
LONGEST = 86_400.0
"""Seconds for a migration, which may rewrite gigabytes."""
PATIENCE = 60.0
"""Seconds to wait for a process that reads or writes the original."""


def upgrade_home(
    home: Path, to: Path | None = None, report: Callable[[int, int], object] = lambda done, of: None,
    prefect: LibraryTables = NONE,
) -> dict[str, Any]:  # fmt: skip
    """Back up a home folder and migrate its databases; do nothing if all tables are current.

    Args:
        home: The home folder. Nothing may use it meanwhile.
        to: The archive of the backup; default: beside the home, with the time in its name.
        report: Called with the bytes of the backup that are done, and all.
        prefect: Prefect's tables in the home.

    Returns:
        upgraded (whether tables were migrated), before and after (revisions of MLflow's), prefect_before and
        prefect_after, backup (the archive; empty if nothing was done).

    Raises:
        ConfigError: Services or commands use the home, or have used it during the upgrade.
        ArtifactError: A database is of a newer or another program, or its migration failed: nothing was changed.
        Damaged: A database is damaged.
    """
    mlflow, backup = tables_of(home / DATABASE), ""
    if older := [tables for tables in (mlflow, prefect) if tables.revisions.differ]:
        _require_unused(home)
        archive = to or home.with_name(BACKUP.format(home=home.name, time=f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"))
        backup = write_backup(home, archive.absolute(), without_store=True, report=report)["file"]
        for left in home.glob(f"{COPIES}*"):  # of an upgrade that was killed
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=COPIES, dir=home) as folder, ExitStack() as stack:
            for put_back in [stack.enter_context(migrated_copy(tables, Path(folder), backup)) for tables in older]:
                put_back()
    return {
        "upgraded": bool(older), "before": mlflow.revisions.stored, "after": _now(mlflow),
        "prefect_before": prefect.revisions.stored, "prefect_after": _now(prefect), "backup": backup,
    }


def _now(tables: LibraryTables) -> str:
    return stored_revision(tables.file) if tables.revisions.stored else ""


def _require_unused(home: Path) -> None:
    running = [service.name for service in service_list.running(home)]
    if running or open_locks(home, held=True):
        raise ConfigError(
            "The home folder is in use", where=home, value=", ".join(running) or "a command runs",
            remedy="`make down`, and wait for the commands",
        )


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
        _migrate_copy(tables, copy, backup)

        def put_back() -> None:
            until = time.monotonic() + PATIENCE

            def require_free(status: int, remaining: int, total: int) -> None:
                if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) and time.monotonic() > until:
                    raise _in_use(tables.file, "it is locked")

            try:
                if _changes(original) != before:
                    raise _in_use(tables.file, "it was written to during the upgrade")
                with closing(sqlite3.connect(copy)) as migrated:
                    migrated.backup(original, progress=require_free)
            except sqlite3.Error as error:
                raise ArtifactError(
                    f"{tables.library}'s migrated tables cannot be written", where=tables.file, cause=str(error),
                    remedy="mend that, e.g. free some space; then `reviewlm home upgrade` again",
                ) from error

        yield put_back


def _migrate_copy(tables: LibraryTables, copy: Path, backup: str) -> None:
    program, environment = tables.migration(copy)
    done = run_child(program, LONGEST, env=dict(environment))
    after = stored_revision(copy)
    if done.returncode or after != tables.revisions.installed:
        raise ArtifactError(
            f"{tables.library} could not migrate its database", where=tables.file, value=f"tables of revision {after}",
            cause="\n".join((done.stdout + done.stderr).splitlines()[-LINES:]),
            remedy=f"it is as it was; to go back to the release before: reviewlm home restore {backup} --home FOLDER",
        )


def _changes(database: sqlite3.Connection) -> int:
    """Return a number that changes when another connection writes."""
    return int(database.execute("PRAGMA data_version").fetchone()[0])


def _in_use(file: Path, cause: str) -> ConfigError:
    return ConfigError(
        "The home folder is in use", where=file, cause=cause,
        remedy="end what uses it, then `reviewlm home upgrade` again",
    )
