"""Read the aliases and the bundles of one registered model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from core.config.run_config import RunConfig
from core.environment import chosen_device
from tracking.registry.opening import asked_model, open_champion, tracker_at
from tracking.registry.registry import recorded_card
from tracking.registry.versions import SCHEME, contents_of

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
