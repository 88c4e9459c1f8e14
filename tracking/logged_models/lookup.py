"""Look registered versions up: by SQL in the default local database, else by asking MLflow."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from core.errors import TrackingUnavailable
from core.storing.sqlite_files import database_file, read_only
from tracking.registry.events import LOG, SOURCE, DecisionLog
from tracking.registry.registry import Registry
from tracking.registry.state import lost_champion
from tracking.registry.versions import (
    CHAMPION,
    EXISTS,
    Reference,
    Version,
    aliases_of,
    entries_of,
    entry_of,
    stored,
    version_of,
)
from tracking.runs.runs import Tracker

NAMES = f"SELECT DISTINCT name FROM model_versions WHERE (source = ?) = ? AND {EXISTS}"


@dataclass(frozen=True)
class Found:
    """A version and the folder of its bundle."""

    version: Version
    folder: Path


def registered(tracker: Tracker, name: str) -> bool:
    """Return whether a registered model has any version."""
    return bool(entries_of(tracker, name))


def find_version(tracker: Tracker, reference: Reference) -> Found | None:
    """Return a version and the folder of its bundle, or None if there is no such version.

    Raises:
        BundleError: The version holds no bundle, or its files are missing.
    """
    aliases = aliases_of(tracker, reference.name)
    number = aliases.get(reference.alias) if reference.alias else reference.version
    entry = None if number is None else entry_of(tracker, reference.name, number)
    if entry is None:
        return None
    version = version_of(entry, aliases)
    return Found(version, Registry(tracker, reference.name).bundle_folder(version))


def versions_of(tracker: Tracker, name: str) -> list[int]:
    """Return the numbers of a registered model's versions."""
    return sorted(int(entry.version) for entry in entries_of(tracker, name))


def registered_names(tracker: Tracker) -> list[str]:
    """Return the names of the registered models that have a version; entries of decision logs are no versions.

    A registry of another machine is not asked, because it may have thousands of models. The result is empty then.
    """
    return _names(tracker, logs=False)


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
    return sorted(name.removesuffix(LOG) for name in _names(tracker, logs=True))


def _names(tracker: Tracker, logs: bool) -> list[str]:
    if file := database_file(tracker.uri):
        with suppress(sqlite3.Error), read_only(file) as database:
            return sorted(name for (name,) in database.execute(NAMES, (SOURCE, logs)))
    return []


def contents_of(tracker: Tracker, name: str) -> tuple[dict[str, int], dict[int, datetime]]:
    """Return a registered model's aliases, and its versions with the times when they were registered.

    Cheap with the default local database, so that a server may ask every second.

    Raises:
        TrackingUnavailable: The registry cannot be read.
    """
    direct = stored(tracker, name)
    if direct is None and (file := database_file(tracker.uri)):
        raise TrackingUnavailable("The registry cannot be read", where=file)
    entries, aliases = direct or (entries_of(tracker, name), aliases_of(tracker, name))
    there = {int(entry.version): datetime.fromtimestamp(entry.creation_timestamp / 1000, UTC) for entry in entries}
    return {alias: number for alias, number in aliases.items() if number in there}, there
