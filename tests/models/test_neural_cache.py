"""The continuous cache against its formula, written out word by word in float64."""

from __future__ import annotations

import numpy as np
import pytest

from reviewlm.models.base import ModelError
from reviewlm.models.mixture.cache import RANGES
from reviewlm.models.mixture.neural_cache import NeuralCacheLM
from reviewlm.models.mixture.parts import Part
from reviewlm.models.specs import NeuralCacheSpec, NGramSpec
from reviewlm.models.tokens.special import BOS
from reviewlm.models.tokens.special import CONTEXT_IDS as GIVEN_IDS
from reviewlm.training.context import FitContext
from reviewlm.training.fit import fit_model
from reviewlm.training.mixture.caches import tuned_neural_cache
from tests.models.mixture.mixture_tables import Stream
from tests.models.neural.test_neural_lm import SPECS, V, make

LAMBDA = 0.3
TEXT = np.random.default_rng(3).choice(
    [1, 8, 9, 10, 11, 12, 13, 2], (3, 40), p=[0.04, 0.06, *[0.15] * 6]
)


def exact(name):
    """A part in float64, so that the formula is met to the last digits."""
    model = make(name)
    model.network.double()
    return Part(name, SPECS[name], model)


@pytest.fixture(scope="module", params=["lstm", "nplm"])
def part(request):
    return exact(request.param)


def cached(
    part,
    share=LAMBDA,
    theta=0.4,
    window=7,
):
    weights_RP = np.tile([1 - share, share], (len(RANGES) + 1, 1))
    return NeuralCacheLM(
        NeuralCacheSpec(),
        part,
        weights_RP,
        theta,
        window,
    )


def by_hand(
    part,
    ids,
    theta,
    window,
):
    """p_cache of each token of one stream (None: nothing is remembered), a token and a memory at a time."""
    _, features_1TE, _ = part.model.read(ids[None], part.model.start(1))
    h = features_1TE[0].numpy()
    found = []
    for t, token in enumerate(ids):
        begins = [i for i in range(t) if ids[i] == BOS]
        memory = [
            i
            for i in range(max(0, t - window), t)
            if i >= max(begins, default=0) and ids[i] not in GIVEN_IDS
        ]
        if ids[t] == BOS:
            memory = []
        weights = {i: np.exp(theta * float(h[t] @ h[i])) for i in memory}
        same = sum(weight for i, weight in weights.items() if ids[i] == token)
        found.append(same / sum(weights.values()) if memory else None)
    return found


@pytest.mark.parametrize(("theta", "window"), [(0.4, 7), (0.0, 3), (2.0, 100)])
def test_the_cache_is_the_formula(
    part,
    theta,
    window,
):
    model = cached(part, theta=theta, window=window)
    nats_BT, _ = model.score(TEXT, model.start(len(TEXT)))
    static_BT, _ = part.model.score(TEXT, part.model.start(len(TEXT)))
    for ids, nats_T, static_T in zip(TEXT, nats_BT, static_BT, strict=True):
        for t, p_cache in enumerate(by_hand(part, ids, theta, window)):
            if ids[t] in GIVEN_IDS:
                assert nats_T[t] == 0
                continue
            p = np.exp(-static_T[t])
            expected = p if p_cache is None else (1 - LAMBDA) * p + LAMBDA * p_cache
            assert np.exp(-nats_T[t]) == pytest.approx(expected, rel=1e-9)


def steps_through(model):
    """Yield the position of each token that is predicted, and log p of all entries there."""
    state = model.start(3)
    for t in range(TEXT.shape[1] - 1):
        logp_BV, state = model.step(TEXT[:, t], state)
        yield t + 1, logp_BV


def test_stepping_says_what_scoring_says():
    model = cached(Part("lstm", SPECS["lstm"], make("lstm")))
    nats_BT = model.score(TEXT, model.start(3))[0]
    for t, logp_BV in steps_through(model):
        scored = ~np.isin(TEXT[:, t], sorted(GIVEN_IDS))
        stepped = -logp_BV.numpy()[np.arange(3), TEXT[:, t]]
        assert stepped[scored] == pytest.approx(nats_BT[scored, t], abs=1e-4)


def test_probabilities_of_each_step_sum_to_one():
    model = cached(Part("lstm", SPECS["lstm"], make("lstm")))
    for _, logp_BV in steps_through(model):
        assert logp_BV.double().exp().sum(1).tolist() == pytest.approx([1] * 3, abs=1e-5)


def test_streams_of_different_lengths_are_joined(part):
    model = cached(part, window=12)
    states = [
        model.score(TEXT[row : row + 1, :length], model.start(1))[1]
        for row, length in enumerate((3, 30, 9))
    ]
    more = TEXT[:, 5:15]
    together, _ = model.score(more, type(states[0]).join(states))
    alone = [model.score(more[row : row + 1], state)[0][0] for row, state in enumerate(states)]
    assert together == pytest.approx(np.stack(alone), rel=1e-9)


def repeating(count=25, seed=0):
    draw = np.random.default_rng(seed)
    return Stream(
        [np.array([BOS, 5, *draw.choice(draw.integers(9, V, 3), 30), 2]) for _ in range(count)]
    )


def test_the_best_pair_of_candidates_is_taken():
    part, held = exact("lstm"), repeating()
    spec = NeuralCacheSpec(thetas=(0.0, 0.3, 3.0), windows=(2, 40))
    found = tuned_neural_cache(spec, part, held)
    assert (
        found.summary["validation/perplexity"] < 0.7 * found.summary["validation/perplexity_static"]
    )
    pairs = {}
    for theta in spec.thetas:
        for window in spec.windows:
            one = NeuralCacheSpec(thetas=(theta,), windows=(window,))
            pairs[theta, window] = tuned_neural_cache(one, part, held).summary["validation/nats"]
    chosen = found.model.theta, found.model.window
    assert chosen == (found.summary["theta"], found.summary["window"])
    assert pairs[chosen] == pytest.approx(min(pairs.values()), rel=1e-3)
    assert found.summary["validation/nats"] == pytest.approx(pairs[chosen], rel=1e-9)


def test_what_has_no_features_is_refused(tmp_path):
    part = Part("kn5", NGramSpec(), object())
    with pytest.raises(ModelError, match="needs a neural model; the part 'kn5' is of kind 'ngram'"):
        cached(part)
    stream = repeating(2)
    with pytest.raises(ModelError, match="'lstm' is not a fitted model"):
        fit_model(
            NeuralCacheSpec(),
            None,
            stream,
            stream,
            FitContext(tmp_path),
        )
