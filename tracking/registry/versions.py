"""Read registered models (versions, aliases, tags) by SQL in a local database, else by asking MLflow; write tags."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from reviewlm.core.errors import ConfigError
from reviewlm.core.lineage import FAMILY_TAG
from reviewlm.core.sqlite_files import database_file, read_only
from reviewlm.tracking.client import Absent, Present
from reviewlm.tracking.tags import (
    LATER,
    MODEL_KIND,
    MODEL_NAME,
    MODEL_URI_TAG,
    OUTCOME,
    PACKED,
    REASON,
    RUN_MODELS,
    SHOWN,
    legal_name,
    pack_tags,
    shorten,
    unpack_tags,
)

if TYPE_CHECKING:
    from reviewlm.tracking.client import Connection

CHAMPION = "champion"
CHALLENGER = "challenger"
PREVIOUS = "previous"
PROMOTED = "promoted"
REFUSED = "refused"
TAG_LENGTH = 5000
DESCRIPTION_LENGTH = 5000
REFERENCE = re.compile(
    r"models:/(?P<name>\w[^/\\@:*?<>|'\"\x00-\x1f]{0,99})"
    r"(?:@(?P<alias>[\w-]{1,255})|/(?P<version>\d{1,9})(?:/(?P<model>[^/]{1,100}))?)"
)
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
Row = tuple[int, str | None, int, str | None, str, str, dict[str, str]]
"""Number, run, time in ms, description, source, address of the files, tags as MLflow has them."""
TAGS = "SELECT version, key, value FROM model_version_tags WHERE name = ?"
ALIASES = "SELECT alias, version FROM registered_model_aliases WHERE name = ?"
NAMES = f"SELECT DISTINCT name FROM model_versions WHERE (source = ?) = ? AND {EXISTS}"
MODEL_DESCRIPTION = (
    "Models of reviews, registered by ReviewLM. `@champion` is in use, `@challenger` is not decided yet, `@previous` "
    "is the champion before it: `reviewlm rollback --model {name} --why TEXT` returns to it, unless it was rolled back "
    "from. The tag `now` of a version says what it is, its description what the gate, and later a person, decided; "
    "`reviewlm history --model {name}` lists all decisions (the model `{name}-decisions`)."
)
"""Description of a registered model in MLflow, for its name."""


@dataclass(frozen=True)
class Version:
    """A registered version of the model `name`. `source` is the logged model's address, `created` is UTC.

    `stored` are the tags as MLflow has them, `place` is the address of its files, "" if MLflow has to be asked for it.
    `run_model` names another model of its run that is opened in its stead, "" for the registered one.
    """

    version: int
    run_id: str
    tags: Mapping[str, str] = field(hash=False)
    source: str
    aliases: tuple[str, ...]
    created: datetime
    description: str = ""
    name: str = ""
    stored: Mapping[str, str] = field(
        default_factory=dict,
        hash=False,
        compare=False,
    )
    place: str = field(default="", compare=False)
    run_model: str = ""

    @property
    def siblings(self) -> dict[str, str]:
        """Addresses of the logged models of the other models of its run, by model name."""
        with suppress(ValueError):  # a tag of very many models is cut
            return dict(json.loads(self.tags.get(RUN_MODELS, "{}")))
        return {}

    @property
    def answer_fields(self) -> dict[str, Any]:
        """Fields of an answer that name the model: name, version, and which other model of the version's run it is."""
        fields: dict[str, Any] = {"model": self.name, "version": self.version}
        if self.run_model:
            fields["run_model"] = self.run_model
        return fields

    def as_row(self) -> dict[str, Any]:
        """Return the row for a list of versions, as JSON values."""
        tags = {
            "outcome": OUTCOME,
            "later": LATER,
            "reason": REASON,
            "run_model": MODEL_NAME,
            "kind": MODEL_KIND,
            "family": FAMILY_TAG,
        }
        row: dict[str, Any] = {"version": self.version, "aliases": ", ".join(self.aliases)}
        row |= {name: self.tags.get(tag, "") for name, tag in tags.items()}
        row["created"] = self.created.isoformat(timespec="seconds")
        row["run_id"] = self.run_id
        return row


@dataclass(frozen=True)
class Reference:
    """The name of a registered model, and either an alias or a version number, perhaps with a model of its run."""

    name: str
    alias: str = ""
    version: int | None = None
    model: str = ""

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Parse `models:/NAME@ALIAS`, `models:/NAME/VERSION[/MODEL]`; raise ConfigError for any other text."""
        match = REFERENCE.fullmatch(text)
        if match is None:
            raise ConfigError(
                "This is not the address of a registered model",
                value=text,
                remedy="write models:/NAME@ALIAS or models:/NAME/VERSION, e.g. models:/reviewlm@champion",
            )

        number = match["version"]
        return cls(
            match["name"],
            match["alias"] or "",
            int(number) if number else None,
            match["model"] or "",
        )


def version_tags(tags: Mapping[str, Any]) -> dict[str, str]:
    """Return tags with names and lengths that the registry accepts."""
    return {legal_name(name): shorten(str(value), TAG_LENGTH) for name, value in tags.items()}


def create_model(
    tracker: Connection,
    name: str,
    description: str,
) -> None:
    """Create a registered model, unless it exists."""
    with suppress(Present), tracker.reaching() as client:
        client.create_registered_model(name, description=description)


def contents_of(tracker: Connection, name: str) -> tuple[list[Version], dict[str, int]]:
    """Return the versions of a registered model, the oldest first, and the version number of each alias.

    Both are empty if the model does not exist. A local database is read by SQL: importing MLflow takes longer than
    everything else, a user waits at the command line, and a server asks every second.

    Raises:
        TrackingUnavailable: The registry cannot be read.
    """
    tracker.require_whole()
    rows, aliases = _by_sql(tracker, name) or _from_mlflow(tracker, name)
    versions = []
    for number, run_id, created, description, source, place, stored in rows:
        tags = unpack_tags(stored)
        names = sorted(alias for alias, at in aliases.items() if at == number)
        version = Version(
            number,
            run_id or "",
            tags,
            tags.get(MODEL_URI_TAG) or str(source),
            tuple(names),
            datetime.fromtimestamp(created / 1000, UTC),
            description or "",
            name,
            stored,
            place,
        )
        versions.append(version)

    there = {version.version for version in versions}
    return versions, {alias: number for alias, number in aliases.items() if number in there}


def _by_sql(tracker: Connection, name: str) -> tuple[list[Row], dict[str, int]] | None:
    """Return rows and aliases; None if the store is no SQLite file that can be read."""
    file = database_file(tracker.uri)
    if file is None or not file.exists():
        return None if file is None else ([], {})

    with suppress(sqlite3.Error), read_only(file) as database:
        database.execute("BEGIN")  # all from one moment
        rows, tagged, aliases = (
            database.execute(query, (name,)).fetchall() for query in (VERSIONS, TAGS, ALIASES)
        )
        tags: dict[int, dict[str, str]] = {}
        for number, key, value in tagged:
            tags.setdefault(number, {})[key] = value
        with_tags = [(*row, tags.get(row[0], {})) for row in rows]
        return with_tags, {alias: int(number) for alias, number in aliases}

    return None


def _from_mlflow(tracker: Connection, name: str) -> tuple[list[Row], dict[str, int]]:
    try:
        with tracker.reaching() as client:
            aliases = client.get_registered_model(name).aliases
        order = ["version_number ASC"]
        entries = list(
            tracker.all(
                "search_model_versions", f"name = '{name}'", max_results=1000, order_by=order
            )
        )
    except Absent:
        return [], {}

    rows = []
    for entry in entries:
        rows.append(
            (
                int(entry.version),
                entry.run_id,
                entry.creation_timestamp,
                entry.description,
                entry.source,
                "",
                dict(entry.tags),
            )
        )

    return rows, {alias: int(number) for alias, number in aliases.items()}


def version_numbered(versions: Sequence[Version], number: int | None) -> Version | None:
    """Return the version with a number, or None if it does not exist."""
    return next((version for version in versions if version.version == number), None)


def has_versions(tracker: Connection, name: str) -> bool:
    """Return whether a registered model has any version."""
    return bool(contents_of(tracker, name)[0])


def is_known(tracker: Connection, name: str) -> bool:
    """Return whether a registered model has a version, or had one about which something was decided."""
    return has_versions(tracker, name) or has_versions(tracker, name + LOG)


def model_names(tracker: Connection, decided: bool = False) -> list[str]:
    """Return the names of the registered models of a local database that have a version.

    With *decided*, those of the models that have a decision log, whether they still exist or not. A registry of another
    machine is not asked, because it may have thousands of models. The result is empty then.
    """
    if file := database_file(tracker.uri):
        with suppress(sqlite3.Error), read_only(file) as database:
            return sorted(
                name.removesuffix(LOG) if decided else name
                for (name,) in database.execute(NAMES, (SOURCE, decided))
            )
    return []


def retag(
    tracker: Connection,
    entry: Version,
    tags: Mapping[str, str],
    gone: Collection[str] = (),
) -> None:
    """Set tags of a version and drop others, in as few writes as possible; see `reviewlm.tracking.tags.pack_tags`."""
    plain = entry.stored.keys() - SHOWN  # set by other means
    others = {
        name: value for name, value in entry.tags.items() if name not in gone and name not in plain
    }
    wanted = {PACKED: "{}", **pack_tags({**others, **tags})}

    def write(client: Any) -> None:
        for name in (entry.stored.keys() & gone) - wanted.keys():
            client.delete_model_version_tag(entry.name, str(entry.version), name)
        for name, value in wanted.items():
            if entry.stored.get(name) != value:
                client.set_model_version_tag(entry.name, str(entry.version), name, value)

    tracker.ask(write)
