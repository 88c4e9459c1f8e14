"""Stupid back-off ranks words; whatever would take its scores for probabilities is refused."""

from __future__ import annotations

import numpy as np
import pytest

from reviewlm.models.ngram.lm import NGramLM
from reviewlm.models.tokens.special import CONTEXT_IDS, EOS
from reviewlm.training.ngram.counting.counts import count_ngrams
from tests.estimated_ngrams import estimate_ngrams

V = 14
SOUP, BREAD, TEA, GOOD, COLD = range(9, 14)
REVIEWS = (
    [[1, 3, SOUP, GOOD, EOS]] * 6 + [[1, 3, BREAD, COLD, EOS]] * 3 + [[1, 3, SOUP, COLD, EOS]] * 2
)


@pytest.fixture(scope="module")
def model(stream_of) -> NGramLM:
    return estimate_ngrams(count_ngrams(stream_of(REVIEWS), 3, V, CONTEXT_IDS), "stupid_backoff")


def scores_after(model: NGramLM, ids: list[int]) -> np.ndarray:
    state = model.read(np.array([ids[:-1]]), model.start(1))
    return model.step(np.array(ids[-1:]), state)[0].double().exp().numpy()[0]


def test_scores_are_relative_frequencies_with_a_penalty_for_every_word_dropped(model):
    scores = scores_after(model, [1, 3, SOUP])
    tokens = 3 * len(REVIEWS)
    assert scores[[GOOD, COLD]] == pytest.approx([6 / 8, 2 / 8], rel=1e-6)
    assert scores[EOS] == pytest.approx(0.4 * 0.4 * 11 / tokens, rel=1e-6)
    assert scores[BREAD] == pytest.approx(0.4 * 0.4 * 3 / tokens, rel=1e-6)
    assert scores[TEA] == 0
    assert (scores[sorted(CONTEXT_IDS)] == 0).all()
    assert scores.sum() > 1
