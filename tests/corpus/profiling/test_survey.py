"""Laws and contrasts of the words of a text: Zipf, Heaps, log-odds."""

import math
from collections import Counter

import numpy as np
import polars as pl
import pytest

from corpus.profiling.word_statistics import (
    PRIOR_TOKENS,
    contrast,
    fit_power_law,
    heaps_points,
    zipf_points,
)


def test_zipf_points_of_a_known_spectrum():
    ranks = np.arange(1, 20_001)
    spectrum = Counter((1e7 / ranks).astype(int).tolist())
    points = dict(zipf_points(spectrum))
    assert points[1] == 10_000_000
    assert points[20_000] == 500
    assert all(count == int(1e7 / rank) for rank, count in points.items())
    law = fit_power_law(list(points.items()), 10, 10_000)
    assert (law.exponent, law.low, law.high) == (pytest.approx(-1, abs=1e-3), 10, 10_000)
    assert law.factor == pytest.approx(1e7, rel=0.01)
    assert zipf_points({}) == []


def test_heaps_points_and_their_power_law():
    ends = list(range(100, 100_001, 100))
    seen = [round(3 * math.sqrt(tokens)) for tokens in ends]
    firsts = dict(enumerate(np.diff([0, *seen]).tolist()))
    points = heaps_points(ends, firsts)
    assert points[0] == (100, 30)
    assert points[-1] == (100_000, seen[-1])
    assert 30 < len(points) < 45
    law = fit_power_law(points, 1_000)
    assert (law.exponent, law.factor) == (pytest.approx(0.5, abs=0.002), pytest.approx(3, rel=0.02))
    assert law.error < 0.01
    assert fit_power_law(points[:2], 1) is None


def test_contrast_is_monroes_log_odds_ratio_with_a_dirichlet_prior():
    rows = {"good": (10, 90, 130), "bad": (80, 5, 100), "the": (500, 510, 1_700), "!": (9, 80, 100), "rare": (0, 3, 3)}
    frame = pl.DataFrame(
        [(word, *counts) for word, counts in rows.items()],
        schema=["word", "one_star", "five_stars", "prior"], orient="row",
    )
    low, high, total = 5_000, 6_000, 20_000
    by_hand = {}
    for word in ("good", "bad", "the"):
        one, five, all_counts = rows[word]
        a = PRIOR_TOKENS * all_counts / total
        odds = [math.log((y + a) / (n + PRIOR_TOKENS - y - a)) for y, n in ((one, low), (five, high))]
        by_hand[word] = (odds[1] - odds[0]) / math.sqrt(1 / (five + a) + 1 / (one + a))
    found = contrast(frame, low, high, total)
    assert dict(found.select("word", "z").iter_rows()) == pytest.approx(by_hand)
    assert found["word"].to_list() == ["bad", "the", "good"]
    assert contrast(frame, low, 0, total).is_empty()
