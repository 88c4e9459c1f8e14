"""Fitting every neural kind on a tiny language whose structure is known: the verb follows from a word three back."""

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from reviewlm.models.specs import (
    NGramSpec,
    ObjectiveSpec,
    RecurrentSpec,
    TrainingSpec,
    VocabularySpec,
)
from reviewlm.models.streams import TokenStream, write_stream
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.training.context import FitContext
from reviewlm.training.fit import fit_model
from reviewlm.training.vocabularies.learn import learn_vocabulary
from tests.marked_cases import long_but

TRAINING = TrainingSpec(
    epochs=10,
    batch=4,
    bptt_len=12,
    learning_rate=2e-2,
    precision="float32",
    evaluations=3,
    seed=3,
)
SMALL = {
    "dropout": 0.0,
    "training": TRAINING,
    "objective": ObjectiveSpec(output="softmax"),
}
SPECS = {
    # Ratings say nothing in this language: being reminded of them only slows so small a network down.
    "rnn": RecurrentSpec(
        kind="rnn",
        hidden=16,
        embedding=8,
        condition_on_stars=False,
        **SMALL,
    ),
    "gru": RecurrentSpec(
        kind="gru",
        hidden=16,
        embedding=8,
        **SMALL,
    ),
    "lstm": RecurrentSpec(
        kind="lstm",
        hidden=16,
        embedding=8,
        **SMALL,
    ),
}


def reviews(count, seed):
    """ "the cat . it meows": 4 animals, each with its sound; everything else is fixed."""
    rng, sounds = (
        np.random.default_rng(seed),
        {
            "cat": "meows",
            "dog": "barks",
            "cow": "moos",
            "owl": "hoots",
        },
    )
    texts = []
    for _ in range(count):
        animals = rng.choice(list(sounds), rng.integers(1, 4))
        texts.append(" ".join(f"the {animal} . it {sounds[animal]} !" for animal in animals))
    return texts


def frame(texts, name):
    return pl.DataFrame(
        {
            "review_id": [f"{name}{i}" for i in range(len(texts))],
            "text": texts,
            "stars": [i % 5 + 1 for i in range(len(texts))],
            "bytes": [len(text.encode()) + 1 for text in texts],
        }
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder, texts = (
        tmp_path_factory.mktemp("streams"),
        {"train": reviews(200, 1), "validation": reviews(40, 2)},
    )
    vocabulary = learn_vocabulary(
        texts["train"], VocabularySpec(size=40, min_count=1), NormalForm()
    )
    streams = []
    for name, some in texts.items():
        write_stream(folder / name, vocabulary, [frame(some, name)])
        streams.append(TokenStream.open(folder / name))
    return vocabulary, *streams


def fit(
    spec,
    data,
    folder,
):
    vocabulary, train, validation = data
    return fit_model(
        spec,
        vocabulary,
        train,
        validation,
        FitContext(work=folder),
    )


def perplexity(model, stream):
    nats = [
        model.score(stream.document(i)[None], model.start(1))[0].sum() for i in range(len(stream))
    ]
    return math.exp(sum(nats) / stream.tokens)


@pytest.mark.slow
@pytest.mark.parametrize("name", long_but(["rnn", "lstm"], ["lstm"]))
def test_a_recurrent_model_beats_ngram_models(
    name,
    data,
    tmp_path,
):
    """What the animal says follows from a word that a trigram no longer sees."""
    reached = perplexity(fit(SPECS[name], data, tmp_path).model, data[2])
    unigram, trigram = (
        perplexity(fit(NGramSpec(order=n), data, tmp_path / str(n)).model, data[2]) for n in (1, 3)
    )
    assert reached < 0.92 * trigram < 0.5 * unigram


@pytest.fixture(scope="module")
def prices_of_seeds(data, tmp_path_factory):
    """The prices of a review after two fits with one seed and a fit with another."""
    quick = replace(SPECS["gru"], dropout=0.2, training=replace(TRAINING, epochs=1))
    other = replace(quick, training=replace(TRAINING, epochs=1, seed=4))
    ids, prices = data[2].document(0)[None], {}
    for name, spec, state_of_torch in (
        ("first", quick, 99),
        ("again", quick, 100),
        ("other", other, 101),
    ):
        torch.manual_seed(state_of_torch)
        model = fit(spec, data, tmp_path_factory.mktemp(name)).model
        prices[name] = model.score(ids, model.start(1))[0]
    return prices


def test_equal_seeds_give_equal_models(prices_of_seeds):
    np.testing.assert_array_equal(prices_of_seeds["first"], prices_of_seeds["again"])


def test_other_seeds_give_other_models(prices_of_seeds):
    assert (prices_of_seeds["first"] != prices_of_seeds["other"]).any()
