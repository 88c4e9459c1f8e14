"""EM against closed forms and an exhaustive search; what it promises, on random tables."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from reviewlm.training.mixture.tuning import em, em_round

NATS = arrays(
    np.float64, st.tuples(st.integers(1, 30), st.integers(1, 4)), elements=st.floats(0.01, 25.0)
)


def likelihood(nats_TP, weights_P):
    return float(np.log((np.exp(-nats_TP) * weights_P).sum(1)).sum())


def weights_of_rounds(nats_TP):
    """Fit the weights of a mixture by 15 rounds of EM; give those before the first round and after each."""
    p_TP, parts = np.exp(-nats_TP), nats_TP.shape[1]
    found = [np.full(parts, 1 / parts)]
    for _ in range(15):
        found.append(em_round(p_TP, found[-1]))
    return found


@given(NATS)
@settings(deadline=None)
def test_the_likelihood_rises_in_every_round(nats_TP):
    reached = [likelihood(nats_TP, weights_P) for weights_P in weights_of_rounds(nats_TP)]

    for before, after in pairwise(reached):
        assert after >= before - 1e-9 * max(1.0, abs(before))


@given(NATS)
@settings(deadline=None)
def test_weights_stay_on_the_simplex_in_every_round(nats_TP):
    for weights_P in weights_of_rounds(nats_TP):
        assert (weights_P >= 0).all()
        assert weights_P.sum() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_no_weights_of_a_fine_grid_are_better(seed):
    nats_TP = -np.log(np.random.default_rng(seed).dirichlet([0.4, 0.4, 0.4], 40) + 1e-6)
    found = likelihood(nats_TP, em(nats_TP)[0])
    steps = np.arange(0, 51) / 50
    grid = [(a, b, 1 - a - b) for a, b in product(steps, steps) if a + b <= 1 + 1e-12]
    assert found >= max(likelihood(nats_TP, np.maximum(point, 0)) for point in grid) - 1e-9


def test_a_round_of_em_weighs_the_parts_by_the_weights_before_it():
    """λ = (¾, ¼); token 1: p = 0.4, 0.1, joint 0.3, 0.025, shares 12/13, 1/13; token 2: p = 0.1, 0.3, shares ½, ½."""
    found = em_round(np.array([[0.4, 0.1], [0.1, 0.3]]), np.array([0.75, 0.25]))
    assert found == pytest.approx([(12 / 13 + 1 / 2) / 2, (1 / 13 + 1 / 2) / 2], rel=1e-14)
