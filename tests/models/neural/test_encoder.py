"""Vectors of texts: the mean features that predict each token, the same in any batch and for any cut."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.models.base import ModelError
from reviewlm.models.neural.encoder import Encoder, network_in
from tests.examples import examples
from tests.serving.engine.small_models import KINDS, TEXTS, bundle_of

NEURAL = ("lstm", "gru", "rnn", "nplm")


def predicting(kind: str, text: str) -> np.ndarray:
    """The features that predict a text's tokens and its end (n + 1, H), read one token after another."""
    bundle = bundle_of(kind)
    model, vocabulary = network_in(bundle.model), bundle.vocabulary
    assert model is not None
    state, rows = model.start(1), []
    for token in [*vocabulary.prefix(0), *vocabulary.encode(vocabulary.normal_form.apply(text))]:
        state = model.step(np.array([token]), state)[1]
        rows.append(state.features_BE[0].numpy())
    return np.stack(rows[1:])


@pytest.mark.parametrize("kind", NEURAL)
def test_a_vector_is_the_mean_of_the_features_that_predict_the_text(kind: str) -> None:
    found_DF = Encoder(bundle_of(kind)).encode(TEXTS[:6])
    wanted_DF = np.stack([predicting(kind, text).mean(0) for text in TEXTS[:6]])
    assert found_DF.dtype == np.float32
    np.testing.assert_allclose(found_DF, wanted_DF, atol=2e-5)


@given(
    texts=st.lists(st.sampled_from([*TEXTS[:6], "", "great " * 40]), min_size=1, max_size=8),
    positions=st.integers(2, 60),
)
@examples(60)
def test_neither_the_other_texts_nor_the_cut_change_a_vector(texts: list[str], positions: int):
    encoder = Encoder(bundle_of("lstm"))
    alone_DF = np.concatenate([encoder.encode([text]) for text in texts])
    np.testing.assert_allclose(encoder.encode(texts), alone_DF, atol=1e-5)
    cut_DF = np.full_like(alone_DF, np.nan)
    for step in encoder.read(encoder.tokens(texts), positions):
        cut_DF[step.rows_B] = step.vectors_BF
    np.testing.assert_allclose(cut_DF, alone_DF, atol=1e-5)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {*NEURAL, "mixture", "neural_cache"}))
def test_a_model_without_a_network_is_refused_with_what_to_do(kind: str) -> None:
    with pytest.raises(ModelError, match=r"has no network.*choose a neural model") as caught:
        Encoder(bundle_of(kind))
    assert caught.value.kind == "input"


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu_as_in_a_fit")
@pytest.mark.parametrize("kind", NEURAL)
def test_a_gpu_gives_the_vectors_of_the_processor(kind: str) -> None:
    bundle = bundle_of(kind)
    network = deepcopy(network_in(bundle.model).network).to("cuda:0")  # type: ignore[union-attr]
    moved = replace(bundle, model=type(bundle.model)(bundle.spec, network, bundle.vocabulary.size))
    np.testing.assert_allclose(
        Encoder(moved).encode(TEXTS), Encoder(bundle).encode(TEXTS), atol=1e-4
    )
