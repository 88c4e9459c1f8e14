"""int8 steps: the same bits in any batch, a small and measured loss, float32 where they do not fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from corpus.synthetic.synth import write_reviews
from models.base import FitContext
from models.bundles.bundle import Bundle
from models.neural.inference import int8
from models.neural.inference.int8 import Int8LSTMReader, in_int8, loss_of_int8, ratings_of
from models.neural.inference.whole_numbers import int8_is_exact
from models.neural.recurrent import RecurrentLM
from models.sampling import Sampling, generate
from models.specs import RecurrentSpec, TrainingSpec, VocabularySpec
from models.streams import TokenStream, stars_prior, write_stream
from models.text.normal_form import NormalForm
from models.tokens.vocabulary import EOS, STARS, Vocabulary
from serving.engine import number_format
from serving.engine.number_format import MOST_LOSS
from serving.engine.requests import Generation
from tests.serving.engine.small_models import bundle_of, network

NEURAL = ("lstm", "gru", "rnn", "nplm", "mixture", "neural_cache")
pytestmark = pytest.mark.skipif(not int8_is_exact(), reason="this processor has no exact products of 8 bits")


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn", "nplm"])
def test_the_distributions_of_a_stream_have_the_same_bits_in_any_batch(kind):
    exact = network(kind, 997, hidden=101, embedding=67, **({} if kind == "nplm" else {"layers": 2}))[1]
    model = in_int8(exact)
    assert isinstance(model.reader(), Int8LSTMReader) == (kind == "lstm")
    ids_BT = np.random.default_rng(1).integers(9, 997, (64, 6))
    ids_BT[:, 0], ids_BT[:, 1] = 1, np.arange(64) % 6 + 3
    state, near = model.start(64), exact.start(64)
    for ids_B in ids_BT.T:
        logp_BV, state = model.step(ids_B, state)
        near_BV, near = exact.step(ids_B, near)
    for rows in ([0], [63], [3, 40], list(range(17))):
        own = model.start(len(rows))
        for ids_B in ids_BT[rows].T:
            own_BV, own = model.step(ids_B, own)
        assert torch.equal(own_BV, logp_BV[rows])
    p_BV, near_p_BV = torch.softmax(logp_BV, 1), near_BV.exp()
    assert float((p_BV - near_p_BV).abs().sum(1).mean()) < 0.5  # weights this large and random amplify any rounding
    assert [tensor.shape for tensor in state.network] == [tensor.shape for tensor in near.network]


@pytest.mark.parametrize("kind", NEURAL)
def test_the_loss_is_measured_and_small(kind):
    bundle = bundle_of(kind)
    quick = in_int8(bundle.model)
    assert 0 <= loss_of_int8(bundle, quick) < 0.02
    ids_BT = np.array([[1, 5, 12, 2]])
    scores = [model.score(ids_BT, model.start(1))[0].tolist() for model in (quick, bundle.model)]
    assert scores[0] == scores[1]


def test_a_loss_is_the_relative_rise_of_the_nats():
    bundle = bundle_of("lstm")
    assert loss_of_int8(bundle, bundle.model) == pytest.approx(0, abs=1e-6)
    other = network("gru", bundle.vocabulary.size)[1]
    assert loss_of_int8(bundle, other) > 0.05


@pytest.mark.parametrize(("texts", "tokens"), [(1, 48), (1, 8), (4, 48)])
def test_few_tokens_tell_small_losses_from_large_ones(texts, tokens):
    """Where steps are slow, the loss is measured on as few."""
    bundle = bundle_of("lstm")
    other = network("gru", bundle.vocabulary.size)[1]
    assert 0 <= loss_of_int8(bundle, in_int8(bundle.model), texts=texts, tokens=tokens) < 0.02
    assert loss_of_int8(bundle, other, texts=texts, tokens=tokens) > 0.05


def test_no_step_is_taken_after_the_end_of_all_texts():
    bundle = bundle_of("lstm")
    ending = EndingAtOnce(bundle.model)
    loss_of_int8(replace(bundle, model=ending), bundle.model, texts=3)
    assert ending.batches == [3] * len(bundle.vocabulary.prefix(1))


def test_the_loss_is_that_of_texts_with_the_ratings_of_the_training():
    bundle = bundle_of("lstm")
    assert ratings_of(bundle, 10) == [1, 2, 2, 3, 3, 3, 4, 4, 4, 4]
    rated = RememberingRatings(bundle.model)
    loss_of_int8(replace(bundle, model=rated), bundle.model)
    assert rated.ratings == set(STARS[1:5])
    unrated = RememberingRatings(bundle.model)
    loss_of_int8(replace(bundle, model=unrated, stars_prior=(1, 0, 0, 0, 0, 0)), bundle.model)
    assert unrated.ratings == {STARS[0]}


class EndingAtOnce:
    """A model whose texts end with their first token."""

    def __init__(self, model):
        self._model, self.start, self.batches = model, model.start, []

    def step(self, ids_B, state):
        self.batches.append(len(ids_B))
        logp_BV, state = self._model.step(ids_B, state)
        end_BV = torch.full_like(logp_BV, -torch.inf)
        end_BV[:, EOS] = 0
        return end_BV, state


class RememberingRatings:
    """A model that remembers which ratings it has read."""

    def __init__(self, model):
        self._model, self.start, self.ratings = model, model.start, set()

    def step(self, ids_B, state):
        self.ratings |= {*ids_B.tolist()} & set(STARS)
        return self._model.step(ids_B, state)


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["word", "bpe"])
def test_a_trained_model_loses_at_most_half_a_percent(unit, tmp_path):
    """On its own texts, as it is measured, and on reviews that it has not read."""
    write_reviews(tmp_path / "reviews.jsonl", 700, seed=1)
    reviews = pl.read_ndjson(tmp_path / "reviews.jsonl").select(
        "review_id", "text", pl.col("stars").cast(pl.Int8), bytes=pl.col("text").str.len_bytes() + 1
    )
    vocabulary = Vocabulary.train(reviews["text"], VocabularySpec(unit=unit, size=700, min_count=2), NormalForm())
    parts = {"train": reviews[:600], "validation": reviews[600:650], "test": reviews[650:]}
    streams = {}
    for name, part in parts.items():
        write_stream(tmp_path / name, vocabulary, [part])
        streams[name] = TokenStream.open(tmp_path / name)
    training = TrainingSpec(epochs=4, batch=16, bptt_len=35, learning_rate=1e-2, seed=1)
    spec = RecurrentSpec(kind="lstm", name="lstm", hidden=64, embedding=48, training=training)
    torch.set_num_threads(1)
    model = RecurrentLM.fit(spec, vocabulary, streams["train"], streams["validation"], FitContext(tmp_path)).model
    bundle = Bundle(spec, vocabulary, model, stars_prior=tuple(stars_prior(streams["train"])))
    quick = in_int8(model)
    assert 0 <= loss_of_int8(bundle, quick) <= MOST_LOSS
    nats = [nats_of(one, vocabulary, parts["test"]) for one in (model, quick)]
    uniform = streams["test"].offsets[-1] * np.log(vocabulary.size)
    assert nats[0] < 0.6 * uniform  # it has learnt something
    assert nats[1] <= (1 + MOST_LOSS) * nats[0]


def nats_of(model, vocabulary, reviews):
    """−log p of some reviews, by steps."""
    total = 0.0
    for text, stars in zip(reviews["text"], reviews["stars"], strict=True):
        ids, state = [*vocabulary.prefix(stars), *vocabulary.encode(text).tolist(), EOS], model.start(1)
        for position, token in enumerate(ids[:-1]):
            logp_1V, state = model.step(np.array([token]), state)
            if position:
                total -= float(torch.log_softmax(logp_1V, 1)[0, ids[position + 1]])
    return total


@pytest.mark.parametrize("kind", ["ngram", "cache"])
def test_models_without_a_network_have_no_int8(kind):
    assert in_int8(bundle_of(kind).model) is None


def texts(engine, count=12, **options):
    asked = [Generation("The soup", 3, number, 25, seed=4, **options) for number in range(count)]
    return [ticket.result().text for ticket in [engine.submit(generation) for generation in asked]]


def test_exact_texts_stay_those_of_generate_beside_fast_ones(engine_of, monkeypatch):
    monkeypatch.setattr(number_format, "MOST_LOSS", 0.05)
    bundle = bundle_of("lstm")
    engine = engine_of(bundle, numbers="int8")
    assert engine.figures().numbers == "int8"
    mixed = [
        engine.submit(Generation("The soup", 3, number, 25, seed=4, exact=exact))
        for number in range(8) for exact in (True, False)
    ]  # fmt: skip
    found = ["The soup" + ticket.result().text for ticket in mixed]
    assert found[::2] == generate(bundle, 8, 3, "The soup", max_tokens=25, seed=4)
    for options in (Sampling(), Sampling(0.7), Sampling(0.8, 9, 0.9, repetition_penalty=1.2)):
        alone = [texts(engine, 1, sampling=options, exact=False)[0] for _ in range(2)]
        crowd = texts(engine, 30, sampling=options, exact=False)
        assert alone == crowd[:1] * 2


def test_a_model_that_loses_too_much_stays_in_float32(engine_of, monkeypatch):
    monkeypatch.setattr(int8, "loss_of_int8", lambda bundle, quick, texts, tokens: 0.006)
    engine = engine_of(replace(bundle_of("gru"), digest="too coarse"), numbers="int8")
    assert engine.figures().numbers == "float32"
    assert engine.loss == 0.006
    assert texts(engine, 2, exact=False) == texts(engine, 2)


def test_log_probabilities_of_fast_texts_are_normalised(engine_of, monkeypatch):
    monkeypatch.setattr(number_format, "MOST_LOSS", 0.05)
    engine = engine_of(bundle_of("gru"), numbers="int8")
    whole = engine.submit(Generation("The soup", 3, max_tokens=5, logprobs=400, exact=False)).result()
    for token in whole.tokens:
        assert sum(np.exp(value) for value in token.top.values()) == pytest.approx(1, abs=1e-4)
