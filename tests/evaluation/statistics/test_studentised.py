"""The interval that the gate decides by."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import beta
from scipy.stats import t as student

from reviewlm.evaluation.statistics.bootstrap import (
    Ratio,
    _with_an_unseen_group,
    expanded_tail,
    studentised_intervals,
)

OPTIONS = {"confidence": 0.95, "resamples": 4_000, "seed": 1}


def ratio(numerator, denominator=None, lengths=None):
    ones = np.ones(len(numerator))
    return Ratio(
        np.asarray(numerator, float),
        ones if denominator is None else denominator,
        ones if lengths is None else lengths,
    )


def interval(one, **changes):
    return studentised_intervals([one], **{**OPTIONS, **changes})[0]


def brute_force(one, draws):
    """Of given draws, one by one: r* − r in standard errors of the draw, by the textbook's formulas."""
    deviations = []
    for drawn in draws:
        y, x = one.numerator_D[drawn], one.denominator_D[drawn]
        ratio = y.sum() / x.sum()
        deviations.append(
            (ratio - one.estimate) / (np.sqrt(((y - ratio * x) ** 2).sum()) / x.sum())
        )
    return np.array(deviations)


def test_the_interval_is_the_hull_of_the_bootstrap_t_and_of_draws_with_an_unseen_group():
    """The same quantiles as those of draws made one by one, within what so many draws tell of a quantile."""
    random = np.random.default_rng(3)
    x = random.gamma(2.0, 50, 60)
    one = ratio(x * random.normal(0.9, 0.2, 60), x)
    residual = one.numerator_D - one.estimate * x
    error = np.sqrt((residual**2).sum()) / x.sum()
    deviations = brute_force(one, random.integers(0, 60, (20_000, 60)))
    weights = random.exponential(size=(20_000, 61))
    mean = x.mean()  # lengths are equal, so that the effective group is an average one
    seen, whole = weights[:, 1:] @ residual, weights[:, 1:] @ x + weights[:, 0] * mean
    found, tail = interval(one, resamples=20_000), expanded_tail(0.95, 60)
    low = one.estimate + min(
        -np.quantile(deviations, 1 - tail) * error,
        np.quantile((seen + weights[:, 0] * residual.min()) / whole, 0.025),
    )
    high = one.estimate + max(
        -np.quantile(deviations, tail) * error,
        np.quantile((seen + weights[:, 0] * residual.max()) / whole, 0.975),
    )
    assert found.low == pytest.approx(low, abs=0.1 * error)
    assert found.high == pytest.approx(high, abs=0.1 * error)
    assert found.estimate == pytest.approx(one.numerator_D.sum() / x.sum())


@pytest.mark.parametrize("bad", [0, 1, 4, 20])
def test_of_a_share_the_unseen_group_gives_the_exact_bound(bad):
    """Of 40 reviews so many are bad: the upper bound of Clopper and Pearson."""
    one = ratio(np.arange(40) < bad, lengths=np.full(40, 7.0))
    one = replace(one, unseen=1 - one.estimate)
    [(_, high)] = _with_an_unseen_group([one], 0.025, 40_000, 1)
    assert one.estimate + high == pytest.approx(beta.ppf(0.975, bad + 1, 40 - bad), abs=0.004)


@pytest.mark.long
def test_what_was_not_seen_widens_the_interval_of_few_reviews_and_hardly_that_of_many():
    """All reviews agree: the bound is the weight of one among n + 1, which is below 1 − 0.025^(1/n) in 97.5 %."""
    for reviews in (30, 300, 3_000):
        same = ratio(np.full(reviews, 0.98))
        found = interval(replace(same, unseen=1.0), resamples=20_000)
        assert found.high - found.estimate == pytest.approx(1 - 0.025 ** (1 / reviews), rel=0.05)
        assert interval(same).high == pytest.approx(0.98, rel=1e-9)


def test_a_group_counts_as_one_however_many_copies_of_a_review_it_holds():
    random = np.random.default_rng(11)
    x = random.gamma(2.0, 50, 50)
    once = Ratio(x * random.normal(0.95, 0.1, 50), x, x, unseen=0.5)
    columns = (np.tile(column, 4) for column in (once.numerator_D, x, x))
    grouped = Ratio(*columns, groups_D=np.tile(np.arange(50), 4), unseen=0.5)
    one, other = interval(once), interval(grouped)
    assert (other.low, other.high) == pytest.approx((one.low, one.high))
    assert (other.reviews, other.groups) == (200, 50)
    apart = interval(replace(grouped, groups_D=None))
    assert apart.high - apart.low < 0.6 * (one.high - one.low)


def test_of_normal_values_it_is_students():
    values = np.random.default_rng(5).normal(size=400)
    found = interval(ratio(values))
    half = student.ppf(0.975, 399) * values.std(ddof=1) / 20
    assert (found.low, found.high) == pytest.approx(
        (values.mean() - half, values.mean() + half), abs=0.1 * half
    )


def test_long_reviews_widen_the_interval():
    random = np.random.default_rng(9)
    values, lengths = random.normal(size=200), random.lognormal(6, 1, 200)
    assert interval(ratio(values)).high < interval(ratio(values, lengths=lengths)).high


def test_above_some_thousand_reviews_groups_are_drawn_and_say_the_same():
    values = np.random.default_rng(4).normal(size=20_000)
    found = interval(ratio(values), resamples=1_000)
    half = 1.96 * values.std() / np.sqrt(20_000)
    assert found.high - found.estimate == pytest.approx(half, rel=0.12)


def test_one_review_has_no_interval():
    found = interval(ratio([3.0], np.array([2.0]), np.array([9.0])))
    assert found.estimate == 1.5
    assert np.isnan([found.low, found.high]).all()
    assert found.reviews == 1


def test_no_review_is_refused():
    with pytest.raises(ValueError, match="at least one review"):
        interval(ratio([]))
