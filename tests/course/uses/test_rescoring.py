"""Hypotheses chosen with a language model: errors, best paths, weights, and lists of a stated error rate."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.course.inputs import review_table
from reviewlm.course.uses import rescoring
from reviewlm.course.uses.rescoring import (
    NBest,
    ScoredLists,
    Weights,
    confusions,
    errors,
    errors_of,
    read_lists,
    sentences,
    sounds,
)

WORDS = st.lists(st.sampled_from("abc"), max_size=5)


@given(WORDS, WORDS)
def test_errors_are_the_least_number_of_edits(reference: list[str], words: list[str]) -> None:
    def least(a: tuple[str, ...], b: tuple[str, ...]) -> int:
        if not a or not b:
            return len(a) + len(b)
        return min(least(a[1:], b) + 1, least(a, b[1:]) + 1, least(a[1:], b[1:]) + (a[0] != b[0]))

    assert errors(reference, words) == least(tuple(reference), tuple(words))


@given(
    st.lists(st.lists(st.integers(-20, 20), min_size=1, max_size=3), min_size=1, max_size=4),
    st.integers(1, 9),
)
def test_the_best_hypotheses_are_those_of_all_ways(columns: list[list[int]], count: int) -> None:
    ordered = [
        [(float(score), f"{score}") for score in sorted(column, reverse=True)] for column in columns
    ]
    sums = sorted((sum(ways) for ways in product(*columns)), reverse=True)
    assert [score for score, _ in rescoring._best(ordered, count)] == sums[:count]


def test_simulated_lists_have_the_stated_share_of_wrong_words_where_words_can_be_confused() -> None:
    texts = sentences(review_table(None, 300)["text"])
    similar = confusions((word for text in texts for word in text.split()), sounds)
    lists = rescoring.simulate_lists(texts[:400], similar, 0.2, 1)
    can = sum(bool(similar.get(word)) for one in lists for word in (one.reference or "").split())
    assert sum(each[0] for each in errors_of(lists)) / can == pytest.approx(0.2, abs=0.025)
    assert all(one.scores == sorted(one.scores, reverse=True) for one in lists)


def test_the_weights_are_those_with_the_fewest_errors() -> None:
    """A model that knows the right text, and a recogniser that is wrong by at most 2."""
    lists = [NBest(str(n), ["a b", "a c", "a c d"], [2.0, 1.0, 0.5], "a c") for n in range(5)]
    log_p = {
        "a b": -3.0,
        "a c": -1.0,
        "a c d": -2.0,
    }
    scored = ScoredLists(lists, lambda texts: np.array([log_p[text] for text in texts]))
    weights = rescoring.tune_weights(scored)
    assert scored.choose(weights) == [1] * 5
    assert scored.choose(Weights()) == [0] * 5


def test_a_line_that_is_no_list_is_named(tmp_path: Path) -> None:
    good = {
        "id": 7,
        "hypotheses": [{"text": "a", "score": -1}],
        "reference": "a",
    }
    (tmp_path / "lists").write_text(json.dumps(good) + '\n{"hypotheses": [{"text": "a"}]}\n')
    with pytest.raises(ValueError, match="line 2"):
        read_lists(tmp_path / "lists")
    (tmp_path / "lists").write_text(json.dumps(good))
    assert read_lists(tmp_path / "lists") == [NBest("7", ["a"], [-1.0], "a")]
