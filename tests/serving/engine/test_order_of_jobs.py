"""Jobs that wait for the engine: scores are done first in, first out, and searches get their turns beside them."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from threading import Condition, RLock

import pytest

from serving.engine.jobs import JOB_SECONDS, Aside, EngineJob, Jobs, NotDone
from serving.engine.requests import EngineLimits
from tests.serving.driven_engine import Bench
from tests.serving.engine.small_models import bundle_of

SLICE = 0.6 * JOB_SECONDS


class Later(Executor):
    """Another thread, whose work is done when the test says so."""

    def __init__(self) -> None:
        self.waiting = []

    def submit(self, work, *arguments):
        self.waiting.append((work, arguments))
        return Future()

    def work(self, place=0):
        function, arguments = self.waiting.pop(place)
        function(*arguments)


class Waiting:
    """Jobs of an engine without a thread, on a clock that only the jobs move."""

    def __init__(self) -> None:
        self.now, self.done, self.aside = 0.0, [], Later()
        bench = Bench(bundle_of("ngram"))
        self.jobs = Jobs(
            bench.bundle, bench.scheduler, EngineLimits(), self.aside, Condition(RLock()), clock=lambda: self.now
        )

    def add(self, name, slices, in_order, aside=False):
        """Add a job of some slices of equal time, which may need another thread before its first one."""
        left = {"slices": slices, "aside": aside}

        def work(context):
            if left["aside"]:
                raise Aside(lambda: left.update(aside=False))
            self.now += SLICE
            left["slices"] -= 1
            if left["slices"]:
                raise NotDone
            self.done.append(name)

        self.jobs.add(EngineJob(work, in_order))


@pytest.fixture
def waiting():
    return Waiting()


def test_scores_are_answered_in_the_order_in_which_they_came(waiting):
    """Each needs another thread first, and comes back from there while later ones wait; its slices stay together."""
    for number in range(8):
        waiting.add(number, slices=1 + number % 3, in_order=True, aside=True)
    waiting.jobs.run()
    while waiting.aside.waiting:
        waiting.aside.work(-1)  # the last one first
    while waiting.jobs.ready:
        waiting.jobs.run()
    assert waiting.done == list(range(8))


def test_a_score_that_comes_while_others_wait_is_answered_after_them(waiting):
    """Closed loop: who is answered asks again at once. No score waits for more than one round of all others."""
    for number in range(6):
        waiting.add(number, slices=1, in_order=True, aside=True)
    for _ in range(54):
        before = len(waiting.done)
        while len(waiting.done) == before:
            waiting.jobs.run()
            while waiting.aside.waiting:
                waiting.aside.work()
        for later in range(before, len(waiting.done)):
            waiting.add(6 + later, slices=1, in_order=True, aside=True)
    assert waiting.done == sorted(waiting.done)


def test_a_search_gets_its_turn_beside_a_long_score_and_a_short_search_beside_a_long_one(waiting):
    waiting.add("score", slices=30, in_order=True)
    waiting.add("beam", slices=20, in_order=False)
    waiting.add("word", slices=1, in_order=False)
    cycles = 0
    while "word" not in waiting.done:
        waiting.jobs.run()
        cycles += 1
    assert (waiting.done, cycles) == (["word"], 1)
    while waiting.jobs.ready:
        waiting.jobs.run()
    assert sorted(waiting.done) == ["beam", "score", "word"]
