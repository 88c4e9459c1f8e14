"""Cluster words by their neighbours: Brown et al. (1992, "Class-based n-gram models of natural language").

Words that stand before and after the same words come into one cluster. The clusters are those of a greedy search that
keeps the mutual information of adjacent clusters high; `brown_kernel.py` has the formulas and the algorithm of Liang
(2005, "Semi-supervised learning for natural language", section 4.2).

The C last clusters are merged into a binary tree. The path from its root to a cluster, 0 for the branch with the more
frequent word and 1 for the other, is the cluster's bit string; a prefix of it is a larger cluster.
Shapes: V vocabulary entries, N clustered words, C clusters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ...base import ModelError
from ...neural.labelling.rows import Rows
from .tfidf import ngram_totals

LEAST = 2
"""Fewest words that can be clustered."""


@dataclass(frozen=True)
class BrownClusters:
    """Clusters of vocabulary entries.

    Args:
        cluster_V: Number of the cluster of each entry (int32); −1 for entries without one. Clusters are numbered by
            their most frequent word.
        merges: For each merge of two clusters, from the leaves to the root, the numbers of the two (C − 1, 2; int32):
            0 … C − 1 are clusters, C + m is the result of merge m. The first has the more frequent word.
    """

    cluster_V: np.ndarray
    merges: np.ndarray

    def __post_init__(self) -> None:
        nodes = np.sort(self.merges.ravel())
        if self.merges.shape != (len(self) - 1, 2) or (nodes != np.arange(2 * len(self) - 2)).any():
            raise ValueError("the merges of the clusters are not a tree")
        if (self.merges.max(1) >= len(self) + np.arange(len(self) - 1)).any():
            raise ValueError("a merge uses a cluster of a later one")

    def __len__(self) -> int:
        return int(self.cluster_V.max()) + 1

    def bits(self) -> list[str]:
        """Return the bit string of each cluster (C)."""
        paths = [""] * (2 * len(self) - 1)
        for node, (first, second) in reversed(list(enumerate(self.merges.tolist(), len(self)))):
            paths[first], paths[second] = paths[node] + "0", paths[node] + "1"
        return paths[: len(self)]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return everything, to be stored."""
        return {"clusters.of_entry": self.cluster_V, "clusters.merges": self.merges}

    @classmethod
    def from_arrays(cls, entries: int, arrays: Mapping[str, np.ndarray]) -> BrownClusters:
        """Rebuild the clusters from the result of `arrays`.

        Raises:
            ValueError: The arrays are not clusters of a vocabulary of this size.
        """
        cluster_V = arrays["clusters.of_entry"]
        if cluster_V.shape != (entries,):
            raise ValueError(f"there are clusters of {cluster_V.size} entries, not of {entries}")
        return cls(cluster_V, arrays["clusters.merges"])


def learn_clusters(texts: Rows, entries: int, clusters: int, words: int) -> BrownClusters:
    """Cluster the most frequent entries of texts.

    Bigrams within a text count, if both words are among the clustered ones. Equally frequent entries are taken in the
    order of their ids.

    Args:
        texts: Reviews without special tokens.
        entries: V.
        clusters: C; with fewer words each is a cluster.
        words: Largest N.

    Raises:
        ModelError: kind "input": the texts have too few different words, or no two of them are adjacent.
    """
    counts_V = np.bincount(np.asarray(texts.ids_P), minlength=entries)
    ids_N = np.argsort(-counts_V, kind="stable")[: min(words, int((counts_V > 0).sum()))]
    if len(ids_N) < LEAST:
        raise ModelError("Brown clusters need a text of at least two different words: train on more reviews", "input")
    word_V = np.full(entries, len(ids_N), np.int32)
    word_V[ids_N] = np.arange(len(ids_N))
    bigrams, _, counts_M = ngram_totals(Rows(word_V[texts.ids_P], texts.offsets), 2, len(ids_N) + 1)
    first_M, second_M = np.divmod(bigrams, len(ids_N) + 1)
    known_M = (first_M < len(ids_N)) & (second_M < len(ids_N))
    if not known_M.any():
        raise ModelError("Brown clusters need reviews of two or more words: no two words are adjacent", "input")
    merged, _ = merge_words(first_M[known_M], second_M[known_M], counts_M[known_M], len(ids_N), clusters)
    cluster_N, merges = clusters_and_tree(merged, min(clusters, len(ids_N)))
    cluster_V = np.full(entries, -1, np.int32)
    cluster_V[ids_N] = cluster_N
    return BrownClusters(cluster_V, merges)


def merge_words(
    first_M: np.ndarray, second_M: np.ndarray, counts_M: np.ndarray, words: int, clusters: int
) -> tuple[np.ndarray, np.ndarray]:
    """Merge all words, with at most C + 1 active clusters at a time.

    Args:
        first_M: First word of each bigram type, sorted; words are numbered by falling frequency.
        second_M: Its second word.
        counts_M: How often it occurs.
        words: N.
        clusters: C.

    Returns:
        See `brown_kernel.merge_all`: the clusters of each merge (N − 1, 2), and the nats lost (N − 1).
    """
    from .brown_kernel import merge_all

    back = np.argsort(second_M, kind="stable")
    starts_N, back_starts_N = (
        np.searchsorted(sorted_M, np.arange(words + 1)) for sorted_M in (first_M, second_M[back])
    )
    merged, losses = merge_all(
        clusters, starts_N, second_M, counts_M, back_starts_N, first_M[back], counts_M[back]
    )  # fmt: skip
    return merged, losses


def clusters_and_tree(merged: np.ndarray, clusters: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the cluster of each word before the last C − 1 merges (N), and these merges as a tree (C − 1, 2)."""
    parent_N = np.arange(len(merged) + 1)
    apart = len(merged) - (clusters - 1)
    for first, second in merged[:apart]:
        parent_N[parent_N == second] = first
    names, cluster_N = np.unique(parent_N, return_inverse=True)
    node = {int(name): number for number, name in enumerate(names)}
    merges = np.zeros((clusters - 1, 2), np.int32)
    for number, (first, second) in enumerate(merged[apart:].tolist()):
        merges[number] = node[first], node.pop(second)
        node[first] = clusters + number
    return cluster_N.astype(np.int32), merges
