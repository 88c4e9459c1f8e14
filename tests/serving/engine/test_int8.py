"""int8 steps: exact sums, the same bits in any batch, a small and measured loss, float32 where they do not fit."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from corpus.synthetic.synth import write_reviews
from models.base import FitContext
from models.bundles.bundle import Bundle
from models.neural.inference import int8, whole_numbers
from models.neural.inference.int8 import (
    Int8Linear,
    Int8LSTMReader,
    in_int8,
    int8_reader,
    loss_of_int8,
    ratings_of,
)
from models.neural.inference.log_kernels import largest
from models.neural.inference.whole_numbers import Linear, int8_is_exact, plain_rows, quantised
from models.neural.recurrent import RecurrentLM
from models.sampling import Sampling, generate
from models.specs import ObjectiveSpec, RecurrentSpec, TrainingSpec, VocabularySpec
from models.streams import TokenStream, stars_prior, write_stream
from models.text.normal_form import NormalForm
from models.tokens.vocabulary import EOS, STARS, Vocabulary
from serving.engine import number_format
from serving.engine.number_format import MOST_LOSS
from serving.engine.requests import Generation
from tests.serving.engine.small_models import bundle_of, network

ADAPTIVE = {"output": "adaptive", "head": 60, "cutoffs": (150,), "shrink": 1.0}
NEURAL = ("lstm", "gru", "rnn", "nplm", "mixture", "log_linear", "neural_cache")
pytestmark = pytest.mark.skipif(not int8_is_exact(), reason="this processor has no exact products of 8 bits")


def test_a_product_is_that_of_the_rounded_rows():
    draws = np.random.default_rng(1)
    x, w, b = (draws.normal(size=shape).astype(np.float32) for shape in ((5, 33), (21, 33), (21,)))
    quantised = [np.rint(m * (127 / abs(m).max(1, keepdims=True))) for m in (x, w)]
    scale = abs(x).max(1)[:, None] / 127 * (abs(w).max(1)[None] / 127)
    expected = quantised[0] @ quantised[1].T * scale + b
    found = Int8Linear(torch.from_numpy(w), torch.from_numpy(b))(torch.from_numpy(x)).numpy()
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert abs(found - (x @ w.T + b)).max() < 0.15


def test_rows_of_zeros_stay_zeros():
    linear = Int8Linear(torch.zeros(4, 8), torch.arange(4.0))
    assert linear(torch.zeros(2, 8)).tolist() == [[0, 1, 2, 3]] * 2


def whole(shape, seed):
    """Return whole numbers; each row of 127 at least, so that as inputs they are quantised to themselves."""
    numbers = torch.from_numpy(np.random.default_rng(seed).integers(-127, 128, shape, np.int8))
    numbers[:, -1] = 127
    return numbers


def sums(write, x_NE, features_out):
    out_NG = np.empty((len(x_NE), features_out), np.float32)
    write(x_NE.float().numpy(), out_NG)
    return out_NG.tolist()


@pytest.mark.parametrize("features", [70, 3, 4, 650])
@pytest.mark.parametrize("features_out", [41, 48, 97])
def test_all_exact_ways_give_the_same_sums_for_any_number_of_rows(features, features_out):
    x_NE, weight_GE = whole((21, features), 2), whole((features_out, features), 3)
    expected = (x_NE.long() @ weight_GE.long().t()).float().tolist()
    ways = [way for way in whole_numbers.WAYS if whole_numbers._is_exact(way)]
    writes = [Linear(weight_GE, np.ones(features_out, np.float32), np.zeros(features_out, np.float32))]
    for write in [*writes, *(whole_numbers._plain(way, weight_GE) for way in ways)]:
        for rows in (1, 2, 4, 5, 8, 9, 16, 21):
            assert sums(write, x_NE[:rows], features_out) == expected[:rows]


def test_all_exact_ways_scale_the_sums_back_to_the_same_bits():
    draws = np.random.default_rng(6)
    weight_GE, x_NE = whole((97, 33), 6), draws.normal(size=(9, 33)).astype(np.float32)
    scale_G, bias_G = draws.random(97).astype(np.float32) / 100, draws.normal(size=97).astype(np.float32)
    found = []
    for way in filter(whole_numbers._is_exact, whole_numbers.WAYS):
        out_NG = np.empty((9, 97), np.float32)
        way(weight_GE, scale_G, bias_G)(x_NE, out_NG)
        found.append(out_NG.tolist())
    assert all(one == found[0] for one in found)


def test_rows_are_read_back_from_packed_weights():
    weight_GE = torch.from_numpy(np.random.default_rng(7).normal(size=(101, 35)).astype(np.float32))
    ids = np.array([100, 0, 47, 48, 0])
    packed = Linear(*quantised(weight_GE), np.zeros(101, np.float32)).rows
    expected = plain_rows(*quantised(weight_GE))(ids)
    assert abs(expected - weight_GE[ids].numpy()).max() < 0.5 * abs(weight_GE).max().item() / 127 + 1e-6
    if packed is not None:  # no way that torch has gives rows back
        assert packed(ids).tolist() == expected.tolist()


@pytest.mark.parametrize(
    "objective", [{"output": "softmax"}, {"head": 90}, ADAPTIVE], ids=["softmax", "two levels", "adaptive"]
)
@pytest.mark.parametrize("tied", [True, False])
def test_embeddings_are_those_of_the_network_up_to_rounding(objective, tied):
    spec = RecurrentSpec(hidden=37, embedding=37, tied=tied, objective=ObjectiveSpec(**objective))
    counts_V = torch.from_numpy(np.random.default_rng(8).integers(0, 50, 300))
    network = RecurrentLM.build(spec, counts_V)
    rows_VE = network.embedding.weight.detach().numpy()
    found_VE = int8_reader(network).rows(np.arange(300))
    assert (abs(found_VE - rows_VE) <= abs(rows_VE).max(1, keepdims=True) / 254 + 1e-6).all()
    one_by_one = [int8_reader(network).rows(np.array([token]))[0].tolist() for token in (0, 1, 9, 299)]
    assert one_by_one == found_VE[[0, 1, 9, 299]].tolist()


GROWTH = r"""
import ctypes, gc, re, sys
import numpy as np, torch
from models.neural.inference import whole_numbers
from models.neural.inference.int8 import in_int8
from models.neural.recurrent import RecurrentLM
from models.specs import ObjectiveSpec, RecurrentSpec

whole_numbers._quickest = lambda rows: whole_numbers._Compiled

def made(words, size):
    spec = RecurrentSpec(layers=2, hidden=size, embedding=size, objective=ObjectiveSpec(output=sys.argv[1]))
    return RecurrentLM(spec, RecurrentLM.build(spec, torch.ones(words, dtype=torch.int64)), words)

def stepped(model):
    for rows in (1, 4, 32):
        model.step(np.full(rows, 9), model.start(rows))
    return model

def own_bytes():
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return 1024 * int(re.search(r"RssAnon:\s+(\d+)", open("/proc/self/status").read())[1])

stepped(in_int8(made(8_971, 8)))  # with as many words: then all kernels are compiled before memory is measured
model = made(8_971, 650)
before = own_bytes()
kept = stepped(in_int8(model))
print((own_bytes() - before) / sum(4 * weights.numel() for weights in model.network.parameters()))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.skipif(not whole_numbers.vnni.available(), reason="torch's libraries pack weights in ways of their own")
@pytest.mark.parametrize("output", ["softmax", "two_level"])
def test_a_network_in_int8_takes_at_most_a_third_of_the_memory_of_its_weights_in_float32(output):
    """One process of its own for each: the memory that int8 adds, packed for every number of rows.

    The compiled product is set, not timed: beside other work another one may win for some rows, which packs again.
    """
    done = subprocess.run([sys.executable, "-c", GROWTH, output], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert 0.2 < float(done.stdout) <= 1 / 3


def test_the_compiled_way_is_used_only_where_the_compiler_has_the_instructions(monkeypatch):
    monkeypatch.setattr(whole_numbers.vnni, "get_host_cpu_features", lambda: {"avx512vnni": True})
    monkeypatch.setattr(whole_numbers.vnni.config, "CPU_NAME", None)
    assert whole_numbers.vnni.available()
    monkeypatch.setattr(whole_numbers.vnni.config, "CPU_NAME", "haswell")
    assert not whole_numbers.vnni.available()
    monkeypatch.setattr(whole_numbers.vnni.config, "CPU_NAME", None)
    monkeypatch.setattr(whole_numbers.vnni, "get_host_cpu_features", lambda: {"avx2": True})
    assert not whole_numbers.vnni.available()


def test_packing_leaves_the_engine_of_the_process_as_it_was():
    before = torch.backends.quantized.engine
    whole_numbers._packed_by_fbgemm(torch.ones(4, 4, dtype=torch.int8))
    assert torch.backends.quantized.engine == before


@pytest.mark.parametrize("quickest", whole_numbers.WAYS)
def test_the_quickest_of_the_exact_ways_is_used(monkeypatch, quickest):
    """Any of those of torch may be the one that it has only reference code for."""
    monkeypatch.setattr(whole_numbers, "_seconds", lambda way, rows: 1.0 if way is quickest else 2.0)
    monkeypatch.setattr(whole_numbers, "_is_exact", lambda way: True)
    assert whole_numbers._quickest.__wrapped__(1) is quickest
    monkeypatch.setattr(whole_numbers, "_is_exact", lambda way: way is not quickest)
    assert whole_numbers._quickest.__wrapped__(1) is not quickest


def test_each_number_of_rows_may_use_another_way_and_gets_the_same_sums(monkeypatch):
    x_NE, weight_GE = whole((40, 70), 4), whole((41, 70), 5)
    exact = [way for way in whole_numbers.WAYS if whole_numbers._is_exact(way)]
    used = {rows: exact[place % len(exact)] for place, rows in enumerate(whole_numbers.ROWS)}
    calls = []
    spied = {
        rows: lambda *arguments, rows=rows: lambda x, out: (calls.append(rows), used[rows](*arguments)(x, out))
        for rows in used
    }
    monkeypatch.setattr(whole_numbers, "_quickest", spied.__getitem__)
    write = Linear(weight_GE, np.ones(41, np.float32), np.zeros(41, np.float32))
    expected = (x_NE.long() @ weight_GE.long().t()).float().tolist()
    for rows in (1, 3, 4, 31, 32, 40):
        assert sums(write, x_NE[:rows], 41) == expected[:rows]
    assert calls == [1, 1, 4, 4, 32, 32]


def test_a_product_that_overflows_is_not_used():
    wrong = lambda weight_GE: lambda x_NE: (x_NE.long() @ weight_GE.long().t()).clamp(-(2**15), 2**15 - 1)  # noqa: E731
    right = lambda weight_GE: lambda x_NE: x_NE.long() @ weight_GE.long().t()  # noqa: E731
    assert whole_numbers._is_exact(whole_numbers._of_torch(right))
    assert not whole_numbers._is_exact(whole_numbers._of_torch(wrong))


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
    if kind != "log_linear":  # its score takes steps, for the normaliser; the engine scores with the exact model
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


def test_the_largest_number_is_found_wherever_it_is():
    for value in (-3.5, -0.0, 1e-40, 7.25, np.inf):
        for place in (0, 15, 16, 63, 99):
            x_V = np.full(100, -np.inf, np.float32)
            x_V[:place] = -1e30
            x_V[place] = value
            assert largest(x_V) == np.float32(value)
    assert largest(np.full(5, -np.inf, np.float32)) == -np.inf
    assert largest(np.empty(0, np.float32)) == -np.inf


# In the engine


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
