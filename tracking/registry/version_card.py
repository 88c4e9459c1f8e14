"""Gather what the registry records about a version, for a page that shows it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from reviewlm.tracking import tags as tag
from reviewlm.tracking.registry.registry import Registry
from reviewlm.tracking.runs.runs import Tracker

HISTORY = 50
"""Decisions that a card shows at most, the newest first."""


def recorded_card(
    tracker: Tracker,
    name: str,
    number: int,
) -> dict[str, Any]:
    """Return the gate's verdict on a version with its rules and figures, and the decisions about all versions.

    Raises:
        TrackingUnavailable: The registry cannot be read.
        InputError: There is no such version.
    """
    registry = Registry(tracker, name)
    tags = registry.version(number).tags
    figures = json.loads(tags.get(tag.DECISION_FIGURES, "{}"))
    rows = [{"name": figure, "value": value} for figure, value in figures.items()]
    card: dict[str, Any] = {"links": _links_of(tracker, name, number, tags)}
    card["verdict"] = _verdict(tags)
    card["family"] = tags.get(tag.FAMILY_TAG, "")
    card["adaptation"] = tags.get(tag.VERSION_ADAPTATION, "")
    card["since"] = tags.get(tag.SINCE)
    made_from = tags.get(tag.MADE_FROM, "")
    card["data"] = {"made_from": made_from, "digest": tags.get(tag.DATA_TAG, "")}
    card["rules"] = _rules_of(tags)
    card["figures"] = rows
    card["history"] = registry.decisions()[:HISTORY]
    return card


def _links_of(
    tracker: Tracker,
    name: str,
    number: int,
    tags: Mapping[str, str],
) -> dict[str, str]:
    """Return addresses of pages about a version, by title; none if MLflow's pages do not answer."""
    if not tracker.pages_answer:
        return {}

    links = {}
    page = tags.get(tag.RUN_PAGE)
    if page:
        links["Report of its run"] = tracker.ui + page

    links["MLflow"] = tracker.version_page(name, number)
    return links


def _verdict(tags: Mapping[str, str]) -> str:
    """Return the verdict about a version: the decision by hand, the gate's outcome with its reason, a later refusal."""
    of_gate = ": ".join(filter(None, (tags.get(tag.OUTCOME), tags.get(tag.REASON))))
    later = tags.get(tag.LATER, "")
    if later:
        later = f"later {later}"
    return "; ".join(filter(None, (tags.get(tag.BY_HAND), of_gate, later)))


def _rules_of(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Return one row for each rule of the gate, with its outcome."""
    rows = []
    for name, line in tags.items():
        if name.startswith(tag.RULE):
            outcome, _, why = line.partition(": ")
            rows.append(
                {
                    "rule": name.removeprefix(tag.RULE),
                    "outcome": outcome,
                    "why": why,
                }
            )

    return rows
