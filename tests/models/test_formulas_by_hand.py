"""Formulas whose errors other tests let pass: each with numbers that depend on every part of it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.mixture.weights import em_round
from models.ngram.counts import count_ngrams
from models.ngram.lm import NGramLM
from models.spelling import Spelling
from models.vocabulary import GIVEN


def test_a_round_of_em_weighs_the_parts_by_the_weights_before_it():
    """λ = (¾, ¼); token 1: p = 0.4, 0.1, joint 0.3, 0.025, shares 12/13, 1/13; token 2: p = 0.1, 0.3, shares ½, ½."""
    found = em_round(np.array([[0.4, 0.1], [0.1, 0.3]]), np.array([0.75, 0.25]))
    assert found == pytest.approx([(12 / 13 + 1 / 2) / 2, (1 / 13 + 1 / 2) / 2], rel=1e-14)


def test_characters_seen_once_say_how_many_are_unseen():
    """a twice, b twice, c once, three ends: (1 + 1) / (8 + 2) for what was never seen."""
    spelling = Spelling.train(["ab", "ba", "c"])
    assert spelling.nats("z") - spelling.end == pytest.approx(-math.log(0.2 / 256), abs=1e-5)
    assert spelling.nats("c") == pytest.approx(-math.log(0.8 * (1 / 8) * 0.8 * (3 / 8)), abs=1e-5)


class Stream:
    """The parts of a TokenStream that counts are made from."""

    def __init__(self, documents):
        self.ids = np.array([token for document in documents for token in document], np.uint16)
        self.offsets = np.cumsum([0, *map(len, documents)])

    def __len__(self):
        return len(self.offsets) - 1


def test_katz_hands_what_it_took_to_unseen_words_in_the_shorter_contexts_proportions():
    """p(w | h) = α(h) p(w) of every w not seen after h, with α = (1 − Σ seen p(w | h)) / (1 − Σ seen p(w))."""
    draw = np.random.default_rng(1)
    words = [np.minimum(8 + draw.zipf(1.5, 9), 17).tolist() for _ in range(60)]
    documents = Stream([[1, 3, *some, 2] for some in words])
    one, two = (NGramLM.from_counts(count_ngrams(documents, n, 18, GIVEN), "katz", cut=2) for n in (1, 2))
    below_V = np.exp(one.distribution(one.start(1)))[0]
    possible = np.array([token not in GIVEN for token in range(18)])
    told = 0
    for context in range(9, 17):
        p_V = np.exp(two.distribution(two.read(np.array([[context]]), two.start(1))))[0]
        seen = np.zeros(18, bool)
        seen[
            [after for row in words for before, after in zip(row, [*row[1:], 2], strict=True) if before == context]
        ] = True
        unseen = possible & ~seen
        if unseen.any() and seen.any():
            alpha = (1 - p_V[seen].sum()) / (1 - below_V[seen].sum())
            assert p_V[unseen] == pytest.approx(alpha * below_V[unseen], rel=1e-9)
            told += 1
    assert told > 3
