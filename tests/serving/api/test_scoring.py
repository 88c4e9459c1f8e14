"""Scores of the server are those of the offline evaluation, token by token, in whatever slices they are computed."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from reviewlm.models.base import ModelError
from reviewlm.models.bundles.bundle import Bundle
from reviewlm.models.mixture.lm import MixtureLM
from reviewlm.models.mixture.parts import Part
from reviewlm.models.mixture.weights import Fixed
from reviewlm.models.neural.lm import NeuralLM
from reviewlm.models.specs import RecurrentSpec
from reviewlm.serving.api import score as module
from reviewlm.serving.api.request_schemas import ScoreRequest
from reviewlm.serving.api.score import ScoredText, WaitingScore, score_steps
from reviewlm.serving.engine.engine import Engine
from reviewlm.serving.engine.jobs import Search
from tests.serving.engine import small_models
from tests.serving.made_versions import FOODS, TASTES, bundle_of

TEXTS = [
    "The pizza was good.",
    "",
    "x",
    "zxqv BLORF Gneep 😀!",
    "The staff was friendly. " * 30,
    *(f"The {food} was {taste}" for food in FOODS[:3] for taste in TASTES),
]
SPEC = RecurrentSpec(
    kind="lstm",
    name="lstm",
    embedding=8,
    hidden=8,
    layers=1,
)


def network(bundle: Bundle) -> Bundle:
    """A small LSTM with random weights."""
    torch.manual_seed(1)
    weights = NeuralLM.build(SPEC, torch.ones(bundle.vocabulary.size, dtype=torch.int64))
    return replace(bundle, spec=SPEC, model=NeuralLM(SPEC, weights, bundle.vocabulary.size))


def parts_of(bundle: Bundle) -> list[Part]:
    return [Part("kn", bundle.spec, bundle.model), Part("lstm", SPEC, network(bundle).model)]


def mixture(bundle: Bundle) -> Bundle:
    return replace(bundle, model=MixtureLM(parts_of(bundle), Fixed(np.array([0.6, 0.4]))))


MODELS = {
    "ngram": replace,
    "lstm": network,
    "mixture": mixture,
}


def scored(
    bundle: Bundle,
    texts: list[str],
    attribution: bool = False,
    stars: int | None = 5,
) -> list[ScoredText]:
    engine = Engine(bundle)
    try:
        search = Search(lambda context: score_steps(context.bundle, texts, stars, attribution))
        return engine.run(search, in_order=True).result(30)
    finally:
        engine.close(5)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("size", [module.SLICE, 7])
def test_scores_equal_those_of_the_bundle_whatever_the_slices(
    model: str,
    size: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SLICE", size)
    bundle = MODELS[model](bundle_of(1))
    for text, (found, *_) in zip(TEXTS, scored(bundle, TEXTS), strict=True):
        wanted = bundle.score_text(text, 5)
        assert (found.tokens, found.bytes, found.oov) == (wanted.tokens, wanted.bytes, wanted.oov)
        assert found.spelling_nats == wanted.spelling_nats
        assert found.surface_nats == wanted.surface_nats
        assert [name for name, _ in found.per_token] == [name for name, _ in wanted.per_token]
        nats = [[nats for _, nats in one.per_token] for one in (found, wanted)]
        assert np.allclose(*nats, rtol=0, atol=1e-6)
        assert math.isclose(found.open_bits_per_byte, wanted.open_bits_per_byte, abs_tol=1e-6)


def finished(
    request: WaitingScore,
    bundle: Bundle,
    waiting: list[WaitingScore],
) -> list[ScoredText]:
    steps = request.steps(bundle, waiting)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value


@pytest.mark.parametrize("fails", [False, True])
def test_short_requests_that_wait_are_scored_side_by_side_but_after_a_failure_each_alone(
    fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, rows = network(bundle_of(1)), []
    score = bundle.model.score

    def recorded(ids_BT, state):
        rows.append(len(ids_BT))
        if fails and len(rows) == 1:
            raise ModelError("it has failed")
        return score(ids_BT, state)

    monkeypatch.setattr(bundle.model, "score", recorded)
    options = [{}, {"stars": 4}, {}, {"attribution": True}, {}, {}]
    texts = [*TEXTS[5:10], "x" * (module.TOGETHER + 1)]
    waiting = [
        WaitingScore(ScoreRequest(texts=[text], **{"stars": 5} | more))
        for text, more in zip(texts, options, strict=True)
    ]
    if fails:
        with pytest.raises(ModelError):
            finished(waiting[0], bundle, waiting)
    else:
        assert len(finished(waiting[0], bundle, waiting)) == 1
    found = [finished(one, bundle, waiting)[0].score for one in waiting[1:]]
    assert rows == ([2, 1, 1, 1, 1, 1] if fails else [2, 1, 1, 1, 1])
    for one, text, scored_text in zip(waiting[1:], texts[1:], found, strict=True):
        assert scored_text.nats == pytest.approx(
            bundle.score_text(text, one.query.stars).nats, abs=1e-6 * len(text)
        )


def test_the_shares_of_a_mixture_are_posterior_probabilities_that_sum_to_the_log_probability() -> (
    None
):
    bundle = mixture(bundle_of(1))
    kn, lstm = (one.model for one in bundle.model.parts)
    (one,) = scored(bundle, ["The pizza was good."], attribution=True)
    told, nats_N = one.attribution, np.array([nats for _, nats in one.score.per_token])
    ids = bundle.vocabulary.encode_documents(["The pizza was good."], [5]).ids.astype(np.int64)[
        None
    ]
    each_NP = np.stack([part.score(ids, part.start(1))[0][0, 2:] for part in (kn, lstm)], -1)
    wanted_NP = np.array([0.6, 0.4]) * np.exp(-each_NP)
    assert np.allclose(told["shares"], wanted_NP / wanted_NP.sum(1, keepdims=True), atol=1e-9)
    assert np.allclose(np.sum(told["shares"], 1), 1)
    assert np.allclose(np.sum(told["contributions"], 1), -nats_N)
    assert told["parts"] == ["kn", "lstm"]


PARTS = ("mixture", "cache")


@pytest.mark.parametrize("kind", PARTS)
@pytest.mark.parametrize("size", [module.SLICE, 7])
def test_without_a_rating_the_contributions_sum_to_the_log_probability(
    kind: str,
    size: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SLICE", size)
    bundle = small_models.bundle_of(kind)
    for text, one in zip(TEXTS, scored(bundle, TEXTS, attribution=True, stars=None), strict=True):
        told, nats_N = one.attribution, np.array([nats for _, nats in one.score.per_token])
        assert told["parts"] == list(bundle.model.names)
        assert one.score.nats == pytest.approx(
            bundle.score_text(text).nats, abs=1e-6 * one.score.tokens
        )
        assert np.allclose(np.sum(told["contributions"], 1), -nats_N, atol=1e-9)
        assert np.allclose(np.sum(told["shares"], 1), 1)
        assert np.allclose(np.sum(told["weights"], 1), 1)
