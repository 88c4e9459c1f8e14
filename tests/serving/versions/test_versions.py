"""Versions are opened, switched, refused and closed without a request noticing."""

from __future__ import annotations

import asyncio
import copy
import gc
import weakref
from dataclasses import replace
from typing import Any

import pytest

from core.config.sections.serving import ServingConfig
from core.errors import BundleError, TrackingUnavailable
from models.bundles.bundle import Bundle
from models.completion.suggestions import suggest
from serving.engine.engine import Engine
from serving.engine.requests import EngineLimits, Generation
from serving.engine.search import Search
from serving.engine.ticket import Ticket
from serving.versions import open_version
from serving.versions import versions as module
from serving.versions.names import UnknownVersion
from serving.versions.open_version import OpenVersion, UnusableVersion, engine_limits
from serving.versions.versions import Versions
from tests.serving.made_versions import MadeSource, bundle_of, food_of, made_versions, running


def written(version: OpenVersion) -> str:
    return version.engine.submit(Generation(prompt="The", max_tokens=12, seed=3)).result().text


def leased(versions: Versions, reference: str | None = None) -> OpenVersion:
    return asyncio.run(versions.lease(reference))


def test_the_champion_answers_and_a_promotion_changes_it() -> None:
    source = MadeSource(champion=1)
    with running(made_versions(source)) as versions:
        assert food_of(1) in written(leased(versions))
        source.aliases, source.count = {"champion": 2, "previous": 1}, 2
        assert versions.champion.number == 1
        versions.look()
        assert versions.champion.number == 2
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
        assert [one.number for one in versions.open_versions()] == [2]
        assert not old.engine.figures().alive


def test_a_rollback_takes_the_version_that_is_still_open() -> None:
    source = MadeSource(champion=1)
    with running(made_versions(source)) as versions:
        source.aliases, source.count = {"champion": 2}, 2
        versions.look()
        source.aliases = {"champion": 1}
        versions.look()
        assert versions.champion.number == 1
        assert source.opened == [1, 2]


@pytest.mark.parametrize(
    "fault",
    [BundleError("its files are damaged", cause="SHA-256"), MemoryError("not enough"), RuntimeError("anything at all")],
)
def test_a_version_that_cannot_be_opened_is_refused_and_the_champion_goes_on(fault: Exception) -> None:
    source = MadeSource(champion=1)
    with running(made_versions(source)) as versions:
        source.aliases, source.count, source.broken = {"champion": 2}, 2, {2: fault}
        versions.look()
        assert versions.champion.number == 1
        assert versions.contents().aliases["champion"] == 1
        assert food_of(1) in written(leased(versions))
        (refusal,) = versions.refusals()
        assert refusal.number == 2
        assert str(getattr(fault, "what", fault)) in refusal.why
        assert versions.metrics.registry.get_sample_value("reviewlm_versions_total", {"event": "refused"}) == 1


def test_a_refused_version_is_tried_again_only_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    source = MadeSource(champion=1)
    with running(made_versions(source)) as versions:
        source.aliases, source.count, source.broken = {"champion": 2}, 2, {2: OSError("disk full")}
        versions.look()
        versions.look()
        assert source.opened.count(2) == 1
        source.broken = {}
        monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
        versions.look()
        assert versions.champion.number == 2
        assert versions.refusals() == []


def test_a_refused_version_says_when_it_is_tried_again() -> None:
    source = MadeSource(champion=1)
    with running(made_versions(source)) as versions:
        source.count, source.broken = 2, {2: OSError("disk full")}
        versions.look()
        for _ in range(2):  # when it is opened, and while it is refused
            with pytest.raises(UnusableVersion, match="disk full") as told:
                leased(versions, "2")
            assert 0 < module.RETRY_SECONDS - 30 < told.value.retry_after <= module.RETRY_SECONDS


def test_a_new_version_is_warm_for_every_kind_of_request(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[object] = []

    class Watched(Engine):
        def __init__(self, bundle: Bundle, limits: EngineLimits) -> None:
            super().__init__(bundle, limits)
            self.numbers = "int8"  # what an engine has where int8 is used

        def submit(self, generation: Generation) -> Ticket:
            done.append(generation.exact)
            return super().submit(generation)

        def run(self, job: Any) -> Any:
            done.append(type(job) is Search)
            return super().run(job)

    monkeypatch.setattr(open_version, "Engine", Watched)
    version = open_version.started("reviewlm", 1, bundle_of(1), EngineLimits())
    version.engine.close()
    assert sorted(done[:2]) == [False, True], "texts in either number format"
    assert done[2:] == [True, False], "a search for words, and a score"


def test_a_refusal_is_forgotten_after_a_while_if_no_alias_names_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    source = MadeSource(champion=1)
    with running(made_versions(source)) as versions:
        source.aliases, source.count, source.broken = {"champion": 2}, 2, {2: OSError("disk full")}
        versions.look()
        source.aliases = {"champion": 1}
        versions.look()
        assert [one.number for one in versions.refusals()] == [2]
        monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
        versions.look()
        assert versions.refusals() == []


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
        source.make = lambda number: replace(bundle_of(number), model=Broken(bundle_of(number).model))
        source.aliases, source.count = {"champion": 2}, 2
        versions.look()
        assert versions.champion.number == 1
        assert [one.number for one in versions.refusals()] == [2]


def test_without_a_champion_nothing_is_served() -> None:
    with pytest.raises(UnusableVersion, match="no champion"):
        made_versions(MadeSource()).start()


def test_a_registry_that_cannot_be_read_changes_nothing() -> None:
    source = MadeSource(champion=1)
    with running(made_versions(source)) as versions:
        source.unreachable = TrackingUnavailable("MLflow does not answer")
        versions.look()
        assert versions.champion.number == 1
        assert "MLflow does not answer" in versions.registry_error
        source.unreachable = None
        versions.look()
        assert versions.registry_error == ""


NAMES = {
    None: 1, "": 1, "reviewlm": 1, "reviewlm@champion": 1, "champion": 1, "models:/reviewlm@champion": 1,
    "reviewlm@challenger": 2, "challenger": 2, "reviewlm/2": 2, "3": 3, "reviewlm/3": 3,
}  # fmt: skip


@pytest.mark.parametrize(("name", "number"), NAMES.items())
def test_a_version_has_several_names(name: str | None, number: int) -> None:
    source = MadeSource(champion=1, challenger=2)
    source.count = 3
    with running(made_versions(source)) as versions:
        assert versions.number_of(name) == number


@pytest.mark.parametrize("name", ["gpt-4", "reviewlm@nobody", "reviewlm/4", "0", "-1", "٣", "9" * 5_000, "reviewlm@"])
def test_a_name_of_nothing_is_refused_with_the_names_that_there_are(name: str) -> None:
    source = MadeSource(champion=1, challenger=2)
    with running(made_versions(source)) as versions, pytest.raises(UnknownVersion, match="reviewlm@champion"):
        versions.number_of(name)


def test_other_versions_are_opened_when_asked_for_and_the_oldest_is_closed() -> None:
    source = MadeSource(champion=1)
    source.count = 4
    with running(made_versions(source, max_versions=1)) as versions:
        for number in (2, 3):
            other = leased(versions, str(number))
            assert food_of(number) in written(other)
            versions.release(other)
        versions.look()
        assert sorted(one.number for one in versions.open_versions()) == [1, 3]


def test_at_most_the_permitted_versions_are_open_and_one_that_nobody_uses_makes_room() -> None:
    source = MadeSource(champion=1, challenger=2)
    source.count = 5
    with running(made_versions(source, max_versions=1)) as versions:
        third = leased(versions, "3")
        with pytest.raises(UnusableVersion, match=r"reviewlm/4 is not open: .* serving.max_versions allows \(1\)"):
            leased(versions, "4")
        assert leased(versions, "3") is third
        assert [leased(versions, name).number for name in ("champion", "challenger")] == [1, 2]
        for _ in range(2):
            versions.release(third)
        assert leased(versions, "4").number == 4
        assert sorted(one.number for one in versions.open_versions()) == [1, 2, 4]
        assert not third.engine.figures().alive
        assert versions.refusals() == []


def test_versions_that_are_being_opened_take_their_room() -> None:
    source = MadeSource(champion=1)
    source.count = 5

    async def all_others(versions: Versions) -> list[OpenVersion | BaseException]:
        asked = (versions.lease(str(number)) for number in (2, 3, 4))
        return await asyncio.gather(*asked, return_exceptions=True)

    with running(made_versions(source, max_versions=2)) as versions:
        found = asyncio.run(all_others(versions))
        assert [type(one) for one in found] == [OpenVersion, OpenVersion, UnusableVersion]


def test_a_new_champion_is_opened_although_no_further_version_may_be() -> None:
    source = MadeSource(champion=1)
    source.count = 3
    with running(made_versions(source, max_versions=1)) as versions:
        leased(versions, "2")
        source.aliases = {"champion": 3}
        versions.look()
        assert versions.champion.number == 3


def test_two_requests_for_a_version_open_it_once() -> None:
    source = MadeSource(champion=1)
    source.count = 2

    async def both(versions: Versions) -> list[OpenVersion]:
        return await asyncio.gather(versions.lease("2"), versions.lease("2"))

    with running(made_versions(source)) as versions:
        one, other = asyncio.run(both(versions))
        assert one is other
        assert (one.leases, source.opened) == (2, [1, 2])


def test_a_version_unused_for_long_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    source = MadeSource(champion=1)
    source.count = 2
    with running(made_versions(source)) as versions:
        versions.release(leased(versions, "2"))
        monkeypatch.setattr(module, "IDLE_SECONDS", -1.0)
        versions.look()
        assert [one.number for one in versions.open_versions()] == [1]


def test_the_settings_reach_the_engine() -> None:
    settings = {"max_streams": 3, "max_waiting": 5, "cache_megabytes": 7, "cache_seconds": 9.0, "numbers": "int8"}
    limits = engine_limits(ServingConfig.model_validate({**settings, "threads": 2}))
    assert (limits.live, limits.queue, limits.cache_megabytes, limits.cache_seconds) == (3, 5, 7, 9.0)
    assert (limits.numbers, limits.threads) == ("int8", 2)
    assert engine_limits(ServingConfig(workers=256)).threads == 1


def test_nothing_keeps_the_model_of_a_closed_version() -> None:
    models = []

    def made(number: int) -> Bundle:
        bundle = bundle_of(number, "bpe")
        model = copy.copy(bundle.model)
        models.append(weakref.ref(model))
        return replace(bundle, model=model)

    source = MadeSource(champion=1)
    source.make = made
    with running(made_versions(source, max_versions=0)) as versions:
        engine = versions.champion.engine
        long = "The pizza was good. " * 200
        engine.submit(Generation(long, max_tokens=3, echo=True, logprobs=1)).result()
        engine.run(lambda context: suggest(context.bundle, long, readers=context.readers)).result(60)
        source.aliases, source.count = {"champion": 2}, 2
        versions.look()
        versions.look()
        del engine
        gc.collect()
        assert [model() is None for model in models] == [True, False]
