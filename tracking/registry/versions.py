"""Read registered models: their versions, addresses and tags, by SQL in a local database, else by asking MLflow."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from core.errors import ConfigError, ReviewLMError, TrackingUnavailable
from core.lineage.family import FAMILY_TAG
from core.storing.sqlite_files import database_file, read_only
from models.names import require_name
from tracking.client import ABSENT, error_code
from tracking.runs.params import legal_name, shorten
from tracking.tags import MODEL_KIND, MODEL_URI_TAG, OUTCOME, REASON, RULE, unpacked

if TYPE_CHECKING:
    from evaluation.gate.decision import Decision
    from tracking.connection import Connection

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
PROMOTED, REFUSED = "promoted", "refused"
TAG_LENGTH, DESCRIPTION_LENGTH = 5000, 5000
REFERENCE = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[\w-]{1,255})|/(?P<version>\d{1,9}))")
SCHEME = "models:/"
LOG = "-decisions"
"""End of the name of a decision log."""
SOURCE = "reviewlm:/decision"  # MLflow requires an address of files for each version, but events have no files
EXISTS = "current_stage != 'Deleted_Internal'"
"""Condition for versions that are not deleted: MLflow keeps deleted rows and marks them."""
VERSIONS = f"""
    SELECT version, run_id, creation_time, description, source, COALESCE(storage_location, source)
    FROM model_versions WHERE name = ? AND {EXISTS} ORDER BY version
"""
TAGS = "SELECT version, key, value FROM model_version_tags WHERE name = ?"
ALIASES = "SELECT alias, version FROM registered_model_aliases WHERE name = ?"
NAMES = f"SELECT DISTINCT name FROM model_versions WHERE (source = ?) = ? AND {EXISTS}"
MODEL_DESCRIPTION = """Language models of reviews, registered by ReviewLM.

| alias | version |
|---|---|
| `@champion` | in use: `reviewlm generate --model {name}` loads it |
| `@challenger` | newest, not decided yet |
| `@previous` | champion before; `reviewlm rollback --model {name} --why TEXT` goes back to it |

The description of a version says what the promotion gate decided about it, by which figures and rules.
`reviewlm history --model {name}` lists all decisions; they are kept in the model `{name}-decisions`.
"""
"""Description of a registered model in MLflow, for its name."""


@dataclass(frozen=True)
class Version:
    """A registered version of the model `name`. `source` is the logged model's address, `created` is UTC."""

    version: int
    run_id: str
    tags: Mapping[str, str] = field(hash=False)
    source: str
    aliases: tuple[str, ...]
    created: datetime
    description: str = ""
    name: str = ""

    def as_row(self) -> dict[str, Any]:
        """Return the row for a list of versions, as JSON values."""
        return {
            "version": self.version, "aliases": ", ".join(self.aliases), "outcome": self.tags.get(OUTCOME, ""),
            "reason": self.tags.get(REASON, ""), "kind": self.tags.get(MODEL_KIND, ""),
            "family": self.tags.get(FAMILY_TAG, ""),
            "created": self.created.isoformat(timespec="seconds"), "run_id": self.run_id,
        }


@dataclass(frozen=True)
class Reference:
    """The name of a registered model, and either an alias or a version number."""

    name: str
    alias: str = ""
    version: int | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Parse `models:/NAME@ALIAS` or `models:/NAME/VERSION`; raise ConfigError if the text has neither form."""
        if (match := REFERENCE.fullmatch(text)) is None:
            raise _no_address(text)
        try:
            name = require_name(match["name"])
        except ValueError as error:
            raise _no_address(text, str(error)) from error
        number = match["version"]
        return cls(name, match["alias"] or "", int(number) if number else None)


def _no_address(text: str, cause: str = "") -> ConfigError:
    return ConfigError(
        "This is not the address of a registered model", value=text, cause=cause,
        remedy="write models:/NAME@ALIAS or models:/NAME/VERSION, e.g. models:/reviewlm@champion",
    )


def outcome_tags(decision: Decision) -> dict[str, str]:
    """Return a gate's decision as version tags: outcome, reason and one line per rule."""
    rules = {f"{RULE}{rule.name}": f"{rule.outcome}: {rule.detail}" for rule in decision.rules}
    return {OUTCOME: PROMOTED if decision.promote else REFUSED, REASON: decision.reason, **rules}


def version_tags(tags: Mapping[str, Any]) -> dict[str, str]:
    """Return tags with names and lengths that the registry accepts."""
    return {legal_name(name): shorten(str(value), TAG_LENGTH) for name, value in tags.items()}


def version_of(entry: Any, aliases: Mapping[str, int]) -> Version:
    """Convert MLflow's `ModelVersion`."""
    number = int(entry.version)
    names = tuple(sorted(name for name, target in aliases.items() if target == number))
    tags = unpacked(entry.tags)
    created = datetime.fromtimestamp(entry.creation_timestamp / 1000, UTC)
    source = tags.get(MODEL_URI_TAG) or str(entry.source)  # MLflow's database does not store the logged model
    return Version(number, entry.run_id or "", tags, source, names, created, entry.description or "", entry.name)


@dataclass(frozen=True)
class Entry:
    """A version as MLflow's database has it: tags are packed, `place` is the address of its files, times are ms."""

    name: str
    version: int
    run_id: str | None
    creation_timestamp: int
    description: str | None
    source: str
    place: str
    tags: dict[str, str] = field(hash=False)


def stored(tracker: Connection, name: str) -> tuple[list[Entry], dict[str, int]] | None:
    """Return versions and aliases of a registered model by SQL; None if its store is no SQLite file that can be read.

    Importing MLflow takes longer than everything else, and a user waits at the command line.
    """
    file = database_file(tracker.uri)
    if file is None or not file.exists():
        return None if file is None else ([], {})
    with suppress(sqlite3.Error), read_only(file) as database:
        database.execute("BEGIN")  # all from one moment
        rows, tagged, aliases = (database.execute(query, (name,)).fetchall() for query in (VERSIONS, TAGS, ALIASES))
        tags: dict[int, dict[str, str]] = {}
        for number, key, value in tagged:
            tags.setdefault(number, {})[key] = value
        entries = [
            Entry(name, number, run_id, created, description, source, place, tags.get(number, {}))
            for number, run_id, created, description, source, place in rows
        ]
        return entries, {alias: int(number) for alias, number in aliases}
    return None


def entries_of(tracker: Connection, name: str) -> list[Any]:
    """Return the entries of all versions of a registered model, as MLflow's; an empty list if it does not exist."""
    tracker.require_whole()
    if (direct := stored(tracker, name)) is not None:
        return list(direct[0])
    entries: list[Any] = []
    token = None
    with tracker.reaching() as client:
        while True:
            page = client.search_model_versions(
                f"name = '{name}'", max_results=1000, order_by=["version_number ASC"], page_token=token
            )
            entries += page
            if not (token := page.token):
                return entries


def entry_of(tracker: Connection, name: str, number: int) -> Any:
    """Return the entry of a version; None if there is none."""
    return next((entry for entry in entries_of(tracker, name) if int(entry.version) == number), None)


def aliases_of(tracker: Connection, name: str) -> dict[str, int]:
    """Return the version number of each alias of a model; empty if the model does not exist."""
    tracker.require_whole()
    if (direct := stored(tracker, name)) is not None:
        return direct[1]
    try:
        with tracker.reaching() as client:
            return {alias: int(number) for alias, number in client.get_registered_model(name).aliases.items()}
    except ReviewLMError as error:
        if error_code(error) in ABSENT:
            return {}
        raise


def registered(tracker: Connection, name: str) -> bool:
    """Return whether a registered model has any version."""
    return bool(entries_of(tracker, name))


def versions_of(tracker: Connection, name: str) -> list[int]:
    """Return the numbers of a registered model's versions."""
    return sorted(int(entry.version) for entry in entries_of(tracker, name))


def registered_names(tracker: Connection) -> list[str]:
    """Return the names of the registered models that have a version; entries of decision logs are no versions.

    A registry of another machine is not asked, because it may have thousands of models. The result is empty then.
    """
    return _names(tracker, logs=False)


def decided_names(tracker: Connection) -> list[str]:
    """Return the names of the models of a local database that have a decision log, whether they still exist or not."""
    return sorted(name.removesuffix(LOG) for name in _names(tracker, logs=True))


def _names(tracker: Connection, logs: bool) -> list[str]:
    if file := database_file(tracker.uri):
        with suppress(sqlite3.Error), read_only(file) as database:
            return sorted(name for (name,) in database.execute(NAMES, (SOURCE, logs)))
    return []


def contents_of(tracker: Connection, name: str) -> tuple[dict[str, int], dict[int, datetime]]:
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
