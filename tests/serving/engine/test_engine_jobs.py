"""A job that waits for a long text or context is run again, told why it cannot be, or forgotten with its client."""

from __future__ import annotations

import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest

from models.base import ModelError
from serving.engine.jobs import LONG, Aside
from serving.engine.requests import StreamEnded
from tests.serving.engine.small_models import bundle_of
from tests.serving.engine.test_engine import LONG as ENDLESS
from tests.serving.engine.test_engine import Gate, until

TEXT = "The soup was great. " * (LONG // 10)


@pytest.fixture
def gated():
    bundle = bundle_of("ngram")
    return replace(bundle, model=Gate(bundle.model))


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


def test_long_texts_become_tokens_in_another_thread_and_are_the_same(engine_of):
    bundle, threads = bundle_of("lstm"), []
    engine = engine_of(bundle)

    def job(context):
        vocabulary = context.bundle.vocabulary
        clean = vocabulary.normal_form.apply(TEXT)
        return clean, vocabulary.encode(clean).tolist(), vocabulary.unit

    assert engine.run(job).result(20) == (TEXT.strip(), bundle.vocabulary.encode(TEXT).tolist(), "word")

    def named(context):
        if len(threads) < 2:
            raise Aside(lambda: threads.append(threading.current_thread().name.split()[0]))
        return "done"

    assert engine.run(named).result(20) == "done"
    assert threads == ["tokens", "tokens"]


def test_work_in_the_other_thread_that_fails_is_told(engine_of):
    engine = engine_of(bundle_of("ngram"))

    def job(context):
        raise Aside(lambda: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        engine.run(job).result(20)
    assert engine.run(lambda context: 1).result(20) == 1


def test_reading_that_fails_is_told_to_its_job(gated, engine_of):
    engine = engine_of(gated, prefill_tokens=1)
    gated.model.error = ModelError("a defect")
    with pytest.raises(ModelError, match="a defect"):
        engine.run(lambda context: context.read(long_ids(gated))).result(20)
    assert engine.run(lambda context: 1).result(20) == 1


def test_a_context_that_nobody_waits_for_is_not_read_on(gated, engine_of):
    engine = engine_of(gated, prefill_tokens=1)
    live = engine.submit(ENDLESS)
    until(lambda: engine.figures().tokens > 3)
    read = engine.figures().prefill_tokens
    ids = long_ids(gated)
    future = engine.run(lambda context: context.read(ids))
    until(lambda: engine.figures().prefill_tokens > read)
    assert future.cancel()
    until(lambda: not len(engine._scheduler.turns) and not len(engine._jobs))
    assert engine.figures().prefill_tokens - read < len(ids)
    live.cancel()


def test_a_job_that_waits_is_told_that_the_engine_ends(gated, engine_of):
    engine = engine_of(gated, prefill_tokens=1)
    gated.model.open.clear()
    live = engine.submit(replace(ENDLESS, prompt=""))
    waits, going = threading.Event(), threading.Event()

    def job(context):
        raise Aside(lambda: (waits.set(), going.wait(20)))

    future = engine.run(job)
    gated.model.open.set()
    assert waits.wait(20)
    live.cancel()
    engine.close(0.01)
    going.set()
    with pytest.raises(StreamEnded, match="the server ends"):
        future.result(20)


def test_waiting_jobs_count_as_jobs(engine_of):
    engine = engine_of(bundle_of("ngram"), queue=1)
    waits, going = threading.Event(), threading.Event()
    once = []

    def job(context):
        if not once:
            once.append(1)
            raise Aside(lambda: (waits.set(), going.wait(20)))
        return 2

    first = engine.run(job)
    assert waits.wait(20)
    with pytest.raises(Exception, match="the queue is full"):
        engine.run(lambda context: 1)
    going.set()
    assert first.result(20) == 2


def test_a_long_prompt_that_cannot_begin_is_told_why(engine_of):
    bundle = bundle_of("ngram")
    broken = replace(bundle, vocabulary=SimpleNamespace(prefix=bundle.vocabulary.prefix))
    engine = engine_of(broken)
    with pytest.raises(StreamEnded) as caught:
        engine.submit(replace(ENDLESS, prompt=TEXT)).result()
    assert caught.value.reason == "failed"
    until(lambda: engine.figures().finished == {"failed": 1})
    assert engine.figures().queued == 0


def test_the_echoes_of_equal_prompts_are_read_once_and_of_none_that_nobody_waits_for(engine_of):
    bundle = bundle_of("ngram")
    bundle = replace(bundle, model=Gate(bundle.model))
    engine = engine_of(bundle, live=8)
    bundle.model.open.clear()
    asked = replace(ENDLESS, prompt=TEXT[:400], max_tokens=0, echo=True, logprobs=1)
    tickets = [engine.submit(replace(asked, number=number)) for number in range(3)]
    left = engine.submit(replace(asked, prompt="We went to Phoenix", max_tokens=9))
    left.cancel()
    bundle.model.open.set()
    first, *others = [ticket.result() for ticket in tickets]
    assert others == [first] * 2
    assert len(bundle.model.rows) == len(first.tokens) + 1 > 80  # the rating is read too
    until(lambda: engine.figures().live == 0)
