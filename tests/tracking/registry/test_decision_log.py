"""The decision log: who decided what, when and why; nothing is lost, and what others did to it is noticed."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.core.errors import ReviewLMError, StoreFull, TrackingUnavailable
from reviewlm.tracking.registry.decisions import (
    ABANDONED,
    ADOPTED,
    CARRIED_OUT,
    EVENT_TAG,
    GATE,
    MANUAL,
    OVERTAKEN,
    PENDING,
    REPEATED,
    ROLLBACK,
    UNREADABLE,
    Event,
    complaints,
    event_of,
    fold_events,
)
from reviewlm.tracking.registry.logged_decisions import ChampionChanged, Unfinished
from reviewlm.tracking.registry.registry import Registry
from reviewlm.tracking.registry.versions import CHAMPION, PREVIOUS, Version
from reviewlm.tracking.runs.runs import Tracker
from tests.examples import examples

LOG = "reviewlm-decisions"


class Names:
    """A registry whose versions are nothing but numbers."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker, self.registry = tracker, Registry(tracker, "reviewlm")
        tracker.client.create_registered_model("reviewlm")

    def version(self) -> int:
        made = self.tracker.client.create_model_version("reviewlm", "none:/", await_creation_for=0)
        return int(made.version)


@pytest.fixture
def names(tracker: Tracker) -> Names:
    return Names(tracker)


def event(
    number: int,
    version: int,
    against: int | None,
    action: str = GATE,
    **more: Any,
) -> Event:
    return replace(
        Event(
            action,
            True,
            version,
            against,
            "why",
        ),
        number=number,
        **{"carried_out": "then", **more},
    )


def test_each_promotion_makes_the_champion_before_it_the_previous_one():
    state = fold_events(
        [event(1, 1, None), event(2, 2, 1), event(3, 3, 2, MANUAL), event(4, 2, 3, ROLLBACK)]
    )
    assert (state.champion, state.previous) == (2, 3)
    assert state.past_champions == (1, 2, 3)


def test_what_was_rolled_back_from_is_remembered_until_it_is_champion_again():
    events = [event(1, 1, None), event(2, 2, 1), event(3, 1, 2, ROLLBACK)]
    back = event(4, 2, 1, ROLLBACK)
    assert fold_events(events).left == {2: events[2]}
    assert fold_events([*events, event(4, 3, 1)]).left == {2: events[2]}, (
        "another version is promoted"
    )
    assert fold_events([*events, event(4, 2, 1, MANUAL)]).left == {}
    assert fold_events([*events, back]).left == {1: back}


def test_of_two_promotions_against_the_same_champion_the_first_in_the_log_counts():
    state = fold_events([event(1, 1, None), event(2, 2, 1), event(3, 3, 1)])
    assert (state.champion, state.previous) == (2, 1)
    assert state.states == {
        1: CARRIED_OUT,
        2: CARRIED_OUT,
        3: OVERTAKEN,
    }


def test_an_event_that_was_sent_twice_counts_once():
    sent = event(2, 2, 1)
    state = fold_events(
        [event(1, 1, None), sent, event(3, 3, 2), replace(sent, number=4, against=3)]
    )
    assert (state.champion, state.states[2], state.states[4]) == (3, CARRIED_OUT, REPEATED)


def test_an_adopted_standing_counts_unless_somebody_promoted_before_it_was_written():
    found = event(
        2,
        7,
        1,
        ADOPTED,
        promote=False,
        previous=4,
    )
    adopted = fold_events([event(1, 1, None), found])
    assert (adopted.champion, adopted.previous) == (7, 4)
    late = [event(1, 1, None), event(2, 2, 1), replace(found, number=3)]
    assert (fold_events(late).champion, fold_events(late).states[3]) == (2, OVERTAKEN)


def unreadable(number: int) -> Event:
    return replace(
        event(
            number,
            0,
            None,
            UNREADABLE,
            promote=False,
            key=f"lost {number}",
        ),
        carried_out=ABANDONED,
    )


@pytest.mark.parametrize("lost", [[unreadable(2)], []], ids=["unreadable", "gone"])
def test_after_a_lost_event_the_champion_is_unknown(lost: list[Event]):
    refusal = event(3, 9, 2, promote=False)
    assert fold_events([event(1, 1, None), *lost, refusal]).known is False


@pytest.mark.parametrize("lost", [[unreadable(2)], []], ids=["unreadable", "gone"])
def test_a_promotion_that_was_carried_out_after_a_lost_event_counts(lost: list[Event]):
    """Version 2 became champion by the lost event, so version 3 was promoted against it."""
    state = fold_events([event(1, 1, None), *lost, event(3, 3, 2)])
    assert (state.champion, state.previous, state.known) == (3, 2, True)
    assert state.past_champions == (1, 2, 3)


def test_a_promotion_that_a_lost_event_may_have_overtaken_does_not_count():
    """The lost event may have made version 2 champion, before the one against version 1 was written."""
    state = fold_events([event(1, 1, None), unreadable(2), event(3, 3, 1, carried_out="")])
    assert (state.champion, state.states[3]) == (1, OVERTAKEN)


def test_the_champion_is_known_again_once_the_aliases_were_recorded():
    found = event(
        3,
        2,
        1,
        ADOPTED,
        promote=False,
        previous=1,
    )
    state = fold_events([event(1, 1, None), unreadable(2), found, event(4, 3, 2)])
    assert (state.champion, state.previous, state.known) == (3, 2, True)


DAMAGED_EVENTS = ["", "{", "{}", "null", "[]", '"x"', "[" * 100_000]
WRONG_VALUES = [
    ("version", "x"),
    ("version", float("nan")),
    ("version", None),
    ("promote", 1),
    ("tags", ["a"]),
    ("after", "x"),
    ("after", 5),
    ("key", None),
    ("new", 1),
]


@pytest.mark.parametrize("text", DAMAGED_EVENTS, ids=lambda text: text[:5] or "empty")
def test_a_damaged_event_is_the_same_at_each_reading(text: str):
    entry = Version(
        7,
        "",
        {EVENT_TAG: text},
        "",
        (),
        datetime(2026, 1, 1, tzinfo=UTC),
    )
    assert event_of(entry) == event_of(entry)
    assert (event_of(entry).action, event_of(entry).number) == (UNREADABLE, 7)


@pytest.mark.parametrize(("field", "value"), WRONG_VALUES)
def test_an_event_with_a_wrong_value_is_a_damaged_one(field: str, value: Any):
    whole = json.loads(event(1, 1, None).storable().entry()["tags"][EVENT_TAG])
    text = json.dumps({**whole, field: value})
    entry = Version(
        1,
        "",
        {EVENT_TAG: text},
        "",
        (),
        datetime(2026, 1, 1, tzinfo=UTC),
    )
    assert event_of(entry).action == UNREADABLE
    assert complaints([event_of(entry)]) == ["event 1 cannot be read"]


moves = st.lists(
    st.tuples(st.integers(1, 4), st.one_of(st.none(), st.integers(1, 4)), st.booleans()),
    max_size=12,
)


@given(moves)
@examples(200)
def test_whatever_is_written_the_champion_moves_only_from_the_one_that_was_named(
    decided: list[Any],
):
    events = [
        replace(event(number, version, against), promote=promote)
        for number, (version, against, promote) in enumerate(decided, start=1)
    ]
    before = None
    for end in range(1, len(events) + 1):
        state, newest = fold_events(events[:end]), events[end - 1]
        if state.champion != before:
            assert newest.promote
            assert (newest.version, newest.against) == (state.champion, before)
            assert state.previous == before
        before = state.champion
    assert fold_events(reversed(events)) == fold_events(events)


@pytest.mark.drill(
    "clock set back", "by a day between promotions", "the order of decisions is that of the log"
)
def test_the_order_of_decisions_is_not_that_of_the_clock(
    names: Names, monkeypatch: pytest.MonkeyPatch
):
    from mlflow.store.model_registry import sqlalchemy_store

    clock = iter(range(10**13, 0, -86_400_000))
    monkeypatch.setattr(sqlalchemy_store, "get_current_time_millis", lambda: next(clock))
    first, second = names.version(), names.version()
    names.registry.promote(first, None)
    names.registry.promote(second, first)
    assert [row["version"] for row in names.registry.decisions()] == [second, first]
    aliases = {name: one.version for one in names.registry.versions() for name in one.aliases}
    assert (aliases["champion"], aliases["previous"]) == (second, first)


def test_a_gate_asked_again_by_its_run_is_entered_once_though_it_took_other_times(names: Names):
    number = names.version()
    for took in ("4 ms", "5 ms"):
        tags = {"gate/outcome": "promoted", "gate/rule/latency": f"passed: {took}"}
        names.registry.settle(
            number,
            None,
            True,
            f"| latency | {took} |",
            tags,
            run_id="r1",
        )
    [told] = names.registry.events()
    assert (
        told.tags["gate/rule/latency"]
        == names.registry.version(number).tags["gate/rule/latency"]
        == "passed: 4 ms"
    )


@pytest.mark.slow
def test_a_rollback_goes_to_any_former_champion_but_to_nothing_else(names: Names):
    versions = [names.version() for _ in range(4)]
    for before, after in zip([None, *versions[:2]], versions[:3], strict=True):
        names.registry.promote(after, before)
    assert names.registry.rollback(versions[0]).version == versions[0]
    assert names.registry.alias(PREVIOUS).version == versions[2]
    with pytest.raises(ReviewLMError, match="never champion") as caught:
        names.registry.rollback(versions[3])
    assert "champions so far: 1, 2, 3" in caught.value.cause
    with pytest.raises(ReviewLMError, match="champion already"):
        names.registry.rollback(versions[0])
    with pytest.raises(ChampionChanged):
        names.registry.rollback(versions[1], against=versions[2])
    assert names.registry.alias(CHAMPION).version == versions[0]


def test_a_rollback_that_was_cut_off_is_finished_by_asking_for_it_again(
    names: Names,
):
    first, second = names.version(), names.version()
    names.registry.promote(first, None)
    names.registry.promote(second, first)
    names.registry.append(
        Event(
            ROLLBACK,
            True,
            first,
            second,
            "complaints",
        ),
        names.registry.events(),
    )
    with pytest.raises(ReviewLMError, match="rolled back from"):
        names.registry.rollback_target()
    assert names.registry.alias(CHAMPION).version == first


def test_an_alias_that_was_moved_in_mlflow_is_entered_before_the_next_decision(names: Names):
    first, second, third = (names.version() for _ in range(3))
    client = names.tracker.client
    # A registry older than its log.
    client.set_registered_model_alias("reviewlm", CHAMPION, str(first))
    names.registry.settle(
        second,
        first,
        True,
        "",
        {"gate/outcome": "promoted"},
    )
    client.set_registered_model_alias("reviewlm", CHAMPION, str(third))
    assert names.registry.rollback().version == first
    told = [
        (row["decision"], row["version"], row["against"], row["why"])
        for row in names.registry.decisions()
    ]
    assert told[1:] == [
        (
            "aliases changed outside ReviewLM",
            third,
            second,
            "an alias was set by other means than reviewlm",
        ),
        ("promoted", second, first, ""),
        ("aliases changed outside ReviewLM", first, None, "the log begins here"),
    ]
    assert complaints(names.registry.events()) == []


def test_an_alias_that_another_machine_is_still_moving_is_not_taken_for_a_person_s_choice(
    names: Names, monkeypatch: pytest.MonkeyPatch
):
    first, second, third = (names.version() for _ in range(3))
    names.registry.settle(
        first,
        None,
        True,
        "",
        {"gate/outcome": "promoted"},
    )
    names.registry.settle(
        second,
        first,
        True,
        "",
        {"gate/outcome": "promoted"},
    )
    client = names.tracker.client
    client.set_registered_model_alias("reviewlm", CHAMPION, str(first))  # written late

    def let_the_other_machine_go_on(seconds: float) -> None:
        client.set_registered_model_alias("reviewlm", CHAMPION, str(second))

    monkeypatch.setattr(
        "reviewlm.tracking.registry.logged_decisions.time.sleep", let_the_other_machine_go_on
    )
    names.registry.settle(
        third,
        second,
        True,
        "",
        {"gate/outcome": "promoted"},
    )
    assert [row["decision"] for row in names.registry.decisions()] == ["promoted"] * 3


@pytest.mark.parametrize(
    ("message", "calls"),
    [("(x) UNIQUE constraint failed: registered_model_aliases.name", 2), ("(x) no such table", 1)],
)
def test_only_a_write_that_another_machine_made_first_is_made_again(
    names: Names,
    monkeypatch: pytest.MonkeyPatch,
    message: str,
    calls: int,
):
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import BAD_REQUEST

    version, tried = names.version(), []

    def fail_once(*given: Any, real: Any = names.tracker.client.set_registered_model_alias) -> Any:
        tried.append(given)
        if len(tried) == 1:
            raise MlflowException(message, BAD_REQUEST)
        return real(*given)

    monkeypatch.setattr(names.tracker.client, "set_registered_model_alias", fail_once)
    with nullcontext() if calls == 2 else pytest.raises(ReviewLMError):
        names.registry.promote(version, None)
    assert len(tried) == calls


def test_the_gate_goes_on_after_the_champion_was_deleted_in_mlflow(names: Names):
    first, second = names.version(), names.version()
    names.registry.promote(first, None)
    names.tracker.client.delete_model_version("reviewlm", str(first))
    names.registry.settle(
        second,
        None,
        True,
        "",
        {"gate/outcome": "promoted"},
    )
    assert names.registry.alias(CHAMPION).version == second


def test_a_decision_on_a_version_that_is_deleted_before_it_is_carried_out_is_given_up(names: Names):
    first, second, third = (names.version() for _ in range(3))
    names.registry.promote(first, None)
    cut_off = Event(
        MANUAL,
        True,
        second,
        first,
        "the process was killed",
    )
    names.registry.append(cut_off, names.registry.events())
    assert names.registry.decisions()[0]["state"] == PENDING
    names.tracker.client.delete_model_version("reviewlm", str(second))
    names.registry.promote(third, first)
    assert [row["state"] for row in names.registry.decisions()] == [
        CARRIED_OUT,
        ABANDONED,
        CARRIED_OUT,
    ]
    aliases = {name: one.version for one in names.registry.versions() for name in one.aliases}
    assert (aliases[CHAMPION], aliases[PREVIOUS]) == (third, first)


def rewrite(
    client: Any,
    number: str,
    old: str,
    new: str,
) -> None:
    text = client.get_model_version(LOG, number).tags[EVENT_TAG]
    assert old in text
    client.set_model_version_tag(LOG, number, EVENT_TAG, text.replace(old, new))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("harm", "complaint"),
    [
        (lambda client: rewrite(client, "2", "refused", "promoted"), "event 2 was changed"),
        (
            lambda client: client.set_model_version_tag(LOG, "3", EVENT_TAG, "{}"),
            "event 3 cannot be read",
        ),
        (
            lambda client: client.update_model_version(LOG, "1", "another text"),
            "event 1 was changed",
        ),
        (lambda client: client.delete_model_version(LOG, "2"), "event 2 is gone"),
    ],
    ids=["field", "damaged", "report", "deleted"],
)
def test_an_event_that_was_changed_or_deleted_in_mlflow_is_noticed(
    names: Names,
    harm: Callable[[Any], None],
    complaint: str,
):
    first, second = names.version(), names.version()
    names.registry.settle(
        first,
        None,
        True,
        "one",
        {"gate/outcome": "promoted"},
    )
    names.registry.settle(
        second,
        first,
        False,
        "two",
        {"gate/outcome": "refused"},
    )
    names.registry.settle(
        second,
        first,
        False,
        "three",
        {"gate/outcome": "refused"},
    )
    assert complaints(names.registry.events()) == []
    harm(names.tracker.client)
    [found] = complaints(names.registry.events())
    assert found.startswith(complaint)


def test_an_event_rewritten_together_with_its_digest_is_noticed_by_the_one_after_it():
    def made(
        one: Event,
        number: int,
        after: str,
    ) -> Event:
        one = replace(one, number=number, after=after)
        return replace(one, digest=one.computed_digest())

    first = made(
        Event(
            GATE,
            True,
            1,
            None,
            "why",
        ),
        1,
        "",
    )
    second = made(
        Event(
            GATE,
            True,
            2,
            1,
            "why",
        ),
        2,
        f"1 {first.digest}",
    )
    assert complaints([first, second]) == []
    assert complaints([made(replace(first, why="other"), 1, ""), second]) == [
        "event 1 was replaced: event 2 recorded another digest of it"
    ]


@pytest.mark.drill(
    "registry damaged",
    "an event of the decision log overwritten in MLflow, then `rollback`",
    "it goes back to the former champion; the aliases are recorded as they were",
)
@pytest.mark.parametrize("harmed", ["1", "2"])
def test_a_rollback_beside_a_damaged_event_takes_the_aliases_as_they_are(names: Names, harmed: str):
    first, second = names.version(), names.version()
    names.registry.settle(
        first,
        None,
        True,
        "one",
        {"gate/outcome": "promoted"},
    )
    names.registry.settle(
        second,
        first,
        True,
        "two",
        {"gate/outcome": "promoted"},
    )
    names.tracker.client.set_model_version_tag(LOG, harmed, EVENT_TAG, "{")
    names.registry.rollback(why="complaints")
    events = names.registry.events()
    adopted = [event.number for event in events if event.action == ADOPTED]
    assert adopted == ([3] if harmed == "2" else [])
    assert fold_events(events).champion == first
    aliases = {alias: names.registry.alias(alias) for alias in (CHAMPION, PREVIOUS)}
    assert {alias: entry and entry.version for alias, entry in aliases.items()} == {
        CHAMPION: first,
        PREVIOUS: second,
    }


def test_a_log_that_is_never_read_twice_alike_ends_a_change_with_an_error(
    names: Names, monkeypatch: pytest.MonkeyPatch
):
    first, second = names.version(), names.version()
    names.registry.settle(
        first,
        None,
        True,
        "one",
        {"gate/outcome": "promoted"},
    )
    names.tracker.client.set_registered_model_alias("reviewlm", CHAMPION, str(second))
    readings = iter(range(1000))
    written = names.registry.events()
    monkeypatch.setattr(
        Registry,
        "events",
        lambda self: [replace(one, why=f"reading {next(readings)}") for one in written],
    )
    with pytest.raises(TrackingUnavailable):
        names.registry.rollback()


@pytest.mark.drill(
    "disk full",
    "no space while a rollback moves the aliases",
    "the decision is in the log; the next change of the registry finishes it",
)
def test_a_rollback_that_the_disk_cut_off_is_finished_by_the_next_change(
    names: Names, monkeypatch: pytest.MonkeyPatch
):
    first, second = names.version(), names.version()
    names.registry.settle(
        first,
        None,
        True,
        "one",
        {"gate/outcome": "promoted"},
    )
    names.registry.settle(
        second,
        first,
        True,
        "two",
        {"gate/outcome": "promoted"},
    )

    def refuse(
        registry: Registry,
        alias: str,
        version: int | None,
    ) -> None:
        raise StoreFull("No space is left on the disk")

    with monkeypatch.context() as full:
        full.setattr(Registry, "_set_alias", refuse)
        with pytest.raises(Unfinished):
            names.registry.rollback(why="complaints")
    before = names.registry.alias(CHAMPION)
    names.registry.champions()
    after = names.registry.alias(CHAMPION)
    assert (before and before.version, after and after.version) == (second, first)
