"""Reliability and calibration error: closed forms, and models that mean what they say."""

import math

import numpy as np
import pytest
from scipy.special import log_softmax

from evaluation.scoring.calibration import calibration_error, chance_error, reliability


def honest(positions, entries, seed=0, spread=2.0):
    """Distributions, and targets that are drawn from them."""
    draw = np.random.default_rng(seed)
    logp_NV = log_softmax(draw.normal(0, spread, (positions, entries)), 1)
    target_N = (np.exp(logp_NV).cumsum(1) > draw.random((positions, 1))).argmax(1)
    return logp_NV.astype(np.float32), target_N


def judged(logp_NV, target_N):
    return np.exp(logp_NV.max(1)).astype(float), logp_NV.argmax(1) == target_N


def test_bins_are_of_equal_width_and_hold_means():
    table = reliability(np.array([0.0, 0.05, 0.11, 0.19, 1.0]), np.array([0, 1, 0, 1, 1]), bins=10)
    assert table["count"].to_list() == [2, 2, 0, 0, 0, 0, 0, 0, 0, 1]
    first, second, third, *_, last = table.to_dicts()
    assert (first["low"], first["high"], first["mean_probability"], first["mean_accuracy"]) == (0, 0.1, 0.025, 0.5)
    assert (second["bin"], second["mean_probability"], second["mean_accuracy"]) == (1, pytest.approx(0.15), 0.5)
    assert (third["mean_probability"], third["mean_accuracy"]) == (None, None)
    assert (last["low"], last["high"], last["count"]) == (0.9, 1.0, 1)
    assert calibration_error(table) == pytest.approx((2 * 0.475 + 2 * 0.35 + 0) / 5)


def test_a_uniform_model_is_calibrated_where_its_top_entry_comes_as_often_as_any():
    entries, rounds = 8, 5
    logp_NV = np.full((entries * rounds, entries), -math.log(entries), np.float32)
    target_N = np.tile(np.arange(entries), rounds)
    assert calibration_error(reliability(*judged(logp_NV, target_N))) == pytest.approx(0, abs=1e-6)
    always_first = calibration_error(reliability(*judged(logp_NV, np.zeros_like(target_N))))
    assert always_first == pytest.approx(1 - 1 / entries, abs=1e-6)


@pytest.mark.slow
def test_a_model_that_means_what_it_says_has_the_error_of_chance():
    errors, expected = [], []
    for seed in range(200):
        confidence_N, correct_N = judged(*honest(2_000, 12, seed))
        errors.append(calibration_error(reliability(confidence_N, correct_N)))
        expected.append(chance_error(confidence_N))
    assert max(errors) < 0.06
    # One error scatters by a quarter of its value, the mean of 200 by less than 2 %.
    assert np.mean(errors) == pytest.approx(np.mean(expected), rel=0.05)
