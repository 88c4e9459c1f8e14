"""Keep an empty SQLite database of each library once a machine, and copy it into each new home folder.

Prefect and MLflow make the tables of a new database by all migrations that they ever had: seconds in each new home. An
empty database of the installed version is kept in the user's cache folder, and a copy of it has the same tables at
once. Nothing of a home is in it: it is taken before the first row of the home is written.

Everything here only saves time: where the cache folder cannot be used, libraries make their tables as they always do.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from contextlib import closing
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from reviewlm.core.sqlite_files import damage_of, read_only
from reviewlm.core.table_revisions import stored_revision

CACHE_VARIABLE = "XDG_CACHE_HOME"
FOLDER = Path("reviewlm") / "databases"
LOGS = ("-journal", "-wal", "-shm")
"""Endings of the files that SQLite keeps beside a database."""
log = logging.getLogger(__name__)


def place_copy(
    library: str,
    newest: str,
    file: Path,
) -> bool:
    """Copy the empty database of a library to a file that does not exist yet; return whether it is there now.

    The caller holds a lock, so that nobody else makes the file. Nothing is copied beside the log of a former database
    of that name: SQLite would write its pages into the copy, while it removes the log where it makes the file itself.

    Args:
        library: Name of its distribution.
        newest: Newest revision of its tables, which the copy must have; "": not known, so nothing is copied.
        file: The new database.
    """
    kept = _kept_file(library)
    left = [ending for ending in ("", *LOGS) if file.with_name(file.name + ending).exists()]
    if not newest or kept is None or left:
        return False

    try:
        if not _is_own(kept) or damage_of(kept) or stored_revision(kept) != newest:
            return False
        _write(kept, file)
    except (OSError, sqlite3.Error) as error:
        log.debug("the empty database %s cannot be copied: %s", kept, error)
        return False

    return True


def keep_copy(library: str, file: Path) -> None:
    """Keep a copy of a database that a library has just made, before anything of a home is written into it."""
    kept = _kept_file(library)
    if kept is None:
        return

    try:
        kept.parent.mkdir(
            parents=True,
            exist_ok=True,
            mode=0o700,
        )
        _write(file, kept)
        kept.chmod(0o600)
    except (OSError, sqlite3.Error) as error:
        log.debug("the empty database %s cannot be kept: %s", kept, error)


def _kept_file(library: str) -> Path | None:
    """Return the file of the empty database of the installed version; None if the library or a home is not known."""
    try:
        root = Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache")
        name = f"{library}-{version(library)}-sqlite-{sqlite3.sqlite_version}.db"
    except (PackageNotFoundError, RuntimeError):
        return None
    return root / FOLDER / name


def _is_own(kept: Path) -> bool:
    """Return whether a file belongs to this user and others cannot write to it: its tables are taken on trust."""
    about = kept.stat()
    own = not hasattr(os, "getuid") or about.st_uid == os.getuid()
    return own and not about.st_mode & 0o022


def _write(source: Path, target: Path) -> None:
    """Copy a database by SQLite, with what its write-ahead log holds; it appears by one rename."""
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with (
            read_only(source) as original,
            closing(sqlite3.connect(unfinished)) as copy,
        ):
            original.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file; who uses it chooses anew

        unfinished.replace(target)
    finally:
        for ending in ("", *LOGS):
            unfinished.with_name(unfinished.name + ending).unlink(missing_ok=True)
