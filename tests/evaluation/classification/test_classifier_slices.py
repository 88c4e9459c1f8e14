"""Accuracy of classifiers on slices of the reviews, and what a challenger loses there."""

import numpy as np
import polars as pl
import pytest

from reviewlm.evaluation.classification.slices import (
    accuracy_by_slice,
    accuracy_losses,
    label_slicings,
)
from tests.evaluation.classification.made_answers import drawn, predicted

LABELS = ("bad", "good")
EVERY = ("label", "length", "month", "category")


def answered(
    right,
    truth=None,
    groups=None,
):
    """Two labels; *right* says which answers are."""
    right = np.asarray(right, bool)
    truth = np.zeros(len(right), int) if truth is None else np.asarray(truth)
    return predicted(truth, np.where(right, truth, 1 - truth), LABELS, groups=groups)


def documents(found, **columns):
    return pl.DataFrame({"review_id": found.review_ids, **columns})


def losses(
    ours,
    theirs,
    facts=None,
    **changes,
):
    options = {
        "dimensions": EVERY,
        "min_reviews": 2,
        "confidence": 0.95,
        **changes,
    }
    return accuracy_losses(ours.sort_by_review(), theirs.sort_by_review(), facts, **options)


def test_slices_are_what_is_known_of_the_reviews_beside_their_labels():
    found = drawn(300)
    facts = documents(
        found,
        words=np.arange(300),
        stars=found.truth_N + 1,
        categories=pl.Series(["Food, Bars", "Food", None] * 100, dtype=pl.String),
    )
    slicings = label_slicings(found, facts, min_reviews=30)
    assert [slicing.dimension for slicing in slicings] == ["label", "length", "category"], (
        "stars are the labels"
    )
    labels, _, categories = slicings
    assert np.array_equal(labels.member_NS[:, labels.names.index("5")], found.truth_N == 4)
    assert categories.member_NS.sum(0).tolist() == [100, 200]


def test_more_slices_share_the_chance_of_error():
    ours = answered([True] * 22 + [False] * 18)
    theirs = answered([True] * 30 + [False] * 10)
    facts = documents(ours, categories=["Food"] * 40)
    rows = losses(ours, theirs, facts).rows(named=True)
    alone = losses(ours, theirs).row(0, named=True)
    assert [row["dimension"] for row in rows] == ["category", "label"]
    assert all(row["surely"] < alone["surely"] for row in rows)
    assert losses(ours, theirs, facts, dimensions=("label",)).row(0, named=True) == alone


OPTIONS = {"min_reviews": 30, "confidence": 0.95}


def two_models():
    """Draw the answers of two models on 300 reviews."""
    return {"a": drawn(300, seed=1), "b": drawn(300, 0.9, seed=2)}


def test_the_accuracy_of_a_slice_lies_in_its_interval():
    found = two_models()

    table = accuracy_by_slice(found, documents(found["a"], words=np.arange(300)), **OPTIONS)

    own = table.row(by_predicate=(pl.col("model") == "b") & (pl.col("slice") == "5"), named=True)
    of_fives = found["b"].truth_N == 4
    assert own["accuracy"] == pytest.approx(found["b"].correct_N[of_fives].mean())
    assert own["lo"] < own["accuracy"] < own["hi"]
    assert own["reviews"] == of_fives.sum()


def test_accuracies_of_one_group_have_no_interval():
    table = accuracy_by_slice({"a": drawn(300, groups=np.zeros(300, int))}, None, **OPTIONS)

    assert len(table) > 0
    assert table["lo"].null_count() == len(table)


def test_slices_of_too_few_reviews_are_left_out():
    assert accuracy_by_slice(two_models(), None, **{**OPTIONS, "min_reviews": 301}).is_empty()
