"""Sorting all windows of a text: equal to sorting tuples of words, whatever fits into one integer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from training.ngram.counting import window_counts as machinery
from training.ngram.counting.memory import ArrayAllocator, MemoryPlan
from training.ngram.counting.window_batches import TextInBlocks, sort_windows
from training.ngram.engine import Threads

V = 12
DOCUMENTS = st.lists(st.lists(st.sampled_from([0, 3, 3, 4, 11]), max_size=8).map(lambda words: [1, *words, 2]))


def text_of(documents: list[list[int]], order: int, block: int) -> TextInBlocks:
    ids = np.array([token for document in documents for token in document], np.int32)
    return TextInBlocks(ids, np.arange(V) == 1, order, block)


@pytest.mark.parametrize("bits", [64, 24, 14])
@examples(60)
@given(
    documents=DOCUMENTS, order=st.integers(2, 5), most=st.sampled_from([1, 5, 1000]), threads=st.sampled_from([1, 2])
)
def test_windows_come_in_the_order_of_their_words_with_what_they_share(documents, order, most, threads, bits):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machinery, "WORD_BITS", bits)
        plan = MemoryPlan(most, threads, ArrayAllocator(), 3 * most)
        sorted_windows, _ = sort_windows(text_of(documents, order, 2 * most), plan, Threads(threads))
    flat = [(document[i : i + order], start + i) for start, document in starts(documents) for i in range(len(document))]
    expected = sorted((window, start) for window, start in flat if len(window) > 1)
    assert sorted_windows.start_W.tolist() == [start for _, start in expected]
    before: list[int] = []
    lengths = zip(sorted_windows.shared_W.tolist(), sorted_windows.length_W.tolist(), strict=True)
    for (window, _), (shared, length) in zip(expected, lengths, strict=True):
        assert shared == (order if window == before else common(window, before))
        assert length == len(window)
        before = window


def starts(documents: list[list[int]]) -> list[tuple[int, list[int]]]:
    return [(sum(map(len, documents[:i])), document) for i, document in enumerate(documents)]


def common(window: list[int], other: list[int]) -> int:
    pairs = zip(window, other, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(window), len(other)))
