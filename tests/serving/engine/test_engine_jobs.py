"""A job that waits for a long context is run again, told why it cannot be, or forgotten with its client."""

from __future__ import annotations

from threading import Event

import pytest
import torch

from tests.core.waiting import until
from tests.serving.engine.small_models import bundle_of
from tests.serving.engine.test_engine import LONG as ENDLESS

TEXT = "The soup was great. " * 200


def long_ids(bundle):
    return [*bundle.vocabulary.prefix(3), *bundle.vocabulary.encode(TEXT).tolist()]


@pytest.mark.parametrize("kind", ["ngram", "lstm", "mixture"])
def test_a_context_that_was_read_in_pieces_has_the_bits_of_one_read_at_once(kind, engine_of):
    bundle = bundle_of(kind)
    ids = long_ids(bundle)
    whole, _ = engine_of(bundle).run(lambda context: context.read(ids)).result(20)
    small = engine_of(bundle, prefill_tokens=1, cache_megabytes=0)
    runs = []

    def job(context):
        runs.append(1)
        return context.read(ids)[0], context.read(ids[:-1])[0], context.read(ids)[0]

    first, shorter, again = small.run(job).result(60)
    assert first.equal(whole)
    assert again.equal(whole)
    assert not shorter.equal(whole)
    assert len(runs) == 3  # interrupted once for each of two contexts


def test_a_context_that_nobody_waits_for_is_not_read_on(gated, engine_of):
    engine = engine_of(gated, prefill_tokens=1)
    live = engine.submit(ENDLESS)
    until(lambda: engine.figures().tokens > 3)
    read = engine.figures().prefill_tokens
    ids = long_ids(gated)
    future = engine.run(lambda context: context.read(ids))
    until(lambda: engine.figures().prefill_tokens > read)
    assert future.cancel()
    until(lambda: not len(engine._jobs))
    assert engine.figures().prefill_tokens - read < len(ids)
    live.cancel()


def test_a_core_is_left_to_the_event_loop_while_several_jobs_wait(engine_of):
    engine = engine_of(bundle_of("ngram"), threads=3)
    begun = Event()
    release = Event()

    def first(context):
        begun.set()
        release.wait(20)
        return torch.get_num_threads()

    jobs = [engine.run(first)]
    begun.wait(20)
    jobs += [engine.run(lambda context: torch.get_num_threads()) for _ in range(2)]
    release.set()
    assert [job.result(20) for job in jobs] == [3, 2, 2]
    until(lambda: not len(engine._jobs))
    assert engine.run(lambda context: torch.get_num_threads()).result(20) == 3
