"""Passages of training texts cover as many words of a held-out text as a comparison of every two texts says."""

from collections import Counter
from functools import partial
from itertools import chain

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.duplicates import exact as measured
from corpus.duplicates.exact import coverage
from corpus.duplicates.shingles import part_of, simple_bytes, slices, word_bytes
from tests.corpus.duplicates.test_near_duplicates import random_text, words
from tests.examples import examples


def forms(texts, size=500):
    data, offsets, _ = word_bytes(*simple_bytes(pl.Series(texts, dtype=pl.String)))
    return (part_of(part, data, offsets) for part in slices(offsets, size))


def covered(held_out, train, threads=1):
    return coverage(partial(forms, held_out), partial(forms, train), threads)


def by_brute_force(held_out, train, span=8, passage=16, stock=8):
    """Words are compared as words: no hash, no index, no pass."""
    held_out, train = ([words(text) for text in texts] for texts in (held_out, train))

    def runs(text):
        return [tuple(text[i : i + span]) for i in range(len(text) - span + 1)]

    counts = Counter(run for text in train for run in runs(text))
    shares = []
    for text in held_out:
        own, marked = {run for run in runs(text) if 1 <= counts[run] <= stock}, set()
        for other in train:
            shared = [i for i, run in enumerate(runs(other)) if run in own]
            if len({i + n for i in shared for n in range(span)}) >= passage:
                both = {runs(other)[i] for i in shared}
                marked |= {i + n for i, run in enumerate(runs(text)) if run in both for n in range(span)}
        shares.append(len(marked) / max(1, len(text)))
    return shares


some_words = st.lists(st.sampled_from("abc"), max_size=25)


@st.composite
def pieced(draw):
    """Texts, and others that are made of pieces of them and of other words."""
    texts = draw(st.lists(some_words, max_size=6))
    pieces = st.one_of(some_words, st.lists(st.sampled_from("xyz"), max_size=3))
    if any(texts):
        source = st.sampled_from([text for text in texts if text])
        pieces |= st.tuples(source, st.integers(0, 24), st.integers(1, 25)).map(lambda p: p[0][p[1] : p[1] + p[2]])
    others = draw(st.lists(st.lists(pieces, max_size=5).map(lambda parts: list(chain(*parts))), max_size=8))
    return [" ".join(text) for text in texts], [" ".join(text) for text in others]


@given(pieced(), st.integers(2, 4), st.integers(1, 9), st.integers(1, 3), st.sampled_from([9, 1 << 20]))
@examples(300)
def test_coverage_is_that_of_a_brute_force_comparison(pair, span, passage, stock, at_once):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"SPAN": span, "PASSAGE": passage, "STOCK": stock, "MOST_RUNS": at_once,
                            "MOST_KEPT": at_once}.items():  # fmt: skip
            patch.setattr(measured, name, value)
        assert covered(*pair).tolist() == pytest.approx(by_brute_force(*pair, span, passage, stock))


@pytest.fixture(scope="module")
def texts():
    random = np.random.default_rng(5)
    return [random_text(random, 40, 150) for _ in range(400)]


def halves(text, other):
    return [*text[: len(text) // 2], *other[len(other) // 2 :]]


def tenth_changed(text):
    return ["other" if place % 10 == 9 else word for place, word in enumerate(text)]


POSTED_AGAIN = {
    "half of it in a longer one": (lambda own, other: [[*other[:9], *own[: len(own) // 2], *other[9:]]], 0.45, 0.55),
    "whole in a longer one": (lambda own, other: [[*other, *own]], 1, 1),
    "every tenth word changed": (lambda own, other: [tenth_changed(own)], 0.8, 1),
    "half of it and half of another one": (lambda own, other: [halves(own, other)], 0.45, 0.55),
    "its halves in two others": (lambda own, other: [halves(own, other), halves(other, own)], 0.9, 1),
    "its parts in another order": (lambda own, other: [[*own[20:], *own[:20]]], 1, 1),
    "a fifth of it": (lambda own, other: [[*other, *own[: len(own) // 5]]], 0, 0.25),
    "every sixth word changed": (lambda own, other: [
        [word if place % 6 else "other" for place, word in enumerate(own)]
    ], 0, 0),
}  # fmt: skip


@pytest.mark.parametrize("how", POSTED_AGAIN)
def test_what_was_posted_again_inside_a_new_text_covers_its_share_of_the_words(how, texts):
    """25 held-out texts; neither threads nor how many runs are compared at once matter."""
    again, least, most = POSTED_AGAIN[how]
    held_out, others = texts[:25], texts[25:]
    new = [" ".join(text) for own, other in zip(held_out, others, strict=False)
           for text in again(own.split(), other.split())]  # fmt: skip
    shares = covered(held_out, [*others, *new], threads=3)
    assert shares.min() >= least
    assert shares.max() <= most
    assert shares.tolist() == pytest.approx(by_brute_force(held_out, [*others, *new]))
