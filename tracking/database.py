"""Check the file of MLflow's SQLite database before MLflow opens it.

MLflow accepts any SQLite file: it creates its tables in the database of another application, and for a damaged file it
reports almost the same error as for a server that does not answer.

Only SQLite may open the file. If this process opened and closed it in another way, the operating system would release
the locks of all its SQLite connections to the file. Another process could then delete the write-ahead log that these
connections use.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path

from reviewlm.core.errors import (
    ArtifactError,
    Damaged,
    NotWritable,
    TrackingUnavailable,
    without_password,
)
from reviewlm.core.sqlite_files import (
    FileIdentity,
    damage_of,
    database_address,
    database_file,
    other_users,
    read_only,
)
from reviewlm.core.table_revisions import LibraryTables, newest_revision, stored_revision
from reviewlm.tracking.artifacts import ARTIFACTS

MADE_BY_MLFLOW = "experiments"
"""First table that MLflow creates."""
DAMAGED = ("malformed", "not a database")
"""SQLite's messages for a file that is not a database or is damaged."""
INCOMPLETE = ("no such table", "no such column")
"""Messages for a database whose tables are not those of its revision: somebody has changed it by hand."""
SCRIPTS = Path("store") / "db_migrations" / "versions"
_opened: dict[Path, FileIdentity] = {}
"""The files that MLflow has opened in this process, by their names."""
AGAIN = "a new one is created, and the next run logs and registers its models again"


def has_tables(uri: str) -> bool:
    """Check a database before MLflow opens it, and return whether it has MLflow's tables; a server has its own.

    MLflow itself migrates older tables where one is missing, without a backup, as soon as it opens them.

    Raises:
        Damaged: SQLite finds the file corrupt; nothing is written into it. Or as `is_ready`.
        ArtifactError: It was made by an older MLflow. Or as `is_ready`.
        NotWritable: As `is_ready`.
        SQLAlchemyError: A database that is no file does not answer.
    """
    file = database_file(uri)
    if file is None:
        return uri.startswith("http") or require_current_at(uri)
    if not is_ready(file):
        return False

    try:
        damage = damage_of(file)
    except sqlite3.DatabaseError as error:
        # MLflow itself reports any other error.
        damage = str(error) if any(words in str(error) for words in DAMAGED) else ""

    if damage:
        raise damage_error(file, damage)

    _require_newest(revision_of(file), uri)
    return True


def note_opened(uri: str) -> None:
    """Note which file MLflow has opened; it keeps its connections to it until the process ends."""
    file = database_file(uri)
    if file is not None and (identity := FileIdentity.of(file)) is not None:
        _opened.setdefault(file, identity)


def require_same(uri: str) -> None:
    """Refuse to go on with a database that is another file than MLflow has opened: what is written would be lost.

    Raises:
        TrackingUnavailable: Another program has replaced, moved or removed the file.
    """
    file = database_file(uri)
    if file is None or file not in _opened or FileIdentity.of(file) == _opened[file]:
        return
    raise TrackingUnavailable(
        "The tracking database was exchanged while it was in use",
        where=file,
        cause=interference(file),
        remedy="end that program, and repeat the command: what could not be written waits in the home folder",
    )


def interference(file: Path) -> str:
    """Describe the other programs that use a database that fails, or have replaced it since it was opened; "": none."""
    sentences = []
    if file in _opened and (now := FileIdentity.of(file)) != _opened[file]:
        change = "replaced" if now else "moved or removed"
        sentences.append(f"another program has {change} the file")
    if users := other_users(file):
        sentences.append(f"it is also open in {', '.join(users)}")
    return "; ".join(sentences)


def is_ready(file: Path) -> bool:
    """Return whether a database has all of MLflow's tables, with an experiment; False if it cannot be opened now.

    A process that creates the tables creates the first experiment at its end.

    Raises:
        Damaged: The file is not a database, or is truncated or damaged.
        ArtifactError: It belongs to another application, or to a newer MLflow.
        NotWritable: It is a folder, or cannot be read.
    """
    if not file.exists():
        return False
    if file.is_dir() or not os.access(file, os.R_OK):
        raise NotWritable(
            "The tracking database cannot be opened",
            where=file,
            cause="it is a folder, or cannot be read",
            remedy="make it a file that you may read and write, or move it aside",
        )
    if not file.stat().st_size:
        if any((file.parent / ARTIFACTS).glob("*")):
            raise damage_error(file, "it is empty, although runs have left artifacts beside it")
        return False

    tables, revision = _tables(file)
    if tables and MADE_BY_MLFLOW not in tables:
        raise ArtifactError(
            "The tracking database belongs to another application",
            where=file,
            value=f"tables: {', '.join(sorted(tables)[:5])}",
            remedy=f"move it aside: {AGAIN}",
        )

    # Raises if a newer MLflow has made them.
    newest_revision("MLflow", SCRIPTS, revision, str(file))
    if not revision:
        return False

    with read_only(file) as database:
        return database.execute(f"SELECT 1 FROM {MADE_BY_MLFLOW} LIMIT 1").fetchone() is not None


def _tables(file: Path) -> tuple[set[str], str]:
    """Return the names of a database's tables, and Alembic's revision ("" if there is none).

    Both are empty if it does not open after several attempts: it may fail to open while another process creates or
    removes its write-ahead log. MLflow reports any other problem.

    Raises:
        Damaged: It is not a complete database.
    """
    for pause in (0.1, 0.5, 2.0, 0.0):
        try:
            with read_only(file) as database:
                names = database.execute(
                    "SELECT name FROM sqlite_master WHERE type = 'table'"
                ).fetchall()
            return {str(name) for (name,) in names}, stored_revision(file)
        except sqlite3.DatabaseError as error:
            if any(words in str(error) for words in DAMAGED):
                raise damage_error(file, str(error)) from error
            time.sleep(pause)

    return set(), ""


def revision_of(file: Path) -> str:
    """Return the revision of a database's tables, "" if it has none."""
    return _tables(file)[1]


def tables_of(file: Path) -> LibraryTables:
    """Return MLflow's tables in a file; without a revision if there are none.

    Raises:
        Damaged, ArtifactError, NotWritable: As `is_ready`.
    """
    stored = ""
    if is_ready(file):
        stored = revision_of(file)

    newest = newest_revision("MLflow", SCRIPTS, stored, str(file))
    return LibraryTables(
        "MLflow",
        file,
        _upgrade_command,
        stored,
        newest,
    )


def _upgrade_command(copy: Path) -> tuple[tuple[str, ...], Mapping[str, str]]:
    """Return the arguments of Python, and the environment, that bring a copy of the database to the newest revision."""
    return ("-m", "mlflow", "db", "upgrade", database_address(copy)), os.environ


def require_current_at(uri: str) -> bool:
    """Check a database that is not a file, e.g. of PostgreSQL, before MLflow opens it, as `has_tables` does.

    Returns:
        Whether it has tables of MLflow.

    Raises:
        ArtifactError: It was made by an older or a newer MLflow.
        SQLAlchemyError: It does not answer.
    """
    from sqlalchemy import create_engine, inspect, text
    from sqlalchemy.pool import NullPool

    with create_engine(uri, poolclass=NullPool).connect() as database:
        versioned = inspect(database).has_table("alembic_version")
        stored = None
        if versioned:
            stored = database.execute(text("SELECT version_num FROM alembic_version")).scalar()

    _require_newest(str(stored or ""), uri)
    return versioned


def damage_error(file: Path | str, cause: str) -> Damaged:
    """Return the error for a damaged database, with what other programs do with it."""
    others = interference(file if isinstance(file, Path) else database_file(file) or Path(file))
    return Damaged(
        "The tracking database is damaged or not a database",
        where=file,
        cause="; ".join(filter(None, (cause, others))),
        remedy=f"restore a backup; or move it aside, together with its -wal and -shm: {AGAIN}",
    )


def newest_tables() -> str:
    """Return the newest revision of the installed MLflow's tables; "" if it is not known."""
    return newest_revision("MLflow", SCRIPTS, "", "")


def _require_newest(stored: str, uri: str) -> None:
    if stored and newest_revision("MLflow", SCRIPTS, stored, uri) not in ("", stored):
        raise ArtifactError(
            "The tracking database was made by an older MLflow",
            where=uri,
            remedy=f"`reviewlm home upgrade` backs up the home and migrates its database; any other: make a copy, then "
            f"mlflow db upgrade {without_password(uri)}",
        )
