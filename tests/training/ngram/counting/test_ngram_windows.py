"""Sorting windows: equal to sorting tuples of words, whatever fits into one integer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.training.ngram.counting import window_counts, window_sorting
from reviewlm.training.ngram.counting.memory import IN_MEMORY, MemoryPlan
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
    alike=st.booleans(),
)
def test_windows_come_in_the_order_of_their_words_with_what_they_share(
    windows,
    most,
    alike,
    bits,
):
    if len(windows) > most:  # then they have one first word, or none of them begins a document
        windows = [(4 if alike else abs(first), words) for first, words in windows]
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


def test_suffixes_are_linked_at_positions_beyond_32_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    start_W, shared_W, length_W = np.array([2, 0, 1]), np.array([0, 0, 0]), np.array([3, 3, 3])
    linked = []
    for base in (0, (1 << 33) + 7):
        part = slice(base, base + 4)
        monkeypatch.setattr(window_counts, "ranges_in_memory", lambda *sizes, part=part: [part])
        suffix_M = np.full(3, -9)
        plan = MemoryPlan(8, 1, IN_MEMORY)
        window_counts._link(
            start_W + base,
            shared_W,
            length_W,
            3,
            base + 4,
            suffix_M,
            plan,
        )
        linked.append(suffix_M.tolist())
    assert linked[0][1:] == [2, 0]  # the suffixes of the windows at 0 and 1 begin at 1 and 2
    assert linked[1][1:] == linked[0][1:]
