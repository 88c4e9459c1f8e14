"""Compare the tables of a SQLite database with the library that they belong to, by their revisions.

The revisions are read from the library's migration scripts, without importing it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from reviewlm.core.errors import ArtifactError
from reviewlm.core.sqlite_files import read_only


@dataclass(frozen=True)
class LibraryTables:
    """A SQLite database of a home folder whose tables belong to a library.

    Args:
        library: Its name.
        file: The database.
        migration: Returns the Python program that migrates the database of a file, and its environment.
        stored: Revision of the tables; "" if there are none, or if they are in another database.
        installed: The newest revision of the installed library; "" if it is not known.
    """

    library: str
    file: Path
    migration: Callable[[Path], tuple[Sequence[str], Mapping[str, str]]]
    stored: str = ""
    installed: str = ""

    @property
    def older(self) -> bool:
        """Whether the library will migrate the tables."""
        return bool(self.stored and self.installed and self.stored != self.installed)


@cache
def installed_revisions(library: str, scripts: Path) -> tuple[set[str], str]:
    """Return the schema revisions (`revisions_in`) of an installed library without importing it.

    Args:
        library: Its name.
        scripts: Their folder in its package.
    """
    spec = find_spec(library.lower())
    places = spec.submodule_search_locations if spec else None
    return revisions_in(Path(place) / scripts for place in places or ())


def newest_revision(
    library: str,
    scripts: Path,
    stored: str,
    where: str,
) -> str:
    """Return the newest revision that an installed library knows, "" if there is not just one.

    Args:
        library: Its name.
        scripts: Folder of its migration scripts in its package.
        stored: Revision of a database's tables, "" if it has none.
        where: The database.

    Raises:
        ArtifactError: A newer version of the library has made the tables.
    """
    revisions, newest = installed_revisions(library, scripts)
    if stored and revisions and stored not in revisions:
        raise ArtifactError(
            f"The database was made by a newer {library}",
            where=where,
            value=stored,
            remedy=f"use that version of {library}, or restore an older backup",
        )
    return newest


def revisions_in(folders: Iterable[Path]) -> tuple[set[str], str]:
    """Return all revisions of the migration scripts in these folders, and the newest; "" if there is not just one."""
    made: set[str] = set()
    replaced: set[str] = set()
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
        has_table = database.execute(
            "SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'"
        ).fetchone()
        row = None
        if has_table:
            row = database.execute("SELECT version_num FROM alembic_version").fetchone()

    if row:
        return str(row[0])
    return ""
