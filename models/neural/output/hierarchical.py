"""Compute the hierarchical softmax: a word is a sequence of binary choices from the root of a tree to its leaf.

    p(w | h) = Π over the inner nodes n on the path of w of σ(s_n (w_n h + b_n))          s_n = 1 or −1

Morin & Bengio 2005, "Hierarchical probabilistic neural network language model", with Huffman's tree instead of
WordNet's (Mikolov et al. 2013, "Distributed representations of words and phrases", eq. 3). σ(x) + σ(−x) = 1, so the
probabilities of all words sum to 1. A word costs its code length instead of V: on average at least the entropy of
the counts, H ≤ log₂ P bits, and less than H + 1: no code is shorter on average (Huffman 1952, "A method for the
construction of minimum-redundancy codes").

A child below P is a leaf; any other child is the inner node (child − P). Inner nodes are numbered level by level from
the root, which is 0.

Shapes: N positions, V vocabulary entries, E features, P predicted entries, I = P − 1 inner nodes, F inner nodes on the
paths of some words together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...base import ModelError
from ..device import to_device
from .base import CONTEXT_IDS, OutputLayer
from .cross_entropy import Gradients, rows_at_once


class Paths(NamedTuple):
    """The inner nodes from the root to each leaf, those of all leaves one after another.

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
        if use_leaf:
            return leaves.popleft()
        return joined.popleft()

    for _ in range(len(counts_P) - 1):
        rare = rarest()
        frequent = rarest()
        children.append((frequent, rare))
        joined.append(len(weights))
        weights.append(weights[rare] + weights[frequent])

    first = len(counts_P)
    order = [len(children) - 1]  # the root is the last one joined
    for node in order:  # grows on the way: level by level
        order += [child - first for child in children[node] if child >= first]

    number = {first + node: first + place for place, node in enumerate(order)}
    rows = []
    for node in order:
        rows.append([number.get(child, child) for child in children[node]])

    return np.array(rows, np.int64)


def tree_levels(children_I2: np.ndarray) -> list[slice]:
    """Return the inner nodes of each level, from the root down."""
    leaves = len(children_I2) + 1
    levels = []
    begin = 0
    width = min(1, len(children_I2))
    while width:
        level = slice(begin, begin + width)
        levels.append(level)
        begin = level.stop
        width = int((children_I2[level] >= leaves).sum())

    return levels


def tree_paths(children_I2: np.ndarray) -> Paths:
    """Return the path of every leaf, from the root down."""
    leaves = len(children_I2) + 1
    nodes_X: list[list[int]] = [[]] * (2 * leaves - 1)
    signs_X: list[list[float]] = [[]] * (2 * leaves - 1)
    for node, children in enumerate(children_I2.tolist()):  # a node comes before those below it
        for child, sign in zip(children, (1.0, -1.0), strict=True):
            nodes_X[child] = [*nodes_X[leaves + node], node]
            signs_X[child] = [*signs_X[leaves + node], sign]

    starts = np.cumsum([0, *map(len, nodes_X[:leaves])])
    return Paths(
        starts,
        *(np.array(list(chain.from_iterable(paths[:leaves]))) for paths in (nodes_X, signs_X)),
    )


class HierarchicalOutput(OutputLayer):
    """Binary choices along a Huffman tree of the unigram counts; the given ids are not in the tree.

    The work is a few numbers per node of a path and no product of large matrices. So it always uses the number format
    of the weights, for every `precision`.

    Args:
        rows: (V, E): the first P − 1 are the initial rows of the inner nodes. They belong to no word, so they cannot be
            an embedding's.
        counts_V: How often each entry is predicted.
        chunk: Rows whose paths are in memory at a time.

    Attributes:
        weight: (I, E), one row per inner node, level by level from the root.
        bias: (I); initially the log-odds of the counts below, so that training starts from the unigram model.
        tree: (I, 2), the children of each inner node (`huffman_tree`). Saved in the state, because the counts are not.

    Raises:
        ModelError: There are fewer than two entries to choose between.
    """

    tree: Tensor
    leaf_V: Tensor
    starts: Tensor
    nodes: Tensor
    signs: Tensor
    ids_P: Tensor
    _levels: list[slice]
    _lengths_on_host: Tensor

    def __init__(
        self,
        rows: Tensor,
        counts_V: Tensor,
        chunk: int,
    ) -> None:
        counts_P = counts_V[[i for i in range(len(counts_V)) if i not in CONTEXT_IDS]]
        if len(counts_P) < 2:
            raise ModelError(
                f"{len(counts_P)} entries can be predicted; a tree of choices needs two", "input"
            )

        children = torch.from_numpy(huffman_tree(counts_P.numpy()))
        weight = nn.Parameter(rows.detach()[: len(children)].clone())
        super().__init__(
            weight, _log_odds(children, counts_P.double() + 0.5).to(rows), len(counts_V), chunk
        )
        self.register_buffer("tree", children.to(rows.device))
        for name in ("leaf_V", "starts", "nodes", "signs", "ids_P"):
            self.register_buffer(name, torch.empty(0, device=rows.device), persistent=False)

        self._index(self)
        self.register_load_state_dict_post_hook(self._index)

    @staticmethod
    def _index(layer: HierarchicalOutput, _: object = None) -> None:
        """Compute from the tree its levels, each id's leaf and each leaf's path."""
        children = layer.tree.cpu().numpy()
        device = layer.tree.device
        layer._levels = tree_levels(children)
        starts, nodes, signs = (torch.from_numpy(part).to(device) for part in tree_paths(children))
        layer.starts = starts
        layer.nodes = nodes
        layer.signs = signs.to(layer.weight.dtype)
        layer.leaf_V = (~layer.given_V).cumsum(0) - 1
        layer.ids_P = (~layer.given_V).nonzero()[:, 0]
        layer._lengths_on_host = starts.diff()[layer.leaf_V].cpu()

    def path_lengths(self, targets_N: Tensor) -> Tensor:
        """Return the number of binary choices for each target (N)."""
        return self.starts.diff()[self.leaf_V[targets_N]]

    def _parts(self, targets_N: Tensor, h_NE: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield the nodes on the targets' paths, for some rows at a time: row in the batch (F), number (F), sign (F).

        How many they are is computed on the processor where the targets are there: a GPU is not waited for.
        """
        lengths_N = None if targets_N.is_cuda else self._lengths_on_host[targets_N]
        rows = self._rows_at_once(h_NE)
        targets_N = to_device(targets_N, h_NE.device)
        for i in range(0, len(targets_N), rows):
            nodes = None
            if lengths_N is not None:
                nodes = int(lengths_N[i : i + rows].sum())

            rows_F, nodes_F, signs_F = self._paths(targets_N[i : i + rows], nodes)
            yield i + rows_F, nodes_F, signs_F

    def _paths(self, targets_N: Tensor, nodes: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return for each node on the targets' paths its row in the batch (F), its number (F) and its sign (F).

        Args:
            nodes: How many these are, if it is known.
        """
        length_N = self.path_lengths(targets_N)
        row_N = torch.arange(len(targets_N), device=targets_N.device)
        rows_F = torch.repeat_interleave(row_N, length_N, output_size=nodes)
        before_N = length_N.cumsum(0) - length_N
        shift_N = self.starts[self.leaf_V[targets_N]] - before_N
        at_F = torch.arange(len(rows_F), device=targets_N.device) + shift_N[rows_F]
        return rows_F, self.nodes[at_F], self.signs[at_F]

    def _own_format(self, h_NE: Tensor) -> Tensor:
        """Return the features in the format of the weights, without the padding that bf16 products may have added."""
        return h_NE[:, : self.weight.shape[1]].to(self.weight.dtype)

    def _rows_at_once(self, h_NE: Tensor) -> int:
        """Return how many rows to compute at a time; a row has the features of each node on its path in memory."""
        leaves = max(1, len(self.starts) - 1)
        path = max(1, len(self.nodes) // leaves)
        return rows_at_once(self.chunk, h_NE.shape[1] * path, h_NE)

    def scored_nats(self, h_NE: Tensor, targets_N: Tensor) -> Tensor:
        """See `OutputLayer.scored_nats`."""
        h_NE = self._own_format(h_NE)
        nats_N = self.bias.new_zeros(len(targets_N))
        for rows_F, nodes_F, signs_F in self._parts(targets_N, h_NE):
            choice_F = (h_NE[rows_F] * self.weight[nodes_F]).sum(1) + self.bias[nodes_F]
            nats_N.index_add_(0, rows_F, -F.logsigmoid(signs_F * choice_F))
        return nats_N

    def gradients(self, h_NE: Tensor, targets_N: Tensor) -> Gradients:
        """See `OutputLayer.gradients`; d(−log σ(s x))/dx = −s σ(−s x), computed only for nodes on the paths."""
        h_NE = self._own_format(h_NE)
        weight_IE = self.weight.detach()
        bias_I = self.bias.detach()
        nats_N = bias_I.new_zeros(len(targets_N))
        grad_NE = torch.zeros_like(h_NE)
        grad_IE = torch.zeros_like(weight_IE)
        grad_I = torch.zeros_like(bias_I)
        for rows_F, nodes_F, signs_F in self._parts(targets_N, h_NE):
            h_FE = h_NE[rows_F]
            weight_FE = weight_IE[nodes_F]
            agree_F = signs_F * ((h_FE * weight_FE).sum(1) + bias_I[nodes_F])
            nats_N.index_add_(0, rows_F, -F.logsigmoid(agree_F))
            delta_F = -signs_F * torch.sigmoid(-agree_F)
            grad_NE.index_add_(0, rows_F, weight_FE.mul_(delta_F[:, None]))
            grad_IE.index_add_(0, nodes_F, h_FE.mul_(delta_F[:, None]))
            grad_I.index_add_(0, nodes_F, delta_F)

        return Gradients(nats_N, grad_NE, (grad_IE, grad_I))

    @torch.no_grad()
    def logp(self, features_NE: Tensor) -> Tensor:
        """See `OutputLayer.logp`; computed from the root down, one level of the tree at a time."""
        choices_IN = (
            torch.mm(self.weight, features_NE.to(self.weight.dtype).t()) + self.bias[:, None]
        )
        leaves = len(self.bias) + 1
        logp_XN = choices_IN.new_zeros(2 * leaves - 1, features_NE.shape[0])
        for level in self._levels:
            reached_LN = logp_XN[leaves + level.start : leaves + level.stop]
            first_LN = F.logsigmoid(choices_IN[level])
            logp_XN[self.tree[level, 0]] = reached_LN + first_LN
            # log σ(−x) = log σ(x) − x
            logp_XN[self.tree[level, 1]] = reached_LN + first_LN - choices_IN[level]

        logp_NV = choices_IN.new_full((features_NE.shape[0], len(self.given_V)), -torch.inf)
        logp_NV[:, self.ids_P] = logp_XN[:leaves].t()
        return logp_NV.float()


def _log_odds(children_I2: Tensor, share_P: Tensor) -> Tensor:
    """Return log(mass of the first child / mass of the second) of each inner node, from the leaves up."""
    leaves = len(share_P)
    mass_X = torch.cat([share_P, share_P.new_zeros(len(children_I2))])
    for level in reversed(tree_levels(children_I2.numpy())):
        mass_X[leaves + level.start : leaves + level.stop] = mass_X[children_I2[level]].sum(1)
    return (mass_X[children_I2[:, 0]] / mass_X[children_I2[:, 1]]).log()
