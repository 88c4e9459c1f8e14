"""Intervals of a classifier's figures, and the paired comparison of two classifiers."""

import itertools
import math

import numpy as np
import pytest

from reviewlm.core.errors import InputError
from reviewlm.evaluation.classification.compare import (
    MOST_ENUMERATED,
    chance_of_gain,
    compare,
    intervals,
)
from reviewlm.evaluation.classification.figures import figures
from tests.evaluation.classification.made_answers import STARS, drawn, predicted

OPTIONS = {
    "confidence": 0.95,
    "resamples": 2_000,
    "seed": 1,
}


@pytest.fixture(scope="module")
def drawn_intervals():
    """Figures of random answers and their intervals."""
    found = drawn()
    return figures(found), intervals(found, **OPTIONS), len(found)


def test_the_estimate_of_an_interval_is_the_figure(drawn_intervals):
    known, boot, _ = drawn_intervals
    for name in ("accuracy", "macro_f1", "log_loss", "mean_absolute_error", "quadratic_kappa"):
        assert boot[name].estimate == pytest.approx(getattr(known, name))
        assert boot[name].low < boot[name].estimate < boot[name].high
    assert boot["recall", 2].estimate == pytest.approx(known.per_label[2].recall)


def test_the_interval_of_the_accuracy_is_as_wide_as_that_of_a_share(drawn_intervals):
    known, boot, reviews = drawn_intervals
    error = math.sqrt(known.accuracy * (1 - known.accuracy) / reviews)
    assert boot["accuracy"].high - boot["accuracy"].low == pytest.approx(2 * 1.96 * error, rel=0.05)


@pytest.mark.slow
def test_the_interval_of_macro_f1_is_that_of_draws_made_one_by_one():
    found, random = drawn(200), np.random.default_rng(9)
    values = []
    for _ in range(1_000):
        row = random.integers(0, 200, 200)
        values.append(figures(predicted(found.truth_N[row], found.answers_N[row])).macro_f1)
    boot = intervals(found, **OPTIONS)["macro_f1"]
    assert [boot.low, boot.high] == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=0.008)


def test_one_group_has_no_interval():
    found = predicted([0, 1, 1], [0, 1, 0], groups=[5, 5, 5])
    assert math.isnan(intervals(found, **OPTIONS)["accuracy"].low)


@pytest.fixture(scope="module")
def mended():
    """Answers of a classifier, and the same with 16 of its mistakes mended."""
    a, b = drawn(400, 0.7), drawn(400, 0.7)
    answers = b.answers_N.copy()
    wrong = np.flatnonzero(~b.correct_N)[:16]
    answers[wrong] = b.truth_N[wrong]
    return a, predicted(b.truth_N, answers)


def test_the_difference_is_that_of_the_figures(mended):
    a, b = mended
    found = compare(a, b, **OPTIONS)
    assert (found.only_a, found.only_b, found.differ) == (0, 16, 16)
    assert found.accuracy.estimate == pytest.approx(0.04)
    assert found.macro_f1.estimate == pytest.approx(figures(b).macro_f1 - figures(a).macro_f1)


def test_the_difference_is_surer_than_the_figures(mended):
    a, b = mended
    assert compare(a, b, **OPTIONS).accuracy.low > 0.015
    alone = intervals(a, **OPTIONS)["accuracy"]
    assert alone.high > figures(b).accuracy, "each interval alone is wider than the gain"


@pytest.mark.parametrize(
    ("other", "cause"),
    [
        (
            predicted([0, 1, 2], [0, 1, 2], ids=["r0000", "r0001", "x"]),
            "the reviews differ: 3 and 3, of which 2",
        ),
        (predicted([0, 1], [0, 1]), "the reviews differ: 3 and 2, of which 2 are the same"),
        (
            predicted([0, 1, 1], [0, 1, 2]),
            "the true labels of 1 reviews differ, first of review r0002",
        ),
        (predicted([0, 1, 2], [0, 1, 2], STARS[::-1]), "the labels differ"),
        (
            predicted([0, 1, 2], [0, 1, 2], groups=[0, 0, 1]),
            "the groups of dependent reviews differ",
        ),
    ],
    ids=["ids", "number", "truth", "labels", "groups"],
)
def test_classifiers_of_other_reviews_are_not_compared(other, cause):
    with pytest.raises(InputError, match="cannot be compared") as caught:
        compare(predicted([0, 1, 2], [0, 1, 2]), other, **OPTIONS)
    assert cause in caught.value.cause


@pytest.mark.parametrize("groups", [None, np.arange(24) // 3], ids=["reviews", "groups"])
def test_the_chance_of_a_gain_is_the_share_of_all_exchanges_with_as_large_a_gain(groups):
    """Each exchange written out: macro-F1 of both after some groups have changed sides."""
    random, labels = np.random.default_rng(6), STARS[:3]
    truth = random.integers(0, 3, 24)
    a, b = (
        np.where(random.random(24) < right, truth, random.integers(0, 3, 24))
        for right in (0.6, 0.8)
    )
    number = np.arange(24) if groups is None else groups
    differing = np.unique(number[a != b])
    assert len(differing) <= MOST_ENUMERATED
    gains = []
    for sides in itertools.product((False, True), repeat=len(differing)):
        moved = np.isin(number, differing[np.array(sides)])
        one, other = (predicted(truth, np.where(moved, *pair), labels) for pair in ((b, a), (a, b)))
        gains.append(figures(other).macro_f1 - figures(one).macro_f1)
    expected = np.mean([gain >= gains[0] - 1e-12 for gain in gains])
    given = [predicted(truth, answers, labels, groups=groups) for answers in (a, b)]
    assert chance_of_gain(*given, resamples=100, seed=1) == expected
    assert 0 < expected < 1


def test_of_many_differing_reviews_random_exchanges_give_about_the_same_chance(monkeypatch):
    a, b = drawn(60, 0.7, seed=1), drawn(60, 0.75, seed=3)
    monkeypatch.setattr("reviewlm.evaluation.classification.compare.MOST_ENUMERATED", 0)
    drawn_chance = chance_of_gain(a, b, resamples=20_000, seed=1)
    assert drawn_chance == chance_of_gain(a, b, resamples=20_000, seed=1)
    other = chance_of_gain(a, b, resamples=20_000, seed=2)
    assert drawn_chance == pytest.approx(other, abs=4 * math.sqrt(2 * 0.25 / 20_000))
    assert 0.01 < drawn_chance < 0.9


@pytest.mark.long
@pytest.mark.parametrize(("groups", "per_group"), [(400, 1), (150, 4)])
def test_intervals_contain_the_true_figures_as_often_as_they_say(groups, per_group):
    """Answers are right with a probability of their own in each group; the truth is that of two million reviews.

    400 test sets: a share of 0.95 has a standard error of 0.011.
    """
    random, prior = np.random.default_rng(11), np.array([0.15, 0.25, 0.6])

    def answers(truth, level_D):
        wrong = (truth + random.integers(1, 3, len(truth))) % 3
        return np.where(random.random(len(truth)) < level_D, truth, wrong)

    def pair(count):
        truth = random.choice(3, count * per_group, p=prior)
        hard = np.repeat(random.beta(4, 2, count), per_group)
        number = np.repeat(np.arange(count), per_group)
        both = answers(truth, hard), answers(truth, np.minimum(hard + 0.05, 1))
        ids = np.arange(len(truth)).astype(str)
        return [
            predicted(
                truth,
                each,
                STARS[:3],
                groups=number,
                ids=ids,
            )
            for each in both
        ]

    a, b = map(figures, pair(500_000))
    gain, level = b.macro_f1 - a.macro_f1, b.macro_f1
    found = {"gain": 0, "level": 0}
    for seed in range(400):
        one, two = pair(groups)
        compared = compare(
            one,
            two,
            confidence=0.95,
            resamples=400,
            seed=seed,
        ).macro_f1
        own = intervals(
            two,
            confidence=0.95,
            resamples=400,
            seed=seed,
        )["macro_f1"]
        found["gain"] += compared.low <= gain <= compared.high
        found["level"] += own.low <= level <= own.high
    assert 0.92 <= found["gain"] / 400 <= 0.98
    assert 0.92 <= found["level"] / 400 <= 0.98
