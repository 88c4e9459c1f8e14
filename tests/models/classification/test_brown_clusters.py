"""Brown clusters: every merge loses the least mutual information, recomputed from scratch; the tree; clear limits."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import mutual_info_score

from models.base import ModelError
from models.classification.features.brown import BrownClusters, clusters_and_tree, learn_clusters, merge_words
from models.neural.labelling.rows import Rows
from tests.examples import examples

V = 12
CLOSE = 1e-11
"""Losses nearer than this are not told apart by the oracle."""


def ranked(texts):
    """Texts with their words numbered by falling frequency, and the number of words."""
    counts = Counter(word for text in texts for word in text)
    order = {word: rank for rank, word in enumerate(sorted(counts, key=lambda word: (-counts[word], word)))}
    return [[order[word] for word in text] for text in texts], len(order)


def bigrams(texts):
    return sorted(Counter(pair for text in texts for pair in pairwise(text)).items())


def merged_words(texts, words, clusters):
    pairs = bigrams(texts)
    first, second = (np.array([pair[side] for pair, _ in pairs]) for side in (0, 1))
    return merge_words(first, second, np.array([count for _, count in pairs]), words, clusters)


def information(pairs, groups):
    """I = Σ p(c, d) ln p(c, d) / (p(c ·) p(· d)) over the given clusters; the marginals count all bigrams."""
    total, found = sum(count for _, count in pairs), 0.0
    left, right = ([sum(n for pair, n in pairs if pair[side] in group) for group in groups] for side in (0, 1))
    for c, begin in enumerate(groups):
        for d, end in enumerate(groups):
            both = sum(n for (one, other), n in pairs if one in begin and other in end)
            if both:
                found += both / total * np.log(both * total / (left[c] * right[d]))
    return found


def together(groups, c, d):
    return [group for number, group in enumerate(groups) if number not in (c, d)] + [groups[c] | groups[d]]


texts_of_few_words = st.lists(st.lists(st.integers(0, V - 1), min_size=1, max_size=15), min_size=1, max_size=6).filter(
    lambda texts: any(len(text) > 1 for text in texts) and len({word for text in texts for word in text}) > 1
)


@pytest.mark.slow
@examples(120)
@given(texts_of_few_words, st.integers(1, V + 1))
def test_no_other_pair_of_active_clusters_would_lose_less_mutual_information(texts, clusters):
    texts, words = ranked(texts)
    merged, losses = merged_words(texts, words, clusters)
    pairs, groups, coming = bigrams(texts), [], 0
    for (first, second), loss in zip(merged.tolist(), losses, strict=True):
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
        assert (first, second) == min(pair for pair, each in lost.items() if each <= least + CLOSE)  # ties
        names = [min(group) for group in groups]
        groups = together(groups, names.index(first), names.index(second))
    assert coming == words
    assert len(groups) == 1


def test_without_a_window_the_losses_add_up_to_the_mutual_information_of_adjacent_words():
    draw = np.random.default_rng(1)
    texts, words = ranked([draw.integers(0, V, 200).tolist()])
    _, losses = merged_words(texts, words, clusters=words)
    assert losses.sum() == pytest.approx(mutual_info_score(texts[0][:-1], texts[0][1:]), abs=1e-12)
    assert losses.min() >= -1e-12


def test_words_with_the_same_neighbours_share_a_cluster_and_a_prefix():
    draw = np.random.default_rng(1)
    kinds = {0: (9, 10, 11), 1: (12, 13), 2: (14, 15, 16), 3: (17, 18)}  # determiner, adjective, noun, verb
    texts = [[int(draw.choice(kinds[kind])) for kind in (0, 1, 2, 3, 0, 2)] for _ in range(300)]
    found = learn_clusters(Rows.of(texts), 20, clusters=4, words=20)
    assert [set(np.flatnonzero(found.cluster_V == cluster).tolist()) for cluster in range(4)] == [
        set(kinds[kind]) for kind in sorted(kinds, key=lambda kind: found.cluster_V[kinds[kind][0]])
    ]
    assert (found.cluster_V[:9] == -1).all()
    assert len(set(found.bits())) == 4


def test_bits_are_the_paths_of_the_merges():
    merged = np.array([[1, 4], [0, 2], [1, 3], [0, 1]])  # 0 and 2 join; 1, 4 and 3 join; then both
    cluster_N, merges = clusters_and_tree(merged, 4)
    assert cluster_N.tolist() == [0, 1, 2, 3, 1]
    assert BrownClusters(cluster_N, merges).bits() == ["00", "10", "01", "11"]


def test_only_the_most_frequent_words_get_a_cluster():
    found = learn_clusters(Rows.of([[9, 10, 9, 10, 11, 9]]), 12, clusters=2, words=2)
    assert found.cluster_V[9:].tolist() == [0, 1, -1]
    assert len(learn_clusters(Rows.of([[9, 10, 9, 10, 11, 9]]), 12, clusters=100, words=100)) == 3


@pytest.mark.parametrize(("texts", "complaint"), [([[9, 9]], "two different words"), ([[9], [10]], "adjacent")])
def test_texts_that_have_no_clusters_are_refused(texts, complaint):
    with pytest.raises(ModelError, match=complaint):
        learn_clusters(Rows.of(texts), 12, clusters=2, words=5)


@pytest.mark.parametrize("merges", [[[0, 1]], [[0, 1], [2, 2]], [[0, 4], [1, 2]], [[0, 1], [2, 5]]])
def test_arrays_that_are_no_tree_are_refused(merges):
    with pytest.raises(ValueError, match="merge"):
        BrownClusters(np.array([0, 1, 2], np.int32), np.array(merges, np.int32))
