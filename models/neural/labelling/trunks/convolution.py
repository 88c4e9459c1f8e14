"""Convolve word embeddings over windows of several widths, and pool over the windows of each sequence (Kim 2014).

    x_t = C[w_t]
    h_t = relu(W (x_t, x_{t+1}, …, x_{t+k−1}) + b)      t = 1 … n − k + 1, for each width k
    features: pool(h_1 … h_{n−k+1}) of each width, joined

A sequence shorter than k has one window, filled up with zeros. Shapes: B sequences, T positions, E embedding size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...layers.dropout import Dropout
from ...network import EMBEDDING_STD
from .pooling import pool
from .trunk import Trunk, inside, require_lengths


class ConvolutionTrunk(Trunk):
    """Embedding, convolutions, pooling.

    Args:
        entries: V.
        embedding: E.
        windows: Widths k.
        filters: Features of each width.
        pooling: Names of `pooling.POOLINGS`; several are joined.
        dropout: On embeddings.
    """

    def __init__(
        self, entries: int, embedding: int, windows: Sequence[int], filters: int, pooling: Sequence[str], dropout: float
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(entries, embedding)
        nn.init.normal_(self.embedding.weight, 0.0, EMBEDDING_STD)
        self.convolutions = nn.ModuleList(nn.Conv1d(embedding, filters, width) for width in windows)
        self.windows, self.pooling = tuple(windows), tuple(pooling)
        self.dropout = Dropout(dropout)
        self.entries, self.features = entries, len(self.windows) * filters * len(self.pooling)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the features of each sequence (B, F); see `Trunk.forward`."""
        ids_BT, lengths_B = inputs
        require_lengths(ids_BT, lengths_B)
        inside_BT = inside(lengths_B, ids_BT.shape[1])
        x_BTE = self.dropout(self.embedding(ids_BT.masked_fill(~inside_BT, 0)))
        x_BET = torch.where(inside_BT[..., None], x_BTE, 0.0).transpose(1, 2)
        pooled = [self._pooled(x_BET, lengths_B, *pair) for pair in zip(self.windows, self.convolutions, strict=True)]
        return torch.cat(pooled, 1)

    def _pooled(self, x_BET: Tensor, lengths_B: Tensor, width: int, convolution: nn.Module) -> Tensor:
        short = max(0, width - x_BET.shape[2])
        h_BTF = torch.relu(convolution(F.pad(x_BET, (0, short)))).transpose(1, 2).to(x_BET.dtype)
        inside_BT = inside((lengths_B - width + 1).clamp_min(1), h_BTF.shape[1])
        return pool(self.pooling, h_BTF, inside_BT)
