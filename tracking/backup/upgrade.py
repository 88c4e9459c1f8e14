"""Bring a home folder to the installed version: back it up, then migrate the databases of MLflow and Prefect.

Migrations are slow and not always one transaction, so they work on copies. Each copy takes the place of its database in
one transaction. A mark in the home keeps other commands away from the first step to the last (`core/storing/
migrations.py`); where an upgrade was killed, the next one goes on with the same backup.

Migrate a copy of a SQLite database, and put it in the place of the original in one transaction.

A migration that fails or is killed leaves the original as it was. The copy is written into the original through SQLite,
not renamed: a log that a killed process left beside the original would else be applied to the new file.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from core.errors import ArtifactError, ConfigError, disk_errors
from core.processes.children import run_child
from core.processes.leftovers import hold
from core.services import service_list
from core.storing.sqlite_files import DATABASE, LOCK, MARK, LibraryTables, Revisions, stored_revision
from tracking.backup.write import copy_database, write_backup
from tracking.database import tables_of
from tracking.runs.open_runs import open_locks

BACKUP = "{home}-before-upgrade-{time}.tar.zst"
COPIES = ".upgrade-"
NONE = LibraryTables("Prefect", Path(), Revisions(), lambda file: ((), {}))

LINES = 8
LONGEST = 86_400.0
"""Seconds for a migration, which may rewrite gigabytes."""
PATIENCE = 60.0
"""Seconds to wait for a process that reads or writes the original."""


@dataclass(frozen=True)
class Begun:
    """What an upgrade has done, as its mark in the home says.

    Args:
        backup: The archive.
        saved: Whether it is complete.
        before: Revisions of the tables, by library.
    """

    backup: str
    saved: bool = False
    before: dict[str, str] = field(default_factory=dict)


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
    both = (tables_of(home / DATABASE), prefect)
    older = [tables for tables in both if tables.revisions.differ]
    if not older and not (home / MARK).exists():
        return _result(both, Begun(""))
    with _alone(home):
        begun = _begun(home, to, both)
        _write(home, begun)
        try:
            _require_unused(home)
            if not begun.saved:
                write_backup(home, Path(begun.backup), without_store=True, report=report)
                _write(home, begun := replace(begun, saved=True))
            _migrate(home, older, begun.backup)
        except BaseException:
            if all(_now(tables) == begun.before.get(tables.library) for tables in both):
                (home / MARK).unlink(missing_ok=True)  # all is as before
            raise
        (home / MARK).unlink()
    return _result(both, begun)


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Hold the lock of the upgrades of a home."""
    if (lock := hold(home / LOCK)) is None:
        raise ConfigError("Another upgrade of this home folder is running", where=home, remedy="wait for its end")
    try:
        yield
    finally:
        os.close(lock)


def _begun(home: Path, to: Path | None, both: Sequence[LibraryTables]) -> Begun:
    """Return what an upgrade that was interrupted has done, else a new beginning."""
    archive = to or home.with_name(BACKUP.format(home=home.name, time=time.strftime("%Y%m%d-%H%M%S")))
    new = Begun(str(archive.absolute()), before={tables.library: tables.revisions.stored for tables in both})
    with suppress(OSError, ValueError, TypeError):
        earlier = Begun(**json.loads((home / MARK).read_text(encoding="utf-8")))
        if earlier.saved and Path(earlier.backup).is_file():
            return earlier
        return replace(new if to else earlier, saved=False, before=earlier.before)
    return new


def _write(home: Path, begun: Begun) -> None:
    part = home / f"{MARK}.part"  # a fixed name: nothing is left where this is killed
    with disk_errors(home):
        part.write_text(json.dumps(asdict(begun)), encoding="utf-8")
        part.replace(home / MARK)


def _migrate(home: Path, older: Sequence[LibraryTables], backup: str) -> None:
    """Migrate copies of all databases before any of them takes the place of its original."""
    for left in home.glob(f"{COPIES}*"):  # of an upgrade that was killed
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=COPIES, dir=home, ignore_cleanup_errors=True) as folder, ExitStack() as all:
        copies = [all.enter_context(migrated_copy(tables, Path(folder), backup)) for tables in older]
        for put_back in copies:
            put_back()


def _result(both: Sequence[LibraryTables], begun: Begun) -> dict[str, Any]:
    now = {tables.library: _now(tables) for tables in both}
    before = {**now, **begun.before}
    return {
        "upgraded": now != before, "before": before["MLflow"], "after": now["MLflow"],
        "prefect_before": before["Prefect"], "prefect_after": now["Prefect"], "backup": begun.backup,
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
            try:
                if _changes(original) != before:
                    raise _in_use(tables.file, "it was written to during the upgrade")
                with closing(sqlite3.connect(copy)) as migrated:
                    migrated.backup(original, progress=_give_up_after(PATIENCE, tables.file))
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


def _give_up_after(seconds: float, file: Path) -> Callable[[int, int, int], object]:
    """Return a function that SQLite calls after each step, and that ends the waiting for another process."""
    until = time.monotonic() + seconds

    def look(status: int, remaining: int, total: int) -> None:
        if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) and time.monotonic() > until:
            raise _in_use(file, "it is locked")

    return look


def _in_use(file: Path, cause: str) -> ConfigError:
    return ConfigError(
        "The home folder is in use", where=file, cause=cause,
        remedy="end what uses it, then `reviewlm home upgrade` again",
    )
