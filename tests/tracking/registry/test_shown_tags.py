"""MLflow's pages show at most eight tags of a run or version; code finds all tags."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from reviewlm.core.processes.leftovers import process_name
from reviewlm.core.services.join import MLFLOW_VARIABLE
from reviewlm.core.services.service_list import Service, remember
from reviewlm.tracking.registry.registry import Registry
from reviewlm.tracking.registry.version_card import recorded_card
from reviewlm.tracking.runs.runs import Tracker
from reviewlm.tracking.tags import PACKED, RUN_PAGE, pack_tags, unpack_tags

RULES = {f"gate/rule/{number}": "passed: yes" for number in range(25)}


def made_version(tracker: Tracker, tags: dict[str, str]) -> Registry:
    tracker.client.create_registered_model("reviewlm")
    tracker.client.create_model_version("reviewlm", "none:/", tags=tags, await_creation_for=0)
    return Registry(tracker, "reviewlm")


@pytest.fixture
def card(tracker: Tracker) -> dict[str, Any]:
    """The card of a version that the gate has promoted as the first model."""
    registry = made_version(tracker, {"data": "d4c9", "family": "synthetic"})
    tags = {
        "gate/reason": "first model",
        **RULES,
        "gate/rule/size": "failed: 3: too many",
        "gate/figures": '{"challenger, open bits per byte": "0.48", "test groups": "679"}',
        "gate/made from": "demo, embedded corpus",
    }
    registry.settle(
        1,
        None,
        True,
        "**promoted**",
        tags,
    )
    return recorded_card(tracker, "reviewlm", 1)


def test_the_card_of_a_version_has_the_verdict(card: dict[str, Any]) -> None:
    assert card["verdict"] == "promoted: first model"


def test_the_card_of_a_version_has_its_rules(card: dict[str, Any]) -> None:
    assert {
        "rule": "3",
        "outcome": "passed",
        "why": "yes",
    } in card["rules"]
    assert {
        "rule": "size",
        "outcome": "failed",
        "why": "3: too many",
    } in card["rules"]
    assert len(card["rules"]) == len(RULES) + 1


def test_the_card_of_a_version_has_its_figures(card: dict[str, Any]) -> None:
    assert card["figures"] == [
        {"name": "challenger, open bits per byte", "value": "0.48"},
        {"name": "test groups", "value": "679"},
    ]


def test_the_card_of_a_version_has_its_data(card: dict[str, Any]) -> None:
    assert card["data"] == {"made_from": "demo, embedded corpus", "digest": "d4c9"}


def test_the_card_of_a_version_has_its_history(card: dict[str, Any]) -> None:
    assert [event["version"] for event in card["history"]] == [1]
    assert card["since"]


@pytest.mark.parametrize("runs", [True, False])
def test_a_card_links_to_pages_only_while_a_service_of_this_home_shows_them(
    tracker: Tracker,
    monkeypatch: pytest.MonkeyPatch,
    runs: bool,
) -> None:
    made_version(tracker, {RUN_PAGE: "/#/runs/1"})
    monkeypatch.delenv(MLFLOW_VARIABLE, raising=False)
    home = tracker.artifact_root.parent
    if runs:
        this = Service("mlflow", process_name(os.getpid()), "http://127.0.0.1:5000", str(home))
        remember(home, [this])

    card = recorded_card(tracker, "reviewlm", 1)
    assert bool(card["links"]) is runs


def test_packed_tags_come_back() -> None:
    others = {"bundle": "b", "gate/rule/é": 'passed: "1"'}
    tags: dict[str, Any] = {"kind": "ngram", **others}
    stored = pack_tags(tags)
    assert sorted(stored) == ["kind", PACKED]
    assert json.loads(stored[PACKED]) == others
    assert unpack_tags(stored) == tags


@pytest.mark.parametrize("damaged", ["{no JSON", "[1]"])
def test_a_damaged_tag_hides_no_other(damaged: str) -> None:
    assert unpack_tags({"kind": "ngram", PACKED: damaged}) == {"kind": "ngram"}
