"""Next words are those that the model holds for the likeliest, and lines are drawn from it; scores serve as well."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from reviewlm.training.ngram.lines.line_lm import LineLM, next_words, write_lines
from reviewlm.training.ngram.lines.text_corpus import LineCorpus
from reviewlm.training.ngram.lines.text_files import LineSpec, fit_lines

TEXT = [
    "the soup was good",
    "the soup was cold",
    "the soup was good",
    "the tea was good",
    "we like the tea",
]


def model(smoothing: str, order: int = 3) -> LineLM:
    return fit_lines(LineCorpus.read(TEXT), LineSpec(order=order, smoothing=smoothing))[0]


@pytest.mark.parametrize("prompt", ["", "the soup", "the soup was", "zebra the"])
def test_next_words_are_the_best_of_the_distribution(prompt):
    ours = model("modified_kneser_ney")
    ids = LineCorpus.read([prompt], ours.words, "unknown").ids[:-1]
    state = ours.read(ids[None].astype(np.int64), ours.start(1))
    p_V = np.exp(ours.distribution(state))[0]
    p_V[[0, 1]] = 0
    found = next_words(ours, prompt, 3)
    assert [p for _, p in found] == pytest.approx(sorted(p_V, reverse=True)[:3], rel=1e-5)
    for word, p in found:
        assert p_V[ours.words.index(word)] == pytest.approx(p, rel=1e-5)


@pytest.mark.parametrize("smoothing", ["maximum_likelihood", "stupid_backoff"])
def test_lines_are_drawn_in_the_proportions_of_the_model(smoothing):
    ours = model(smoothing, order=4)
    lines = write_lines(
        ours,
        2000,
        "the soup was",
        max_tokens=1,
        seed=3,
    )
    shares = {line.split()[-1]: number / 2000 for line, number in Counter(lines).items()}
    scores = dict(next_words(ours, "the soup was", 99))
    total = sum(scores.values())
    for word in ("good", "cold"):
        assert shares[word] == pytest.approx(scores[word] / total, abs=0.05)
