"""Which reviews are drawn together, and how much evidence is left."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from evaluation.statistics.groups import design_effect, effective_number, groups_of, united
from tests.examples import examples


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


def by_scipy(*keys):
    """Connected components of the graph of reviews and keys, numbered by their first review."""
    nodes, edges = len(keys[0]), []
    for key in keys:
        numbers = {value: nodes + place for place, value in enumerate(dict.fromkeys(key.drop_nulls()))}
        edges += [(review, numbers[value]) for review, value in enumerate(key) if value is not None]
        nodes += len(numbers)
    rows, columns = np.array(edges, np.int64).reshape(-1, 2).T
    labels = connected_components(coo_array((np.ones(len(rows)), (rows, columns)), shape=(nodes, nodes)), False)[1]
    return np.unique(labels[: len(keys[0])], return_inverse=True)[1].tolist()


@examples(200)
@given(st.integers(0, 12).flatmap(lambda reviews: st.lists(
    st.lists(st.none() | st.integers(0, 6), min_size=reviews, max_size=reviews), min_size=1, max_size=3)))  # fmt: skip
def test_groups_are_the_connected_components(values):
    keys = [pl.Series("key", column, pl.Int64) for column in values]
    assert united(*keys).to_list() == by_scipy(*keys)


@pytest.mark.parametrize("order", ["ascending", "random"])
def test_a_long_chain_is_one_group(order):
    places = np.arange(5_000) if order == "ascending" else np.random.default_rng(3).permutation(5_000)
    assert united(pl.Series(places // 2), pl.Series((places + 1) // 2)).n_unique() == 1


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
