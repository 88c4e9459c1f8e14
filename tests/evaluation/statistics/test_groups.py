"""Which reviews are drawn together, and how much evidence is left."""

import numpy as np
import polars as pl
import pytest

from evaluation.statistics.groups import design_effect, effective_number, groups_of, united


def series(*values, name="key"):
    return pl.Series(name, values)


def partition(groups):
    """The groups as sets of positions, whatever their numbers."""
    return {frozenset(np.flatnonzero(np.asarray(groups) == number)) for number in set(groups)}


def test_reviews_of_one_key_are_one_group_and_those_without_a_key_are_alone():
    found = united(series("a", None, "b", "a", None))
    assert partition(found) == {frozenset({0, 3}), frozenset({1}), frozenset({2}), frozenset({4})}


def test_groups_of_several_keys_are_united_by_chains():
    """1 and 2 share a business, 2 and 4 a text: all three are one group. Keys of other kinds are never equal."""
    business, copies = series("x", "y", "y", None, "z"), series(None, None, 7, 0, 7)
    assert partition(united(business, copies)) == {frozenset({0}), frozenset({1, 2, 4}), frozenset({3})}
    assert partition(united(series("1", None), series(None, "1"))) == {frozenset({0}), frozenset({1})}


def test_groups_are_numbered_without_gaps():
    random = np.random.default_rng(0)
    found = united(pl.Series(random.integers(0, 40, 100)), pl.Series(random.integers(0, 200, 100)))
    assert sorted(set(found)) == list(range(found.max() + 1))


def test_no_reviews_and_no_keys():
    assert united(pl.Series("key", [], pl.String)).to_list() == []
    with pytest.raises(ValueError, match="at least one"):
        united()
    with pytest.raises(ValueError, match="same length"):
        united(series("a"), series("a", "b"))


def test_groups_are_looked_up_by_review_whatever_the_order():
    known = pl.DataFrame({"review_id": ["c", "a", "b", "other"], "group": [5, 5, None, 9]})
    found = groups_of(pl.Series(["a", "b", "c", "unknown"]), known)
    assert partition(found) == {frozenset({0, 2}), frozenset({1}), frozenset({3})}
    assert groups_of(pl.Series(["a"]), known.drop("group")) is None
    assert groups_of(pl.Series(["a"]), None) is None


def test_the_effective_number_is_that_of_equal_groups():
    assert effective_number(np.full(9, 4.0)) == pytest.approx(9)
    assert effective_number(np.array([3.0, 1.0])) == pytest.approx(16 / 10)
    assert effective_number(np.array([1.0, 1e-12])) == pytest.approx(1)


def test_the_design_effect_of_copies_is_their_number_and_of_independent_reviews_one():
    random = np.random.default_rng(1)
    values = random.normal(size=3_000)
    copied, _ = design_effect(np.tile(values, 4), np.tile(np.arange(3_000), 4))
    assert copied == pytest.approx(4)
    found = np.array([design_effect(random.normal(size=600), np.arange(600) % 200) for _ in range(300)])
    assert found[:, 0].mean() == pytest.approx(1, abs=0.02)
    assert found[:, 0].std() == pytest.approx(found[:, 1].mean(), rel=0.15)
