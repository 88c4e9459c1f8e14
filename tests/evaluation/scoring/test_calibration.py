"""Reliability, calibration error and temperature: closed forms, brute force, models that mean what they say."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from core.errors import InputError
from evaluation.scoring.calibration import (
    BINS,
    LEAST,
    MOST,
    calibration_error,
    chance_error,
    fit_temperature,
    reliability,
    tempered,
)
from tests.examples import examples


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
    assert fit_temperature(logp_NV, target_N, np.arange(len(target_N))).value == 1.0


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


@pytest.mark.parametrize("factor", [0.4, 2.5])
def test_a_model_sharpened_by_a_factor_is_repaired_by_that_temperature(factor):
    logp_NV, target_N = honest(6_000, 10)
    sharpened = log_softmax(factor * logp_NV, 1).astype(np.float32)
    found = fit_temperature(sharpened.copy(), target_N, np.arange(6_000) // 20)
    assert found.value == found.best == pytest.approx(factor, rel=0.06)
    before, after = (
        calibration_error(reliability(confidence_N, sharpened.argmax(1) == target_N))
        for confidence_N in (np.exp(sharpened.max(1)), tempered(sharpened, sharpened[:, 0], found.value)[1])
    )
    assert after < 0.03 < before


def test_what_a_model_that_means_what_it_says_could_gain_is_taken_for_chance():
    values = [fit_temperature(*honest(400, 10, seed), np.arange(400) // 20).value for seed in range(30)]
    assert values == [1.0] * 30


@examples(40)
@given(st.integers(0, 10_000), st.integers(2, 30), st.sampled_from([0.3, 1.0, 3.0]))
def test_the_temperature_is_the_minimum_that_a_search_finds_and_never_worse_than_one(seed, entries, factor):
    draw = np.random.default_rng(seed)
    logp_NV = log_softmax(factor * draw.normal(0, 2, (50, entries)), 1).astype(np.float32)
    target_N = np.where(draw.random(50) < 0.5, logp_NV.argmax(1), draw.integers(0, entries, 50))

    def nats(temperature):
        return -log_softmax(logp_NV.astype(float) / temperature, 1)[np.arange(50), target_N].mean()

    found = fit_temperature(logp_NV.copy(), target_N, np.arange(50) // 5)
    search = minimize_scalar(lambda t: nats(math.exp(t)), (math.log(LEAST), math.log(MOST)), method="golden").x
    wanted = min(max(math.exp(search), LEAST), MOST)
    assert nats(found.best) <= nats(wanted) + 1e-6
    assert found.nats_before == pytest.approx(nats(1.0), rel=1e-5)
    assert found.nats_after == pytest.approx(nats(found.value), rel=1e-5)
    assert found.nats_after <= found.nats_before + 1e-9


def test_tempered_nats_and_confidence_are_those_of_the_softmax():
    logp_NV, target_N = honest(30, 7)
    own_N = logp_NV[np.arange(30), target_N].astype(float)
    nats_N, confidence_N = tempered(logp_NV, own_N, 3.0)
    expected_NV = softmax(logp_NV.astype(float) / 3.0, 1)
    np.testing.assert_allclose(nats_N, -np.log(expected_NV[np.arange(30), target_N]), rtol=1e-5)
    np.testing.assert_allclose(confidence_N, expected_NV.max(1), rtol=1e-5)


def test_impossible_tokens_have_no_say_and_impossible_entries_change_nothing():
    logp_NV, target_N = honest(500, 6)
    wider = np.concatenate([3 * logp_NV, np.full((500, 2), -np.inf, np.float32)], 1)
    wider[:, :6] = log_softmax(3 * logp_NV, 1)
    plain = fit_temperature(wider[:, :6].copy(), target_N, np.arange(500) // 5)
    assert fit_temperature(wider.copy(), target_N, np.arange(500) // 5) == plain
    missed = np.where(np.arange(500) < 100, 7, target_N)
    found = fit_temperature(wider.copy(), missed, np.arange(500) // 5)
    assert found.tokens == 400
    assert math.isfinite(found.nats_after)
    nothing = fit_temperature(wider.copy(), np.full(500, 7), np.arange(500))
    assert (nothing.value, nothing.nats_before, nothing.tokens) == (1.0, math.inf, 0)


def test_one_review_is_no_evidence():
    logp_NV, target_N = honest(500, 6)
    found = fit_temperature(log_softmax(3 * logp_NV, 1).astype(np.float32), target_N, np.zeros(500, int))
    assert (found.value, found.error) == (1.0, math.inf)
    assert found.best == pytest.approx(3, rel=0.2)


def test_without_a_token_there_is_nothing_to_fit():
    with pytest.raises(InputError, match="no held-out token"):
        fit_temperature(np.zeros((0, 4), np.float32), np.zeros(0, int), np.zeros(0, int))


def test_the_number_of_bins_is_that_of_the_paper():
    assert BINS == 15
    assert len(reliability(np.array([0.5]), np.array([True]))) == 15
