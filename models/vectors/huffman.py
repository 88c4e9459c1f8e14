"""Build the Huffman tree of hierarchical softmax (Morin & Bengio 2005; Mikolov et al. 2013).

The N words are the leaves of a binary tree with N − 1 inner nodes, each with a vector u. With the input vector v,

    p(w | v) = Π_j σ(s_j u_j · v)

over the inner nodes j from the root to w, where s_j = +1 if the path takes the first child and −1 if the second.
Since σ(x) + σ(−x) = 1, the probabilities of all words sum to 1. A word costs as many products as its path has nodes.
Huffman's tree (1952) makes the expected number smallest: between the entropy of the words in bits and 1 more.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class HuffmanTree:
    """Paths from the root to N words, one after another.

    Attributes:
        nodes_P: Inner nodes of all paths (int32, 0 to N − 2; the root is N − 2).
        first_P: Whether the path takes the first child of that node (float32, 1 or 0): s_j = 2 first − 1.
        starts: Where each word's path begins, and the end (N+1, int64).
    """

    nodes_P: np.ndarray
    first_P: np.ndarray
    starts: np.ndarray

    @cached_property
    def lengths_N(self) -> np.ndarray:
        """Number of inner nodes on each word's path: the length of its code."""
        return np.diff(self.starts)


def huffman_tree(counts_N: np.ndarray) -> HuffmanTree:
    """Return the Huffman tree of words with these counts; of equal counts the one made first is joined first."""
    N = len(counts_N)
    parent, is_first = np.zeros(max(2 * N - 1, 1), np.int64), np.zeros(max(2 * N - 1, 1), np.float32)
    waiting = [(int(count), word) for word, count in enumerate(counts_N)]
    heapq.heapify(waiting)
    for made in range(N, 2 * N - 1):
        (rarest, one), (rarer, other) = heapq.heappop(waiting), heapq.heappop(waiting)
        parent[one] = parent[other] = made
        is_first[other] = 1.0
        heapq.heappush(waiting, (rarest + rarer, made))
    paths = [_path(word, parent, 2 * N - 2) for word in range(N)]
    starts = np.concatenate([[0], np.cumsum([len(path) for path in paths])]).astype(np.int64)
    below = np.array([node for path in paths for node in path], np.int64)
    nodes_P = (parent[below] - N).astype(np.int32) if len(below) else np.zeros(0, np.int32)
    return HuffmanTree(nodes_P, is_first[below], starts)


def _path(word: int, parent: np.ndarray, root: int) -> list[int]:
    """Return the nodes below the root on the way to a word, the first one below the root first."""
    path = []
    while word != root:
        path.append(word)
        word = int(parent[word])
    return path[::-1]
