"""Exponents of a log-linear mixture: derivatives against differences, the optimum against a closed form and a grid."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.mixture.log_linear import fit_exponents, log_normaliser, log_scores, slope
from tests.examples import examples


def distributions(seed, parts=2, positions=30, words=8):
    draw = np.random.default_rng(seed)
    logp_PNV = torch.from_numpy(np.log(draw.dirichlet(np.ones(words), (parts, positions))))
    return logp_PNV, torch.from_numpy(draw.integers(0, words, positions))


def brute_force(logp_PNV, targets_N, exponents_P):
    """Mean nats by the definition, word by word."""
    total = 0.0
    for n, target in enumerate(targets_N.tolist()):
        scores = [
            np.prod([np.exp(float(logp_PNV[i, n, v])) ** a for i, a in enumerate(exponents_P)])
            for v in range(logp_PNV.shape[2])
        ]
        total -= np.log(scores[target] / sum(scores))
    return total / len(targets_N)


@given(st.integers(0, 1000), st.lists(st.floats(-1.5, 2.5), min_size=2, max_size=3))
@examples(25)
def test_gradient_and_curvature_are_those_of_differences(seed, exponents):
    logp_PNV, targets_N = distributions(seed, len(exponents), positions=6, words=5)
    at_P = np.array(exponents)
    found = slope(logp_PNV, targets_N, at_P)
    assert found.value == pytest.approx(brute_force(logp_PNV, targets_N, at_P), rel=1e-9)
    for i, unit_P in enumerate(np.eye(len(at_P))):
        up, down = (slope(logp_PNV, targets_N, at_P + sign * 1e-5 * unit_P) for sign in (1, -1))
        assert found.gradient_P[i] == pytest.approx((up.value - down.value) / 2e-5, rel=1e-4, abs=1e-7)
        assert found.curvature_PP[i] == pytest.approx((up.gradient_P - down.gradient_P) / 2e-5, rel=1e-4, abs=1e-6)
    assert np.linalg.eigvalsh(found.curvature_PP).min() >= -1e-10


@given(st.integers(0, 1000))
@examples(20)
def test_it_sums_to_one_and_is_on_its_text_no_worse_than_any_part(seed):
    logp_PNV, targets_N = distributions(seed, 3)
    exponents_P, _ = fit_exponents(logp_PNV, targets_N, np.full(3, 1 / 3))
    p_NV = torch.exp(log_scores(logp_PNV, exponents_P) - log_normaliser(logp_PNV, exponents_P)[:, None])
    assert p_NV.sum(1).tolist() == pytest.approx([1.0] * 30, abs=1e-12)
    alone = min(slope(logp_PNV, targets_N, unit_P).value for unit_P in np.eye(3))
    assert slope(logp_PNV, targets_N, exponents_P).value <= alone + 1e-9


@pytest.mark.slow
def test_no_exponents_of_a_grid_are_better():
    logp_PNV, targets_N = distributions(5)
    best = slope(logp_PNV, targets_N, fit_exponents(logp_PNV, targets_N, np.ones(2))[0]).value
    grid = product(np.arange(-20, 31) / 10, repeat=2)
    assert best <= min(slope(logp_PNV, targets_N, np.array(point)).value for point in grid) + 1e-12


def test_one_part_is_sharpened_as_much_as_its_hits_deserve():
    # p = (0.6, 0.4), and the first word came 9 times of 10: (0.6 / 0.4)^a = 9, so a = log 9 / log 1.5.
    logp_PNV = torch.log(torch.tensor([0.6, 0.4], dtype=torch.float64)).expand(1, 10, 2)
    exponents_P, _ = fit_exponents(logp_PNV, torch.tensor([0] * 9 + [1]), np.ones(1))
    assert exponents_P == pytest.approx([np.log(9) / np.log(1.5)], rel=1e-6)


def test_two_equal_parts_are_no_obstacle():
    logp_PNV, targets_N = distributions(3, parts=1)
    exponents_P, _ = fit_exponents(logp_PNV.expand(2, -1, -1), targets_N, np.array([0.5, 0.5]))
    alone_P, _ = fit_exponents(logp_PNV, targets_N, np.ones(1))
    assert exponents_P.sum() == pytest.approx(alone_P[0], abs=1e-5)


def test_a_part_without_a_say_does_not_make_scores_no_numbers_where_it_says_impossible():
    logp_PNV = torch.log(torch.tensor([[[0.5, 0.5, 0.0]], [[0.2, 0.0, 0.8]]]))
    for parts in (logp_PNV, list(logp_PNV)):
        assert log_scores(parts, np.array([1.0, -1.0])).exp().tolist() == [pytest.approx([0.5 / 0.2, 0.0, 0.0])]


def test_words_that_a_part_calls_impossible_stay_so():
    logp_PNV = torch.log(torch.tensor([[[0.5, 0.5, 0.0]], [[0.2, 0.2, 0.6]]]))
    p_NV = torch.exp(log_scores(logp_PNV, np.array([0.0, 1.0])) - log_normaliser(logp_PNV, np.array([0.0, 1.0])))
    assert p_NV.tolist() == [pytest.approx([0.5, 0.5, 0.0])]
