"""The interval that the gate decides by."""

import numpy as np
import pytest
from scipy.stats import t as student

from evaluation.bootstrap import expanded_tail
from evaluation.studentised import Ratio, effective_reviews, studentised_intervals

OPTIONS = {"confidence": 0.95, "resamples": 4_000, "seed": 1}


def ratio(numerator, denominator=None, lengths=None):
    ones = np.ones(len(numerator))
    return Ratio(np.asarray(numerator, float), ones if denominator is None else denominator,
                 ones if lengths is None else lengths)  # fmt: skip


def interval(one, **changes):
    return studentised_intervals([one], **{**OPTIONS, **changes})[0]


def brute_force(one, draws):
    """Of given draws, one by one: r* − r, and that in standard errors of the draw, by the textbook's formulas."""
    moved, deviations = [], []
    for drawn in draws:
        y, x = one.numerator_D[drawn], one.denominator_D[drawn]
        ratio = y.sum() / x.sum()
        moved.append(ratio - one.estimate)
        deviations.append(moved[-1] / (np.sqrt(((y - ratio * x) ** 2).sum()) / x.sum()))
    return np.array(moved), np.array(deviations)


def test_the_interval_is_the_hull_of_the_textbooks_two():
    """The same quantiles as those of draws made one by one, within what so many draws tell of a quantile."""
    random = np.random.default_rng(3)
    x = random.gamma(2.0, 50, 60)
    one = ratio(x * random.normal(0.9, 0.2, 60), x)
    moved, deviations = brute_force(one, random.integers(0, 60, (20_000, 60)))
    residual = one.numerator_D - one.estimate * x
    error = np.sqrt((residual**2).sum()) / x.sum()
    found, tail = interval(one, resamples=20_000), expanded_tail(0.95, 60)
    low = one.estimate + min(np.quantile(moved, tail), -np.quantile(deviations, 1 - tail) * error)
    high = one.estimate + max(np.quantile(moved, 1 - tail), -np.quantile(deviations, tail) * error)
    assert found.low == pytest.approx(low, abs=0.1 * error)
    assert found.high == pytest.approx(high, abs=0.1 * error)
    assert found.estimate == pytest.approx(one.numerator_D.sum() / x.sum())


def test_of_normal_values_it_is_students():
    values = np.random.default_rng(5).normal(size=400)
    found = interval(ratio(values))
    half = student.ppf(0.975, 399) * values.std(ddof=1) / 20
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)


def test_where_a_few_reviews_are_much_dearer_the_upper_end_lies_further_out():
    """The other way round than a normal interval: what is rare may be missing in the sample."""
    lopsided = interval(ratio(np.random.default_rng(6).exponential(size=80)))
    assert lopsided.high - lopsided.estimate > 1.1 * (lopsided.estimate - lopsided.low)


def test_turning_the_sign_turns_the_interval():
    values = np.random.default_rng(7).exponential(size=50)
    one, other = interval(ratio(values)), interval(ratio(-values))
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))


def test_the_unit_of_the_numerator_and_of_the_lengths_changes_nothing():
    random = np.random.default_rng(8)
    values, lengths = random.normal(5, 1, 90), random.integers(20, 900, 90)
    one, other = interval(ratio(values, lengths=lengths)), interval(ratio(values * 1e6, lengths=lengths * 8))
    assert np.array([other.low, other.high]) / 1e6 == pytest.approx(np.array([one.low, one.high]))


def test_long_reviews_widen_the_interval():
    random = np.random.default_rng(9)
    values, lengths = random.normal(size=200), random.lognormal(6, 1, 200)
    assert interval(ratio(values)).high < interval(ratio(values, lengths=lengths)).high


def test_no_difference_has_no_width_and_a_constant_ratio_none_to_speak_of():
    x = np.random.default_rng(1).gamma(2.0, 50, 40)
    nothing = interval(ratio(np.zeros(40), x))
    assert (nothing.low, nothing.estimate, nothing.high) == (0, 0, 0)
    tenth = interval(ratio(0.9 * x, x))
    assert tenth.low == pytest.approx(0.9, rel=1e-9)
    assert tenth.high == pytest.approx(0.9, rel=1e-9)


def test_several_ratios_share_their_draws_and_are_what_each_is_alone():
    random = np.random.default_rng(2)
    some = [ratio(random.normal(size=30)) for _ in range(3)]
    assert studentised_intervals(some, **OPTIONS) == [interval(one) for one in some]


def test_above_some_thousand_reviews_groups_are_drawn_and_say_the_same():
    values = np.random.default_rng(4).normal(size=20_000)
    found = interval(ratio(values), resamples=1_000)
    half = 1.96 * values.std() / np.sqrt(20_000)
    assert found.high - found.estimate == pytest.approx(half, rel=0.12)


def test_effective_reviews():
    assert effective_reviews(np.full(100, 37)) == 100
    assert effective_reviews(np.array([1.0] * 50 + [1e-9] * 50)) == 50
    assert effective_reviews(np.array([3.0, 1.0])) == 2
    squares = np.arange(1, 101.0) ** 2
    assert effective_reviews(np.arange(1, 101)) == int(squares.sum() ** 2 / (squares**2).sum()) == 55


def test_one_review_has_no_interval():
    found = interval(ratio([3.0], np.array([2.0]), np.array([9.0])))
    assert found.estimate == 1.5
    assert np.isnan([found.low, found.high]).all()
    assert found.reviews == 1


def test_no_review_is_refused():
    with pytest.raises(ValueError, match="at least one review"):
        interval(ratio([]))
