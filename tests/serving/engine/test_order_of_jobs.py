"""Jobs that wait for the engine: scores are done first in, first out, and searches get their turns beside them."""

from __future__ import annotations

import pytest

from reviewlm.serving.engine.jobs import JOB_SECONDS, EngineJob, Jobs, NotDone
from reviewlm.serving.engine.requests import EngineLimits
from tests.serving.driven_engine import Bench
from tests.serving.engine.small_models import bundle_of

SLICE = 0.6 * JOB_SECONDS


class Waiting:
    """Jobs of an engine without a thread, on a clock that only the jobs move."""

    def __init__(self) -> None:
        self.now, self.done = 0.0, []
        bench = Bench(bundle_of("ngram"))
        self.jobs = Jobs(bench.bundle, bench.scheduler, EngineLimits(), clock=lambda: self.now)

    def add(
        self,
        name,
        slices,
        in_order,
    ):
        """Add a job of some slices of equal time."""
        left = slices

        def work(context):
            nonlocal left
            self.now += SLICE
            left -= 1
            if left:
                raise NotDone
            self.done.append(name)

        self.jobs.add(EngineJob(work, in_order))


@pytest.fixture
def waiting():
    return Waiting()


def test_scores_are_answered_in_the_order_in_which_they_came(waiting):
    """Closed loop: who is answered asks again at once. The slices of a score stay together, and later ones wait."""
    for number in range(8):
        waiting.add(number, slices=1 + number % 3, in_order=True)
    for later in range(8, 40):
        before = len(waiting.done)
        while len(waiting.done) == before:
            waiting.jobs.run()
        waiting.add(later, slices=1, in_order=True)
    while waiting.jobs:
        waiting.jobs.run()
    assert waiting.done == list(range(40))


def test_a_short_search_gets_its_turn_beside_long_jobs(waiting):
    waiting.add("score", slices=30, in_order=True)
    waiting.add("beam", slices=20, in_order=False)
    waiting.add("word", slices=1, in_order=False)
    cycles = 0
    while "word" not in waiting.done:
        waiting.jobs.run()
        cycles += 1
    assert (waiting.done, cycles) == (["word"], 1)
    while waiting.jobs:
        waiting.jobs.run()
    assert sorted(waiting.done) == ["beam", "score", "word"]
