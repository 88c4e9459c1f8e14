"""A registry whose client fails, or whose process is killed, at any call: the old state or the new, nothing between."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from reviewlm.core.errors import TrackingUnavailable
from reviewlm.tracking.registry.logged_decisions import ChampionChanged
from reviewlm.tracking.registry.registry import Registry
from tests.marked_cases import long_but
from tests.tracking.registry.registry_drill import (
    CHALLENGER,
    CHAMPION,
    OLD,
    OPERATIONS,
    READS,
    Home,
    carried_out,
    counted,
    opened,
    prepared,
    run_and_die,
    state,
)

pytestmark = pytest.mark.slow
AFTERWARDS = {
    "gate promotes": CHALLENGER,
    "gate refuses": CHAMPION,
    "promotion by hand": CHALLENGER,
    "rollback": OLD,
    "registration": CHAMPION,
}


def fault() -> None:
    raise TrackingUnavailable("fault")


@pytest.fixture
def drill(store_home: Path) -> Home:
    registry, uri = prepared(store_home)
    home = Home(store_home, registry, uri)
    home.save()
    return home


def undisturbed(drill: Home, operation: str) -> tuple[list[str], list[Any]]:
    """Return the calls of an operation and the state that it leads to."""
    proxy = counted(drill.registry)
    OPERATIONS[operation](drill.registry, drill.uri)
    counted(drill.registry)
    whole = state(drill.registry)
    drill.restore()
    return proxy.calls, whole


@pytest.mark.drill(
    "promotion interrupted",
    "a fault at each call to the registry",
    "as before or whole; a second try completes it",
)
@pytest.mark.parametrize("operation", long_but(OPERATIONS, {"rollback"}))
def test_a_change_with_a_fault_at_any_call_is_completed_by_a_second_try(
    drill: Home, operation: str
):
    before = state(drill.registry)
    calls, whole = undisturbed(drill, operation)
    assert whole != before
    for number, name in enumerate(calls, start=1):
        for arrives in (False,) if name.startswith(READS) else (False, True):
            drill.restore()
            counted(drill.registry, at=number, **{"after" if arrives else "before": fault})
            try:
                OPERATIONS[operation](drill.registry, drill.uri)
            except TrackingUnavailable:
                counted(drill.registry)
                assert without_undecided(state(drill.registry), whole) in (before, whole), (
                    number,
                    name,
                    arrives,
                )
                OPERATIONS[operation](drill.registry, drill.uri)
            counted(drill.registry)
            assert state(drill.registry) == whole, (number, name, arrives)


def without_undecided(found: list[Any], whole: list[Any]) -> list[Any]:
    """A version that was just registered, to which nothing points and on which nothing was decided, is nobody's news;
    the rerun takes it up."""
    newest = found[0][0]
    left = newest[0] > CHALLENGER and not newest[2] and found != whole
    return [found[0][1:], found[1]] if left else found


@pytest.mark.drill(
    "promotion interrupted",
    "MLflow away from any call on",
    "the next change finishes what was decided",
)
@pytest.mark.long
@pytest.mark.parametrize("operation", long_but(["gate promotes", "rollback"], {"rollback"}))
def test_when_the_server_goes_away_at_any_call_the_next_change_finishes_what_was_decided(
    drill: Home, operation: str
):
    before = state(drill.registry)
    calls, whole = undisturbed(drill, operation)
    finished = []
    for number in range(1, len(calls) + 1):
        drill.restore()
        counted(
            drill.registry,
            at=number,
            before=fault,
            onwards=True,
        )
        with pytest.raises(TrackingUnavailable):
            OPERATIONS[operation](drill.registry, drill.uri)
        assert drill.champion() in (CHAMPION, AFTERWARDS[operation]), f"call {number}"
        counted(drill.registry)
        with drill.registry.changing():
            pass
        assert state(drill.registry) in (before, whole), f"call {number}"
        finished.append(state(drill.registry) == whole)
    decided = calls.index("create_model_version") + 1  # a call that failed has not arrived
    assert finished == [number > decided for number in range(1, len(calls) + 1)]


@pytest.mark.drill(
    "promotion interrupted",
    "kill -9 before each write to the registry",
    "always a champion; the next change finishes it",
)
@pytest.mark.long
@pytest.mark.parametrize("operation", long_but(["gate promotes", "rollback"], {"rollback"}))
def test_a_change_that_is_killed_before_any_write_is_completed_by_the_next_one(
    drill: Home, operation: str
):
    """Reads change nothing: being killed between them is being killed before the next write."""
    proxy = counted(drill.registry, writes_only=True)
    before = state(drill.registry)
    OPERATIONS[operation](drill.registry, drill.uri)
    writes = list(proxy.calls)
    whole = state(drill.registry)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.tracking.registry.registry_drill", "mlflow"])
    seen = set()
    for number in range(1, len(writes) + 1):
        drill.restore()
        process = context.Process(
            target=run_and_die, args=(drill.folder, operation, drill.uri, number)
        )
        process.start()
        process.join()
        assert process.exitcode == -9, f"write {number} {writes[number - 1]}"
        assert drill.champion() in (CHAMPION, AFTERWARDS[operation])
        seen.add(carried_out(drill.registry))
        with drill.registry.changing():
            assert drill.registry.aliases["champion"] == drill.registry.state.champion
        assert carried_out(drill.registry)
        assert state(drill.registry) in (before, whole), f"write {number} {writes[number - 1]}"
        if state(drill.registry) == before:
            OPERATIONS[operation](drill.registry, drill.uri)
        assert state(drill.registry) == whole
    assert seen == {True, False}  # some were killed before they had decided, some after


@pytest.mark.drill(
    "two retrains at once",
    "another machine promotes at each call",
    "one champion, one refused promotion",
)
@pytest.mark.long
def test_of_two_machines_that_promote_at_once_one_is_refused(
    drill: Home,
):
    """The other machine shares no lock with this one: only the order of the decision log decides."""
    drill.registry.tracker.client.create_model_version("reviewlm", "none:/", await_creation_for=0)
    drill.save()
    proxy = counted(drill.registry)
    assert promotes(drill.registry, CHALLENGER)
    calls = list(proxy.calls)
    rival, other = CHALLENGER + 1, opened(drill.folder, "there")
    lost = []
    for number in range(1, len(calls) + 1):
        drill.restore()
        told = {"rival": False, "ours": False}

        def promote_rival(told: dict[str, bool] = told) -> None:
            told["rival"] = not promotes(other, rival)

        counted(drill.registry, at=number, before=promote_rival)
        told["ours"] = not promotes(drill.registry, CHALLENGER)
        counted(drill.registry)
        assert sorted(told.values()) == [False, True], f"call {number} {calls[number - 1]}"
        winner = CHALLENGER if told["rival"] else rival
        aliases = {name: one.version for one in drill.registry.versions() for name in one.aliases}
        assert (aliases["champion"], aliases["previous"]) == (winner, CHAMPION), f"call {number}"
        assert carried_out(drill.registry) or told["ours"]
        lost.append(told["ours"])
    assert set(lost) == {True, False}


def promotes(registry: Registry, version: int) -> bool:
    try:
        registry.settle(
            version,
            CHAMPION,
            True,
            "",
            {"gate/outcome": "promoted"},
            run_id=str(version),
        )
    except ChampionChanged:
        return False
    return True
