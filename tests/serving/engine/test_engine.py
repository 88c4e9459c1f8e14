"""The engine takes work from any thread, within its limits, and survives readers that leave and models that fail."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reviewlm.models.base import ModelError
from reviewlm.models.sampling import generate
from reviewlm.serving.engine.contexts import OVERHEAD, PrefixCache, size_of
from reviewlm.serving.engine.requests import Busy, Generation, StreamEnded
from tests.core.waiting import until
from tests.serving.driven_engine import Bench, Refusing
from tests.serving.engine.small_models import bundle_of

LONG = Generation("The soup", 3, max_tokens=10**6, seed=1)


def test_a_full_queue_is_refused_with_the_time_to_wait(gated, engine_of):
    engine = engine_of(gated, live=2, queue=3)
    gated.model.open.clear()
    tickets = [engine.submit(LONG) for _ in range(5)]
    with pytest.raises(Busy, match="try again in") as caught:
        engine.submit(LONG)
    assert caught.value.retry_after >= 1
    gated.model.open.set()
    until(lambda: engine.figures().live == 2)
    assert engine.figures().queued == 3
    tickets[0].cancel()
    until(lambda: engine.figures().queued == 2)
    engine.submit(LONG)


def test_a_reader_that_leaves_frees_its_place_at_once(gated, engine_of):
    engine = engine_of(gated, live=1)
    first, second = engine.submit(LONG), engine.submit(replace(LONG, max_tokens=3))
    until(lambda: engine.figures().tokens > 5)
    first.cancel()
    assert second.result().finish == "length"
    with pytest.raises(StreamEnded) as caught:
        first.result()
    assert caught.value.reason == "cancelled"
    until(lambda: engine.figures().live == 0)
    assert engine.figures().finished == {"cancelled": 1, "length": 1}


def test_a_text_ends_at_its_deadline_whatever_it_waits_for(gated, engine_of):
    engine = engine_of(gated, live=1)
    written, waiting = (
        engine.submit(replace(LONG, seconds=0.3)),
        engine.submit(replace(LONG, seconds=0.1)),
    )
    for ticket, message in (
        (waiting, "no place became free"),
        (written, "not finished within its time"),
    ):
        with pytest.raises(StreamEnded, match=message) as caught:
            ticket.result()
        assert caught.value.reason == "deadline"


def test_a_reader_that_does_not_come_slows_nobody(gated, engine_of):
    engine = engine_of(gated, live=2, buffer_tokens=300)
    idle, fast = engine.submit(LONG), engine.submit(replace(LONG, max_tokens=200))
    assert fast.result().finish == "length"
    until(lambda: engine.figures().finished.get("slow reader"))
    with pytest.raises(StreamEnded) as caught:
        idle.result()
    assert caught.value.reason == "slow reader"


@pytest.mark.parametrize(
    "error", [MemoryError("no more"), RuntimeError("a defect"), ModelError("bad", "memory")]
)
def test_a_failing_step_ends_only_its_texts(
    gated,
    engine_of,
    error,
):
    engine = engine_of(gated)
    tickets = [engine.submit(replace(LONG, seed=seed)) for seed in range(3)]
    until(lambda: engine.figures().live == 3 and engine.figures().tokens > 9)
    gated.model.error = error
    for ticket in tickets:
        with pytest.raises(StreamEnded, match=str(error)) as caught:
            ticket.result()
        assert caught.value.reason == "failed"
    assert engine.submit(replace(LONG, max_tokens=4)).result().completion_tokens == 4
    assert engine.figures().alive


@pytest.mark.parametrize(
    ("unit", "bad", "place"), [("word", "Rude staff.", 0), ("bpe", "We went to the pi", -1)]
)
def test_a_prompt_that_cannot_be_read_fails_alone(
    unit,
    bad,
    place,
):
    """Prompts of several lengths are read together; with parts of words, so are the ways to go on inside a word."""
    known, good = (
        bundle_of("lstm", unit),
        ("Great beer, great pl", "The soup was gre", "In Phoenix the staff"),
    )
    bench = Bench(
        replace(known, model=Refusing(known.model, known.vocabulary.encode(bad)[place])),
        prefill_tokens=2,
    )
    asked = [Generation(prompt, 3, max_tokens=1) for prompt in (good[0], bad, *good[1:], bad)]
    tickets = [bench.begin(one) for one in asked]
    bench.finish()
    for one, ticket in zip(asked, tickets, strict=True):
        if one.prompt == bad:
            with pytest.raises(StreamEnded, match="a defect"):
                ticket.result()
        else:
            assert (
                one.prompt + ticket.result().text
                == generate(
                    known,
                    1,
                    3,
                    one.prompt,
                    max_tokens=1,
                )[0]
            )


# Saved states


@pytest.fixture
def full_cache():
    """A cache with room for three states, after five were saved and the first was asked for each time."""
    state = bundle_of("lstm").model.start(1)
    each = OVERHEAD + 8 * 5 + size_of(state)
    cache = PrefixCache(each * 3 / 1e6)
    for number in range(5):
        cache.store([1, 3, 9, 9, number], state)
        assert cache.longest([1, 3, 9, 9, 0, 7]) is not None or number > 2
    return cache, each


def test_saved_states_stay_within_their_bytes(full_cache):
    cache, each = full_cache
    assert len(cache) == 3
    assert cache.bytes == 3 * each


def test_the_oldest_saved_states_go_first(full_cache):
    cache, _ = full_cache
    found = [cache.longest([1, 3, 9, 9, number, 7]) is not None for number in range(5)]
    assert found == [True, False, False, True, True]
