"""Convolve word embeddings over windows of several widths, and pool over the windows of each sequence (Kim 2014).

    x_t = C[w_t]
    h_t = relu(W (x_t, x_{t+1}, …, x_{t+k−1}) + b)      t = 1 … n − k + 1, for each width k
    features: max and mean of h_1 … h_{n−k+1} for each width, joined

A sequence shorter than k has one window, filled up with zeros. As a classifier of stars it cost as much as an LSTM and
was 1.3 points less accurate (`benchmarks/results/2026-11-28-collected-classifiers.md`), so the pipeline has none.
Shapes: B sequences, T positions, E embedding size, F features.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reviewlm.models.neural.labelling.network import inside, largest, mean


class SentenceCNN(nn.Module):
    """Embedding, convolutions, pooling.

    Args:
        entries: V.
        embedding: E.
        windows: Widths k.
        filters: Features of each width.
    """

    def __init__(
        self,
        entries: int,
        embedding: int,
        windows: Sequence[int],
        filters: int,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(entries, embedding)
        self.convolutions = nn.ModuleList(nn.Conv1d(embedding, filters, width) for width in windows)

    def forward(self, ids_BT: Tensor, lengths_B: Tensor) -> Tensor:
        """Return the features of each sequence (B, F)."""
        inside_BT = inside(lengths_B, ids_BT.shape[1])
        x_BTE = self.embedding(ids_BT.masked_fill(~inside_BT, 0))
        x_BET = torch.where(inside_BT[..., None], x_BTE, 0.0).transpose(1, 2)
        return torch.cat([self._pool(x_BET, lengths_B, one) for one in self._convolutions()], 1)

    def _convolutions(self) -> list[nn.Conv1d]:
        return [
            convolution for convolution in self.convolutions if isinstance(convolution, nn.Conv1d)
        ]

    def _pool(
        self,
        x_BET: Tensor,
        lengths_B: Tensor,
        convolution: nn.Conv1d,
    ) -> Tensor:
        width = convolution.kernel_size[0]
        short = max(0, width - x_BET.shape[2])
        h_BTF = torch.relu(convolution(F.pad(x_BET, (0, short)))).transpose(1, 2)
        windows_BT = inside((lengths_B - width + 1).clamp_min(1), h_BTF.shape[1])
        return torch.cat([largest(h_BTF, windows_BT), mean(h_BTF, windows_BT)], 1)
