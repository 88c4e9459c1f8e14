"""Neighbours, analogies and the stored form of word vectors."""

import json

import numpy as np
import pytest

from models.base import ModelError
from models.vectors.word_vectors import ARRAYS, HEADER, WordVectors

ROYAL = WordVectors(
    ["man", "woman", "king", "queen", "zero"],
    np.array([[1, 0, 0], [0, 1, 0], [1, 0, 1], [0, 1, 1], [0, 0, 0]]), [4, 3, 2, 2, 1],
)


def test_neighbours_are_ordered_by_cosine_without_the_word_itself():
    found = ROYAL.neighbours("king", 3)
    assert [near.word for near in found] == ["man", "queen", "woman"]
    assert [near.cosine for near in found] == pytest.approx([2**-0.5, 0.5, 0])


def test_length_does_not_matter():
    longer = WordVectors(ROYAL.words, ROYAL.matrix_ND * np.array([[1], [7], [2], [30], [1]]))
    assert [near.word for near in longer.neighbours("king", 3)] == ["man", "queen", "woman"]


def test_the_mean_cosine_is_that_of_all_pairs_of_different_words():
    some = WordVectors(["a", "b", "c"], np.array([[3.0, 0], [0, 0.5], [-1, -1]]))
    assert some.mean_cosine == pytest.approx((0 - 2 * 2**-0.5) / 3)
    assert WordVectors(["a"], np.ones((1, 2))).mean_cosine == pytest.approx(0, abs=1e-6)


def test_an_analogy_leaves_out_the_given_words():
    assert ROYAL.analogy("man", "king", "woman", 1)[0].word == "queen"
    assert {near.word for near in ROYAL.analogy("man", "king", "woman", 99)} == {"queen", "zero"}


def test_a_word_is_looked_up_as_written_then_in_lower_case():
    vectors = WordVectors(["US", "us"], np.eye(2))
    assert vectors.vector("US").tolist() == [1, 0]
    assert vectors.vector("Us").tolist() == [0, 1]


def test_an_unknown_word_is_an_error_that_names_similar_ones():
    with pytest.raises(ModelError, match="the word 'quen' has no vector; similar words: queen"):
        ROYAL.neighbours("quen")


def test_a_vector_of_zeros_is_near_nothing():
    assert [near.cosine for near in ROYAL.neighbours("zero", 4)] == [0, 0, 0, 0]


def test_saved_vectors_are_the_same_when_loaded(tmp_path):
    given = WordVectors(ROYAL.words, ROYAL.matrix_ND, ROYAL.counts, {"kind": "cbow"}, 2 * ROYAL.matrix_ND)
    given.save(tmp_path)
    found = WordVectors.load(tmp_path)
    assert (found.words, found.counts, found.facts) == (given.words, given.counts, given.facts)
    assert found.matrix_ND.tobytes() == given.matrix_ND.tobytes()
    assert found.output_ND.tobytes() == given.output_ND.tobytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [HEADER, ARRAYS]


def test_damaged_vectors_are_refused(tmp_path):
    ROYAL.save(tmp_path)
    raw = bytearray((tmp_path / ARRAYS).read_bytes())
    raw[-1] ^= 1
    (tmp_path / ARRAYS).write_bytes(raw)
    with pytest.raises(ModelError, match="has changed since it was written"):
        WordVectors.load(tmp_path)


def test_a_newer_format_is_refused(tmp_path):
    ROYAL.save(tmp_path)
    header = json.loads((tmp_path / HEADER).read_text())
    (tmp_path / HEADER).write_text(json.dumps({**header, "format": 2}))
    with pytest.raises(ModelError, match="format 2; this version reads 1"):
        WordVectors.load(tmp_path)


@pytest.mark.parametrize(("words", "matrix", "said"), [
    pytest.param(["a", "a"], np.eye(2), "'a' has two vectors", id="repeated"),
    pytest.param(["a"], np.eye(2), "1 words have vectors of shape", id="sizes"),
    pytest.param(["a", "b"], np.array([[1, 2], [3, np.nan]]), "'b' has a number that is not finite", id="nan"),
])  # fmt: skip
def test_vectors_that_do_not_fit_their_words_are_refused(words, matrix, said):
    with pytest.raises(ModelError, match=said):
        WordVectors(words, matrix)
