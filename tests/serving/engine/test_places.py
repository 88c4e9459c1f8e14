"""Every text gives its place back exactly once, whatever ends it: else an engine refuses work for good."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from reviewlm.models.bundles.bundle import Bundle
from reviewlm.models.sampling.batch import TextBatch
from reviewlm.serving.engine.live_text import LiveText
from reviewlm.serving.engine.requests import EngineLimits, Generation, Ticket, Wakes
from reviewlm.serving.engine.scheduler import Scheduler
from tests.serving.driven_engine import Endless
from tests.serving.engine.small_models import bundle_of

LONG = Generation("The soup", 3, max_tokens=10**6, seed=1)


class LeavingTicket(Ticket):
    """A ticket whose reader leaves just after it was first asked whether the reader has left."""

    @property
    def cancelled(self) -> bool:
        before = self._cancelled
        self.cancel()
        return before


@pytest.fixture
def bundle() -> Bundle:
    bundle = bundle_of("ngram")
    return replace(bundle, model=Endless(bundle.model))


@pytest.fixture
def scheduler(bundle: Bundle) -> Scheduler:
    return Scheduler(bundle, EngineLimits(), Wakes())


def admitted(
    scheduler: Scheduler,
    asked: Generation,
    ticket: Ticket | None = None,
) -> LiveText:
    text = LiveText.of(scheduler.bundle, asked, ticket or Ticket(), scheduler.clock())
    scheduler.admit(text)
    return text


def cycle(scheduler: Scheduler, holds: Callable[[], bool]) -> None:
    """Let the scheduler work until something holds."""
    for _ in range(100):
        if holds():
            return
        scheduler.cycle()
    raise AssertionError("it did not happen")


def test_a_reader_that_leaves_while_the_engine_looks_gives_its_place_back_once(
    scheduler: Scheduler,
) -> None:
    admitted(scheduler, LONG, LeavingTicket())
    scheduler.cycle()
    scheduler.cycle()
    assert (scheduler.live, scheduler.finished) == (0, {"cancelled": 1})
    assert not scheduler.reading
    assert not scheduler.batch.texts


def test_a_text_that_cannot_join_the_others_fails_alone(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = admitted(scheduler, LONG)
    cycle(scheduler, lambda: old.count == 2)
    join = TextBatch.join

    def fail_halfway(batch: TextBatch[LiveText], texts: list[LiveText], *given: Any) -> None:
        monkeypatch.setattr(TextBatch, "join", join)
        batch.texts += texts
        raise MemoryError("no more")

    monkeypatch.setattr(TextBatch, "join", fail_halfway)
    admitted(scheduler, replace(LONG, prompt="The staff"))
    cycle(scheduler, lambda: bool(scheduler.finished["failed"]))
    assert (scheduler.live, scheduler.finished) == (1, {"failed": 1})
    assert scheduler.batch.texts == [old]
    before = old.count
    scheduler.cycle()
    assert old.count == before + 1
    scheduler.end_all("closed", "the end")
    assert scheduler.live == 0
