"""Find where runs keep their artifacts outside the home folder, such as a bucket that a database names."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import suppress
from pathlib import Path

from core.errors import without_password
from core.storing.sqlite_files import DATABASE, read_only
from tracking.moved_home import ARTIFACTS, moved_from
from tracking.registry.versions import local_folder

RUNS = "SELECT run_uuid, artifact_uri FROM runs WHERE artifact_uri IS NOT NULL"


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
    found = Counter[str]()
    with suppress(OSError, sqlite3.Error):  # none, or not MLflow's
        former = moved_from(home)
        roots = [place / ARTIFACTS for place in (home, *([former[0]] if former else []))]
        with read_only(home / DATABASE) as database:
            for run_id, address in database.execute(RUNS):
                if all(folder_below(address, root) is None for root in roots):
                    found[place_of(run_id, address)] += 1
    return found
