"""Neighbours, analogies and the mean cosine of word vectors."""

import numpy as np
import pytest

from reviewlm.models.base import ModelError
from reviewlm.training.vectors.files import make_keyed_vectors
from reviewlm.training.vectors.neighbours import analogy, mean_cosine, neighbours

NAMES = ["man", "woman", "king", "queen", "zero"]
MATRIX = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 1], [0, 1, 1], [0, 0, 0]])
ROYAL = make_keyed_vectors(NAMES, MATRIX)


@pytest.mark.parametrize(
    "lengths", [1, np.array([[1], [7], [2], [30], [1]])], ids=["equal", "other-lengths"]
)
def test_neighbours_are_ordered_by_cosine_without_the_word_itself(lengths):
    near = neighbours(make_keyed_vectors(NAMES, MATRIX * lengths), "king", 3)
    assert [one.word for one in near] == ["man", "queen", "woman"]
    assert [one.cosine for one in near] == pytest.approx([2**-0.5, 0.5, 0], abs=1e-6)


def test_an_analogy_leaves_out_the_given_words():
    assert (
        analogy(
            ROYAL,
            "man",
            "king",
            "woman",
            1,
        )[0].word
        == "queen"
    )
    assert {
        near.word
        for near in analogy(
            ROYAL,
            "man",
            "king",
            "woman",
            99,
        )
    } == {"queen", "zero"}
    one, other, third = (MATRIX[row] / np.linalg.norm(MATRIX[row]) for row in (0, 2, 1))
    sought = other - one + third
    expected = sought @ MATRIX[3] / np.linalg.norm(sought) / np.linalg.norm(MATRIX[3])
    assert analogy(
        ROYAL,
        "man",
        "king",
        "woman",
        1,
    )[0].cosine == pytest.approx(expected, abs=1e-6)


def test_the_mean_cosine_is_that_of_all_pairs_of_different_words():
    assert mean_cosine(
        make_keyed_vectors(["a", "b", "c"], np.array([[3.0, 0], [0, 0.5], [-1, -1]]))
    ) == pytest.approx(-(2**0.5) / 3)
    assert mean_cosine(make_keyed_vectors(["a"], np.ones((1, 2)))) == pytest.approx(0, abs=1e-6)
    assert mean_cosine(make_keyed_vectors(["a", "b"], np.array([[0.0, 0.0], [1.0, 0.0]]))) == 0


def test_an_unknown_word_is_an_error_that_names_similar_ones():
    with pytest.raises(ModelError, match="queen") as error:
        neighbours(ROYAL, "quen")
    assert error.value.kind == "input"
