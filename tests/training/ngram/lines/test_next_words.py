"""Next words are those that the model holds for the likeliest, and lines are drawn from it; scores serve as well."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from models.base import ModelError
from models.specs import NGramSpec
from training.ngram.lines.line_lm import LineLM
from training.ngram.lines.next_words import next_words, write_lines
from training.ngram.lines.text_corpus import LineCorpus
from training.ngram.lines.text_files import fit_lines

TEXT = ["the soup was good", "the soup was cold", "the soup was good", "the tea was good", "we like the tea"]


def model(smoothing: str, order: int = 3) -> LineLM:
    return fit_lines(LineCorpus.read(TEXT), NGramSpec(order=order, smoothing=smoothing))[0]


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


def test_stupid_backoff_ranks_by_its_scores():
    found = next_words(model("stupid_backoff"), "the soup was", 4)
    assert found[0] == ("good", pytest.approx(2 / 3))
    assert found[1] == ("cold", pytest.approx(1 / 3))
    assert found[2][1] < 1 / 3 * 0.4
    assert sum(score for _, score in next_words(model("stupid_backoff"), "the soup was", 99)) > 1


def test_what_can_never_follow_is_not_suggested():
    assert next_words(model("maximum_likelihood"), "the soup", 5) == [("was", pytest.approx(1.0))]


@pytest.mark.parametrize("smoothing", ["maximum_likelihood", "stupid_backoff"])
def test_lines_are_drawn_in_the_proportions_of_the_model(smoothing):
    ours = model(smoothing, order=4)
    lines = write_lines(ours, 2000, "the soup was", max_tokens=1, seed=3)
    shares = {line.split()[-1]: number / 2000 for line, number in Counter(lines).items()}
    scores = dict(next_words(ours, "the soup was", 99))
    total = sum(scores.values())
    for word in ("good", "cold"):
        assert shares[word] == pytest.approx(scores[word] / total, abs=0.05)


def test_lines_end_depend_on_the_seed_alone_and_have_no_mark():
    ours = model("modified_kneser_ney")
    lines = write_lines(ours, 20, max_tokens=30, seed=5)
    assert lines == write_lines(ours, 20, max_tokens=30, seed=5) != write_lines(ours, 20, max_tokens=30, seed=6)
    assert all("<" not in line and len(line.split()) <= 30 for line in lines)
    assert min(len(line.split()) for line in lines) < 30


def test_a_line_ends_where_nothing_can_follow():
    assert write_lines(model("maximum_likelihood", order=4), 2, "we like the tea", seed=1) == ["we like the tea"] * 2


@pytest.mark.parametrize(
    "wrong", [lambda m: next_words(m, "a", 0), lambda m: write_lines(m, 0), lambda m: write_lines(m, temperature=-1),
              lambda m: next_words(m, "a </s> b")],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(wrong):
    with pytest.raises(ModelError) as caught:
        wrong(model("witten_bell"))
    assert caught.value.kind == "input"
