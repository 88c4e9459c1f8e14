"""The paired bootstrap: draws of whole groups, intervals that hold as often as they say, design effects."""

import itertools

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.evaluation.coverage import coverage, figures_of_population, population
from reviewlm.evaluation.statistics import bootstrap
from reviewlm.evaluation.statistics.bootstrap import Bootstrap, expanded_tail, ratio_interval
from reviewlm.evaluation.statistics.groups import connect_groups, design_effect, effective_number
from tests.examples import examples


def interval(
    numerator,
    denominator,
    seed=1,
    resamples=2_000,
    confidence=0.95,
):
    return ratio_interval(
        numerator,
        denominator,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    )


def test_the_interval_of_a_ratio_is_the_one_of_linearisation():
    """Cochran 1977, eq. 6.13: var(R) = Σ (y − R x)² / (Σ x)²."""
    random = np.random.default_rng(6)
    size = random.integers(20, 2_000, 1_000).astype(float)
    bits = size * random.normal(1.2, 0.2, 1_000)
    found = interval(bits, size)
    spread = np.sqrt(((bits - found.estimate * size) ** 2).sum()) / size.sum()
    assert (found.high - found.low) / 2 == pytest.approx(1.959964 * spread, rel=0.15)


@pytest.mark.parametrize("numbers", [[], [1.0, np.nan], [1.0, np.inf]])
def test_numbers_that_are_not_finite_are_refused(numbers):
    with pytest.raises(ValueError, match="finite"):
        interval(np.array(numbers), np.ones(len(numbers)))


def boot(
    columns,
    resamples=500,
    seed=1,
    confidence=0.95,
):
    return Bootstrap(
        columns.items(),
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    )


def test_all_columns_come_from_the_same_draws():
    values = np.random.default_rng(8).lognormal(size=70)
    found = boot(
        {
            "x": values,
            "twice": 2 * values,
            "one": np.ones(70),
        }
    )
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
        {"x": np.array([1.0, 2.0, 4.0, 8.0])}.items(),
        confidence=0.95,
        resamples=500,
        seed=1,
        groups=np.array([0, 1, 0, 1]),
    )
    assert set(found.drawn["x"]) == {10.0, 15.0, 20.0}
    assert (found.reviews, found.groups, found.totals["x"]) == (4, 2, 15.0)


def test_a_single_group_has_no_interval():
    how = {
        "confidence": 0.95,
        "resamples": 99,
        "seed": 1,
        "groups": np.zeros(2, int),
    }
    found = ratio_interval(np.array([1.0, 2.0]), np.ones(2), **how)
    assert np.isnan([found.low, found.high]).all()


def test_draws_that_are_taken_some_at_a_time_are_all_different(monkeypatch):
    monkeypatch.setattr(bootstrap, "DRAWS_AT_ONCE", 400)
    found = boot({"x": np.random.default_rng(9).normal(size=40), "one": np.ones(40)}, resamples=123)
    assert (found.drawn["one"] == 40).all()
    assert len(set(found.drawn["x"])) == 123


@pytest.fixture
def normal_values():
    return np.random.default_rng(3).normal(size=50)


def test_a_column_with_an_infinite_number_has_no_interval(normal_values):
    found = boot({"x": normal_values, "bad": np.append(normal_values[:-1], np.inf)})
    interval_of_bad = found.interval(lambda sums: sums["bad"])
    assert np.isnan([interval_of_bad.low, interval_of_bad.high]).all()
    assert interval_of_bad.estimate == np.inf


def test_a_column_with_an_infinite_number_spoils_no_other(normal_values):
    found = boot({"x": normal_values, "bad": np.append(normal_values[:-1], np.inf)})
    alone = boot({"x": normal_values})
    assert found.interval(lambda sums: sums["x"]) == alone.interval(lambda sums: sums["x"])


def test_tails_are_farther_out_for_few_reviews():
    """Hesterberg 2015, section 3.3: for n = 10 the tail is Φ(−√(10/9) · 2.262) = Φ(−2.384)."""
    assert expanded_tail(0.95, 10) == pytest.approx(0.00855, abs=1e-4)


def test_tails_are_plain_for_many_reviews():
    assert expanded_tail(0.95, 100_000) == pytest.approx(0.025, abs=1e-5)


def test_the_tail_is_plain_for_a_single_review():
    assert expanded_tail(0.95, 1) == pytest.approx(0.025)


@pytest.mark.parametrize("columns", [{}, {"x": []}, {"x": [1.0, 2.0], "y": [1.0]}])
def test_columns_that_are_not_of_the_same_reviews_are_refused(columns):
    with pytest.raises(ValueError, match="bootstrap needs"):
        boot(columns)


def interval_of_slice(members):
    """Return the interval of a ratio in a slice of so many of 200 reviews."""
    slice_N = np.zeros(200)
    slice_N[:members] = 1.0
    return boot({"x": slice_N}, resamples=2_000).interval(lambda sums: sums["x"] / sums["x"])


def test_a_slice_that_is_empty_in_a_few_draws_has_an_interval():
    found = interval_of_slice(8)
    assert (found.low, found.high) == (1.0, 1.0)


def test_a_slice_that_is_empty_in_many_draws_has_no_interval():
    assert np.isnan(interval_of_slice(1).low)


# --- The simulation of coverage, with few test sets: the intervals of a run hold the truth about as often as they say

SETS, SIZE = 120, 120


@pytest.fixture(scope="module")
def tables():
    return population(20_000, seed=3)


@pytest.mark.long
def test_intervals_hold_the_true_figure_about_as_often_as_they_say(tables):
    """Of 120 sets 95 % have a standard error of 2 %: 88 % to 99.5 % is more than three of them on either side."""
    found = coverage(
        tables,
        SIZE,
        SETS,
        seed=5,
        resamples=300,
    )
    assert set(found) == set(figures_of_population(tables))
    assert all(0.88 <= share <= 0.995 for share in found.values()), found


def test_intervals_that_take_tokens_for_independent_hold_it_far_too_rarely(tables):
    """The mistake that drawing reviews avoids: tokens of one review resemble each other."""
    truth, random = figures_of_population(tables)["hit@1"], np.random.default_rng(6)
    held = 0
    for _ in range(400):
        drawn = tables["model"][random.integers(0, 20_000, SIZE)]
        tokens, share = drawn["tokens"].sum(), drawn["hits"].sum() / drawn["tokens"].sum()
        held += abs(share - truth) <= 1.96 * np.sqrt(share * (1 - share) / tokens)
    assert held / 400 < 0.85


# --- Which reviews are drawn together, and how much evidence is left


def by_search(*keys):
    """Connected components of the graph of reviews and keys, numbered by their first review: a flood from each."""
    reviews = range(len(keys[0]))
    group = [None] * len(keys[0])
    for start in reviews:
        waiting, number = [start], len({one for one in group if one is not None})
        while waiting and group[start] in (None, number):
            group[one := waiting.pop()] = number
            waiting += [
                other
                for other in reviews
                if group[other] is None
                and any(key[one] is not None and key[one] == key[other] for key in keys)
            ]
    return group


@examples(200)
@given(
    st.integers(0, 12).flatmap(
        lambda reviews: st.lists(
            st.lists(st.none() | st.integers(0, 6), min_size=reviews, max_size=reviews),
            min_size=1,
            max_size=3,
        )
    )
)
def test_groups_are_the_connected_components(values):
    keys = [pl.Series("key", column, pl.Int64) for column in values]
    assert connect_groups(*keys).to_list() == by_search(*keys)


@pytest.mark.parametrize("order", ["ascending", "random"])
def test_a_long_chain_is_one_group(order):
    places = (
        np.arange(5_000) if order == "ascending" else np.random.default_rng(3).permutation(5_000)
    )
    assert connect_groups(pl.Series(places // 2), pl.Series((places + 1) // 2)).n_unique() == 1


def test_the_effective_number_is_that_of_equal_groups():
    assert effective_number(np.full(9, 4.0)) == pytest.approx(9)
    assert effective_number(np.array([3.0, 1.0])) == pytest.approx(16 / 10)
    assert effective_number(np.array([1.0, 1e-12])) == pytest.approx(1)


def test_the_design_effect_of_copies_is_their_number():
    values = np.random.default_rng(1).normal(size=3_000)
    copied, _ = design_effect(np.tile(values, 4), np.tile(np.arange(3_000), 4))
    assert copied == pytest.approx(4)


def test_the_design_effect_of_independent_reviews_is_one():
    random = np.random.default_rng(1)
    found = np.array(
        [design_effect(random.normal(size=600), np.arange(600) % 200) for _ in range(300)]
    )
    assert found[:, 0].mean() == pytest.approx(1, abs=0.02)
    assert found[:, 0].std() == pytest.approx(found[:, 1].mean(), rel=0.15)
