"""Compare the tables of a home's databases with the installed libraries, and mark a home while they are migrated.

Revisions are read from migration scripts, without importing the library that they belong to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import ArtifactError
from core.processes.leftovers import is_held
from core.storing.sqlite_files import read_only

MARK, LOCK = "upgrade.json", "upgrade.lock"
"""In a home: what an upgrade that has begun has done, and the lock that it holds while it runs."""


@dataclass(frozen=True)
class Revisions:
    """Revisions of a library's tables; "" if there are none, or if they are unknown.

    Args:
        stored: That of the database.
        installed: The newest one of the installed library.
    """

    stored: str = ""
    installed: str = ""

    @property
    def differ(self) -> bool:
        """Whether the library will migrate the tables."""
        return bool(self.stored and self.installed and self.stored != self.installed)


@dataclass(frozen=True)
class LibraryTables:
    """A SQLite database of a home folder whose tables belong to a library.

    Args:
        library: Its name.
        file: The database.
        revisions: Of the tables.
        migration: Returns the Python program that migrates the database of a file, and its environment.
    """

    library: str
    file: Path
    revisions: Revisions
    migration: Callable[[Path], tuple[Sequence[str], Mapping[str, str]]]


def revisions_in(folders: Iterable[Path]) -> tuple[set[str], str]:
    """Return all revisions of the migration scripts in these folders, and the newest; "" if there is not just one."""
    made, replaced = set[str](), set[str]()
    for file in (file for folder in folders for file in folder.glob("*.py")):
        text = file.read_text(encoding="utf-8")
        made |= set(re.findall(r'^revision = "(\w+)"', text, re.MULTILINE))
        replaced |= set(re.findall(r'^down_revision = "(\w+)"', text, re.MULTILINE))
    heads = made - replaced
    return made, heads.pop() if len(heads) == 1 else ""


def stored_revision(file: Path) -> str:
    """Return the revision of a database's tables, which is opened for reading only; "" if it has none.

    Raises:
        sqlite3.DatabaseError: It is not a complete database, or cannot be opened now.
    """
    with read_only(file) as database:
        known = database.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
        row = database.execute("SELECT version_num FROM alembic_version").fetchone() if known else None
    return str(row[0]) if row else ""


def require_no_upgrade(home: Path) -> None:
    """Refuse to use a home folder while an upgrade migrates its databases, or after one that was killed.

    Raises:
        ArtifactError: `reviewlm home upgrade` runs, or has to be repeated.
    """
    try:
        if not (home / MARK).exists():
            return
        running = is_held(home / LOCK)
    except OSError:  # `prepare_environment` says what is wrong with the folder
        return
    if running:
        raise ArtifactError("This home folder is being upgraded", where=home, remedy="wait until the upgrade has ended")
    raise ArtifactError(
        "The upgrade of this home folder was interrupted", where=home, remedy="`reviewlm home upgrade` goes on with it"
    )
