"""Find the nearest words by cosine, solve analogies, and say whether the vectors tell words apart at all.

An analogy "a is to b as c is to ?" is answered with 3CosAdd (Mikolov et al. 2013; Levy & Goldberg 2014): the word d,
none of the three, with the largest cos(d, b − a + c) of unit vectors.
"""

from __future__ import annotations

import difflib
from typing import NamedTuple

import numpy as np
from gensim.models import KeyedVectors

from reviewlm.models.base import ModelError

ALIKE = 0.8
"""Mean cosine of two words above which a neighbour says little."""
WORDS_AT_A_TIME = 8_192
"""Words whose vectors of length 1 are in memory at a time."""


class Neighbour(NamedTuple):
    """A word and its cosine to what was asked for."""

    word: str
    cosine: float


def neighbours(
    vectors: KeyedVectors,
    word: str,
    n: int = 10,
) -> list[Neighbour]:
    """Return the n words with the largest cosine to a word, without itself; errors as in `entry_of`."""
    return _nearest(vectors, [entry_of(vectors, word)], [], n)


def analogy(
    vectors: KeyedVectors,
    a: str,
    b: str,
    c: str,
    n: int = 10,
) -> list[Neighbour]:
    """Return the n best answers to "a is to b as c is to ?", none of the three; errors as in `entry_of`."""
    first, second, third = (entry_of(vectors, word) for word in (a, b, c))
    return _nearest(vectors, [second, third], [first], n)


def _nearest(
    vectors: KeyedVectors,
    positive: list[str],
    negative: list[str],
    n: int,
) -> list[Neighbour]:
    rows = vectors.most_similar(positive, negative, topn=n)
    return [Neighbour(word, float(cosine)) for word, cosine in rows]


def entry_of(vectors: KeyedVectors, word: str) -> str:
    """Return a word as the vectors have it; if they do not, its lower-case form.

    Raises:
        ModelError: kind "input": the word has no vector; the message names similar words.
    """
    for form in (word, word.lower()):
        if form in vectors.key_to_index:
            return form
    near = difflib.get_close_matches(word.lower(), vectors.index_to_key[:50_000], n=3)
    raise ModelError(
        f"the word {word!r} has no vector"
        + (f"; similar words: {', '.join(near)}" if near else ""),
        "input",
    )


def mean_cosine(vectors: KeyedVectors) -> float:
    """Return the mean cosine of two different words; near 1, all words are alike, as after a fit on few reviews."""
    sum_D = np.zeros(vectors.vector_size)
    squares = 0.0
    words = len(vectors)
    for first in range(0, words, WORDS_AT_A_TIME):
        unit_BD = vectors.vectors[first : first + WORDS_AT_A_TIME].astype(np.float64)
        lengths_B1 = np.linalg.norm(unit_BD, axis=1, keepdims=True)
        unit_BD /= np.where(lengths_B1 > 0, lengths_B1, 1)
        sum_D += unit_BD.sum(0)
        squares += np.square(unit_BD).sum()

    return float((sum_D @ sum_D - squares) / max(1, words * (words - 1)))
