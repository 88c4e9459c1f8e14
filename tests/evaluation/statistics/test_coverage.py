"""The simulation of coverage, with few test sets: the intervals of a run hold the truth about as often as they say."""

import numpy as np
import pytest

from benchmarks.evaluation.coverage import coverage, figures_of_population, population
from evaluation.scoring.metrics import LN2, figures_of

SETS, SIZE = 120, 120


@pytest.fixture(scope="module")
def tables():
    return population(20_000, seed=3)


def test_the_population_has_skewed_lengths_and_the_gap_that_its_reviews_have(tables):
    words = tables["model"]["words"]
    assert words.mean() > 1.3 * words.median()
    truth = figures_of_population(tables)
    assert truth["gap"] > figures_of(tables["model"]).spelling_nats / LN2 / figures_of(tables["model"]).bytes
    assert truth["difference"] < 0 < truth["gain"]


@pytest.mark.long
def test_intervals_hold_the_true_figure_about_as_often_as_they_say(tables):
    """Of 120 sets 95 % have a standard error of 2 %: 88 % to 99.5 % is more than three of them on either side."""
    found = coverage(tables, SIZE, SETS, seed=5, resamples=300)
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
