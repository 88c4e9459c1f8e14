"""Weights by context: what they see of it against a search through the text, their gradient, what they promise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.models.base import ModelError, _step_by_step, in_bulk, predictions
from reviewlm.models.mixture.cache import RANGES, CacheLM
from reviewlm.models.mixture.context_weights import ContextWeights
from reviewlm.models.mixture.lm import MixtureLM
from reviewlm.models.mixture.parts import Part
from reviewlm.models.mixture.weights import Fixed, mixed_nats
from reviewlm.models.specs import CacheSpec, MixtureSpec, NGramSpec
from reviewlm.models.tokens.special import BOS, CONTEXT_IDS
from reviewlm.training.mixture.fitting import context_slope, fit_context_weights, tune_weights
from reviewlm.training.mixture.tuning import em
from reviewlm.training.ngram.counting.counts import count_ngrams
from tests.estimated_ngrams import estimate_ngrams
from tests.examples import examples
from tests.models.mixture.mixture_tables import SIZE, Stream, documents, table_part
from tests.models.table_lm import HistoryLM


@pytest.fixture(scope="module")
def texts():
    return documents(60, seed=1)


@pytest.fixture(scope="module")
def ngram(texts):
    counts = count_ngrams(Stream(texts), 4, SIZE, CONTEXT_IDS)
    return Part("kn4", NGramSpec(order=4), estimate_ngrams(counts))


@given(st.integers(0, 500), st.integers(2, 3), st.integers(0, 4))
@examples(25)
def test_the_gradient_is_that_of_differences(
    seed,
    parts,
    features,
):
    draw = np.random.default_rng(seed)
    x_TF, nats_TP = draw.normal(size=(12, features)), draw.exponential(3, (12, parts))
    weights_FP, bias_P = draw.normal(size=(features, parts)), draw.normal(size=parts)
    _, into_FP, into_P = context_slope(
        x_TF,
        nats_TP,
        weights_FP,
        bias_P,
        0.03,
    )
    for index in np.ndindex(features, parts):
        step = np.zeros_like(weights_FP)
        step[index] = 1e-5
        up, down = (
            context_slope(
                x_TF,
                nats_TP,
                weights_FP + s * step,
                bias_P,
                0.03,
            )[0]
            for s in (1, -1)
        )
        assert into_FP[index] == pytest.approx((up - down) / 2e-5, rel=1e-4, abs=1e-8)
    for i in range(parts):
        step = 1e-5 * np.eye(parts)[i]
        up, down = (
            context_slope(
                x_TF,
                nats_TP,
                weights_FP,
                bias_P + s * step,
                0.03,
            )[0]
            for s in (1, -1)
        )
        assert into_P[i] == pytest.approx((up - down) / 2e-5, rel=1e-4, abs=1e-8)


@given(st.integers(0, 500))
@examples(20)
def test_weights_by_context_are_on_their_text_no_worse_than_fixed_ones(seed):
    draw = np.random.default_rng(seed)
    nats_TP, features_TF = draw.exponential(3, (80, 2)), draw.normal(size=(80, 5))
    weights_P, _ = em(nats_TP)
    weighting = ContextWeights(
        (),
        np.zeros(5),
        np.ones(5),
        np.zeros((5, 2)),
        np.zeros(2),
    )
    weighting, _ = fit_context_weights(
        weighting,
        nats_TP,
        features_TF,
        weights_P,
        1e-4,
    )
    log_weights_TP = weighting.log_weights(features_TF)
    assert np.exp(log_weights_TP).sum(1) == pytest.approx(np.ones(80), abs=1e-12)
    with np.errstate(divide="ignore"):
        assert (
            mixed_nats(nats_TP, log_weights_TP).mean()
            <= mixed_nats(nats_TP, np.log(weights_P)).mean() + 1e-12
        )


def test_without_an_ngram_model_the_method_is_refused():
    spec = MixtureSpec(parts=("table1", "table2"), method="gated")
    with pytest.raises(
        ModelError, match=r"needs an n-gram model.* table1, table2 are none"
    ) as raised:
        tune_weights(spec, [table_part(1), table_part(2)], Stream(documents(5, 1)))
    assert raised.value.kind == "input"


def test_an_ngram_model_inside_a_cache_or_a_mixture_is_looked_at_too(ngram):
    cached = Part(
        "c", None, CacheLM(CacheSpec(part="kn4"), ngram, np.full((len(RANGES) + 1, 3), 1 / 3))
    )
    inner = Part("m", None, MixtureLM([table_part(1), cached], Fixed(np.array([0.5, 0.5]))))
    draw = np.random.default_rng(0)
    arrays = (draw.normal(size=5), np.ones(5), draw.normal(size=(5, 2)), draw.normal(size=2))
    plain, nested = (ContextWeights([part, table_part(2)], *arrays) for part in (ngram, inner))
    assert ContextWeights.with_equal_weights(nested.parts).weights_FP.shape == (5, 2)
    ids_BT = np.array([documents(1, seed=3, longest=11)[0]] * 2)
    start_plain, start_nested = (
        [part.model.start(2) for part in weighting.parts] for weighting in (plain, nested)
    )
    assert (
        nested.before(ids_BT, start_nested).tolist() == plain.before(ids_BT, start_plain).tolist()
    )
    read_plain, read_nested = (
        [
            part.model.score(ids_BT, state)[1]
            for part, state in zip(weighting.parts, states, strict=True)
        ]
        for weighting, states in ((plain, start_plain), (nested, start_nested))
    )
    assert nested.following(read_nested).tolist() == plain.following(read_plain).tolist()


class InBulk(HistoryLM):
    """A table that predicts chosen positions without being stepped by its caller, as networks do."""

    def predictions(self, ids_BT, wanted_BT):
        return _step_by_step(self, ids_BT, wanted_BT)


@pytest.mark.parametrize("gated", [True, False])
def test_distributions_at_chosen_positions_are_those_of_the_steps(ngram, gated):
    parts = [ngram, Part("network", None, InBulk.random(SIZE, 3))]
    mixture = MixtureLM(parts, slanted(parts) if gated else Fixed(np.array([0.3, 0.7])))
    reviews = documents(6, seed=5)
    width = max(map(len, reviews))
    ids_BT = np.array([review + [BOS] * (width - len(review)) for review in reviews])
    wanted_BT = np.random.default_rng(2).random(ids_BT.shape) < 0.6
    wanted_BT[:, 0], wanted_BT[3] = False, False
    assert in_bulk(mixture)
    stepped = {
        (text, place): logp_V
        for part in _step_by_step(mixture, ids_BT, wanted_BT)
        for text, place, logp_V in zip(*part, strict=True)
    }
    found = [
        one for part in predictions(mixture, ids_BT, wanted_BT) for one in zip(*part, strict=True)
    ]
    assert sorted((text, place) for text, place, _ in found) == sorted(stepped)
    assert len(found) == wanted_BT.sum()
    for text, place, logp_V in found:
        np.testing.assert_allclose(logp_V, stepped[text, place], rtol=1e-5, atol=1e-6)


def slanted(parts):
    """Weights by context that are far from equal."""
    untrained = ContextWeights.with_equal_weights(parts)
    return replace(
        untrained, weights_FP=np.random.default_rng(1).normal(size=untrained.weights_FP.shape)
    )
