import numpy as np
import pytest

from evaluation import bootstrap
from evaluation.bootstrap import ratio_interval


def interval(numerator, denominator, seed=1, resamples=2_000, confidence=0.95):
    return ratio_interval(numerator, denominator, confidence=confidence, resamples=resamples, seed=seed)


def test_the_estimate_is_the_ratio_of_the_sums():
    assert interval(np.array([1.0, 2.0, 6.0]), np.array([10, 20, 30])).estimate == pytest.approx(9 / 60)


def test_equal_seeds_give_equal_intervals():
    values = np.random.default_rng(0).normal(size=50)
    assert interval(values, np.ones(50)) == interval(values, np.ones(50))
    assert interval(values, np.ones(50)) != interval(values, np.ones(50), seed=2)


def test_no_difference_at_all_has_an_interval_of_no_width():
    found = interval(np.zeros(40), np.arange(1, 41))
    assert (found.low, found.estimate, found.high) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("reviews", [400, 20_000])
def test_the_interval_of_a_mean_is_the_normal_one_with_single_reviews_and_with_groups(reviews):
    values = np.random.default_rng(5).normal(size=reviews)
    found = interval(values, np.ones(reviews))
    half = 1.959964 * values.std() / np.sqrt(reviews)
    assert found.low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.15 * half)


def test_the_interval_of_a_ratio_is_the_one_of_linearisation():
    """Cochran 1977, eq. 6.13: var(R) = Σ (y − R x)² / (Σ x)²."""
    random = np.random.default_rng(6)
    size = random.integers(20, 2_000, 1_000).astype(float)
    bits = size * random.normal(1.2, 0.2, 1_000)
    found = interval(bits, size)
    spread = np.sqrt(((bits - found.estimate * size) ** 2).sum()) / size.sum()
    assert (found.high - found.low) / 2 == pytest.approx(1.959964 * spread, rel=0.15)


def test_more_confidence_is_a_wider_interval():
    values = np.random.default_rng(7).normal(size=100)
    wide, narrow = (interval(values, np.ones(100), confidence=level) for level in (0.99, 0.8))
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize("numbers", [[], [1.0, np.nan], [1.0, np.inf]])
def test_nothing_and_numbers_that_are_none_are_refused(numbers):
    with pytest.raises(ValueError, match="finite"):
        interval(np.array(numbers), np.ones(len(numbers)))


def test_groups_hold_every_review_once():
    values = np.arange(bootstrap.MAX_UNITS * 3 + 7, dtype=float)
    sums, counts = bootstrap._grouped(values, np.ones_like(values), np.random.default_rng(0))
    assert len(sums) == bootstrap.MAX_UNITS
    assert sums.sum() == values.sum()
    assert set(counts) == {3.0, 4.0}
