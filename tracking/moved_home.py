"""Detect that a home folder was copied or moved, and update the addresses in MLflow's database.

The database keeps absolute addresses. Without an update, runs of a copied home folder would write their files into the
original, and runs of a moved one would create the old folder again. `home.json` holds the path at which a home folder
was last used. If the current path differs, all addresses below the old path are rewritten in one transaction, after a
backup of the database.

Find where runs keep their artifacts outside the home folder, such as a bucket that a database names.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections import Counter
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlparse

from filelock import FileLock, Timeout

from core.errors import StoreFull, TrackingUnavailable, Unreadable, without_password
from core.services import service_list
from core.storing.sqlite_files import DATABASE, read_only

MARKER, LOCK, ARTIFACTS = "home.json", "home.lock", "mlartifacts"
KEPT = "moved"
"""Folder in a home folder for backups of the database."""
BACKUPS = 2
"""Number of newest backups to keep: a home folder that is used at two paths in turn is rewritten at each change."""
ADDRESSES = (
    ("experiments", "artifact_location"), ("runs", "artifact_uri"), ("logged_models", "artifact_location"),
    ("model_versions", "source"), ("model_versions", "storage_location"),
)
"""Columns of MLflow's database that hold the address of a folder."""
SOURCES = (("datasets", "dataset_source"),)
"""Columns that hold an address within JSON."""
Columns = tuple[tuple[str, str], ...]
WAIT = 60.0
log = logging.getLogger(__name__)

RUNS = "SELECT run_uuid, artifact_uri FROM runs WHERE artifact_uri IS NOT NULL"


def mend_moved_home(home: Path) -> None:
    """Rewrite the addresses of a home folder that was copied or moved since its last use.

    Two paths to one folder (a link) do not count as a move. A folder that is not writable is not changed.

    Raises:
        StoreFull: There is no space for the backup of the database. Nothing was changed.
        TrackingUnavailable: Another process keeps the database locked.
    """
    recorded = _recorded(home)
    if not home.is_dir() or (recorded is not None and _same(recorded, home)):
        return
    try:
        with FileLock(home / LOCK, timeout=WAIT):
            former = _recorded(home)
            if former is not None and not _same(former, home):
                _mend(home, former)
            _record(home)
    except Timeout as error:
        raise TrackingUnavailable(
            "Another process is using this home folder, which was copied or moved", where=home / LOCK,
            remedy="wait for it, or end it",
        ) from error
    except sqlite3.Error as error:  # `open_client` reports what is wrong with the file
        log.debug("the former location of %s is not known: %s", home, error)
    except OSError as error:  # read-only: `bundle_in` looks for a bundle in this home folder first
        if recorded is not None:
            log.warning("%s was moved from %s and cannot be written to: %s", home, recorded, error)


def moved_from(home: Path) -> tuple[Path, bool] | None:
    """Return where a home folder was used before and whether it is still there too (a copy); None if it is here.

    Nothing is changed: this is what `mend_moved_home` would find.

    Raises:
        sqlite3.Error: The home has no record, and its database cannot be read.
    """
    former = _recorded(home)
    return None if former is None or _same(former, home) else (former, _is_home(former))


def _mend(home: Path, former: Path) -> None:
    copied = _is_home(former)
    changed, backup = _rewrite(home, former)
    _leave_services(home, copied)
    log.info(
        "this home folder was %s from %s: %d addresses in %s were updated%s",
        "copied" if copied else "moved", former, changed, DATABASE, f" (backup: {backup})" if backup else "",
    )


def _leave_services(home: Path, copied: bool) -> None:
    """Remove services that were started for the old path: a copied home forgets them, a moved home stops them.

    Services of another machine or container keep running. So do services started at this path: a container may see the
    same folder at another path.
    """
    try:
        names = {service.name for service in service_list.running(home) if service.home == str(home)}
        (service_list.forget if copied else service_list.stop)(home, names)
    except Unreadable as error:
        log.warning("%s", error)


def _recorded(home: Path) -> Path | None:
    """Return the path at which a home folder was last used; None if there is no record."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return Path(json.loads((home / MARKER).read_text(encoding="utf-8"))["path"])
    return None


def _record(home: Path) -> None:
    part = home / f"{MARKER}.part"
    part.write_text(json.dumps({"path": str(home)}) + "\n", encoding="utf-8")
    part.replace(home / MARKER)


def _same(one: Path, other: Path) -> bool:
    try:
        return one == other or one.samefile(other)
    except OSError:
        return False


def _is_home(folder: Path) -> bool:
    """Return whether a home folder still exists; True if it may not be read."""
    try:
        return any((folder / name).exists() for name in (DATABASE, "store"))
    except OSError:
        return True


def _rewrite(home: Path, former: Path) -> tuple[int, Path | None]:
    """Rewrite all addresses below the old path; return their number, and the backup that was made first."""
    file = home / DATABASE
    if not file.is_file():
        return 0, None
    backup = home / KEPT / f"{DATABASE}.{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    try:
        with closing(sqlite3.connect(file, timeout=WAIT)) as database, database:
            if not _affected(database, former):
                return 0, None
            backup.parent.mkdir(exist_ok=True)
            with closing(sqlite3.connect(backup)) as copy:
                database.backup(copy)
            database.execute("BEGIN IMMEDIATE")
            changed = _rewritten(database, home, former)
    except sqlite3.Error as error:
        return _not_rewritten(error, home, backup), None
    for older in sorted(backup.parent.glob(f"{DATABASE}.*"))[:-BACKUPS]:
        older.unlink(missing_ok=True)
    return changed, backup


def _not_rewritten(error: sqlite3.Error, home: Path, backup: Path) -> int:
    message = str(error)
    if "readonly" in message:
        raise OSError(message) from error
    backup.unlink(missing_ok=True)
    if "full" in message:
        raise StoreFull(
            "This home folder was moved, and there is no space to update its database", where=backup, cause=message,
            remedy="free some space: a copy of the database is made first",
        ) from error
    if "locked" in message:
        raise TrackingUnavailable(
            "This home folder was moved, and its database is in use", where=home / DATABASE, cause=message,
            remedy="end the other process, or wait for it",
        ) from error
    log.warning("the addresses in %s could not be checked: %s", home / DATABASE, message)
    return 0  # `open_client` reports what is wrong with the file


def _affected(database: sqlite3.Connection, former: Path) -> bool:
    """Return whether any address is below the old path."""
    return any(
        database.execute(f'SELECT 1 FROM "{table}" WHERE {_below(column)} LIMIT 1', {"old": old}).fetchone()
        for table, column in _present(database) for old in _forms(former)
    )


def _rewritten(database: sqlite3.Connection, home: Path, former: Path) -> int:
    changed = 0
    for table, column in _present(database):
        for old, new in zip(_forms(former), _forms(home), strict=True):
            statement = f'UPDATE "{table}" SET "{column}" = :new || substr("{column}", length(:old) + 1) '
            changed += database.execute(statement + f"WHERE {_below(column)}", {"old": old, "new": new}).rowcount
    uris = {"old": f'"{former.as_uri()}/', "new": f'"{home.as_uri()}/'}
    for table, column in _present(database, SOURCES):
        statement = f'UPDATE "{table}" SET "{column}" = replace("{column}", :old, :new) WHERE instr("{column}", :old)'
        changed += database.execute(statement, uris).rowcount
    return changed


def _present(database: sqlite3.Connection, columns: Columns = ADDRESSES) -> list[tuple[str, str]]:
    """Return those of the columns that exist in this database."""
    return [
        (table, column) for table, column in columns
        if database.execute("SELECT 1 FROM pragma_table_info(?) WHERE name = ?", (table, column)).fetchone()
    ]


def _forms(home: Path) -> tuple[str, str]:
    """Return a folder in the two forms that MLflow may have written: as an address and as a path."""
    return home.as_uri(), str(home)


def _below(column: str) -> str:
    """Return the SQL condition that a column holds the folder :old or a path below it."""
    return f'("{column}" = :old OR substr("{column}", 1, length(:old) + 1) = :old || \'/\')'


def local_folder(address: str) -> Path | None:
    """Return the folder of a `file:` address or a plain path, or None for any other address."""
    parts = urlparse(address)
    if parts.scheme not in ("", "file"):
        return None
    return Path(unquote(parts.path)) if parts.scheme else Path(address)


def folder_below(address: str, root: Path) -> Path | None:
    """Return the folder of an address if it is below the artifact folder *root* of a home."""
    folder = local_folder(address)
    return folder if folder is not None and root in folder.parents else None


def place_of(run_id: str, address: str) -> str:
    """Return the place that a run's artifacts share with those of other runs, without a password."""
    return without_password(address.removesuffix(f"/{run_id}/artifacts"))


def places_elsewhere(home: Path) -> Counter[str]:
    """Return the places outside a home where runs of its own MLflow database keep artifacts, with their number.

    MLflow is not asked: its import takes seconds, and it opens no database that needs an upgrade. The database of a
    home that was moved names the folder that it had before, until the first command in it that uses the database.
    """
    counts = Counter[str]()
    with suppress(OSError, sqlite3.Error):  # none, or not MLflow's
        former = moved_from(home)
        roots = [place / ARTIFACTS for place in (home, *([former[0]] if former else []))]
        with read_only(home / DATABASE) as database:
            for run_id, address in database.execute(RUNS):
                if all(folder_below(address, root) is None for root in roots):
                    counts[place_of(run_id, address)] += 1
    return counts
