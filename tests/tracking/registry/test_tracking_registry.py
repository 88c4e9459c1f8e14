"""The registry: challenger, champion, previous; a change happens as a whole or not at all."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reviewlm.core.errors import BundleError, ConfigError, InputError, ReviewLMError
from reviewlm.tracking.logged_models.bundles import find_version
from reviewlm.tracking.registry.remedies import way_back
from reviewlm.tracking.registry.versions import (
    CHALLENGER,
    CHAMPION,
    PREVIOUS,
    Reference,
    contents_of,
)
from reviewlm.tracking.runs.runs import Tracker

WRITES = (
    "set_registered_model_alias",
    "delete_registered_model_alias",
    "set_model_version_tag",
    "delete_model_version_tag",
    "update_model_version",
)


def aliases(store: Any) -> dict[str, int]:
    return {
        name: version.version for version in store.registry.versions() for name in version.aliases
    }


def state(store: Any) -> list[Any]:
    return [(v.version, v.tags, v.aliases, v.description) for v in store.registry.versions()]


RULES = {
    "gate/rule/gain": "passed: 0.1 bits per byte",
    "gate/rule/slices": "not applicable: no champion yet",
}


def test_a_registered_model_is_the_challenger(store):
    number = store.version("a")
    version = store.registry.alias(CHALLENGER)
    assert (version.version, version.run_id, version.tags["word"]) == (number, store.run_id, "a")
    assert version.aliases == (CHALLENGER,)


def test_registering_the_same_model_again_changes_nothing(store):
    uri = store.model("a")
    first = store.registry.register(uri, store.run_id)
    store.registry.settle(
        first,
        None,
        False,
        "no",
        {"gate/outcome": "refused"},
    )
    before = state(store)
    assert store.registry.register(uri, store.run_id) == first
    assert state(store) == before


@pytest.fixture
def promoted(store) -> tuple[int, int]:
    """Two versions: the first was champion, the second is."""
    first, second = store.version("a"), store.version("b")
    reasons = {"gate/reason": "it is better", **RULES}
    store.registry.settle(
        first,
        None,
        True,
        "**first**",
        reasons,
    )
    store.registry.settle(
        second,
        first,
        True,
        "**second**",
        reasons,
    )
    return first, second


def test_a_promotion_moves_the_aliases(store, promoted):
    first, second = promoted
    assert aliases(store) == {CHAMPION: second, PREVIOUS: first}


def test_a_promotion_writes_the_report_as_description(store, promoted):
    assert store.registry.alias(CHAMPION).description == "**second**"


def test_a_promotion_writes_its_reasons_as_tags(store, promoted):
    tags = store.registry.alias(CHAMPION).tags
    assert tags["gate/outcome"] == "promoted"
    assert tags["gate/reason"] == "it is better"
    assert tags["gate/rule/gain"] == "passed: 0.1 bits per byte"
    assert tags["gate/rule/slices"] == "not applicable: no champion yet"


@pytest.mark.slow
def test_the_champion_moves_last(store, monkeypatch):
    first, second = store.version("a"), store.version("b")
    store.registry.promote(first, None)
    client, moved = store.tracker.client, []
    for name in WRITES:

        def call(*args: Any, real: Any = getattr(client, name), **kwargs: Any) -> Any:
            moved.extend([args[1]] if args[0] == "reviewlm" else [])  # and not its decision log
            return real(*args, **kwargs)

        monkeypatch.setattr(client, name, call)
    store.registry.settle(
        second,
        first,
        True,
        "text",
        {"gate/outcome": "promoted"},
    )
    assert moved[-1] == CHAMPION
    assert moved.count(CHAMPION) == 1


def test_without_a_previous_champion_there_is_no_rollback(store):
    store.registry.promote(store.version("a"), None)
    with pytest.raises(ReviewLMError, match="no previous champion"):
        store.registry.rollback()


def test_a_rollback_goes_back_once(store, promoted):
    first, _ = promoted
    assert store.registry.rollback().version == first
    assert aliases(store)[CHAMPION] == first
    with pytest.raises(ReviewLMError, match="rolled back from"):
        store.registry.rollback()


def test_a_second_rollback_goes_to_a_version_that_is_named(store, promoted):
    first, second = promoted
    store.registry.rollback()
    assert store.registry.rollback(second).version == second
    assert aliases(store)[CHAMPION] == second
    told = {row["version"]: row["by_hand"] for row in store.registry.version_rows()}
    assert told == {first: "rolled back from", second: "rolled back to"}


def test_the_way_back_from_a_champion_is_a_rollback_where_one_would_succeed(store):
    first, second = store.version("a"), store.version("b")
    store.registry.promote(first, None)
    store.registry.promote(second, first)
    assert "reviewlm rollback --model reviewlm" in way_back(store.tracker, "reviewlm", second)
    assert store.registry.rollback_target() == first


def test_the_way_back_from_a_champion_that_others_named_is_a_promotion(store):
    first, second = store.version("a"), store.version("b")
    store.registry.promote(first, None)
    store.tracker.client.set_registered_model_alias("reviewlm", CHAMPION, str(second))
    told = way_back(store.tracker, "reviewlm", second)
    assert f"reviewlm promote --model reviewlm --version {first} --why" in told
    with pytest.raises(ReviewLMError, match="no previous champion"):
        store.registry.rollback_target()
    store.registry.require_promotable(first)


def test_the_only_version_has_no_way_back(store):
    only = store.version("a")
    store.registry.promote(only, None)
    told = way_back(store.tracker, "reviewlm", only)
    assert "rollback" not in told
    assert "promote" not in told


def test_the_run_of_a_version_says_what_has_become_of_its_model(store):
    """One run for each decision of the gate; a person's decisions change what they say."""
    versions = [store.version(word) for word in "abc"]
    runs = [store.tracker.start_run(word) for word in "abc"]

    def words() -> list[str]:
        return [store.tracker.tag(run, "outcome") for run in runs]

    registry = store.registry
    for run, version, against, promote in zip(
        runs,
        versions,
        (None, versions[0], versions[1]),
        (True, True, False),
        strict=True,
    ):
        registry.settle(
            version,
            against,
            promote,
            "",
            {},
            run_id=run,
        )
    assert words() == ["replaced", "in use", "refused"]
    for run in runs:  # what the gate says of it
        store.tracker.set_tags(run, {"reason": "of the gate"})

    registry.rollback(why="it writes too many names")
    assert words() == ["in use", "rolled back", "refused"]
    after = [f"rollback from v{versions[1]}", "it writes too many names", "of the gate"]
    assert [store.tracker.tag(run, "reason") for run in runs] == after
    registry.promote(versions[2], versions[0], why="agreed", force=True)
    assert words() == ["replaced", "rolled back", "in use"]
    assert store.tracker.tag(runs[2], "reason") == "by hand: agreed"


def test_a_run_keeps_why_its_model_was_refused_if_a_later_run_promotes_the_same_version(store):
    first, second = store.version("a"), store.version("b")
    runs = [store.tracker.start_run(word, {"reason": "of the gate"}) for word in "ab"]
    store.registry.promote(first, None)
    for run, promote in zip(runs, (False, True), strict=True):
        store.registry.settle(
            second,
            first,
            promote,
            "",
            {},
            run_id=run,
        )

    store.registry.rollback(why="it repeats itself")
    assert [store.tracker.tag(run, "outcome") for run in runs] == ["refused", "rolled back"]
    reasons = [store.tracker.tag(run, "reason") for run in runs]
    assert reasons == ["of the gate", "it repeats itself"]


def test_the_run_of_a_model_is_named_after_what_has_become_of_it(store):
    """MLflow's charts show names only, so the model in use is marked there."""
    registry = store.registry
    fits = [store.tracker.start_run(f"{name}, 30 Nov 18:31") for name in ("lstm", "kn5+lstm")]
    versions = [
        replace(store, run_id=fit).version(word) for fit, word in zip(fits, "ab", strict=True)
    ]

    def names() -> list[str]:
        return [store.tracker.tag(fit, "mlflow.runName") for fit in fits]

    run = store.tracker.start_run("a")
    registry.settle(
        versions[0],
        None,
        True,
        "",
        {},
        run_id=run,
    )
    assert names() == ["★ lstm in use, 30 Nov 18:31", "kn5+lstm, 30 Nov 18:31"]
    assert store.tracker.tag(run, "mlflow.runName") == "★ a in use"
    other = store.tracker.start_run("b")
    registry.settle(
        versions[1],
        versions[0],
        True,
        "",
        {},
        run_id=other,
    )
    assert names() == ["☆ lstm replaced, 30 Nov 18:31", "★ kn5+lstm in use, 30 Nov 18:31"]
    registry.rollback()
    assert names() == ["★ lstm in use, 30 Nov 18:31", "↩ kn5+lstm rolled back, 30 Nov 18:31"]


@pytest.fixture
def refused_later(store) -> tuple[int, int]:
    """The first of two versions was champion, and was refused when a later retrain tried the same fit again."""
    first, second = store.version("a"), store.version("b")
    runs = [store.tracker.start_run(word) for word in "aba"]
    rules = {"gate/rule/gain": "passed: yes"}
    store.registry.settle(
        first,
        None,
        True,
        "**first**",
        {"gate/reason": "new", **rules},
        runs[0],
    )
    store.registry.settle(
        second,
        first,
        True,
        "**second**",
        {"gate/reason": "better"},
        runs[1],
    )
    again = {"gate/reason": "not better", "gate/rule/gain": "failed: no"}
    store.registry.settle(
        first,
        second,
        False,
        "**again**",
        again,
        runs[2],
    )
    return first, second


def test_a_former_champion_keeps_its_verdict_when_it_is_refused_later(store, refused_later):
    first, second = refused_later
    version = store.registry.version(first)
    verdict = [version.tags[name] for name in ("gate/outcome", "gate/reason", "gate/rule/gain")]
    assert verdict == ["promoted", "new", "passed: yes"]
    assert version.description.endswith("**first**")
    for told in (version.tags["gate/later"], version.description):
        assert "not better" in told
        assert f"against version {second}" in told


def test_a_former_champion_that_was_refused_later_needs_no_force(store, refused_later):
    """The gate has promoted it once, and a rollback to it needs none either."""
    first, _ = refused_later
    store.registry.require_promotable(first)
    assert store.registry.rollback_target(first) == first


def test_history_says_what_a_version_is_now_beside_what_it_was(store, refused_later):
    first, second = refused_later
    rows = {row["version"]: row for row in store.registry.version_rows()}
    assert rows[first]["now"].startswith("replaced on ")
    assert (rows[first]["outcome"], bool(rows[first]["later"])) == ("promoted", True)
    assert rows[second]["now"].startswith("in use since ")
    assert (rows[second]["outcome"], rows[second]["later"]) == ("promoted", "")


def test_a_former_champion_that_is_champion_again_has_no_later_refusal(store, refused_later):
    first, _ = refused_later
    store.registry.rollback(first, why="it swears")
    version = store.registry.version(first)
    assert "gate/later" not in version.tags
    assert "Later" not in version.description
    assert version.description.endswith("**first**")


def test_a_version_that_was_refused_first_has_the_verdict_of_its_promotion(store):
    first, second = store.version("a"), store.version("b")
    runs = [store.tracker.start_run(word) for word in "abb"]
    store.registry.settle(
        first,
        None,
        True,
        "**first**",
        {},
        runs[0],
    )
    for run, promote in zip(runs[1:], (False, True), strict=True):
        store.registry.settle(
            second,
            first,
            promote,
            f"**{promote}**",
            {},
            run,
        )
    version = store.registry.version(second)
    assert (version.tags["gate/outcome"], version.description) == ("promoted", "**True**")


def test_the_tag_of_a_version_says_what_it_is_now(store):
    """MLflow's list of versions shows it; the alias of another tool counts too."""
    registry = store.registry
    versions = [store.version(word) for word in "abcd"]

    def words() -> list[str]:
        tags = [registry.version(number).tags.get("now", "") for number in versions]
        return [" ".join(tag.split()[:-2]) for tag in tags]

    registry.settle(
        versions[0],
        None,
        True,
        "",
        {},
    )
    registry.settle(
        versions[1],
        versions[0],
        True,
        "",
        {},
    )
    registry.settle(
        versions[2],
        versions[1],
        False,
        "",
        {},
    )
    assert words() == ["replaced", "in use", "refused", ""]
    registry.rollback(why="it swears")
    assert words() == ["in use", "rolled back", "refused", ""]
    store.tracker.client.set_registered_model_alias("reviewlm", CHAMPION, str(versions[3]))
    with registry.changing():
        pass
    assert words() == ["replaced", "rolled back", "refused", "in use"]
    told = [row["now"] for row in registry.version_rows()][::-1]
    assert told == [registry.version(number).tags["now"] for number in versions]


def test_the_run_of_a_former_champion_that_is_refused_later_is_named_as_replaced(store):
    fit = store.tracker.start_run("lstm, 30 Nov 18:31")
    first = replace(store, run_id=fit).version("a")
    second = store.version("b")
    runs = [store.tracker.start_run(word) for word in "aba"]
    decisions = ((first, None, True), (second, first, True), (first, second, False))
    for run, (version, against, promote) in zip(runs, decisions, strict=True):
        store.registry.settle(
            version,
            against,
            promote,
            "",
            {},
            run_id=run,
        )
    assert store.tracker.tag(fit, "mlflow.runName") == "☆ lstm replaced, 30 Nov 18:31"
    outcomes = [store.tracker.tag(run, "outcome") for run in runs]
    assert outcomes == ["replaced", "in use", "refused"]


def test_the_bundle_of_a_version_is_found(store):
    folder = store.registry.bundle_folder(store.version("a"))
    made = store.folder / "bundle-0" / "spec.json"
    assert (folder / "spec.json").read_bytes() == made.read_bytes()


def test_a_bundle_that_was_deleted_is_named(store):
    number = store.version("a")
    shutil.rmtree(store.registry.bundle_folder(number))
    with pytest.raises(BundleError, match="holds no bundle"):
        store.registry.bundle_folder(store.registry.version(number))


def test_a_version_that_does_not_exist_is_refused(store):
    store.version("a")
    with pytest.raises(InputError, match="There is no version 99") as refused:
        store.registry.version(99)
    assert str(refused.value.value) == "99"
    assert "reviewlm history" in refused.value.remedy
    assert find_version(store.tracker, Reference("reviewlm", version=99)) is None
    assert find_version(store.tracker, Reference("reviewlm", alias="nobody")) is None
    assert find_version(store.tracker, Reference("other", alias=CHAMPION)) is None


@pytest.mark.slow
def test_what_is_read_by_sql_is_what_mlflow_says(store, monkeypatch: pytest.MonkeyPatch):
    first, second, third = (store.version(word) for word in "abc")
    store.registry.settle(
        first,
        None,
        True,
        "**first**",
        {"gate/outcome": "promoted"},
    )
    store.tracker.client.delete_model_version("reviewlm", str(second))
    direct = contents_of(store.tracker, "reviewlm"), store.registry.events()
    assert [version.version for version in direct[0][0]] == [first, third]
    monkeypatch.setattr("reviewlm.tracking.registry.versions._by_sql", lambda tracker, name: None)
    assert (contents_of(store.tracker, "reviewlm"), store.registry.events()) == direct


def test_a_registry_without_a_database_is_read_as_empty_without_making_one(tmp_path: Path):
    tracker = Tracker(f"sqlite:///{tmp_path / 'mlflow.db'}", "reviewlm", tmp_path / "mlartifacts")
    assert contents_of(tracker, "reviewlm") == ([], {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text", ["champion", "models:/reviewlm", "models:/a/b/c", "runs:/1/model", "models:/m@a@b"]
)
def test_an_address_that_is_none_is_a_configuration_error(text: str):
    with pytest.raises(ConfigError, match="models:/NAME@ALIAS"):
        Reference.parse(text)
