"""MLflow's pages show at most eight tags of a run or version; code finds all tags."""

from __future__ import annotations

import json
from typing import Any

from tracking.registry.registry import Registry, recorded_card
from tracking.runs.params import metric_name, own_metric_name
from tracking.runs.runs import Tracker
from tracking.tags import PACKED, packed, unpacked

AT_MOST = 8
RULES = {f"gate/rule/{number}": "passed: yes" for number in range(25)}


def in_view(tags: dict[str, str]) -> list[str]:
    """Return the tags that MLflow's pages show: its lists of versions also show those that begin with "mlflow."."""
    return [name for name in tags if not name.startswith("mlflow.")]


def made_version(tracker: Tracker, tags: dict[str, str]) -> Registry:
    tracker.client.create_registered_model("reviewlm")
    tracker.client.create_model_version("reviewlm", "none:/", tags=tags, await_creation_for=0)
    return Registry(tracker, "reviewlm")


def test_the_page_of_a_run_shows_no_tag_that_only_code_reads(tracker: Tracker) -> None:
    children = {f"reviewlm.child.model {number}": "run" for number in range(9)}
    about = {"reviewlm.preset": "demo", "reviewlm.kind": "lstm", "prefect.flow_run_id": "f"}
    hidden = {"reviewlm.fit": "d1", "reviewlm.measured": "d2", "reviewlm.model_uri": "models:/m-1"}
    run_id = tracker.start_run("retrain", {**children, **about, **hidden})
    assert sorted(in_view(tracker.client.get_run(run_id).data.tags)) == sorted(about)
    for name, value in {**children, **about, **hidden}.items():
        assert tracker.tag(run_id, name) == value


def test_the_card_of_a_version_has_its_rules_figures_data_and_history(tracker: Tracker) -> None:
    registry = made_version(tracker, {"data": "d4c9", "family": "synthetic"})
    compared = "| lower is better | challenger | champion |\n|---|---:|---:|\n| open bits per byte | 0.48 | 0.51 |\n"
    made = "kn5, made with preset and data: demo, embedded corpus. See."
    said = f"{made}\n\n{compared}\n- test groups: 679\n- champion: 1"
    tags = {"gate/outcome": "promoted", "gate/reason": "first model", **RULES, "gate/rule/size": "failed: 3: too many"}
    registry.settle(1, None, True, said, tags)
    card = recorded_card(tracker, "reviewlm", 1)
    assert card["verdict"] == "promoted: first model"
    assert {"rule": "3", "outcome": "passed", "why": "yes"} in card["rules"]
    assert {"rule": "size", "outcome": "failed", "why": "3: too many"} in card["rules"]
    assert len(card["rules"]) == len(RULES) + 1
    assert card["figures"] == [
        {"name": "challenger, open bits per byte", "value": "0.48"},
        {"name": "champion, open bits per byte", "value": "0.51"},
        {"name": "test groups", "value": "679"},
    ]
    assert card["data"] == {"made_from": "demo, embedded corpus", "digest": "d4c9"}
    assert [event["version"] for event in card["history"]] == [1]
    assert card["since"]


def test_the_page_of_a_version_shows_the_decision_and_not_each_rule(tracker: Tracker) -> None:
    registry = made_version(tracker, {})
    registry.settle(1, None, True, "**yes**", {"gate/outcome": "promoted", "gate/reason": "better", **RULES})
    stored = tracker.client.get_model_version("reviewlm", "1").tags
    assert sorted(in_view(stored)) == ["champion/since", "gate/outcome", "gate/reason"]
    assert len(stored) <= AT_MOST
    assert RULES.items() <= registry.version(1).tags.items()


def test_the_page_of_a_decision_in_the_log_shows_few_tags_and_its_event_is_whole(tracker: Tracker) -> None:
    registry = made_version(tracker, {})
    registry.settle(1, None, True, "**yes**", {"gate/outcome": "promoted", "gate/reason": "better", **RULES})
    [event] = registry.events()
    assert event.tags == {"gate/outcome": "promoted", "gate/reason": "better", **RULES}
    assert event.computed_digest() == event.digest
    assert len(tracker.client.get_model_version("reviewlm-decisions", "1").tags) <= AT_MOST


def test_packed_tags_come_back_and_a_damaged_tag_hides_no_other() -> None:
    tags: dict[str, Any] = {"kind": "ngram", "bundle": "b", "gate/rule/é": 'passed: "1"'}
    stored = packed(tags)
    assert sorted(stored) == ["kind", PACKED]
    assert unpacked(stored) == tags
    assert unpacked({"kind": "ngram", PACKED: "{no JSON"}) == unpacked({"kind": "ngram", PACKED: "[1]"}) == {
        "kind": "ngram"
    }
    assert json.loads(stored[PACKED]) == {"bundle": "b", "gate/rule/é": 'passed: "1"'}


def test_the_chart_page_shows_curves_then_deciding_figures_before_all_other_groups() -> None:
    """It makes a section of each group, sorts them by name, and puts the metrics of no group last."""
    logged = ("audit/novelty", "cost/megabytes", "final_validation/nats", "fit/ngrams/1", "observed/hit@1",
              "step_seconds/p90", "test/perplexity", "test/perplexity_lo", "test/stars_1/nats",
              "train/nats", "validation/nats", "learning_rate", "models/lstm/nats", "perplexity/lstm")  # fmt: skip
    stored = [metric_name(name) for name in logged]
    groups = sorted({name.rpartition("/")[0] for name in stored} - {""})
    first = ["curves", "perplexity", "test", "training", "training/step_seconds"]
    assert groups[: len(first)] == first
    assert all(group.startswith("x_") for group in groups[len(first) :])
    assert [name for name in stored if name.startswith("test/")] == ["test/perplexity"]
    assert [own_metric_name(name) for name in stored] == [name.replace("@", "_at_") for name in logged]
