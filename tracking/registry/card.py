"""Collect what the registry records about a version, for a page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from core.errors import ReviewLMError
from tracking.registry.registry import Registry
from tracking.registry.versions import version_in
from tracking.tags import DATA_TAG, FAMILY_TAG, OUTCOME, REASON, RULE, SINCE, VERSION_ADAPTATION

if TYPE_CHECKING:
    from tracking.runs.runs import Tracker

FACT = re.compile(r"^- ([^:\n]{1,60}): (.{1,400})$", re.MULTILINE)
"""A line of a version's description that states a fact of the decision."""
COMPARED = re.compile(r"^\| (?:lower|higher) is better \| (.+) \|\n\|[-:|]+\|\n((?:\|.+\|\n?)+)", re.MULTILINE)
"""The table of figures that both models have: its models, its rows."""
MADE_FROM = re.compile(r"made with preset and data: (.+?)\.(?: |$)", re.MULTILINE)
"""What a version's description says about its preset and data."""
DIGESTS = frozenset({"challenger", "champion", "test set", "scores"})
"""Facts that name things by their digests; the rest are figures."""
HISTORY = 50
"""Decisions that a card shows at most, the newest first."""


def recorded_card(tracker: Tracker, name: str, number: int) -> dict[str, Any]:
    """Return the gate's verdict on a version with its rules and figures, and the decisions about all versions.

    Raises:
        TrackingUnavailable: The registry cannot be read.
        ReviewLMError: There is no such version.
    """
    if (version := version_in(tracker, name, number)) is None:
        raise ReviewLMError("There is no such version", where=f"{name}/{number}")
    tags, description = version.tags, version.description
    rules = [(key.removeprefix(RULE), *text.partition(": ")[::2]) for key, text in tags.items() if key.startswith(RULE)]
    made = MADE_FROM.search(description)
    return {
        "verdict": ": ".join(filter(None, (tags.get(OUTCOME), tags.get(REASON)))),
        "family": tags.get(FAMILY_TAG, ""), "adaptation": tags.get(VERSION_ADAPTATION, ""), "since": tags.get(SINCE),
        "data": {"made_from": made[1] if made else "", "digest": tags.get(DATA_TAG, "")},
        "rules": [{"rule": rule, "outcome": outcome, "why": why} for rule, outcome, why in rules],
        "figures": [{"name": name, "value": value} for name, value in _figures(description)],
        "history": Registry(tracker, name).decisions()[:HISTORY],
    }  # fmt: skip


def _figures(description: str) -> Iterator[tuple[str, str]]:
    """Yield the figures that a version's description states, those that both models have first."""
    for models, rows in COMPARED.findall(description):
        for row in rows.splitlines():
            name, *values = row.strip("| ").split(" | ")
            yield from ((f"{model}, {name}", value) for model, value in zip(models.split(" | "), values, strict=False))
    yield from ((name, value) for name, value in FACT.findall(description) if name not in DIGESTS)
