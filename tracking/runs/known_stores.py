"""Remember which MLflow stores the runs of a home folder wrote to, so that a collection asks all of them for versions.

The address may come from a preset that another command does not use. The home folder's own database needs no entry.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from core.storing.sqlite_files import DATABASE, home_database

if TYPE_CHECKING:
    from tracking.connection import Connection

FOLDER = "stores"


def store_key(uri: str) -> str:
    """Return the name by which files of a home folder mean a store; its address may hold a password."""
    return hashlib.sha256(uri.encode()).hexdigest()[:16]


def remember_store(tracker: Connection) -> None:
    """Record the address of a store outside the home folder, with its password, for the home folder's owner only."""
    home = tracker.artifact_root.parent
    if tracker.uri == home_database(home):
        return
    file = home / FOLDER / store_key(tracker.uri)
    with suppress(OSError):  # a full disk must not end a run
        if not file.exists():
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            part = file.with_name(f"{file.name}.part")
            part.write_text(tracker.uri, encoding="utf-8")
            part.replace(file)


def known_stores(home: Path) -> list[str]:
    """Return the addresses of the home folder's own database, if it exists, and of all remembered stores."""
    own = [home_database(home)] if (home / DATABASE).is_file() else []
    files = sorted((home / FOLDER).glob("*")) if (home / FOLDER).is_dir() else []
    return [*own, *(file.read_text(encoding="utf-8") for file in files if file.suffix != ".part")]
