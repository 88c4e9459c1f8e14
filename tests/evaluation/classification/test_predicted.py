"""Answers of a classifier are checked before anything is computed from them, and errors name what is wrong."""

import numpy as np
import polars as pl
import pytest

from core.errors import EmptyInput, InputError
from tests.evaluation.classification.made_answers import predicted

FAIR = np.full((2, 2), 0.5)
UNSURE = np.array([[0.9, 0.2], [0.5, 0.5]])
MARGINS = np.array([[0.5, 0.5], [1.7, -0.7]])


@pytest.mark.parametrize(
    ("changes", "what", "where", "value"),
    [
        ({"labels": ("bad",)}, "at least two labels", "labels", "bad"),
        ({"labels": ("bad", "bad")}, "occurs twice", "labels", "bad"),
        ({"labels": ("bad", " ")}, "not empty", "labels", " "),
        ({"truth": [0, 2]}, "not one of the 2 labels", "truth_N, review r0001", "2"),
        ({"answers": [-1, 0]}, "not one of the 2 labels", "answers_N, review r0000", "-1"),
        ({"answers": [0, 1, 1]}, "one number for each of 2 reviews", "answers_N", "3"),
        ({"answers": [0.0, 1.0]}, "whole numbers", "answers_N", "float64"),
        ({"groups": [0]}, "one number for each of 2 reviews", "groups_N", "1"),
        ({"ids": ["a", "a"]}, "answered twice", "review_ids", "a"),
        ({"ids": ["a", None]}, "has no id", "review_ids, row 1", ""),
        ({"probabilities": FAIR[:, :1]}, "shape (2, 2)", "probabilities_NK", "(2, 1)"),
        ({"probabilities": FAIR.astype(int)}, "floating-point", "probabilities_NK", "int64"),
        ({"probabilities": UNSURE}, "do not add up to 1", "probabilities_NK, review r0000", "1.1"),
        ({"probabilities": MARGINS}, "not between 0 and 1", "probabilities_NK, review r0001, label bad", "1.7"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_error_names_what_is_wrong_where_and_the_value(changes, what, where, value):
    values = {"truth": [0, 1], "answers": [1, 1], "labels": ("bad", "good"), "ids": ["r0000", "r0001"], **changes}
    with pytest.raises(InputError) as caught:
        predicted(**values)
    assert what in caught.value.what
    assert caught.value.where == where
    assert value in str(caught.value)


def test_no_review_at_all_is_an_error():
    with pytest.raises(EmptyInput):
        predicted(np.array([], int), np.array([], int))


def test_probabilities_of_float32_and_such_that_are_not_a_number_are_accepted():
    table = np.random.default_rng(1).dirichlet(np.ones(5), 50).astype(np.float32)
    table[3, 2] = np.nan
    found = predicted([0] * 50, [0] * 50, probabilities=table)
    assert found.probabilities_NK.dtype == np.float64
    assert np.flatnonzero(np.isnan(found.loss_N)).tolist() == [3]


def test_labels_are_numbers_only_if_all_are_different_finite_numbers():
    def values(*labels):
        found = predicted([0], [1], labels).values_K
        return None if found is None else found.tolist()

    assert values("1", "2.5", "-3") == [1.0, 2.5, -3.0]
    assert values("1", "good") is None
    assert values("1", "nan") is None
    assert values("1", "inf") is None
    assert values("1", "1.0") is None


def test_sorted_answers_keep_their_review_and_number_their_groups_in_that_order():
    found = predicted([0, 1, 2], [2, 1, 0], probabilities=np.eye(5)[:3], groups=[7, 7, 3], ids=["c", "a", "b"]).sorted()
    assert found.review_ids.equals(pl.Series("review_id", ["a", "b", "c"]))
    assert (found.truth_N.tolist(), found.answers_N.tolist()) == ([1, 2, 0], [1, 0, 2])
    assert found.probabilities_NK.argmax(1).tolist() == [1, 2, 0]
    assert found.groups_N.tolist() == [0, 1, 0]
