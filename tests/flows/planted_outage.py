"""An outage of MLflow right after a decision was written, once."""

from typing import Any

import pytest

from core.errors import TrackingUnavailable
from tracking.registry.registry import Registry
from tracking.registry.versions import Version


def away_after_a_decision(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let the first look at an alias after a decision find MLflow away; return what has happened so far."""
    settle, alias, told = Registry.settle, Registry.alias, list[str]()

    def settled(self: Registry, *given: Any, **named: Any) -> None:
        settle(self, *given, **named)
        told.append("settled")

    def away_once(self: Registry, name: str) -> Version | None:
        if told == ["settled"]:
            told.append("away")
            raise TrackingUnavailable("MLflow cannot be reached")
        return alias(self, name)

    monkeypatch.setattr(Registry, "settle", settled)
    monkeypatch.setattr(Registry, "alias", away_once)
    return told
