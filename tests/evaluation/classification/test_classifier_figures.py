"""Figures of a classifier equal those of scikit-learn, and of small cases worked out by hand."""

import json
import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.calibration import calibration_curve

from reviewlm.core.errors import EmptyInput, InputError
from reviewlm.evaluation.classification.figures import figures
from tests.evaluation.classification.made_answers import STARS, drawn, predicted
from tests.examples import examples


@st.composite
def answered(draw):
    """Up to five labels, some of which never occur; probabilities that need not agree with the answers."""
    labels, reviews = draw(st.integers(2, 5)), draw(st.integers(1, 40))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    truth, answers = (
        random.integers(0, draw(st.integers(1, labels)), reviews),
        random.integers(0, labels, reviews),
    )
    agree = random.random(reviews) < draw(st.floats(0, 1))
    table = random.dirichlet(np.ones(labels), reviews)
    return predicted(truth, np.where(agree, truth, answers), STARS[:labels], table)


@examples(120)
@given(answered())
def test_figures_equal_those_of_scikit_learn(found):
    ours, truth, answers, numbers = (
        figures(found),
        found.truth_N,
        found.answers_N,
        np.arange(len(found.labels)),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert ours.accuracy == pytest.approx(metrics.accuracy_score(truth, answers))
        true = np.unique(truth)  # scikit-learn's default adds the labels that are answered only
        assert ours.macro_f1 == pytest.approx(
            metrics.f1_score(truth, answers, labels=true, average="macro")
        )
        assert np.array_equal(
            ours.confusion, metrics.confusion_matrix(truth, answers, labels=numbers)
        )
        of_labels = metrics.precision_recall_fscore_support(
            truth, answers, labels=numbers, zero_division=np.nan
        )
        for name, theirs in zip(("precision", "recall", "f1", "reviews"), of_labels, strict=True):
            assert [getattr(one, name) for one in ours.per_label] == pytest.approx(
                theirs.tolist(), nan_ok=True
            )
        loss = metrics.log_loss(truth, found.probabilities_NK, labels=numbers)
        kappa = metrics.cohen_kappa_score(truth, answers, labels=numbers, weights="quadratic")
    assert ours.log_loss == pytest.approx(loss)
    assert ours.quadratic_kappa == pytest.approx(kappa, nan_ok=True)
    assert ours.mean_absolute_error == pytest.approx(metrics.mean_absolute_error(truth, answers))


def test_the_calibration_error_weighs_the_bins_of_scikit_learn():
    found = drawn(2_000)
    noise = np.random.default_rng(3).dirichlet(np.ones(5), 2_000)
    found = predicted(
        found.truth_N, found.answers_N, probabilities=0.7 * found.probabilities_NK + 0.3 * noise
    )
    right, said = calibration_curve(found.correct_N, found.confidence_N, n_bins=15)
    edges = np.linspace(0, 1, 16)
    counts, _ = np.histogram(found.confidence_N, edges)
    expected = (counts[counts > 0] * np.abs(right - said)).sum() / 2_000
    assert figures(found).calibration_error == pytest.approx(expected)


def test_a_label_that_no_review_has_is_no_part_of_macro_f1_also_if_it_is_answered():
    """One of the two reviews with the label 1 was found: precision 1, recall 1/2, F1 2/3."""
    never = figures(predicted([0, 1], [0, 1]))
    assert never.macro_f1 == 1.0
    assert math.isnan(never.per_label[4].f1)
    once = figures(predicted([0, 1, 1], [0, 1, 4]))
    assert once.macro_f1 == pytest.approx((1 + 2 / 3) / 2)
    assert once.per_label[4].f1 == 0.0
    assert math.isnan(once.per_label[4].recall)


def test_kappa_weighs_by_the_numbers_of_the_labels_in_any_order():
    """1 and 2 are nearer to each other than to 9, wherever they stand in the list of labels."""
    truth, answers = np.array([0, 0, 1, 2, 2]), np.array([0, 1, 1, 2, 0])
    stars, answered_stars = np.array([9, 1, 2])[truth], np.array([9, 1, 2])[answers]
    pairs = [(a, b) for a in stars for b in answered_stars]
    chance = np.mean([(a - b) ** 2 for a, b in pairs])
    found = figures(predicted(truth, answers, ("9", "1", "2")))
    assert found.quadratic_kappa == pytest.approx(
        1 - np.mean((stars - answered_stars) ** 2) / chance
    )
    assert found.mean_absolute_error == pytest.approx(np.abs(stars - answered_stars).mean())


def test_figures_that_do_not_apply_are_none():
    found = figures(predicted([0, 1], [0, 0], ("bad", "good")))
    assert (
        found.log_loss,
        found.calibration_error,
        found.quadratic_kappa,
        found.mean_absolute_error,
    ) == (None,) * 4


@pytest.fixture
def diverged():
    """Figures of a classifier one of whose probabilities is not a number."""
    table = np.full((3, 2), 0.5)
    table[1] = np.nan
    return figures(predicted([0, 1, 0], [0, 1, 1], ("bad", "good"), table))


def test_probabilities_that_are_not_a_number_give_figures_that_are_not(diverged):
    assert math.isnan(diverged.log_loss)
    assert math.isnan(diverged.calibration_error)


def test_figures_that_are_not_a_number_are_null_in_json(diverged):
    values = json.loads(json.dumps(diverged.to_dict(), allow_nan=False))
    assert values["log_loss"] is None
    assert values["accuracy"] == pytest.approx(2 / 3)
    assert values["confusion"] == [[1, 1], [0, 1]]


# --- Answers of a classifier: their order, their probabilities, and labels that are numbers


def test_a_review_that_was_answered_twice_is_named():
    with pytest.raises(InputError) as caught:
        predicted([0, 1], [1, 1], ids=["a", "a"])
    assert caught.value.value == "a"


def test_no_review_at_all_is_an_error():
    with pytest.raises(EmptyInput):
        predicted(np.array([], int), np.array([], int))


def test_labels_are_numbers_only_if_all_are_different_finite_numbers():
    def values(*labels):
        found = predicted([0], [1], labels).values_K
        return None if found is None else found.tolist()

    assert values("1", "2.5", "-3") == [1.0, 2.5, -3.0]
    assert values("1", "good") is None
    assert values("1", "nan") is None
    assert values("1", "inf") is None
    assert values("1", "1.0") is None
