"""int8 steps: the same bits in any batch, a small and measured loss, float32 where they do not fit."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from reviewlm.corpus.synthetic.synth import write_reviews
from reviewlm.models.bundles.bundle import INT8_LOSS, in_int8, load_bundle
from reviewlm.models.neural.inference.int8 import Int8LSTMReader
from reviewlm.models.specs import NGramSpec, RecurrentSpec, TrainingSpec, VocabularySpec
from reviewlm.models.streams import TokenStream, write_stream
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.tokens.special import EOS
from reviewlm.tasks.fitting.fit_worker import run
from reviewlm.tasks.fitting.job import LanguageModelJob
from reviewlm.training.context import FitContext
from reviewlm.training.fit import fit_model
from reviewlm.training.neural.int8_loss import loss_of_int8
from reviewlm.training.vocabularies.learn import learn_vocabulary
from tests.serving.engine.small_models import TEXTS, bundle_of, network

NEURAL = ("lstm", "gru", "rnn", "nplm", "mixture", "neural_cache")


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn", "nplm"])
def test_the_distributions_of_a_stream_have_the_same_bits_in_any_batch(kind):
    exact = network(
        kind,
        997,
        hidden=101,
        embedding=67,
        **({} if kind == "nplm" else {"layers": 2}),
    )[1]
    model = in_int8(exact)
    assert isinstance(model.reader, Int8LSTMReader) == (kind == "lstm")
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
    # Weights this large and random amplify any rounding.
    assert float((p_BV - near_p_BV).abs().sum(1).mean()) < 0.5
    assert [tensor.shape for tensor in state.network] == [tensor.shape for tensor in near.network]


def stream_of(
    folder,
    vocabulary,
    texts,
):
    reviews = pl.DataFrame(
        {
            "review_id": texts,
            "text": texts,
            "stars": [number % 6 for number in range(len(texts))],
        }
    )
    write_stream(
        folder,
        vocabulary,
        [
            reviews.with_columns(
                pl.col("stars").cast(pl.Int8), bytes=pl.col("text").str.len_bytes() + 1
            )
        ],
    )
    return TokenStream.open(folder)


@pytest.mark.parametrize("kind", NEURAL)
def test_the_loss_is_the_relative_rise_of_the_perplexity_of_held_out_reviews(kind, tmp_path):
    bundle = bundle_of(kind)
    texts = ["The staff was kind.", "We waited for the check, and the beer was cold!", "soup", ""]
    quick, reviews = in_int8(bundle.model), pl.DataFrame({"text": texts, "stars": range(4)})
    nats = [nats_of(model, bundle.vocabulary, reviews) for model in (bundle.model, quick)]
    found = loss_of_int8(bundle.model, stream_of(tmp_path, bundle.vocabulary, texts))
    tokens = sum(len(bundle.vocabulary.encode(text)) + 1 for text in texts)
    assert found == pytest.approx(np.exp((nats[1] - nats[0]) / tokens) - 1, abs=1e-5)
    assert found != 0


@pytest.mark.parametrize("kind", ["lstm", "ngram"])
def test_the_bundle_of_a_fit_has_its_loss_on_validation_reviews(kind, tmp_path):
    vocabulary = bundle_of(kind).vocabulary
    vocabulary.save(tmp_path / "vocabulary.json")
    for name, texts in {"train": TEXTS, "validation": TEXTS[3:5]}.items():
        stream_of(tmp_path / name, vocabulary, texts)
    training = TrainingSpec(
        epochs=1,
        batch=2,
        bptt_len=8,
        precision="float32",
    )
    spec = (
        NGramSpec(order=2)
        if kind == "ngram"
        else RecurrentSpec(
            hidden=12,
            embedding=12,
            training=training,
        )
    )
    (tmp_path / "work").mkdir()
    job = LanguageModelJob(
        work=tmp_path / "work",
        spec=spec,
        vocabulary=tmp_path / "vocabulary.json",
        train=tmp_path / "train",
        validation=tmp_path / "validation",
        facts={},
    )
    run(job, lambda progress: None)
    opened = load_bundle(job.bundle)
    validation = TokenStream.open(tmp_path / "validation")
    assert opened.facts.get(INT8_LOSS) == loss_of_int8(opened.model, validation)
    assert (INT8_LOSS in opened.facts) == (kind == "lstm")


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["word", "bpe"])
def test_a_small_trained_model_loses_a_fifth_of_a_percent_at_most(unit, tmp_path):
    """On the validation reviews, as it is measured, and on others that it has not read."""
    write_reviews(tmp_path / "reviews.jsonl", 700, seed=1)
    reviews = pl.read_ndjson(tmp_path / "reviews.jsonl").select(
        "review_id", "text", pl.col("stars").cast(pl.Int8), bytes=pl.col("text").str.len_bytes() + 1
    )
    vocabulary = learn_vocabulary(
        reviews["text"],
        VocabularySpec(
            unit=unit,
            size=700,
            min_count=2,
        ),
        NormalForm(),
    )
    parts = {
        "train": reviews[:600],
        "validation": reviews[600:650],
        "test": reviews[650:],
    }
    streams = {}
    for name, part in parts.items():
        write_stream(tmp_path / name, vocabulary, [part])
        streams[name] = TokenStream.open(tmp_path / name)
    training = TrainingSpec(
        epochs=4,
        batch=16,
        bptt_len=35,
        learning_rate=1e-2,
        seed=1,
    )
    spec = RecurrentSpec(
        kind="lstm",
        name="lstm",
        hidden=64,
        embedding=48,
        training=training,
    )
    torch.set_num_threads(1)
    model = fit_model(
        spec,
        vocabulary,
        streams["train"],
        streams["validation"],
        FitContext(tmp_path),
    ).model
    assert loss_of_int8(model, streams["validation"]) <= 0.002
    nats = [nats_of(one, vocabulary, parts["test"]) for one in (model, in_int8(model))]
    uniform = streams["test"].offsets[-1] * np.log(vocabulary.size)
    assert nats[0] < 0.6 * uniform  # it has learnt something
    assert nats[1] - nats[0] <= 0.002 * streams["test"].offsets[-1]


def nats_of(
    model,
    vocabulary,
    reviews,
):
    """−log p of some reviews, by steps."""
    total = 0.0
    for text, stars in zip(reviews["text"], reviews["stars"], strict=True):
        ids, state = (
            [*vocabulary.prefix(stars), *vocabulary.encode(text).tolist(), EOS],
            model.start(1),
        )
        for position, token in enumerate(ids[:-1]):
            logp_1V, state = model.step(np.array([token]), state)
            if position:
                total -= float(torch.log_softmax(logp_1V, 1)[0, ids[position + 1]])
    return total
