"""A language model whose embedding starts from word vectors: frozen it stays to the bit, otherwise it is trained."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from reviewlm.models.base import ModelError
from reviewlm.models.specs import (
    NPLMSpec,
    ObjectiveSpec,
    RecurrentSpec,
    TrainingSpec,
    VocabularySpec,
    model_class,
)
from reviewlm.models.streams import TokenStream, unigram_counts, write_stream
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.tokens.vocabulary import Vocabulary
from reviewlm.training.context import FitContext
from reviewlm.training.fit import fit_model
from reviewlm.training.vectors.stored_rows import ROWS, save_matrix
from reviewlm.training.vocabularies.learn import learn_vocabulary

TRAINING = TrainingSpec(
    epochs=1,
    batch=4,
    bptt_len=8,
    learning_rate=1e-2,
    precision="float32",
    evaluations=2,
)
LSTM = RecurrentSpec(
    hidden=6,
    embedding=4,
    dropout=0.0,
    training=TRAINING,
    vectors="own",
)
TEXTS = [
    "the food was good and the staff was kind",
    "the soup was cold",
    "good food and kind staff",
] * 6
KINDS = {
    "tied, two levels": replace(LSTM, objective=ObjectiveSpec("adaptive", head=6)),
    "tied, adaptive": replace(LSTM, objective=ObjectiveSpec("adaptive", head=6, shrink=2.0)),
    "untied": replace(LSTM, tied=False),
    "one softmax in bf16": replace(
        LSTM,
        objective=ObjectiveSpec("softmax"),
        training=replace(TRAINING, precision="bf16"),
        hidden=4,
    ),
    "sampled softmax": replace(
        LSTM, objective=ObjectiveSpec("softmax", estimator="sampled", samples=8)
    ),
    "feed-forward": NPLMSpec(
        hidden=6,
        embedding=4,
        dropout=0.0,
        training=TRAINING,
        vectors="own",
    ),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Vocabulary, TokenStream]:
    folder = tmp_path_factory.mktemp("data")
    vocabulary = learn_vocabulary(TEXTS, VocabularySpec(min_count=1), NormalForm())
    frame = pl.DataFrame(
        {
            "review_id": [str(place) for place in range(len(TEXTS))],
            "text": TEXTS,
            "stars": [3] * len(TEXTS),
            "bytes": [len(text) + 1 for text in TEXTS],
        }
    )
    write_stream(folder, vocabulary, [frame])
    return vocabulary, TokenStream.open(folder)


def rows_in(
    folder: Any,
    vocabulary: Vocabulary,
    dimensions: int = 4,
) -> np.ndarray:
    rows_VE = (
        np.random.default_rng(7).normal(0, 0.3, (vocabulary.size, dimensions)).astype(np.float32)
    )
    save_matrix(folder, rows_VE)
    return rows_VE


def fitted(
    spec: Any,
    data: Any,
    folder: Any,
    vectors: Any,
) -> Any:
    vocabulary, stream = data
    context = FitContext(work=folder, vectors=vectors)
    return fit_model(
        spec,
        vocabulary,
        stream,
        stream,
        context,
    ).model


@pytest.mark.parametrize("name", KINDS)
def test_a_frozen_embedding_stays_to_the_bit_while_the_rest_is_trained(
    name: str,
    data: Any,
    tmp_path: Any,
) -> None:
    spec, rows_VE = KINDS[name], rows_in(tmp_path, data[0])
    network = fitted(
        replace(spec, freeze_vectors=True), data, tmp_path / "frozen", tmp_path
    ).network
    assert network.embedding.weight.detach().numpy().tobytes() == rows_VE.tobytes()
    torch.manual_seed(spec.training.seed)
    counts_V = torch.from_numpy(unigram_counts(data[1], data[0].size))
    fresh = dict(model_class(spec.kind).build(spec, counts_V).named_parameters())
    moved = {key for key, own in network.named_parameters() if not torch.equal(own, fresh[key])}
    assert moved == set(fresh), "the embedding has the vectors, and every other weight was trained"


def test_vectors_that_do_not_fit_are_refused(data: Any, tmp_path: Any) -> None:
    def refusal(
        spec: Any,
        vectors: Any,
        kind: str = "input",
    ) -> str:
        with pytest.raises(ModelError) as caught:
            fitted(spec, data, tmp_path / "work", vectors)
        assert caught.value.kind == kind
        return str(caught.value)

    assert "no word vectors were given" in refusal(LSTM, None)
    rows_in(tmp_path, data[0], 5)
    assert "'own' have 5 dimensions, not 4: set embedding = 5" in refusal(LSTM, tmp_path)
    save_matrix(tmp_path, np.zeros((3, 4)))
    assert "for 3 entries, but the vocabulary has" in refusal(LSTM, tmp_path)
    save_matrix(tmp_path, np.full((3, 4), np.nan))
    assert "finite" in refusal(LSTM, tmp_path, "bundle")
    (tmp_path / ROWS).write_bytes(b"torn")
    assert f"the word vectors in {tmp_path}" in refusal(LSTM, tmp_path, "bundle")
