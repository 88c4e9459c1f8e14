"""Work that nobody waits for runs while the engine has nothing else to do, and never in anybody's way."""

from __future__ import annotations

import threading

from serving.engine.jobs import NotDone
from tests.serving.engine.small_models import bundle_of
from tests.serving.engine.test_engine import until


def counting(done, most=10**9):
    """A job of many parts."""

    def job(context):
        done.append(threading.current_thread().name.split()[0])
        if len(done) < most:
            raise NotDone

    return job


def give(engine, work):
    engine.run(lambda context: context.when_idle(work)).result(20)


def test_a_request_is_answered_between_two_parts_of_endless_idle_work(engine_of):
    engine, done = engine_of(bundle_of("ngram")), []
    give(engine, counting(done))
    until(lambda: len(done) > 2)
    between = [engine.run(lambda context: len(done)).result(20) for _ in range(3)]
    assert between == sorted(between)
    until(lambda: len(done) > between[-1])
