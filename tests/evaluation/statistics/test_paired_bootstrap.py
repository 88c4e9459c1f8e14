import itertools

import numpy as np
import pytest

from evaluation.statistics import bootstrap
from evaluation.statistics.bootstrap import Bootstrap, expanded_tail, ratio_interval


def interval(numerator, denominator, seed=1, resamples=2_000, confidence=0.95):
    return ratio_interval(numerator, denominator, confidence=confidence, resamples=resamples, seed=seed)


def test_the_estimate_is_the_ratio_of_the_sums():
    assert interval(np.array([1.0, 2.0, 6.0]), np.array([10, 20, 30])).estimate == pytest.approx(9 / 60)


def test_equal_seeds_give_equal_intervals():
    values = np.random.default_rng(0).normal(size=50)
    assert interval(values, np.ones(50)) == interval(values, np.ones(50))
    assert interval(values, np.ones(50)) != interval(values, np.ones(50), seed=2)


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


@pytest.mark.parametrize("numbers", [[], [1.0, np.nan], [1.0, np.inf]])
def test_nothing_and_numbers_that_are_none_are_refused(numbers):
    with pytest.raises(ValueError, match="finite"):
        interval(np.array(numbers), np.ones(len(numbers)))


def boot(columns, resamples=500, seed=1, confidence=0.95):
    return Bootstrap(columns.items(), confidence=confidence, resamples=resamples, seed=seed)


def test_all_columns_come_from_the_same_draws():
    values = np.random.default_rng(8).lognormal(size=70)
    found = boot({"x": values, "twice": 2 * values, "one": np.ones(70)})
    np.testing.assert_allclose(found.drawn["twice"], 2 * found.drawn["x"], rtol=1e-12)
    np.testing.assert_allclose(found.drawn["one"], 70, rtol=1e-12)


def test_draws_have_the_distribution_of_all_possible_ones():
    values = np.array([1.0, 10.0, 100.0])
    every = [sum(drawn) for drawn in itertools.product(values, repeat=3)]
    found = np.round(boot({"x": values}, resamples=20_000).drawn["x"], 6)
    for total in set(every):
        assert (found == total).mean() == pytest.approx(every.count(total) / 27, abs=0.015)


def test_groups_hold_every_review_once():
    reviews = bootstrap.MAX_UNITS * 3 + 7
    count, set_D = bootstrap._units(reviews, None, np.random.default_rng(0))
    assert count == reviews
    assert set(np.bincount(set_D)) == {3, 4}
    found = boot({"x": np.arange(reviews), "one": np.ones(reviews)}, resamples=5)
    assert (found.units, found.reviews) == (bootstrap.MAX_UNITS, reviews)
    assert found.totals["x"] == reviews * (reviews - 1) / 2
    assert found.drawn["one"] == pytest.approx(reviews, rel=1e-3)


def test_a_group_is_drawn_as_a_whole():
    """Two groups, three draws of each possible pair: their sums are those of whole groups, and none in between."""
    found = Bootstrap(
        {"x": np.array([1.0, 2.0, 4.0, 8.0])}.items(), confidence=0.95, resamples=500, seed=1,
        groups=np.array([0, 1, 0, 1]),
    )  # fmt: skip
    assert set(found.drawn["x"]) == {10.0, 15.0, 20.0}
    assert (found.reviews, found.groups, found.totals["x"]) == (4, 2, 15.0)


def test_copies_of_reviews_do_not_narrow_an_interval():
    """Each review five times: alone they look like five times the evidence, in groups like what they are."""
    random = np.random.default_rng(12)
    bits, size = random.normal(100, 20, 80), random.integers(50, 900, 80).astype(float)
    once = interval(bits, size)
    copies = [np.tile(column, 5) for column in (bits, size)]
    how = {"confidence": 0.95, "resamples": 2_000, "seed": 1}
    grouped = ratio_interval(*copies, groups=np.tile(np.arange(80), 5), **how)
    apart = ratio_interval(*copies, **how)
    assert (grouped.low, grouped.high) == pytest.approx((once.low, once.high))
    assert (grouped.reviews, grouped.groups) == (400, 80)
    assert apart.high - apart.low < 0.5 * (once.high - once.low)


def test_above_some_thousand_groups_each_stays_whole(monkeypatch):
    monkeypatch.setattr(bootstrap, "MAX_UNITS", 50)
    groups = np.repeat(np.arange(120), 3)
    count, set_D = bootstrap._units(360, groups, np.random.default_rng(0))
    assert count == 120
    assert len(set(set_D)) == 50
    assert all(len(set(set_D[groups == group])) == 1 for group in range(120))


def test_a_single_group_has_no_interval():
    how = {"confidence": 0.95, "resamples": 99, "seed": 1, "groups": np.zeros(2, int)}
    found = ratio_interval(np.array([1.0, 2.0]), np.ones(2), **how)
    assert np.isnan([found.low, found.high]).all()


def test_draws_that_are_taken_some_at_a_time_are_all_taken_and_all_different(monkeypatch):
    monkeypatch.setattr(bootstrap, "DRAWS_AT_ONCE", 400)
    found = boot({"x": np.random.default_rng(9).normal(size=40), "one": np.ones(40)}, resamples=123)
    assert (found.drawn["one"] == 40).all()
    assert len(set(found.drawn["x"])) == 123


def test_a_column_with_an_infinite_number_has_no_interval_and_spoils_no_other():
    values = np.random.default_rng(3).normal(size=50)
    found = boot({"x": values, "bad": np.append(values[:-1], np.inf)})
    assert np.isnan([found.interval(lambda sums: sums["bad"]).low, found.interval(lambda sums: sums["bad"]).high]).all()
    assert found.interval(lambda sums: sums["bad"]).estimate == np.inf
    assert found.interval(lambda sums: sums["x"]) == boot({"x": values}).interval(lambda sums: sums["x"])


def test_tails_are_farther_out_for_few_reviews_and_plain_for_many():
    """Hesterberg 2015, section 3.3: for n = 10 the tail is Φ(−√(10/9) · 2.262) = Φ(−2.384)."""
    assert expanded_tail(0.95, 10) == pytest.approx(0.00855, abs=1e-4)
    assert expanded_tail(0.95, 100_000) == pytest.approx(0.025, abs=1e-5)
    assert expanded_tail(0.95, 1) == pytest.approx(0.025)


@pytest.mark.parametrize("columns", [{}, {"x": []}, {"x": [1.0, 2.0], "y": [1.0]}])
def test_columns_that_are_not_of_the_same_reviews_are_refused(columns):
    with pytest.raises(ValueError, match="bootstrap needs"):
        boot(columns)


def test_a_slice_that_is_empty_in_a_few_draws_has_an_interval_and_in_many_has_none():
    rare = np.zeros(200)
    rare[:1] = 1.0
    few = np.zeros(200)
    few[:8] = 1.0
    found = boot({"rare": rare, "few": few}, resamples=2_000)
    share = {name: found.interval(lambda sums, name=name: sums[name] / sums[name]) for name in ("rare", "few")}
    assert np.isnan(share["rare"].low)
    assert (share["few"].low, share["few"].high) == (1.0, 1.0)
