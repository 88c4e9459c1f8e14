"""Work that nobody waits for runs while the engine has nothing else to do, and never in anybody's way."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from serving.engine.jobs import NotDone
from tests.serving.engine.small_models import bundle_of
from tests.serving.engine.test_engine import Gate, until


@pytest.fixture
def gated():
    bundle = bundle_of("ngram")
    return replace(bundle, model=Gate(bundle.model))


def counting(done, most=10**9):
    """A job of many parts."""

    def job(context):
        done.append(threading.current_thread().name.split()[0])
        if len(done) < most:
            raise NotDone

    return job


def give(engine, work):
    engine.run(lambda context: context.when_idle(work)).result(20)


def test_idle_work_is_done_part_by_part_in_the_engines_thread(engine_of):
    engine, done = engine_of(bundle_of("ngram")), []
    give(engine, counting(done, most=5))
    until(lambda: len(done) == 5)
    assert set(done) == {"engine"}
    until(lambda: not engine._jobs.idle)
    assert engine.figures().jobs == 1, "it is no job that somebody has asked for"


def test_a_request_is_answered_between_two_parts_of_endless_idle_work(engine_of):
    engine, done = engine_of(bundle_of("ngram")), []
    give(engine, counting(done))
    until(lambda: len(done) > 2)
    between = [engine.run(lambda context: len(done)).result(20) for _ in range(3)]
    assert between == sorted(between)
    until(lambda: len(done) > between[-1])


def test_an_engine_that_is_closed_does_not_wait_for_idle_work(engine_of):
    engine, closed = engine_of(bundle_of("ngram")), []

    def job(context):
        closed.append(engine._end is not None)
        raise NotDone

    give(engine, job)
    until(lambda: closed)
    engine.close(5)  # for texts in progress, of which there are none
    assert not engine.figures().alive
    assert sum(closed) <= 1, "a part that had begun"
