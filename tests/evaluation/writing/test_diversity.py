"""Figures of variety, held against their definitions in plain Python."""

from __future__ import annotations

from collections import Counter
from math import exp, log

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from evaluation.writing.diversity import distinct, length_distance, repetition, self_bleu, self_overlap
from evaluation.writing.word_stream import word_stream
from tests.examples import examples

TEXTS = st.lists(st.lists(st.sampled_from(list("abcd")), max_size=14), min_size=1, max_size=6)


def stream_of(texts):
    return word_stream(pl.Series([" ".join(text) for text in texts], dtype=pl.String))


def grams(text, n):
    return [tuple(text[i : i + n]) for i in range(len(text) - n + 1)]


def bleu_by_hand(text, others):
    """Sentence BLEU-4 (Papineni et al. 2002) with 0.1 in place of a count of zero."""
    logs = []
    for n in range(1, 5):
        counts = Counter(grams(text, n))
        clipped = sum(min(count, max(Counter(grams(o, n))[g] for o in others)) for g, count in counts.items())
        if n == 1 and not clipped:
            return 0.0
        logs.append(log((clipped or 0.1) / max(sum(counts.values()), 1)))
    closest = min((abs(len(o) - len(text)), len(o)) for o in others)[1]
    return exp(min(0.0, 1 - closest / len(text)) + sum(logs) / 4)


@given(TEXTS)
@examples(200)
def test_all_figures_are_those_of_their_definitions(texts):
    stream, four = stream_of(texts), [grams(text, 4) for text in texts]
    for n in (1, 2, 3):
        every = [each for text in texts for each in grams(text, n)]
        assert distinct(stream, n) == (pytest.approx(len({*every}) / len(every)) if every else None)
    repeated = [1 - len({*each}) / len(each) for each in four if each]
    assert repetition(stream) == (pytest.approx(np.mean(repeated)) if repeated else None)
    shared = [any(gram in other for other in four[:i] + four[i + 1 :]) for i, own in enumerate(four) for gram in own]
    assert self_overlap(stream) == (pytest.approx(np.mean(shared)) if shared else None)
    if len(texts) > 1:
        by_hand = [bleu_by_hand(text, texts[:i] + texts[i + 1 :]) for i, text in enumerate(texts)]
        assert self_bleu(stream) == pytest.approx(np.mean(by_hand))


def test_one_text_has_nothing_to_be_like():
    assert self_bleu(stream_of(["abcd"])) is None
    assert self_overlap(stream_of(["abcd"])) == 0


def test_a_model_that_writes_the_same_again_and_again_is_told_from_a_varied_one():
    same, varied = stream_of([list("abcdabcd")] * 5), stream_of([list("abcd"), list("efgh"), list("ijkl")])
    assert self_bleu(same) == pytest.approx(1)
    assert self_bleu(varied) == 0
    assert (repetition(same), repetition(varied)) == (pytest.approx(1 / 5), 0)
    assert (distinct(same, 1), distinct(varied, 1)) == (pytest.approx(4 / 40), 1)


def test_lengths_count_as_equal_beyond_the_length_at_which_samples_are_cut():
    short, long = stream_of([["a"] * n for n in range(20)]), stream_of([["a"] * 2 * n for n in range(20)])
    assert length_distance(short, long, 1_000) == pytest.approx(
        (ks_2samp(range(20), range(0, 40, 2)).statistic, ks_2samp(range(20), range(0, 40, 2)).pvalue)
    )
    assert length_distance(short, long, 0)[0] == 0
