"""Describe registered versions, their addresses and their tags, independently of MLflow's types."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from core.errors import ConfigError
from core.lineage.family import FAMILY_TAG
from models.names import require_name
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


def entries_of(tracker: Connection, name: str) -> list[Any]:
    """Return MLflow's entries of all versions of a registered model; an empty list if it does not exist."""
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
