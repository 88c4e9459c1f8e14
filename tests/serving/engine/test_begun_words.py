"""How a server finds the ways to go on inside the words at the ends of prompts, between the steps of the live texts."""

from __future__ import annotations

from dataclasses import replace

from reviewlm.models.sampling import generate
from reviewlm.serving.engine.requests import Generation
from tests.serving.driven_engine import Bench, Counting
from tests.serving.engine.small_models import bundle_of

PROMPTS = ("We went to the pi", "The soup was gre", "In Phoe", "Rude sta")


def counting(kind="lstm"):
    known = bundle_of(kind, "bpe")
    model = Counting(known.model)
    return known, model, Bench(replace(known, model=model))


def test_prompts_that_come_together_are_searched_together():
    known, model, bench = counting()
    one = Bench(bench.bundle)
    one.begin(Generation(PROMPTS[0], 3, max_tokens=1))
    one.finish()
    alone, model.steps = model.steps, 0
    asked = [
        Generation(PROMPTS[0], stars, number, 1) for stars in range(1, 6) for number in range(6)
    ]
    tickets = [bench.begin(one) for one in asked]
    bench.finish()
    assert model.steps < 3 * alone
    for one, ticket in zip(asked, tickets, strict=True):
        text = generate(
            known,
            one.number + 1,
            one.stars,
            one.prompt,
            max_tokens=1,
        )[one.number]
        assert one.prompt + ticket.result().text == text
    rows = bench.scheduler.begun_words._reader.rows
    bench.begin(Generation(PROMPTS[0], 3, 9, max_tokens=1))
    bench.finish()
    assert bench.scheduler.begun_words._reader.rows == rows > 0
