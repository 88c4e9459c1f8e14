"""Scores of the server are those of the offline evaluation, token by token, in whatever slices they are computed."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest
import torch

from evaluation.scoring.score import score_stream
from models.bundles.bundle import Bundle
from models.mixture.lm import MixtureLM
from models.mixture.parts import Part
from models.mixture.weights import Fixed
from models.neural.lm import RecurrentLM
from models.specs import RecurrentSpec
from models.streams import TokenStream, write_stream
from models.tokens.special import BOS, EOS, STARS
from serving import scoring as module
from serving.engine.engine import Engine
from serving.scoring import ScoredText, Scoring
from tests.serving.engine import small_models
from tests.serving.made_versions import FOODS, TASTES, MadeSource, bundle_of
from tests.serving.served import answering

TEXTS = [
    "The pizza was good.", "", "x", "zxqv BLORF Gneep 😀!", "The staff was friendly. " * 30,
    *(f"The {food} was {taste}" for food in FOODS[:3] for taste in TASTES),
]  # fmt: skip
SPEC = RecurrentSpec(kind="lstm", name="lstm", embedding=8, hidden=8, layers=1)


def network(bundle: Bundle) -> Bundle:
    """A small LSTM with random weights."""
    torch.manual_seed(1)
    weights = RecurrentLM.build(SPEC, torch.ones(bundle.vocabulary.size, dtype=torch.int64))
    return replace(bundle, spec=SPEC, model=RecurrentLM(SPEC, weights, bundle.vocabulary.size))


def parts_of(bundle: Bundle) -> list[Part]:
    return [Part("kn", bundle.spec, bundle.model), Part("lstm", SPEC, network(bundle).model)]


def mixture(bundle: Bundle) -> Bundle:
    return replace(bundle, model=MixtureLM(parts_of(bundle), Fixed(np.array([0.6, 0.4]))))


MODELS = {"ngram": replace, "lstm": network, "mixture": mixture}


def scored(
    bundle: Bundle, texts: list[str], attribution: bool = False, stars: int | None = 5
) -> list[ScoredText]:
    engine = Engine(bundle)
    try:
        scoring = Scoring(texts, stars, attribution)
        while engine.run(scoring.advance).result(30):
            pass
        return scoring.scored
    finally:
        engine.close(5)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("size", [module.SLICE, 7])
def test_scores_equal_those_of_the_bundle_whatever_the_slices(
    model: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLICE", size)
    bundle = MODELS[model](bundle_of(1))
    for text, (found, _) in zip(TEXTS, scored(bundle, TEXTS), strict=True):
        wanted = bundle.score_text(text, 5)
        assert (found.tokens, found.bytes, found.oov) == (wanted.tokens, wanted.bytes, wanted.oov)
        assert found.spelling_nats == wanted.spelling_nats
        assert [name for name, _ in found.per_token] == [name for name, _ in wanted.per_token]
        nats = [[nats for _, nats in one.per_token] for one in (found, wanted)]
        assert np.allclose(*nats, rtol=0, atol=1e-6)
        assert math.isclose(found.open_bits_per_byte, wanted.open_bits_per_byte, abs_tol=1e-6)


@pytest.mark.parametrize("model", MODELS)
def test_scores_equal_the_offline_evaluation(model: str, tmp_path: Path) -> None:
    bundle = MODELS[model](bundle_of(1))
    clean = [bundle.vocabulary.normal_form.apply(text) for text in TEXTS]
    reviews = pl.DataFrame({"review_id": [str(i) for i in range(len(clean))], "text": clean})
    reviews = reviews.with_columns(stars=pl.lit(5, pl.Int8), bytes=pl.col("text").str.len_bytes() + 1)
    write_stream(tmp_path / "stream", bundle.vocabulary, [reviews])
    rows = score_stream(bundle, TokenStream.open(tmp_path / "stream"))
    found = [one.score for one in scored(bundle, TEXTS)]
    assert np.allclose([score.nats for score in found], rows["nats"], rtol=0, atol=1e-6 * max(rows["tokens"]))
    assert [score.tokens for score in found] == rows["tokens"].to_list()
    assert [score.bytes for score in found] == rows["bytes"].to_list()


def test_the_shares_of_a_mixture_are_posterior_probabilities_that_sum_to_the_log_probability() -> None:
    bundle = mixture(bundle_of(1))
    kn, lstm = (one.model for one in bundle.model.parts)
    (one,) = scored(bundle, ["The pizza was good."], attribution=True)
    told, nats_N = one.attribution, np.array([nats for _, nats in one.score.per_token])
    ids = bundle.vocabulary.encode_documents(["The pizza was good."], [5]).ids.astype(np.int64)[None]
    each_NP = np.stack([part.score(ids, part.start(1))[0][0, 2:] for part in (kn, lstm)], -1)
    wanted_NP = np.array([0.6, 0.4]) * np.exp(-each_NP)
    assert np.allclose(told["shares"], wanted_NP / wanted_NP.sum(1, keepdims=True), atol=1e-9)
    assert np.allclose(np.sum(told["shares"], 1), 1)
    assert np.allclose(np.sum(told["contributions"], 1), -nats_N)
    assert told["parts"] == ["kn", "lstm"]


def test_a_model_without_parts_has_no_attribution() -> None:
    (one,) = scored(bundle_of(1), ["The pizza was good."], attribution=True)
    assert one.attribution is None


PARTS = ("mixture", "cache")


@pytest.mark.parametrize("kind", PARTS)
@pytest.mark.parametrize("size", [module.SLICE, 7])
def test_without_a_rating_the_contributions_sum_to_the_log_probability(
    kind: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLICE", size)
    bundle = small_models.bundle_of(kind)
    for text, one in zip(TEXTS, scored(bundle, TEXTS, attribution=True, stars=None), strict=True):
        told, nats_N = one.attribution, np.array([nats for _, nats in one.score.per_token])
        assert told["parts"] == list(bundle.model.names)
        assert one.score.nats == pytest.approx(bundle.score_text(text).nats, abs=1e-6 * one.score.tokens)
        assert np.allclose(np.sum(told["contributions"], 1), -nats_N, atol=1e-9)
        assert np.allclose(np.sum(told["shares"], 1), 1)
        assert np.allclose(np.sum(told["weights"], 1), 1)


def test_without_a_rating_a_share_is_the_probability_of_the_part_given_the_word() -> None:
    """Computed from all pairs of rating and part, of which one is drawn for each word: r = Σ_k π_k λ p_k / p."""
    bundle, text = small_models.bundle_of("mixture"), "The soup was great."
    ids = [*bundle.vocabulary.encode(text).tolist(), EOS]
    shares_R = np.array([0.1, 0.2, 0.3, 0.4])  # of the ratings 1 to 4
    nats_RTP = np.stack([
        np.stack([part.score(np.array([[BOS, STARS[k], *ids]]), part.start(1))[0][0, 2:]
                  for part in bundle.model.models], -1)
        for k in (1, 2, 3, 4)
    ])  # fmt: skip
    p_RTP = np.array([0.6, 0.4]) * np.exp(-nats_RTP)
    told = scored(bundle, [text], attribution=True, stars=None)[0].attribution
    posterior_R = shares_R
    for t in range(len(ids)):
        joint_RP = posterior_R[:, None] * p_RTP[:, t]
        assert told["shares"][t] == pytest.approx(joint_RP.sum(0) / joint_RP.sum(), abs=1e-6)
        posterior_R = joint_RP.sum(1) / joint_RP.sum()
    assert posterior_R.max() > 1.1 * shares_R[posterior_R.argmax()]  # the ratings' weights do change


def test_without_a_rating_a_model_that_ignores_ratings_has_the_attribution_of_one_rating() -> None:
    bundle = small_models.bundle_of("mixture")
    blind = replace(bundle, model=IgnoringRatings(bundle.model))
    text = "The soup was great."
    (any_rating,), (three,) = (scored(blind, [text], attribution=True, stars=stars) for stars in (None, 3))
    for name in ("contributions", "shares", "weights"):
        assert np.allclose(any_rating.attribution[name], three.attribution[name], atol=1e-9)


class IgnoringRatings:
    """A model that reads every rating as three stars."""

    def __init__(self, model: Any) -> None:
        self._model, self.vocabulary_size = model, model.vocabulary_size
        self.start, self.step = model.start, model.step

    def attribute(self, ids_BT: np.ndarray, state: Any) -> Any:
        return self._model.attribute(np.where(np.isin(ids_BT, STARS), STARS[3], ids_BT), state)


@pytest.mark.parametrize("kind", PARTS)
def test_the_documented_example_has_an_attribution(kind: str) -> None:
    page = Path("docs/how_to/serve.md").read_text()
    body = json.loads(re.search(r"localhost:8000/score .*-d '(.*)'", page)[1])
    assert body["attribution"]
    assert "stars" not in body
    source = MadeSource(champion=1)
    source.make = lambda number: replace(small_models.bundle_of(kind), digest=f"{number:064d}")
    with answering(source) as (address, _):
        answer = httpx.post(f"{address}/score", json=body, timeout=30).json()
    assert answer["warnings"] == []
    assert len(answer["ratings"]) > 1
    for score in answer["scores"]:
        assert len(score["attribution"]["contributions"]) == len(score["per_token"])


@pytest.mark.parametrize("model", MODELS)
def test_without_a_rating_the_scores_are_averages_over_the_ratings_of_the_training(model: str) -> None:
    bundle = replace(MODELS[model](bundle_of(1)), stars_prior=(0.0, 0.3, 0.0, 0.2, 0.0, 0.5))
    for text, (found, _) in zip(TEXTS, scored(bundle, TEXTS, stars=None), strict=True):
        assert np.allclose(found.nats, bundle.score_text(text).nats, rtol=0, atol=1e-6 * found.tokens)
