"""EM against closed forms and an exhaustive search; what it promises, on random tables."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.mixture.weights import em, em_round, mixed_nats, shares

NATS = arrays(np.float64, st.tuples(st.integers(1, 30), st.integers(1, 4)), elements=st.floats(0.01, 25.0))


def likelihood(nats_TP, weights_P):
    return float(np.log((np.exp(-nats_TP) * weights_P).sum(1)).sum())


def test_parts_that_divide_the_words_among_them_get_the_shares_of_their_words():
    # The first part predicts only a, the second only b: with a seven times and b three times, λ = 0.7, 0.3.
    nats_TP = np.array([[0.0, np.inf]] * 7 + [[np.inf, 0.0]] * 3)
    weights_P, _ = em(nats_TP)
    assert weights_P == pytest.approx([0.7, 0.3], abs=1e-12)


def test_one_round_is_the_mean_of_the_shares_by_hand():
    # λ = (½, ½); token 1: p = 0.4, 0.1 → shares 0.8, 0.2; token 2: p = 0.1, 0.3 → shares 0.25, 0.75.
    p_TP = np.array([[0.4, 0.1], [0.1, 0.3]])
    assert em_round(p_TP, np.array([0.5, 0.5])) == pytest.approx([(0.8 + 0.25) / 2, (0.2 + 0.75) / 2])


@given(NATS)
@settings(deadline=None)
def test_the_likelihood_rises_in_every_round_and_weights_stay_on_the_simplex(nats_TP):
    p_TP, parts = np.exp(-nats_TP), nats_TP.shape[1]
    weights_P = np.full(parts, 1 / parts)
    for _ in range(15):
        before, weights_P = likelihood(nats_TP, weights_P), em_round(p_TP, weights_P)
        assert likelihood(nats_TP, weights_P) >= before - 1e-9 * max(1.0, abs(before))
        assert (weights_P >= 0).all()
        assert weights_P.sum() == pytest.approx(1.0, abs=1e-12)


@given(NATS)
@settings(deadline=None)
def test_the_mixture_is_on_its_text_no_worse_than_any_part(nats_TP):
    weights_P, _ = em(nats_TP)
    with np.errstate(divide="ignore"):
        mixed = mixed_nats(nats_TP, np.log(weights_P)).sum()
    assert mixed <= nats_TP.sum(0).min() + 1e-9


@pytest.mark.parametrize("seed", range(4))
def test_no_weights_of_a_fine_grid_are_better(seed):
    nats_TP = -np.log(np.random.default_rng(seed).dirichlet([0.4, 0.4, 0.4], 40) + 1e-6)
    found = likelihood(nats_TP, em(nats_TP)[0])
    steps = np.arange(0, 51) / 50
    grid = [(a, b, 1 - a - b) for a, b in product(steps, steps) if a + b <= 1 + 1e-12]
    assert found >= max(likelihood(nats_TP, np.maximum(point, 0)) for point in grid) - 1e-9


def test_a_useless_part_gets_no_weight():
    nats_TP = np.array([[1.0, 2.0], [0.5, 0.6], [3.0, 4.0]])
    assert em(nats_TP)[0].tolist() == [1.0, 0.0]


def test_tokens_that_all_parts_call_impossible_have_no_say_and_cost_infinitely_much():
    nats_TP = np.array([[0.0, np.inf], [np.inf, 0.0], [np.inf, np.inf]])
    weights_P, _ = em(nats_TP)
    assert weights_P == pytest.approx([0.5, 0.5])
    assert mixed_nats(nats_TP, np.log(weights_P)).tolist() == pytest.approx([np.log(2), np.log(2), np.inf])
    assert shares(nats_TP, np.log(weights_P)).tolist() == [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]


def test_without_any_tokens_weights_stay_equal():
    assert em(np.zeros((0, 2)))[0].tolist() == [0.5, 0.5]


def test_nats_so_large_that_probabilities_underflow_are_mixed_all_the_same():
    nats_TP = np.array([[2000.0, 2001.0], [3000.0, 2999.0]])
    weights_P, _ = em(nats_TP)
    assert weights_P == pytest.approx([0.5, 0.5])
    expected = 2000 - np.log(0.5 * (1 + np.exp(-1)))
    assert mixed_nats(nats_TP, np.log(weights_P)) == pytest.approx([expected, 2999 - 2000 + expected], rel=1e-12)


def test_a_round_of_em_weighs_the_parts_by_the_weights_before_it():
    """λ = (¾, ¼); token 1: p = 0.4, 0.1, joint 0.3, 0.025, shares 12/13, 1/13; token 2: p = 0.1, 0.3, shares ½, ½."""
    found = em_round(np.array([[0.4, 0.1], [0.1, 0.3]]), np.array([0.75, 0.25]))
    assert found == pytest.approx([(12 / 13 + 1 / 2) / 2, (1 / 13 + 1 / 2) / 2], rel=1e-14)
