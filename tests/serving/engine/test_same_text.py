"""Same seed, same text: from `generate`, from an engine alone, and among any neighbours; for every kind of model."""

from __future__ import annotations

import random
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.models.neural.inference import reader
from reviewlm.models.sampling import Sampling, generate
from reviewlm.models.specs import ObjectiveSpec
from reviewlm.serving.engine.requests import Generation
from tests.examples import examples
from tests.marked_cases import long_but
from tests.serving.driven_engine import Bench
from tests.serving.engine.small_models import KINDS, bundle_of, network

PROMPTS = (
    "",
    "The soup",
    "We went to Phoenix! Great",
    "The soup was great, so we went back. The",
    "The soup was gre",
    "We went to the pi",
)
SAMPLINGS = (
    Sampling(),
    Sampling(0.8, 0, 0.95),
    Sampling(1.3, 12),
    Sampling(0.0),
    Sampling(1e-42),
    Sampling(min_p=0.02, typical_p=0.9),
    Sampling(repetition_penalty=1.3, no_repeat_ngram_size=3),
    Sampling(0.9, watermark="secret"),
)

MADE = [(kind, unit) for kind in KINDS for unit in ("word", "bpe")]


def asked(draws):
    """Return a random request."""
    return Generation(
        draws.choice(PROMPTS),
        draws.choice([None, 0, 1, 5]),
        draws.randrange(3),
        draws.choice([1, 7, 25]),
        draws.choice(SAMPLINGS),
        draws.randrange(4),
        draws.choice([(), (), ("the", "."), ("so we",)]),
    )


def expected(bundle, asked):
    s = asked.sampling
    texts = generate(
        bundle,
        asked.number + 1,
        asked.stars,
        asked.prompt,
        asked.max_tokens,
        asked.seed,
        asked.stop,
        **asdict(s),
    )
    return texts[asked.number].removeprefix(asked.prompt)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "unit"), long_but(MADE, [("ngram", "word"), ("lstm", "word"), ("mixture", "bpe")])
)
@examples(20)
@given(
    number=st.integers(1, 64),
    seed=st.integers(0, 10_000),
    chunk=st.integers(1, 20),
    pauses=st.integers(0, 4),
)
def test_a_text_is_the_same_whatever_neighbours_come(
    kind,
    unit,
    number,
    seed,
    chunk,
    pauses,
):
    draws, bundle = random.Random(seed), bundle_of(kind, unit)
    bench, requests = Bench(bundle, prefill_tokens=chunk), [asked(draws) for _ in range(number)]
    tickets = []
    for request in requests:
        tickets.append(bench.begin(request))
        for _ in range(draws.randrange(pauses + 1)):
            bench.scheduler.cycle()
        if draws.random() < 0.1:
            tickets[-1].cancel()
    bench.finish()
    for index in draws.sample(range(number), min(number, 4)):
        if not tickets[index].cancelled:
            assert tickets[index].result().text == expected(bundle, requests[index])


@pytest.mark.parametrize(("kind", "unit"), MADE)
def test_a_text_is_the_one_that_generate_writes(
    kind,
    unit,
    engine_of,
):
    bundle, draws = bundle_of(kind, unit), random.Random(kind)
    engine, requests = engine_of(bundle), [asked(draws) for _ in range(6)]
    tickets = [engine.submit(request) for request in requests]
    assert [ticket.result().text for ticket in tickets] == [
        expected(bundle, request) for request in requests
    ]


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn", "nplm"])
def test_the_distributions_of_a_stream_have_the_same_bits_in_any_batch(kind):
    """Sizes that are no multiple of a vector register; text drawn from them could differ once in thousands."""
    model = (
        network(kind, 997)[1]
        if kind == "nplm"
        else network(
            kind,
            997,
            hidden=101,
            embedding=67,
            layers=2,
        )[1]
    )
    ids_BT = np.random.default_rng(1).integers(9, 997, (64, 9))
    ids_BT[:, 0], ids_BT[:, 1] = 1, np.arange(64) % 6 + 3
    state = model.start(64)
    for ids_B in ids_BT.T:
        logp_BV, state = model.step(ids_B, state)
    for rows in ([0], [63], [3, 40], list(range(17))):
        own = model.start(len(rows))
        for cut in (slice(0, 5), slice(5, 6), slice(6, 8)):
            own = model.advance(ids_BT[rows, cut], own)
        own_BV, own = model.step(ids_BT[rows, 8], own)
        assert torch.equal(own_BV, logp_BV[rows])
        assert all(map(torch.equal, own.network, state.take(rows).network))


ROUNDED: dict[str, tuple[str, dict]] = {
    "hierarchical": ("lstm", {"objective": ObjectiveSpec(output="hierarchical"), "tied": False}),
    "layer norm": ("lstm", {"layer_norm": True, "cells": "reference"}),
    "cho": ("gru", {"form": "cho", "cells": "reference"}),
}


@pytest.mark.parametrize(("kind", "options"), ROUNDED.values(), ids=list(ROUNDED))
def test_the_documented_exceptions_have_the_same_distributions_up_to_rounding(kind, options):
    """A text of these is the same in any batch unless a draw falls between two roundings."""
    model = network(kind, 997, **options)[1]
    ids_BT = np.random.default_rng(1).integers(9, 997, (64, 9))
    ids_BT[:, 0], ids_BT[:, 1] = 1, np.arange(64) % 6 + 3
    state = model.start(64)
    for ids_B in ids_BT.T:
        logp_BV, state = model.step(ids_B, state)
    for rows in ([0], [63], list(range(17))):
        own = model.start(len(rows))
        for ids_B in ids_BT[rows].T:
            own_BV, own = model.step(ids_B, own)
        assert torch.allclose(own_BV.exp(), logp_BV[rows].exp(), rtol=1e-3, atol=1e-5)


def test_compiled_steps_are_those_of_torch():
    model = network(
        "lstm",
        997,
        hidden=101,
        embedding=67,
        layers=2,
    )[1]
    assert isinstance(model.reader, reader.LSTMReader)
    plain = model.with_reader(reader.RecurrentReader(model.network))
    states = [model.start(5), model.start(5)]
    ids_TB = np.random.default_rng(2).integers(9, 997, (6, 5))
    ids_TB[0] = 4
    for ids_B in ids_TB:
        found_BV, states[0] = model.step(ids_B, states[0])
        expected_BV, states[1] = plain.step(ids_B, states[1])
    np.testing.assert_allclose(found_BV.exp(), expected_BV.exp(), rtol=2e-4, atol=1e-7)
    for found, expected in zip(states[0].network, states[1].network, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)
