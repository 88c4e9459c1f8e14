"""Same seed, same text: from `generate`, from an engine alone, and among any neighbours; for every kind of model."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.bundles.any_rating import AnyRating
from models.completion.suggestions import completions
from models.neural.inference import reader
from models.sampling import Sampling, generate
from models.specs import ObjectiveSpec
from serving.engine.live_text import LiveText
from serving.engine.requests import EngineLimits, Generation, Piece, StreamEnded
from serving.engine.scheduler import Scheduler
from serving.engine.ticket import Ticket, Wakes
from tests.examples import examples
from tests.marked_cases import long_but
from tests.serving.engine.small_models import KINDS, bundle_of, network

PROMPTS = ("", "The soup", "We went to Phoenix! Great", "The soup was great, so we went back. The", "The soup was gre",
           "We went to the pi")
SAMPLINGS = (
    Sampling(), Sampling(0.8, 0, 0.95), Sampling(1.3, 12), Sampling(0.0), Sampling(min_p=0.02, typical_p=0.9),
    Sampling(repetition_penalty=1.3, no_repeat_ngram_size=3), Sampling(0.9, watermark="secret"),
)  # fmt: skip

MADE = [(kind, unit) for kind in KINDS for unit in ("word", "bpe")]


def asked(draws):
    """Return a random request."""
    return Generation(
        draws.choice(PROMPTS), draws.choice([None, 0, 1, 5]), draws.randrange(3), draws.choice([1, 7, 25]),
        draws.choice(SAMPLINGS), draws.randrange(4), draws.choice([(), (), ("the", "."), ("so we",)]),
    )  # fmt: skip


def expected(bundle, asked):
    s = asked.sampling
    texts = generate(
        bundle, asked.number + 1, asked.stars, asked.prompt, s.temperature, s.top_k, s.top_p, asked.max_tokens,
        asked.seed, s.min_p, s.typical_p, s.repetition_penalty, s.no_repeat_ngram_size, asked.stop,
        s.watermark,
    )  # fmt: skip
    return texts[asked.number].removeprefix(asked.prompt)


class Bench:
    """A scheduler without a thread: the test decides when texts come and when the model works."""

    def __init__(self, bundle, **limits):
        self.bundle, self.scheduler = bundle, Scheduler(bundle, EngineLimits(**limits), Wakes())

    def begin(self, asked):
        ticket = Ticket()
        self.scheduler.admit(LiveText.of(self.bundle, asked, ticket, 0.0))
        return ticket

    def finish(self):
        while self.scheduler.live:
            self.scheduler.cycle()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "unit"), long_but(MADE, [("ngram", "word"), ("lstm", "word"), ("mixture", "bpe")]))
@examples(20)
@given(number=st.integers(1, 64), seed=st.integers(0, 10_000), chunk=st.integers(1, 20), pauses=st.integers(0, 4))
def test_a_text_is_the_same_among_random_neighbours_that_come_and_go(kind, unit, number, seed, chunk, pauses):
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
def test_a_text_is_the_one_that_generate_writes(kind, unit, engine_of):
    bundle, draws = bundle_of(kind, unit), random.Random(kind)
    engine, requests = engine_of(bundle), [asked(draws) for _ in range(6)]
    tickets = [engine.submit(request) for request in requests]
    assert [ticket.result().text for ticket in tickets] == [expected(bundle, request) for request in requests]


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn", "nplm"])
def test_the_distributions_of_a_stream_have_the_same_bits_in_any_batch_and_any_cut(kind):
    """Sizes that are no multiple of a vector register; text drawn from them could differ once in thousands."""
    model = network(kind, 997)[1] if kind == "nplm" else network(kind, 997, hidden=101, embedding=67, layers=2)[1]
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


def test_compiled_steps_are_those_of_torch(monkeypatch):
    """Where numba is not installed, an exported model takes the same steps, slower."""
    models = [network("lstm", 997, hidden=101, embedding=67, layers=2)[1] for _ in range(2)]
    assert isinstance(models[0].reader(), reader.LSTMReader)
    states = [model.start(5) for model in models]
    ids_TB = np.random.default_rng(2).integers(9, 997, (6, 5))
    ids_TB[0] = 4
    for ids_B in ids_TB:
        found_BV, states[0] = models[0].step(ids_B, states[0])
        with monkeypatch.context() as without:
            without.setattr(reader, "kernels", None)
            expected_BV, states[1] = models[1].step(ids_B, states[1])
    assert type(models[1].reader()) is reader.RecurrentReader
    np.testing.assert_allclose(found_BV.exp(), expected_BV.exp(), rtol=2e-4, atol=1e-7)
    for found, expected in zip(states[0].network, states[1].network, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["lstm", "gru", "nplm"])
def test_a_step_predicts_what_a_score_says(kind):
    bundle = bundle_of(kind)
    ids = np.array([[1, 5, *bundle.vocabulary.encode("The soup was great")]])
    state = bundle.model.start(1)
    nats = bundle.model.score(ids, state)[0][0]
    for position in range(ids.shape[1] - 1):
        logp_BV, state = bundle.model.step(ids[:, position], state)
        if position:
            assert -float(logp_BV[0, ids[0, position + 1]]) == pytest.approx(nats[position + 1], abs=1e-5)


# What an answer holds


def pieces_of(bench, request):
    ticket = bench.begin(request)
    bench.finish()
    return ticket.result()


@pytest.mark.parametrize("unit", ["word", "bpe", "char"])
def test_tokens_of_an_answer_spell_its_text_and_have_the_models_probabilities(unit):
    bundle = bundle_of("lstm", unit)
    for seed in range(8):
        whole = pieces_of(Bench(bundle), Generation("The soup", 3, 0, 20, Sampling(0.7), seed, ("we",), logprobs=3))
        spelled = "".join(token.text for token in whole.tokens)
        assert spelled.startswith(whole.text)  # the last token may hold the beginning of the stop string
        assert all(token.offset < len(whole.text) or not token.text for token in whole.tokens)
        assert [token.offset for token in whole.tokens] == [
            sum(len(token.text) for token in whole.tokens[:index]) for index in range(len(whole.tokens))
        ]
        for token in whole.tokens:
            assert len(token.top) == 3 if unit == "word" else 0 < len(token.top) <= 3  # parts of characters are one
            assert token.logprob <= max(token.top.values()) < 0


@pytest.mark.parametrize("unit", ["word", "bpe", "char"])
def test_a_token_that_is_among_the_likeliest_is_there_by_the_text_that_it_adds(unit):
    """A client looks a token up among the likeliest: with its space, and its capital after a full stop."""
    bundle, found = bundle_of("ngram", unit), {}
    for seed in range(6):
        asked = Generation("The soup was gre", 3, 0, 30, Sampling(0.9), seed, logprobs=3, echo=True)
        for token in pieces_of(Bench(bundle), asked).tokens[1:]:
            if token.logprob > min(token.top.values()):  # of equals, not all may be there
                assert token.top[token.text] == token.logprob
                found[token.text] = token.logprob
    assert any(text.startswith(" ") for text in found)
    assert any(text.strip().istitle() for text in found) or unit == "char"
    assert len(found) > 8


def test_a_word_that_the_prompt_begins_has_the_probabilities_of_its_completions():
    bundle, prompt = bundle_of("mixture"), "We went to the p"
    token = pieces_of(Bench(bundle), Generation(prompt, 4, 0, 1, logprobs=20)).tokens[0]
    words = completions(bundle, prompt, 20, 4).words
    whole = sum(probability for _, probability in words)
    assert {word.lower() for word, _ in words} == {"phoenix", "pizza", "place", "prices"}
    expected = {word[1:]: np.log(probability / whole) for word, probability in words}
    assert token.top == {text: pytest.approx(logp, abs=1e-5) for text, logp in expected.items()}
    assert token.top[token.text] == token.logprob


def test_the_log_probabilities_are_those_before_the_sampling_options():
    bundle = bundle_of("ngram")
    request = Generation("The soup", 3, 0, 1, Sampling(0.2, 1), 0, logprobs=2)
    token = pieces_of(Bench(bundle), request).tokens[0]
    ids = np.array([[*bundle.vocabulary.prefix(3), *bundle.vocabulary.encode("The soup")]])
    state = bundle.model.score(ids[:, :-1], bundle.model.start(1))[1]
    logp_V = bundle.model.step(ids[:, -1], state)[0][0]
    assert token.logprob == pytest.approx(float(logp_V.max()))
    assert list(token.top.values()) == pytest.approx(logp_V.topk(2).values.tolist())


@pytest.mark.parametrize("prompt", ["The soup was great", "The soup was gre"])
@pytest.mark.parametrize("kind", ["ngram", "lstm", "mixture"])
def test_an_echoed_prompt_has_the_log_probabilities_of_a_score(kind, prompt):
    bundle = bundle_of(kind)
    whole = pieces_of(Bench(bundle), Generation(prompt, 4, max_tokens=0, logprobs=0, echo=True))
    scored = bundle.score_text(prompt, 4).per_token[:-1]
    assert (whole.text, whole.finish, whole.completion_tokens) == (prompt, "length", 0)
    assert [token.logprob for token in whole.tokens] == pytest.approx([-nats for _, nats in scored], abs=1e-5)
    assert whole.prompt_tokens == len(scored)


def test_a_token_that_finishes_a_word_has_its_probability_given_the_tokens_before_it_and_the_prompts_characters():
    bundle, prompt, ways = bundle_of("mixture", "bpe"), "We went to the p", Counter()
    usual = bundle.vocabulary.encode(prompt)
    bench = Bench(bundle)
    for seed in range(40):
        whole = pieces_of(bench, Generation(prompt, 3, 0, 3, seed=seed, logprobs=400, echo=True))
        assert whole.prompt_tokens == len(usual)
        assert 1 <= whole.completion_tokens <= 3
        assert whole.text == "".join(token.text for token in whole.tokens)
        assert [token.text for token in whole.tokens[: len(usual)]] == [bundle.vocabulary.token(i) for i in usual]
        for first in whole.tokens[len(usual) :][:1]:
            assert (first.offset, first.top[first.text]) == (len(prompt), first.logprob)
            ways["<eos>" in first.top] += 1
            if "<eos>" not in first.top:  # else the way ended with the prompt, and any token could come
                assert sum(np.exp(list(first.top.values()))) == pytest.approx(1, abs=1e-4)
                assert {"hoenix", "izza", "lace", "rices"} & set(first.top)
    assert ways[False] > ways[True] > 0


def test_an_answer_says_how_it_ended_and_what_it_took():
    bundle = bundle_of("ngram")
    ends = [pieces_of(Bench(bundle), Generation("The soup", 3, 0, 40, seed=seed)) for seed in range(20)]
    assert {"stop"} <= {whole.finish for whole in ends} <= {"stop", "length"}
    for whole in ends:
        assert (whole.completion_tokens == 40) if whole.finish == "length" else (0 < whole.completion_tokens <= 40)
        assert whole.prompt_tokens == 2
    stopped = pieces_of(Bench(bundle), Generation("The soup", 3, 0, 40, seed=1, stop=(" ",)))
    assert stopped.finish == "stop"


def test_an_echo_comes_first():
    bundle = bundle_of("ngram")
    plain = pieces_of(Bench(bundle), Generation("The soup", 3, 0, 9, seed=2))
    echoed = pieces_of(Bench(bundle), Generation("The soup", 3, 0, 9, seed=2, echo=True))
    assert echoed.text == "The soup" + plain.text
    assert replace(echoed, text=plain.text) == plain


# Saved states


class Counting:
    """A model that counts what it is asked to read."""

    def __init__(self, model):
        self.model, self.steps, self.read = model, 0, 0

    def __getattr__(self, name):
        return getattr(self.model, name)

    def step(self, ids_B, state):
        self.steps += 1
        return self.model.step(ids_B, state)

    def advance(self, ids_BT, state):
        self.read += ids_BT.size
        return self.model.advance(ids_BT, state)


@pytest.mark.parametrize("kind", ["lstm", "mixture", "neural_cache"])
def test_typing_on_costs_one_step_per_new_token_whatever_was_written_before(kind):
    known = bundle_of(kind)
    model = Counting(known.model)
    scheduler = Scheduler(replace(known, model=model), EngineLimits(), Wakes())
    ids = [*known.vocabulary.prefix(3), *known.vocabulary.encode("The soup was great, so we went back. " * 30).tolist()]
    scheduler.read(ids[:200])
    assert (model.steps, model.read) == (1, 199)
    for length in range(201, 231):
        model.steps = model.read = 0
        logp_1V = scheduler.read(ids[:length])[0]
        assert (model.steps, model.read) == (1, 0)
    fresh = Scheduler(known, EngineLimits(), Wakes()).read(ids[:230])
    assert torch.equal(logp_1V, fresh[0])
    model.steps = model.read = 0
    assert scheduler.read(ids[:230])[0] is logp_1V  # the same text again costs nothing
    scheduler.read(ids[:215])
    assert (model.steps, model.read) == (0, 0)  # nor do deleted words


def test_a_text_that_goes_on_from_a_prompt_read_before_does_not_read_it_again():
    known = bundle_of("lstm")
    model = Counting(known.model)
    bench = Bench(replace(known, model=model))
    first = Generation("The soup was great, so we went back. The", 3, max_tokens=1)
    bench.begin(first)
    bench.finish()
    read, model.read = model.read, 0
    assert read > 8
    for number in range(5):
        bench.begin(replace(first, number=number))
        bench.begin(replace(first, prompt=first.prompt + " staff", number=number))
    bench.finish()
    assert model.read == 0
    assert bench.scheduler.counts["cached_tokens"] > 40


def test_prompts_that_come_together_are_read_together_and_equal_ones_once():
    known = bundle_of("lstm")
    model = Counting(known.model)
    bench = Bench(replace(known, model=model), prefill_tokens=4)
    tickets = [bench.begin(Generation("The soup was great", 3, number, 3)) for number in range(10)]
    tickets += [bench.begin(Generation("We went to Phoenix", 3, number, 3)) for number in range(10)]
    bench.scheduler.cycle()
    bench.finish()
    assert model.read == 2 * (2 + 4 - 1)
    assert len({ticket.result().text for ticket in tickets}) > 10


def test_a_long_prompt_is_read_in_chunks_between_the_steps_of_live_texts():
    known = bundle_of("lstm")
    model = Counting(known.model)
    bench = Bench(replace(known, model=model), prefill_tokens=5)
    live = bench.begin(Generation("The", 3, max_tokens=200, sampling=Sampling(), seed=5))
    while not live.unread:
        bench.scheduler.cycle()
    bench.begin(Generation("The soup was great, so we went back. " * 4, 3, max_tokens=1))
    model.read = 0
    for _ in range(4):
        before, written = model.read, live.unread
        bench.scheduler.cycle()
        assert model.read - before <= 5
        assert live.unread == written + 1


def test_a_failed_text_is_told_the_reason():
    bench = Bench(bundle_of("ngram"))
    ticket = bench.begin(Generation("The soup", 3, max_tokens=5))
    bench.scheduler.end_all("closed", "the server ends")
    with pytest.raises(StreamEnded, match="the server ends") as caught:
        ticket.result()
    assert caught.value.reason == "closed"
    assert bench.scheduler.live == 0


def test_pieces_that_wait_are_given_as_one():
    ticket = Ticket()
    for piece in (Piece("a"), Piece("b"), Piece("c", finish="stop", completion_tokens=3)):
        ticket.write(piece)
    assert list(ticket) == [Piece("abc", finish="stop", completion_tokens=3)]




def test_texts_without_a_rating_have_saved_states_too():
    bundle = bundle_of("lstm")
    averaged = AnyRating(bundle.model, [1, 5], np.array([0.3, 0.7]))
    ids = [1, *bundle.vocabulary.encode("The soup was great").tolist()]
    scheduler = Scheduler(bundle, EngineLimits(), Wakes())
    scheduler.read(ids[:-1], averaged)
    scheduler.read([1, 5, *ids[1:]])
    found = scheduler.read(ids, averaged)[0]
    assert scheduler.counts["cached_tokens"] == len(ids) - 1
    state = averaged.score(np.array([ids[:-1]]), averaged.start(1))[1]
    assert torch.allclose(found, averaged.step(np.array(ids[-1:]), state)[0], atol=1e-6)
