"""How near texts are to a query: query likelihood by its definition, and cosines."""

from __future__ import annotations

import re
from collections import Counter
from math import log, log1p

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.core.errors import InputError
from reviewlm.evaluation.text_vectors import PER_WORD, query_likelihood, unit

TEXTS = ["Cold tacos, cold soup", "cold beer beer", "It's a bar", "!"]


def by_definition(query: str, text: str) -> float:
    """Σ q log (p(w | d) / p(w | C)) / Σ q, word after word."""
    words = lambda one: re.findall(r"\w[\w']*", one.lower())  # noqa: E731
    every, own = Counter(word for one in TEXTS for word in words(one)), Counter(words(text))
    weights = {word: log1p(count) for word, count in Counter(words(query)).items() if word in every}
    mu, total = PER_WORD * sum(weights.values()), every.total()
    length = sum(count for word, count in own.items() if word in every)
    gains = [
        weight * log((own[word] + mu * every[word] / total) / (length + mu) / (every[word] / total))
        for word, weight in weights.items()
    ]
    return sum(gains) / sum(weights.values())


@given(
    st.lists(
        st.sampled_from(["cold", "tacos", "soup", "BEER", "it's", "unknown", "!"]),
        min_size=1,
        max_size=9,
    )
)
def test_a_score_is_the_log_ratio_of_smoothed_probabilities_per_word_of_the_query(
    words: list[str],
) -> None:
    query = " ".join(words)
    scores = query_likelihood(TEXTS)(query, [*TEXTS, "soup for one"])
    if any(word not in ("unknown", "!") for word in words):
        assert scores == pytest.approx(
            [by_definition(query, text) for text in [*TEXTS, "soup for one"]], abs=1e-12
        )
    else:
        assert not scores.any(), "no word says anything"


def test_no_text_without_a_word_of_the_query_is_likelier_than_all_texts_together() -> None:
    scores = query_likelihood(TEXTS)("tacos", TEXTS)
    assert scores[0] > 0 >= scores[1:].max()
    with pytest.raises(InputError):
        query_likelihood(["!", "?"])


def test_vectors_are_scaled_to_length_1() -> None:
    rows = np.array([[3.0, 0.0], [5.0, 5.0], [0.0, 0.1], [-2.0, 0.0]])
    cosines = unit(rows) @ unit(np.array([[7.0, 0.0]]))[0]
    np.testing.assert_allclose(cosines, [1, np.cos(np.pi / 4), 0, -1], atol=1e-6)


def test_vectors_of_zeros_stay() -> None:
    np.testing.assert_allclose(unit(np.zeros((1, 2))), np.zeros((1, 2)))
