"""Summarise a sequence by pooled word embeddings, in any order, and tf-idf features; then fully connected layers.

    bag      h = pool(C[w_1] … C[w_n])       mean: the deep averaging network of Iyyer et al. 2015
    sparse   h = W x + b                     x: the sparse tf-idf vector of the review
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...layers.dropout import Dropout
from ...network import EMBEDDING_STD
from .pooling import pool
from .trunk import FullyConnected, Trunk, inside, require_lengths


class BagTrunk(Trunk):
    """Embedding, pooling, fully connected layers.

    Args:
        entries: V.
        embedding: E.
        pooling: Names of `pooling.POOLINGS`; several are joined.
        hidden: Units of each fully connected layer; may be empty.
        dropout: On embeddings and between layers.
    """

    def __init__(
        self, entries: int, embedding: int, pooling: Sequence[str], hidden: Sequence[int], dropout: float
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(entries, embedding)
        nn.init.normal_(self.embedding.weight, 0.0, EMBEDDING_STD)
        self.pooling = tuple(pooling)
        self.dropout = Dropout(dropout)
        pooled = embedding * len(self.pooling)
        self.layers = FullyConnected(pooled, hidden, dropout)
        self.entries, self.features = entries, [pooled, *hidden][-1]

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the features of each sequence (B, F); see `Trunk.forward`."""
        ids_BT, lengths_B = inputs
        require_lengths(ids_BT, lengths_B)
        inside_BT = inside(lengths_B, ids_BT.shape[1])
        x_BTE = self.dropout(self.embedding(ids_BT.masked_fill(~inside_BT, 0)))
        features_BF: Tensor = self.layers(pool(self.pooling, x_BTE, inside_BT))
        return features_BF


class SparseTrunk(Trunk):
    """Fully connected layers on sparse features.

    Args:
        entries: Number of features.
        hidden: Units of each layer, one or more.
        dropout: Between layers.
    """

    def __init__(self, entries: int, hidden: Sequence[int], dropout: float) -> None:
        super().__init__()
        first, *rest = hidden
        self.weight = nn.Parameter(torch.empty(entries, first).normal_(0.0, EMBEDDING_STD))
        self.bias = nn.Parameter(torch.zeros(first))
        self.dropout = Dropout(dropout)
        self.rest = nn.ModuleList(FullyConnected(size, [units], 0.0) for size, units in pairwise([first, *rest]))
        self.entries, self.features = entries, hidden[-1]

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the features of each row (B, F); the inputs are those of `rows.FeatureBatch`."""
        ids_M, values_M, starts_B = inputs
        weights_M = values_M.to(self.weight.dtype)
        h_BF = F.embedding_bag(ids_M, self.weight, starts_B, mode="sum", per_sample_weights=weights_M) + self.bias
        features_BF: Tensor = torch.relu(h_BF)
        for layers in self.rest:
            features_BF = layers(self.dropout(features_BF))
        return features_BF
