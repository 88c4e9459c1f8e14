"""The Pareto front against a search over all pairs."""

import math

from hypothesis import given
from hypothesis import strategies as st

from evaluation.statistics.pareto import PARETO, pareto_front

ROW = st.fixed_dictionaries({name: st.integers(0, 4) for name in PARETO})


def row(quality, size, cost):
    return dict(zip(PARETO, (quality, size, cost), strict=True))


def test_a_model_that_another_beats_in_everything_is_not_on_the_front():
    rows = [row(0.5, 10.0, 3.0), row(0.6, 1.0, 1.0), row(0.7, 2.0, 2.0)]
    assert pareto_front(rows) == [True, True, False]


def test_equal_models_are_both_on_the_front():
    assert pareto_front([row(1, 1, 1), row(1, 1, 1)]) == [True, True]


def test_a_model_that_cannot_be_placed_shades_nobody():
    rows = [row(0.1, None, 0.1), row(math.inf, 0.1, 0.1), row(0.5, 5.0, 5.0), {}]
    assert pareto_front(rows) == [None, None, True, None]


@given(st.lists(ROW, max_size=12))
def test_the_front_is_never_empty_and_every_other_model_is_beaten_by_one_on_it(rows):
    found = pareto_front(rows)
    front = [each for each, on in zip(rows, found, strict=True) if on]
    assert bool(front) == bool(rows)
    for each, on in zip(rows, found, strict=True):
        beaten = any(all(one[name] <= each[name] for name in PARETO) and one != each for one in front)
        assert beaten != on


def test_a_vocabulary_that_cuts_the_text_into_more_tokens_is_not_cheaper_for_it():
    words = {"open_bits_per_byte": 1.0, "megabytes": 5.0, "score_seconds": 2.0, "seconds_per_million_tokens": 10.0}
    characters = {"open_bits_per_byte": 1.1, "megabytes": 5.0, "score_seconds": 3.0, "seconds_per_million_tokens": 2.5}
    assert pareto_front([words, characters]) == [True, False]
