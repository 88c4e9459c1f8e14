"""Sorting windows: equal to sorting tuples of words, whatever fits into one integer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.training.ngram.counting import window_sorting
from tests.examples import examples

V, ORDER = 12, 4
WORDS = st.lists(st.sampled_from([1, 4, 4, 5, 12]), max_size=ORDER - 1)
NEXT = -2
"""The code of a begin token: here the window's document has ended."""


@pytest.mark.parametrize("bits", [64, 24, 14])
@examples(60)
@given(
    windows=st.lists(st.tuples(st.sampled_from([-2, 4, 5]), WORDS)),
    most=st.sampled_from([1, 5, 1000]),
)
def test_windows_come_in_the_order_of_their_words_with_what_they_share(windows, most, bits):
    if len(windows) > most:  # then they have one first word
        windows = [(4, words) for _, words in windows]
    rows = [(first, *words, NEXT, *[5] * ORDER)[:ORDER] for first, words in windows]
    code_NP = [np.array(code_P, np.int32) for code_P in zip(*rows, strict=True)] or [
        np.zeros(0, np.int32)
    ] * ORDER
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(window_sorting, "WORD_BITS", bits)
        order_P, shared_P = window_sorting.sort_windows(code_NP, V, most)
    texts = [(abs(first), *words) for first, words in windows]
    assert order_P.tolist() == sorted(range(len(texts)), key=texts.__getitem__)
    before: tuple[int, ...] = ()
    for number, shared in zip(order_P.tolist(), shared_P.tolist(), strict=True):
        window = texts[number]
        assert shared == (ORDER if window == before else common(window, before))
        before = window


def common(window: tuple[int, ...], other: tuple[int, ...]) -> int:
    pairs = zip(window, other, strict=False)
    return next(
        (place for place, (a, b) in enumerate(pairs) if a != b), min(len(window), len(other))
    )
