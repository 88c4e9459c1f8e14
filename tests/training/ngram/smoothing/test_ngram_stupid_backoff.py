"""Stupid back-off ranks words; whatever would take its scores for probabilities is refused."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from models.base import ModelError
from models.bundles.bundle import Bundle
from models.ngram.lm import NGramLM
from models.ngram.measure import measure
from models.specs import NGramSpec
from models.tokens.special import CONTEXT_IDS, EOS
from training.context import FitContext
from training.fit import fit_model
from training.ngram.counting.counts import count_ngrams
from training.ngram.fit import estimate_ngrams

V = 14
SOUP, BREAD, TEA, GOOD, COLD = range(9, 14)
REVIEWS = [[1, 3, SOUP, GOOD, EOS]] * 6 + [[1, 3, BREAD, COLD, EOS]] * 3 + [[1, 3, SOUP, COLD, EOS]] * 2


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


def test_the_ranking_is_of_use(model):
    assert np.argsort(-scores_after(model, [1, 3, SOUP]))[:2].tolist() == [GOOD, COLD]
    assert np.argsort(-scores_after(model, [1, 3, TEA, BREAD]))[0] == COLD  # an unseen context falls back


def test_nats_distributions_and_perplexities_are_refused_with_the_reason(model):
    ids = np.array([[1, 3, SOUP, GOOD, EOS]])
    for ask in (
        lambda: model.score(ids, model.start(1)),
        lambda: model.distribution(model.start(1)),
        lambda: measure(model, ids[0], CONTEXT_IDS),
    ):
        with pytest.raises(ModelError, match=r"scores, not probabilities.*no perplexity") as caught:
            ask()
        assert caught.value.kind == "input"


def test_a_fit_reports_everything_but_a_perplexity(stream_of, tmp_path):
    spec, news = NGramSpec(order=3, smoothing="stupid_backoff"), []
    context = FitContext(tmp_path, report=news.append)
    result = fit_model(spec, SimpleNamespace(size=V), stream_of(REVIEWS), stream_of(REVIEWS[:2]), context)
    assert not [name for name in result.summary if "perplexity" in name or "nats" in name]
    assert result.summary["alpha"] == 0.4
    assert result.summary["ngrams/3"] == 6
    assert result.summary["unseen_share/3"] == 0
    assert set(json.loads((tmp_path / "metrics.jsonl").read_text())) == {"step", "tokens_per_second"}
    assert set(news[-1].figures) == {"tokens_per_second"}


def test_a_saved_model_still_knows_what_its_numbers_are(model, tmp_path):
    model.save(tmp_path)
    spec = NGramSpec(order=3, smoothing="stupid_backoff")
    loaded = NGramLM.load(tmp_path, spec, SimpleNamespace(size=V))
    assert scores_after(loaded, [1, 3, SOUP]).tolist() == scores_after(model, [1, 3, SOUP]).tolist()
    ids = np.array([1, 3, SOUP, 2], np.int32)
    encoded = SimpleNamespace(ids=ids, offsets=np.array([0, len(ids)]), spelling_nats=np.zeros(1))
    words = SimpleNamespace(normal_form=SimpleNamespace(apply=str), encode_documents=lambda texts, stars: encoded)
    bundle = Bundle(spec, words, loaded)
    with pytest.raises(ModelError, match="scores, not probabilities"):
        bundle.score_text("soup")
