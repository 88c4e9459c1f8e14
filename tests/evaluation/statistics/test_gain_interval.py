"""The interval that the gate decides by."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import beta
from scipy.stats import t as student

from reviewlm.evaluation.statistics import gain_interval
from reviewlm.evaluation.statistics.bootstrap import expanded_tail
from reviewlm.evaluation.statistics.gain_interval import (
    Ratio,
    cautious_intervals,
    next_worst,
    weighted_ends,
)
from reviewlm.evaluation.statistics.groups import unseen_weight

OPTIONS = {
    "confidence": 0.95,
    "resamples": 4_000,
    "seed": 1,
}


def ratio(
    numerator,
    denominator=None,
    lengths=None,
):
    ones = np.ones(len(numerator))
    return Ratio(
        np.asarray(numerator, float),
        ones if denominator is None else denominator,
        ones if lengths is None else lengths,
    )


def interval(one, **changes):
    return cautious_intervals([one], **{**OPTIONS, **changes})[0]


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


def test_the_interval_is_the_hull_of_two_bootstraps():
    """The same quantiles as those of draws made one by one, within what so many draws tell of a quantile."""
    random = np.random.default_rng(3)
    x = random.gamma(2.0, 50, 60)
    one = ratio(x * random.normal(0.9, 0.2, 60), x)
    residual = one.numerator_D - one.estimate * x
    error = np.sqrt((residual**2).sum()) / x.sum()
    deviations = brute_force(one, random.integers(0, 60, (20_000, 60)))
    weights = random.exponential(size=(20_000, 61))
    mean = x.mean()  # lengths are equal, so that the effective group is an average one
    seen = weights[:, 1:] @ residual
    whole = weights[:, 1:] @ x + weights[:, 0] * mean
    best = (seen - weights[:, 0] * next_worst(-residual)) / whole
    worst = (seen + weights[:, 0] * next_worst(residual)) / whole
    found, tail = interval(one, resamples=20_000), expanded_tail(0.95, 60)
    low = min(-np.quantile(deviations, 1 - tail) * error, np.quantile(best, 0.025))
    high = max(-np.quantile(deviations, tail) * error, np.quantile(worst, 0.975))
    assert found.low == pytest.approx(one.estimate + low, abs=0.1 * error)
    assert found.high == pytest.approx(one.estimate + high, abs=0.1 * error)
    assert found.estimate == pytest.approx(one.numerator_D.sum() / x.sum())


@pytest.mark.parametrize("bad", [1, 4, 20])
def test_of_a_share_one_group_as_bad_as_the_worst_gives_the_exact_bound(bad, monkeypatch):
    """Of 40 reviews so many are bad: the upper bound of Clopper and Pearson."""
    monkeypatch.setattr(gain_interval, "next_worst", lambda residual_C: residual_C.max())
    one = ratio(np.arange(40) < bad, lengths=np.full(40, 7.0))
    [(_, high)] = weighted_ends([one], 0.025, 40_000, 1)
    assert one.estimate + high == pytest.approx(beta.ppf(0.975, bad + 1, 40 - bad), abs=0.004)


def test_the_next_group_is_worse_than_the_worst_one_only_if_the_sample_is_lopsided():
    symmetrical = np.array([-3.0, -1.0, 1.0, 3.0])
    assert next_worst(symmetrical) == pytest.approx(0.75 * 3)
    lopsided = np.array([-1.0] * 20 + [20.0])
    assert next_worst(lopsided) == pytest.approx(2 * 20)
    assert next_worst(-lopsided) == pytest.approx(0.75)
    mild = np.array([-1.0] * 300 + [0.5] * 400 + [2.0] * 50)
    skewness = (mild**3).sum() / (mild**2).sum() ** 1.5
    assert next_worst(mild) == pytest.approx((0.75 + 4 * skewness) * 2)
    assert next_worst(np.zeros(5)) == 0


@pytest.mark.parametrize("reviews", [30, 300, 3_000])
def test_what_was_not_seen_is_all_the_interval_of_reviews_that_agree(reviews):
    """A kind of which n reviews show nothing has at most the share 1 − (0.8 · 0.025)^(1/n)."""
    same = ratio(np.full(reviews, 0.98))
    assert interval(same).high == pytest.approx(0.98, rel=1e-9)
    found = interval(replace(same, unseen=1.0), resamples=100)
    assert found.high - found.estimate == pytest.approx(1 - 0.02 ** (1 / reviews))
    assert found.estimate - found.low == pytest.approx(1 - 0.02 ** (1 / reviews))


def test_what_was_not_seen_changes_nothing_where_the_noise_is_larger():
    noisy = ratio(np.random.default_rng(2).normal(0.98, 1.0, 1_000))
    assert interval(replace(noisy, unseen=1.0)) == interval(noisy)


def test_reviews_of_one_group_show_as_much_of_what_is_unseen_as_they_differ():
    """100 groups of ten: 1,000 reviews if they are independent, at most 100 / 0.39; 100 if they agree."""
    random = np.random.default_rng(8)
    groups = np.repeat(np.arange(100), 10)
    own, shared = random.normal(size=1_000), random.normal(size=100)[groups]
    ones = np.ones(1_000)
    numbers = {
        name: Ratio(1 + 0.1 * deviation, ones, ones, groups).independent_reviews
        for name, deviation in (("apart", own), ("alike", shared))
    }
    assert numbers["apart"] == pytest.approx(100 / 0.39)
    assert numbers["alike"] == pytest.approx(100)
    mixed = Ratio(1 + 0.1 * (own + shared), ones, ones, groups).independent_reviews
    assert mixed == pytest.approx(100 / (0.5 + 0.5 / 10), rel=0.2)
    found = interval(
        Ratio(
            1 + 1e-6 * shared,
            ones,
            ones,
            groups,
            unseen=1.0,
        ),
        resamples=100,
    )
    assert found.high - 1 == pytest.approx(unseen_weight(100, 0.95), rel=1e-3)


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


def test_above_some_thousand_reviews_groups_say_what_single_reviews_say():
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
