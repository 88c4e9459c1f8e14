"""No token of a prompt is read twice: saved states serve texts that go on, and equal prompts are read once."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from reviewlm.models.sampling import Sampling
from reviewlm.serving.engine.requests import EngineLimits, Generation, Wakes
from reviewlm.serving.engine.scheduler import Scheduler
from tests.serving.driven_engine import Bench, Counting
from tests.serving.engine.small_models import bundle_of


def read(scheduler, ids):
    return scheduler.contexts.whole(scheduler.contexts.reading(ids))


@pytest.mark.parametrize("kind", ["lstm", "mixture", "neural_cache"])
def test_typing_on_costs_one_step_per_new_token_whatever_was_written_before(kind):
    known = bundle_of(kind)
    model = Counting(known.model)
    scheduler = Scheduler(replace(known, model=model), EngineLimits(), Wakes())
    ids = [
        *known.vocabulary.prefix(3),
        *known.vocabulary.encode("The soup was great, so we went back. " * 30).tolist(),
    ]
    read(scheduler, ids[:200])
    assert (model.steps, model.read) == (1, 199)
    for length in range(201, 231):
        model.steps = model.read = 0
        logp_1V = read(scheduler, ids[:length])[0]
        assert (model.steps, model.read) == (1, 0)
    fresh = read(Scheduler(known, EngineLimits(), Wakes()), ids[:230])
    assert torch.equal(logp_1V, fresh[0])
    model.steps = model.read = 0
    assert read(scheduler, ids[:230])[0] is logp_1V  # the same text again costs nothing
    read(scheduler, ids[:215])
    assert (model.steps, model.read) == (0, 0)  # nor do deleted words


def test_a_long_prompt_is_read_in_chunks_between_the_steps_of_live_texts():
    known = bundle_of("lstm")
    model = Counting(known.model)
    bench = Bench(replace(known, model=model), prefill_tokens=5)
    live = bench.begin(
        Generation(
            "The",
            3,
            max_tokens=200,
            sampling=Sampling(),
            seed=5,
        )
    )
    while not live.unread:
        bench.scheduler.cycle()
    bench.begin(Generation("The soup was great, so we went back. " * 4, 3, max_tokens=1))
    model.read = 0
    for _ in range(4):
        before, written = model.read, live.unread
        bench.scheduler.cycle()
        assert model.read - before <= 5
        assert live.unread == written + 1
