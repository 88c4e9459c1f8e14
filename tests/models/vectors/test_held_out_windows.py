"""Figures of word vectors on held-out windows: the loss is the definition's, and guessing ranks half."""

import numpy as np
import pytest

from models.vectors.held_out import held_out, mean_inputs, ranked_share, windows_of
from models.vectors.spec import EmbeddingSpec
from models.vectors.training import Trained, select, train
from tests.models.vectors.vector_streams import planted_synonyms, stream_of

SPEC = {"dimensions": 12, "min_count": 1, "subsample": 0.0, "window": 2}


def test_windows_end_with_their_review_and_skip_words_without_vectors():
    chosen = select(stream_of([[9, 9, 9, 10, 10, 11]]), min_count=1)
    found = windows_of(stream_of([[9, 0, 10], [11], [10, 9]]), chosen, window=2)
    real = [context[mask].tolist() for context, mask in zip(found.context_NC, found.real_NC, strict=True)]
    assert found.centre_N.tolist() == [0, 1, 1, 0]
    assert real == [[1], [0], [0], [1]]
    np.testing.assert_array_equal(mean_inputs(np.array([[1.0], [5.0], [7.0]]), found), [[5], [1], [1], [5]])


@pytest.mark.parametrize("kind", ["skipgram", "cbow"])
def test_untrained_vectors_lose_log_two_for_each_word_and_rank_half(kind):
    """All scores are 0: each true word and each noise word that is another one costs log 2."""
    spec, stream = EmbeddingSpec(**SPEC, kind=kind), stream_of([[9, 10] * 50])
    blank = Trained(select(stream, 1), np.ones((2, 12), np.float32), np.zeros((2, 12), np.float32), None, None, {})
    found = held_out(spec, blank, stream)
    assert found["ranked"] == 0.5
    assert found["loss"] == pytest.approx((1 + 5 * 0.5) * np.log(2), rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("output", ["negative_sampling", "hierarchical_softmax"])
@pytest.mark.parametrize("kind", ["skipgram", "cbow"])
def test_training_lowers_the_loss_and_raises_the_rank(kind, output):
    stream, unseen = planted_synonyms(400), planted_synonyms(450)
    few, many = (
        held_out(spec, train(spec, stream), unseen)
        for spec in (EmbeddingSpec(**SPEC, kind=kind, output=output, epochs=epochs) for epochs in (1, 20))
    )
    assert many["loss"] < few["loss"]
    assert many["ranked"] > max(0.75, few["ranked"])


def test_a_noise_word_equal_to_the_centre_is_left_out():
    u = np.array([[1.0], [0.0]])
    assert ranked_share(np.array([[1.0], [1.0]]), np.array([0, 1]), np.array([0, 0]), u) == 0.0


def test_a_stream_without_windows_has_no_figures():
    stream = stream_of([[9, 9, 10]])
    spec = EmbeddingSpec(**SPEC)
    assert held_out(spec, train(spec, stream), stream_of([[9], [10]])) == {}
