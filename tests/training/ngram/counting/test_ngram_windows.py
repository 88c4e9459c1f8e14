"""Sorting all windows of a text: equal to sorting tuples of words, whatever fits into one integer."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from training.ngram.counting import windows as machinery
from training.ngram.counting.memory import ArrayAllocator
from training.ngram.counting.window_counts import sort_windows
from training.ngram.counting.windows import Text, shard_words, sort_shard
from training.ngram.engine import Threads

V = 12
DOCUMENTS = st.lists(st.lists(st.sampled_from([0, 3, 3, 4, 11]), max_size=8).map(lambda words: [1, *words, 2]))


def text_of(documents: list[list[int]], order: int) -> Text:
    ids = np.array([token for document in documents for token in document], np.int32)
    return Text.of(ids, ids == 1, order, V)


@pytest.mark.parametrize("bits", [64, 24, 14])
@examples(60)
@given(
    documents=DOCUMENTS, order=st.integers(2, 5), most=st.sampled_from([1, 5, 1000]), threads=st.sampled_from([1, 2])
)
def test_windows_come_in_the_order_of_their_words_with_what_they_share(documents, order, most, threads, bits):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machinery, "WORD_BITS", bits)
        sorted_windows = sort_windows(text_of(documents, order), most, Threads(threads), ArrayAllocator())
    flat = [(document[i : i + order], start + i) for start, document in starts(documents) for i in range(len(document))]
    expected = sorted((window, start) for window, start in flat if len(window) > 1)
    assert sorted_windows.start_W.tolist() == [start for _, start in expected]
    before: list[int] = []
    for (window, start), shared in zip(expected, sorted_windows.shared_W.tolist(), strict=True):
        assert shared == (order if window == before else common(window, before))
        assert sorted_windows.text.length_T[start] == len(window)
        before = window


def starts(documents: list[list[int]]) -> list[tuple[int, list[int]]]:
    return [(sum(map(len, documents[:i])), document) for i, document in enumerate(documents)]


def common(window: list[int], other: list[int]) -> int:
    pairs = zip(window, other, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(window), len(other)))


def test_shards_hold_no_more_windows_than_allowed_unless_one_word_has_more():
    windows_V = np.array([0, 3, 4, 0, 20, 1, 1, 0])
    edges = shard_words(windows_V, 7)
    assert [int(windows_V[a:b].sum()) for a, b in pairwise(edges)] == [7, 20, 2]
    assert (edges[0], edges[-1]) == (0, len(windows_V))


@pytest.mark.parametrize("same", [1, 2, 3, 4])
def test_windows_that_share_their_first_words_are_sorted_in_little_memory(same, monkeypatch):
    """A frequent n-gram has more windows than fit; a full sort takes some 100 bytes for each, beside the windows."""
    monkeypatch.setattr(machinery, "_BLOCK", 1000)
    words = np.random.default_rng(1).integers(3, V, (100_000, 5)).astype(np.int32)
    words[:, :same] = 3
    text, start_P = Text.of(words.ravel(), np.zeros(words.size, bool), 5, V), np.arange(len(words), dtype=np.int32) * 5
    shared_P = np.empty(len(start_P), np.uint8)
    tracemalloc.start()
    sort_shard(text, start_P, shared_P, 1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert start_P.tolist() == sorted(start_P.tolist(), key=lambda start: (words[start // 5].tolist(), start))
    assert peak < 12 * len(start_P)
