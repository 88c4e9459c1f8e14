"""Brown clusters: every merge loses the least mutual information, recomputed from scratch; the tree of the merges."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.course.words.brown_clusters import Merge, bit_strings, merge_words
from tests.examples import examples

V = 12
CLOSE = 1e-11
"""Losses nearer than this are not told apart by the oracle."""


def ranked(texts):
    """Texts with their words numbered by falling frequency, and the number of words."""
    counts = Counter(word for text in texts for word in text)
    order = {
        word: rank
        for rank, word in enumerate(sorted(counts, key=lambda word: (-counts[word], word)))
    }
    return [[order[word] for word in text] for text in texts], len(order)


def information(pairs, groups):
    """I = Σ p(c, d) ln p(c, d) / (p(c ·) p(· d)) over the given clusters; the marginals count all bigrams."""
    total, nats = sum(pairs.values()), 0.0
    left, right = (
        [sum(n for pair, n in pairs.items() if pair[side] in group) for group in groups]
        for side in (0, 1)
    )
    for c, begin in enumerate(groups):
        for d, end in enumerate(groups):
            both = sum(n for (one, other), n in pairs.items() if one in begin and other in end)
            nats += both / total * np.log(both * total / (left[c] * right[d])) if both else 0
    return nats


def together(
    groups,
    c,
    d,
):
    return [group for number, group in enumerate(groups) if number not in (c, d)] + [
        groups[c] | groups[d]
    ]


texts_of_few_words = st.lists(
    st.lists(st.integers(0, V - 1), min_size=1, max_size=15), min_size=1, max_size=6
).filter(
    lambda texts: (
        any(len(text) > 1 for text in texts) and len({word for text in texts for word in text}) > 1
    )
)


@pytest.mark.slow
@examples(120)
@given(texts_of_few_words, st.integers(1, V + 1))
def test_no_other_pair_of_active_clusters_would_lose_less_mutual_information(texts, clusters):
    texts, words = ranked(texts)
    pairs = Counter(pair for text in texts for pair in pairwise(text))
    groups, coming = [], 0
    for first, second, loss in merge_words(texts, words, clusters):
        while coming < words and len(groups) < clusters + 1:
            groups, coming = [*groups, {coming}], coming + 1
        groups.sort(key=min)
        before = information(pairs, groups)
        lost = {
            (min(groups[c]), min(groups[d])): before - information(pairs, together(groups, c, d))
            for c, d in combinations(range(len(groups)), 2)
        }
        least = min(lost.values())
        assert lost[first, second] <= least + CLOSE
        assert loss == pytest.approx(lost[first, second], abs=CLOSE)
        # Of pairs with equal losses, the first.
        assert (first, second) == min(pair for pair, each in lost.items() if each <= least + CLOSE)
        names = [min(group) for group in groups]
        groups = together(groups, names.index(first), names.index(second))
    assert (coming, len(groups)) == (words, 1)


def test_bits_are_the_paths_of_the_merges():
    merges = [Merge(1, 4, 0.0), Merge(0, 2, 0.0), Merge(1, 3, 0.0), Merge(0, 1, 0.0)]
    assert bit_strings(merges, 4) == [
        "00",
        "10",
        "01",
        "11",
        "10",
    ]  # 0 and 2 join; 1, 4 and 3 join; then both
