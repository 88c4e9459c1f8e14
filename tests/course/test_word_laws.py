"""Laws and contrasts of words: closed forms, and a contrast written out by hand."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from course.word_laws import PRIOR_TOKENS, contrasts, growth, power_law, spaced, unknown


def test_the_fit_of_a_power_law_is_the_law_in_its_range() -> None:
    points = [(rank, int(1e7 / rank)) for rank in spaced(20_000)]
    assert power_law([(1, 3), *points], 10, 10_000) == (pytest.approx(1e7, rel=0.01), pytest.approx(-1, abs=1e-3))
    assert power_law(points[:2], 1) is None


def test_the_growth_of_a_text_counts_different_words() -> None:
    assert growth(["a", "b", "a", "c", "a", "a", "d", "b", "a", "e"])[-1] == (10, 5)
    assert growth(["a", "a", "b"])[:2] == [(1, 1), (2, 1)]


def test_unknown_words_are_those_beyond_the_most_frequent() -> None:
    train, held_out = Counter("aaabbc"), Counter("aabcdd")
    assert unknown(train, held_out, [1, 2, 3, 4]) == [(1, pytest.approx(4 / 6)), (2, 0.5), (3, pytest.approx(1 / 3))]


def test_a_contrast_is_monroes_log_odds_ratio_with_a_dirichlet_prior() -> None:
    one, five, prior = ({"good": 10, "bad": 80, "the": 500, "!": 9, "rare": 0, "x": 4_401},
                        {"good": 90, "bad": 5, "the": 510, "!": 80, "rare": 3, "x": 5_312},
                        {"good": 130, "bad": 100, "the": 1_700, "!": 100, "rare": 3, "x": 17_967})  # fmt: skip
    by_hand = {}
    for word in ("good", "bad", "the", "x"):
        a = PRIOR_TOKENS * prior[word] / 20_000
        odds = [math.log((y + a) / (n + PRIOR_TOKENS - y - a)) for y, n in ((one[word], 5_000), (five[word], 6_000))]
        by_hand[word] = (odds[1] - odds[0]) / math.sqrt(1 / (five[word] + a) + 1 / (one[word] + a))
    scores = contrasts(Counter(one), Counter(five), Counter(prior))
    assert scores == pytest.approx(by_hand)
    assert next(iter(scores)) == "bad"
    assert next(reversed(scores)) == "good"
