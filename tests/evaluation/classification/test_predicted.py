"""Answers of a classifier: their order, their probabilities, and labels that are numbers."""

import numpy as np
import polars as pl
import pytest

from core.errors import EmptyInput, InputError
from tests.evaluation.classification.made_answers import predicted


def test_a_review_that_was_answered_twice_is_named():
    with pytest.raises(InputError) as caught:
        predicted([0, 1], [1, 1], ids=["a", "a"])
    assert caught.value.value == "a"


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
