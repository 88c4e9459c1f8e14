"""Versions are opened, switched, refused and closed without a request noticing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from reviewlm.core.errors import BundleError, TrackingUnavailable
from reviewlm.serving.engine.requests import Generation
from reviewlm.serving.versions.open_version import (
    TOO_SLOW,
    OpenVersion,
    UnknownVersion,
    UnusableVersion,
)
from reviewlm.serving.versions.versions import Versions
from tests.serving.made_versions import MadeSource, bundle_of, food_of, made_versions, running


def written(version: OpenVersion) -> str:
    return (
        version.engine.submit(
            Generation(
                prompt="The",
                max_tokens=12,
                seed=3,
            )
        )
        .result()
        .text
    )


def leased(versions: Versions, reference: str | None = None) -> OpenVersion:
    return asyncio.run(versions.lease(reference))


def test_a_promotion_changes_the_champion_that_answers() -> None:
    source = MadeSource(champion=1)
    with running(made_versions(source)) as versions:
        assert food_of(1) in written(leased(versions))
        source.aliases, source.count = {"champion": 2, "previous": 1}, 2
        assert versions.champion.key == "1"
        versions.look()
        assert versions.champion.key == "2"
        assert food_of(2) in written(leased(versions, "champion"))


def test_a_request_that_began_with_the_old_champion_ends_with_it() -> None:
    source = MadeSource(champion=1)
    with running(made_versions(source, max_versions=0)) as versions:
        old = leased(versions)
        source.aliases, source.count = {"champion": 2}, 2
        versions.look()
        assert food_of(1) in written(old)
        versions.release(old)
        versions.look()
        assert [one.key for one in versions.open_versions()] == ["2"]
        assert not old.engine.figures().alive


def demo_and_own(**own_aliases: int) -> tuple[MadeSource, MadeSource]:
    """The demo's model with a champion, and the user's own model, whose numbers begin again."""
    demo, own = MadeSource(champion=1), MadeSource(**own_aliases)
    demo.name = "reviewlm-demo"
    own.make = lambda number: bundle_of(number + 1)
    return demo, own


def test_the_demo_gives_way_to_the_first_champion_of_the_users_own() -> None:
    demo, own = demo_and_own(champion=1)
    with running(made_versions(demo, max_versions=0)) as versions:
        old = leased(versions)
        demo.own = own
        versions.look()
        assert versions.champion.id == "reviewlm/1"
        assert food_of(2) in written(leased(versions))
        assert food_of(1) in written(old), "a request that began with the demo ends with it"
        versions.release(old)
        versions.look()
        assert not old.engine.figures().alive


def test_the_demo_stays_while_the_users_own_has_no_champion() -> None:
    demo, own = demo_and_own()
    with running(made_versions(demo)) as versions:
        demo.own = own
        versions.look()
        assert versions.champion.id == "reviewlm-demo/1"


def test_the_demo_stays_while_the_users_own_champion_does_not_open() -> None:
    demo, own = demo_and_own(champion=1)
    own.broken[1] = BundleError("it is damaged")
    with running(made_versions(demo)) as versions:
        demo.own = own
        versions.look()
        versions.look()
        assert versions.champion.id == "reviewlm-demo/1"
        assert own.opened == [1], "it is tried again a minute later, not at each look"


def test_a_version_that_does_not_answer_in_time_is_refused_as_too_slow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("reviewlm.serving.versions.open_version.WARM_SECONDS", 1e-9)
    with running(made_versions(MadeSource(champion=1))) as versions:
        assert versions.champion is None
        assert [refusal.why for refusal in versions.refusals()] == [TOO_SLOW]


FAULTS = pytest.mark.parametrize(
    "fault",
    [
        BundleError("its files are damaged", cause="SHA-256"),
        MemoryError("not enough"),
        RuntimeError("anything at all"),
    ],
)


@contextmanager
def with_broken_champion(fault: Exception) -> Iterator[Any]:
    """Run a server whose registry has a new champion that cannot be opened."""
    source = MadeSource(champion=1)
    with running(made_versions(source)) as versions:
        source.aliases, source.count, source.broken = {"champion": 2}, 2, {2: fault}
        versions.look()
        yield versions


@FAULTS
def test_a_version_that_cannot_be_opened_is_refused(fault: Exception) -> None:
    with with_broken_champion(fault) as versions:
        (refusal,) = versions.refusals()
        assert refusal.key == "2"
        assert str(getattr(fault, "what", fault)) in refusal.why
        figures, event = versions.metrics.registry, {"event": "refused"}
        assert figures.get_sample_value("reviewlm_versions_total", event) == 1


@FAULTS
def test_the_champion_goes_on_beside_a_version_that_cannot_be_opened(fault: Exception) -> None:
    with with_broken_champion(fault) as versions:
        assert versions.champion.key == "1"
        assert versions.contents().aliases["champion"] == "1"
        assert food_of(1) in written(leased(versions))


def test_a_model_without_finite_probabilities_is_refused() -> None:
    class Broken:
        def __init__(self, model):
            self.model, self.vocabulary_size = model, model.vocabulary_size

        def __getattr__(self, name):
            return getattr(self.model, name)

        def score(self, ids_BT, state):
            nats_BT, state = self.model.score(ids_BT, state)
            return nats_BT * float("nan"), state

    from dataclasses import replace

    source = MadeSource(champion=1)
    with running(made_versions(source)) as versions:
        source.make = lambda number: replace(
            bundle_of(number), model=Broken(bundle_of(number).model)
        )
        source.aliases, source.count = {"champion": 2}, 2
        versions.look()
        assert versions.champion.key == "1"
        assert [one.key for one in versions.refusals()] == ["2"]


def test_a_registry_that_cannot_be_read_changes_nothing() -> None:
    source = MadeSource(champion=1)
    with running(made_versions(source)) as versions:
        source.unreachable = TrackingUnavailable("MLflow does not answer")
        versions.look()
        assert versions.champion.key == "1"
        assert "MLflow does not answer" in versions.registry_error
        source.unreachable = None
        versions.look()
        assert versions.registry_error == ""


def delete_alias(source: MadeSource) -> None:
    source.aliases = {}


def delete_version(source: MadeSource) -> None:
    source.aliases, source.deleted = {}, {1}


def delete_model(source: MadeSource) -> None:
    source.aliases, source.count = {}, 0


@pytest.mark.parametrize("delete", [delete_alias, delete_version, delete_model])
def test_a_champion_that_the_registry_lost_stays_in_use(
    delete: Callable[[MadeSource], None],
) -> None:
    source = MadeSource(champion=1)
    source.count = 2
    with running(made_versions(source)) as versions:
        delete(source)
        versions.look()
        assert versions.champion is not None
        for reference in (None, "champion", "reviewlm", "reviewlm@champion", "1", "reviewlm/1"):
            assert leased(versions, reference).key == "1"
        contents = versions.contents()
        assert contents.aliases["champion"] in contents.created
        assert versions.registry_note


def test_a_lost_champion_is_followed_by_the_next_one() -> None:
    source = MadeSource(champion=1)
    with running(made_versions(source)) as versions:
        delete_version(source)
        versions.look()
        source.aliases, source.count = {"champion": 2}, 2
        versions.look()
        assert leased(versions).key == "2"
        assert versions.registry_note == ""
        with pytest.raises(UnknownVersion):
            leased(versions, "1")


def test_a_version_that_nobody_uses_makes_room_for_another() -> None:
    source = MadeSource(champion=1, challenger=2)
    source.count = 5
    with running(made_versions(source, max_versions=1)) as versions:
        third = leased(versions, "3")
        with pytest.raises(
            UnusableVersion, match=r"reviewlm/4 is not open: .* serving.max_versions allows \(1\)"
        ):
            leased(versions, "4")
        assert leased(versions, "3") is third
        assert [leased(versions, name).key for name in ("champion", "challenger")] == ["1", "2"]
        for _ in range(2):
            versions.release(third)
        assert leased(versions, "4").key == "4"
        assert sorted(one.key for one in versions.open_versions()) == ["1", "2", "4"]
        assert not third.engine.figures().alive
        assert versions.refusals() == []


def test_a_request_may_name_another_model_of_a_versions_run() -> None:
    source = MadeSource(champion=2)
    source.siblings = {"2/kn5": 5}
    with running(made_versions(source)) as versions:
        baseline = leased(versions, "reviewlm/2/kn5")
        assert (baseline.id, baseline.bundle.digest) == ("reviewlm/2/kn5", f"{5:064d}")
        assert [one.key for one in versions.open_versions()] == ["2", "2/kn5"]
        with pytest.raises(UnknownVersion, match="reviewlm/2/kn5"):
            leased(versions, "2/kn6")
