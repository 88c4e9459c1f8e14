"""Perplexity by the context kept: equal to scoring by hand, flat beyond what a model can see."""

from __future__ import annotations

import math

import numpy as np
import pytest

from course.context_use import chosen_tokens, context_curve
from tests.models.neural.made_streams import stream_of
from tests.models.table_lm import HistoryLM

SIZE = 20


def random_stream(reviews=12, length=40):
    draw = np.random.default_rng(1)
    return stream_of([draw.integers(9, SIZE, draw.integers(length // 2, length)) for _ in range(reviews)], SIZE)


def nats_by_hand(model, tokens, target):
    """Read one token at a time, then look the next one up."""
    state = model.start(1)
    for token in tokens:
        logp_BV, state = model.step(np.array([token]), state)
    return -float(logp_BV[0, target])


@pytest.mark.parametrize("rating", [True, False])
def test_every_rise_is_that_of_the_same_tokens_after_their_last_words(rating):
    model, stream = HistoryLM.random(SIZE), random_stream()
    curve, whole = context_curve(model, stream, (3, 7), 50, rating, seed=1)
    chosen, rises = chosen_tokens(stream, 7, 50, seed=1), {3: [], 7: []}
    full = [nats_by_hand(model, stream.document(n)[:place], stream.document(n)[place]) for n, place in chosen]
    assert (len(chosen), whole) == (50, pytest.approx(np.mean(full), rel=1e-5))
    for kept, found in rises.items():
        for (review, place), nats in zip(chosen, full, strict=True):
            ids = stream.document(review)
            tokens = [*([ids[1]] if rating else []), *ids[place - kept : place]]
            found.append(nats_by_hand(model, tokens, ids[place]) - nats)
        sums = [sum(rise - np.mean(found) for rise, (n, _) in zip(found, chosen, strict=True) if n == review)
                for review in {n for n, _ in chosen}]  # fmt: skip
        error = math.sqrt(np.square(sums).sum()) / len(found)  # reviews as units
        assert curve[kept] == pytest.approx((np.mean(found), error), rel=1e-3, abs=1e-6)
