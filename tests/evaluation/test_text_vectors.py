"""Texts as vectors whose products are cosines: known answers."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.text_vectors import cosines_to, tfidf_vectors, unit


def test_words_that_few_texts_have_weigh_more_and_repeated_words_little() -> None:
    """idf = ln((1 + 3) / (1 + df)) + 1 and tf = 1 + ln(count), rows of length 1."""
    vectors = tfidf_vectors(["cold tacos", "cold beer beer", "cold"])
    rare, common = np.log(4 / 2) + 1, 1.0
    twice = (1 + np.log(2)) * rare
    assert cosines_to(vectors(["cold tacos"]))(vectors(["tacos"])) == pytest.approx(rare / np.hypot(rare, common))
    assert cosines_to(vectors(["cold beer beer"]))(vectors(["beer"])) == pytest.approx(twice / np.hypot(twice, common))
    assert cosines_to(vectors(["cold"]))(vectors(["Cold!", "unknown"])).tolist() == [[pytest.approx(1)], [0]]


def test_vectors_are_scaled_to_length_1_and_those_of_zeros_stay() -> None:
    rows = np.array([[3.0, 0.0], [5.0, 5.0], [0.0, 0.1], [-2.0, 0.0], [0.0, 0.0]])
    cosines = cosines_to(unit(rows))(unit(np.array([[7.0, 0.0]])))[0]
    np.testing.assert_allclose(cosines, [1, np.cos(np.pi / 4), 0, -1, 0], atol=1e-6)
