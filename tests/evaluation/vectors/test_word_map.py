"""The map of words: principal components, and a page on which each dot tells its word."""

import numpy as np
import pytest

from evaluation.vectors.projection import map_figure, map_page, word_map
from models.vectors.word_vectors import WordVectors


def made(count=80):
    rng = np.random.default_rng(1)
    words = ["the", "a", "...", "!"] + ["".join(chr(97 + (i // 26**k) % 26) for k in range(3)) for i in range(count)]
    return WordVectors(words, rng.normal(size=(len(words), 10)))


def test_the_map_shows_the_two_directions_with_the_largest_variance():
    vectors = made()
    found = word_map(vectors)
    unit = vectors.unit_ND[[vectors.index[word] for word in found.words]].astype(float)
    values, directions = np.linalg.eigh(np.cov(unit.T))
    assert found.shares == pytest.approx(tuple(values[::-1][:2] / values.sum()))
    np.testing.assert_allclose(np.abs(found.places_N2), np.abs((unit - unit.mean(0)) @ directions[:, ::-1][:, :2]))


def test_only_words_of_three_letters_or_more_are_shown_the_first_ones():
    assert word_map(made(), most=3).words == ("the", "aaa", "baa")


def test_the_most_frequent_words_are_left_out_where_there_are_enough():
    vectors = made(150)
    assert word_map(vectors, most=20).words == tuple(vectors.words[103:123])
    assert len(word_map(vectors, most=80).words) == 80
    assert word_map(vectors, most=80).words[0] == "the"


@pytest.mark.slow
def test_the_same_vectors_give_the_same_page():
    assert map_page(made(), "Words").to_html() == map_page(made(), "Words").to_html()


@pytest.mark.slow
def test_each_dot_of_the_page_tells_its_word():
    page = map_page(made(), "Words").to_html()
    assert page.count('class="hit"') == 81, "more dots than a curve may have"
    for word in ("the", "aaa", "bda"):
        assert f"<title>{word}</title></circle>" in page


@pytest.mark.slow
def test_the_page_has_the_nearest_words_in_all_dimensions():
    vectors = made()
    nearest = ", ".join(near.word for near in vectors.neighbours("the", 5))
    assert nearest in map_page(vectors, "Words").to_html()


def test_hostile_words_are_text():
    vectors = WordVectors(["<b>", "the", "$x$y", "and"], np.eye(4))
    page = map_page(vectors, "<script>alert(1)</script>").to_html()
    assert "<script>alert" not in page


@pytest.mark.slow
@pytest.mark.parametrize("vectors", [
    pytest.param(WordVectors(["the"], np.ones((1, 3))), id="one-word"),
    pytest.param(WordVectors(["the", "and"], np.ones((2, 1))), id="one-dimension"),
    pytest.param(WordVectors(["the", "and"], np.zeros((2, 3))), id="zeros"),
    pytest.param(WordVectors(["."], np.ones((1, 3))), id="no-word"),
])  # fmt: skip
def test_a_map_of_almost_nothing_is_drawn(vectors):
    found = word_map(vectors)
    assert np.isfinite(found.places_N2).all()
    assert len(map_figure(found).axes) == 1
    assert map_page(vectors, "Few").to_html()
