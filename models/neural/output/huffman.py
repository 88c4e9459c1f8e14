"""Build Huffman's tree over word counts, the code with the shortest mean length, with paths for a softmax over it.

Huffman 1952, "A method for the construction of minimum-redundancy codes"; as output of a network: Mikolov et al. 2013,
"Distributed representations of words and phrases", section 2.1. The mean code length is between the entropy of the
counts in bits and one more.

P leaves, I = P − 1 inner nodes, F the sum of all code lengths. A child below P is a leaf; any other child is the inner
node (child − P). Inner nodes are numbered level by level from the root, which is 0.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np


class Paths(NamedTuple):
    """The inner nodes from the root to each leaf (in no order), those of all leaves one after another.

    Attributes:
        starts: (P + 1), the index where each leaf's part begins.
        nodes: (F), inner nodes.
        signs: (F), 1 where the path takes the first child, −1 where it takes the second.
    """

    starts: np.ndarray
    nodes: np.ndarray
    signs: np.ndarray


def huffman_tree(counts_P: np.ndarray) -> np.ndarray:
    """Return the children of each inner node (I, 2), the more frequent first; equal counts give equal trees.

    Among equal counts, leaves are joined before inner nodes, and leaves of a higher index first, so that no code is
    longer than necessary. The time is that of sorting, because joined nodes are created in the order of their counts
    (van Leeuwen 1976).
    """
    leaves = deque(sorted(range(len(counts_P)), key=lambda leaf: (counts_P[leaf], -leaf)))
    weights = [int(count) for count in counts_P]
    joined: deque[int] = deque()
    children: list[tuple[int, int]] = []

    def rarest() -> int:
        use_leaf = leaves and (not joined or weights[leaves[0]] <= weights[joined[0]])
        return leaves.popleft() if use_leaf else joined.popleft()

    for _ in range(len(counts_P) - 1):
        rare, frequent = rarest(), rarest()
        children.append((frequent, rare))
        joined.append(len(weights))
        weights.append(weights[rare] + weights[frequent])
    return _level_by_level(np.array(children, np.int64).reshape(-1, 2), len(counts_P))


def _level_by_level(children_I2: np.ndarray, leaves: int) -> np.ndarray:
    """Return the same tree with its inner nodes numbered from the root down, not from the leaves up."""
    order, level = [], np.array([len(children_I2) - 1])
    while len(level) and len(children_I2):
        order.append(level)
        below = children_I2[level].reshape(-1)
        level = below[below >= leaves] - leaves
    number_I = np.empty(len(children_I2), np.int64)
    order_I = np.concatenate(order) if order else np.empty(0, np.int64)
    number_I[order_I] = np.arange(len(order_I))
    children_I2 = children_I2[order_I]
    inner = children_I2 >= leaves
    children_I2[inner] = leaves + number_I[children_I2[inner] - leaves]
    return children_I2


def tree_levels(children_I2: np.ndarray) -> list[slice]:
    """Return the inner nodes of each level, from the root down."""
    leaves, levels, begin, width = len(children_I2) + 1, [], 0, min(1, len(children_I2))
    while width:
        level = slice(begin, begin + width)
        levels.append(level)
        begin, width = level.stop, int((children_I2[level] >= leaves).sum())
    return levels


def tree_paths(children_I2: np.ndarray) -> Paths:
    """Return the path of every leaf; the code follows all leaves to the root at the same time."""
    leaves = len(children_I2) + 1
    parent_X, sign_X = np.full(2 * leaves - 1, -1), np.zeros(2 * leaves - 1)
    for side, sign in ((0, 1.0), (1, -1.0)):
        parent_X[children_I2[:, side]] = np.arange(len(children_I2))
        sign_X[children_I2[:, side]] = sign
    climbers, at = np.arange(leaves), np.arange(leaves)
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    while len(climbers := climbers[parent_X[at] >= 0]):
        at = at[parent_X[at] >= 0]
        found.append((climbers, parent_X[at], sign_X[at]))
        at = leaves + parent_X[at]
    leaf_F, nodes_F, signs_F = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order_F = np.argsort(leaf_F, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(leaf_F, minlength=leaves))])
    return Paths(starts, nodes_F[order_F], signs_F[order_F])
