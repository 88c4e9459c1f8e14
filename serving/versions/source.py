"""Read the aliases and the bundles of one registered model.

Find the version that a request names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from core.config.run_config import RunConfig
from core.environment import chosen_device
from tracking.registry.opening import asked_model, open_champion, tracker_at
from tracking.registry.registry import recorded_card
from tracking.registry.versions import CHAMPION, SCHEME, contents_of

if TYPE_CHECKING:
    from models.bundles.bundle import Bundle

@dataclass(frozen=True)
class Contents:
    """What the registry holds of a model: version by alias, and the time of registration by version."""

    aliases: Mapping[str, int] = field(default_factory=dict)
    created: Mapping[int, datetime] = field(default_factory=dict)


class RegistrySource:
    """The registry of a configuration. Methods raise any exception if it cannot be read.

    Args:
        config: Names the registry and the registered model; without a model of the user's, the demo's is taken.

    Attributes:
        name: Name of the registered model.
    """

    def __init__(self, config: RunConfig) -> None:
        self._tracker = tracker_at(config)
        self._device = chosen_device(config.execution.device)
        self.name = asked_model(config, self._tracker)

    def contents(self) -> Contents:
        """Return the model's aliases and versions as they are now."""
        versions, aliases = contents_of(self._tracker, self.name)
        return Contents(aliases, {version.version: version.created for version in versions})

    def open(self, number: int) -> Bundle:
        """Open a version's bundle with the installed code, check its files and score its probe texts."""
        return open_champion(self._tracker, f"{SCHEME}{self.name}/{number}", self._device)[0]

    def card(self, number: int) -> dict[str, Any]:
        """Return the verdict of the gate with its rules and figures, and the decisions about all versions."""
        return recorded_card(self._tracker, self.name, number)


class UnknownVersion(Exception):
    """There is no such model, alias or version; the message names those that there are."""


def number_named(reference: str | None, name: str, contents: Contents) -> int:
    """Return the version that a request names: NAME, NAME@ALIAS, NAME/3, an alias or a number; None: the champion.

    Args:
        reference: What the request says.
        name: Name of the registered model.
        contents: What the registry holds of it.

    Raises:
        UnknownVersion: There is none of this name.
    """
    version = (reference or CHAMPION).removeprefix(SCHEME)
    if version == name:
        version = CHAMPION
    for mark in "@/":
        version = version.removeprefix(f"{name}{mark}")
    is_number = version.isascii() and version.isdigit() and len(version) < 10
    number = int(version) if is_number else contents.aliases.get(version)
    if number is None or number not in contents.created:
        if not contents.created:
            raise UnknownVersion(f"no version of {name} is registered yet")
        if version == CHAMPION:
            raise UnknownVersion(f"{name} has no champion yet; {name}/NUMBER names a version")
        names = ", ".join([*(f"{name}@{alias}" for alias in sorted(contents.aliases)), f"{name}/NUMBER"])
        raise UnknownVersion(f"the model {(reference or '')[:80]!r} does not exist; there are {names}")
    return number
