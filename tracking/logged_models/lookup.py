"""Look registered versions up: by SQL in the default local database, else by asking MLflow.

Importing MLflow takes longer than everything else, and a user waits at the command line. So with the default local
database, the version with its tags and aliases is read directly by SQL. In all unusual cases MLflow is used instead.
"""

from __future__ import annotations

import logging
import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.errors import BundleError, ReviewLMError, TrackingUnavailable
from core.storing.sqlite_files import database_file, read_only
from tracking.client import ABSENT, error_code
from tracking.registry.events import LOG, SOURCE, DecisionLog
from tracking.registry.registry import Registry, bundle_in
from tracking.registry.state import lost_champion
from tracking.registry.versions import CHAMPION, Reference, Version
from tracking.runs.runs import Tracker
from tracking.tags import MODEL_URI_TAG, unpacked

log = logging.getLogger(__name__)
EXISTS = "current_stage != 'Deleted_Internal'"
"""Condition for versions that are not deleted: MLflow keeps deleted rows and marks them."""
FIND = f"""
    SELECT v.version, v.run_id, v.creation_time, v.description, COALESCE(v.storage_location, v.source)
    FROM model_versions v LEFT JOIN registered_model_aliases a
      ON a.workspace = v.workspace AND a.name = v.name AND a.version = v.version AND a.alias = :alias
    WHERE v.name = :name AND v.{EXISTS} AND (a.alias IS NOT NULL OR v.version = :version)
"""
TAGS = "SELECT key, value FROM model_version_tags WHERE name = ? AND version = ?"
NUMBERS = f"SELECT version FROM model_versions WHERE name = ? AND {EXISTS}"
ANY = f"SELECT 1 FROM model_versions WHERE name = ? AND {EXISTS} LIMIT 1"
ALL_ALIASES = "SELECT alias, version FROM registered_model_aliases WHERE name = ?"
NAMES = f"SELECT DISTINCT name FROM model_versions WHERE source != ? AND {EXISTS}"
LOGS = f"SELECT DISTINCT name FROM model_versions WHERE source = ? AND {EXISTS}"
CREATED = f"SELECT version, creation_time FROM model_versions WHERE name = ? AND {EXISTS}"
ALIASES = "SELECT alias FROM registered_model_aliases WHERE name = ? AND version = ? ORDER BY alias"


@dataclass(frozen=True)
class Found:
    """A version and the folder of its bundle."""

    version: Version
    folder: Path


def registered(tracker: Tracker, name: str) -> bool:
    """Return whether a registered model has any version."""
    if file := database_file(tracker.uri):
        if not file.exists():
            return False
        with suppress(sqlite3.Error), read_only(file) as connection:
            return connection.execute(ANY, (name,)).fetchone() is not None
    return bool(Registry(tracker, name).versions())


def find_version(tracker: Tracker, reference: Reference) -> Found | None:
    """Return a version and the folder of its bundle, or None if there is no such version."""
    file = database_file(tracker.uri)
    if file and (not file.exists() or _is_absent(file, reference)):
        return None
    return (_read_directly(tracker, file, reference) if file else None) or _ask_mlflow(tracker, reference)


def _is_absent(file: Path, reference: Reference) -> bool:
    """Return whether MLflow's database has no such version, to reject most wrong names without importing MLflow."""
    return _rows(file, FIND, _key(reference)) == []


def versions_of(tracker: Tracker, name: str) -> list[int]:
    """Return the numbers of a registered model's versions."""
    if file := database_file(tracker.uri):
        return sorted(number for (number,) in _rows(file, NUMBERS, (name,)) or [])
    return sorted(version.version for version in Registry(tracker, name).versions())


def registered_names(tracker: Tracker) -> list[str]:
    """Return the names of the registered models that have a version; entries of decision logs are no versions.

    A registry of another machine is not asked, because it may have thousands of models. The result is empty then.
    """
    file = database_file(tracker.uri)
    return sorted(name for (name,) in _rows(file, NAMES, (SOURCE,)) or []) if file else []


def lost_champion_of(tracker: Tracker, name: str) -> str:
    """Say how a registered model lost its champion by other means than a decision; "" if it did not.

    Raises:
        TrackingUnavailable: MLflow does not answer.
    """
    aliases, versions = contents_of(tracker, name)
    if CHAMPION in aliases or not registered(tracker, name + LOG):
        return ""
    return lost_champion(DecisionLog(tracker, name).read(), None, versions)


def decided_names(tracker: Tracker) -> list[str]:
    """Return the names of the models of a local database that have a decision log, whether they still exist or not."""
    file = database_file(tracker.uri)
    rows = _rows(file, LOGS, (SOURCE,)) or [] if file else []
    return sorted(name.removesuffix(LOG) for (name,) in rows)


def contents_of(tracker: Tracker, name: str) -> tuple[dict[str, int], dict[int, datetime]]:
    """Return a registered model's aliases, and its versions with the times when they were registered.

    Cheap with the default local database, so that a server may ask every second.

    Raises:
        TrackingUnavailable: The registry cannot be read.
    """
    if file := database_file(tracker.uri):
        if not file.exists():
            return {}, {}
        aliases, created = (_rows(file, query, (name,)) for query in (ALL_ALIASES, CREATED))
        if aliases is None or created is None:
            raise TrackingUnavailable("The registry cannot be read", where=file)
        there = {int(number): datetime.fromtimestamp(time / 1000, UTC) for number, time in created}
        return {alias: int(number) for alias, number in aliases if int(number) in there}, there
    versions = Registry(tracker, name).versions()
    return (
        {alias: one.version for one in versions for alias in one.aliases},
        {one.version: one.created for one in versions},
    )


def _rows(file: Path, query: str, values: Any) -> list[Any] | None:
    """Return the rows that a query finds in MLflow's database, or None if it cannot be read directly."""
    with suppress(sqlite3.Error), read_only(file) as connection:
        return connection.execute(query, values).fetchall()
    return None


def _key(reference: Reference) -> dict[str, Any]:
    return {"name": reference.name, "alias": reference.alias or None, "version": reference.version}


def _read_directly(tracker: Tracker, file: Path, reference: Reference) -> Found | None:
    """Return the version from MLflow's database; None unless there is exactly one and its files are local."""
    try:
        with read_only(file) as connection:
            [(number, run_id, created, description, address)] = connection.execute(FIND, _key(reference)).fetchall()
            tags = unpacked(dict(connection.execute(TAGS, (reference.name, number)).fetchall()))
            aliases = tuple(alias for (alias,) in connection.execute(ALIASES, (reference.name, number)).fetchall())
        folder = bundle_in(tracker, address)
    except (sqlite3.Error, ValueError, BundleError) as error:
        log.debug("asking MLflow for %s: %s", reference, error)
        return None
    made = datetime.fromtimestamp(created / 1000, UTC)
    source = tags.get(MODEL_URI_TAG) or address
    version = Version(number, run_id or "", tags, source, aliases, made, description or "", reference.name)
    return Found(version, folder) if folder else None


def _ask_mlflow(tracker: Tracker, reference: Reference) -> Found | None:
    registry = Registry(tracker, reference.name)
    try:
        version = registry.alias(reference.alias) if reference.alias else registry.version(reference.version or 0)
    except ReviewLMError as error:
        if error_code(error) in ABSENT:
            return None
        raise
    return Found(version, registry.bundle_folder(version)) if version else None
