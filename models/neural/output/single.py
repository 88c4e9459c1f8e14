"""Compute one softmax over all entries.

Shapes: N positions, V vocabulary entries, E features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .base import OutputLayer
from .cross_entropy import Gradients, in_format, level_gradients, level_nats, spare_entries


class SoftmaxOutput(OutputLayer):
    """One softmax: p = softmax(W h + b), Bengio et al. 2003, eq. 1; the given ids' logits are −inf.

    Args:
        weight: (V, E), one row per entry; may be the embedding's own.
        bias_V: Initial bias: log-frequencies.
        chunk: Rows whose logits are in memory at a time.
    """

    def __init__(self, weight: nn.Parameter, bias_V: Tensor, chunk: int) -> None:
        super().__init__(weight, bias_V, len(bias_V), chunk)

    def _bias(self) -> Tensor:
        return self.bias.detach().masked_fill(self.given_V, -torch.inf)

    def _weight(self, dtype: torch.dtype) -> Tensor:
        weight_VE = self.weight.detach()
        return in_format(weight_VE, dtype, spare_entries(len(weight_VE), dtype, weight_VE.device))

    def scored_nats(self, h_NE: Tensor, targets_N: Tensor) -> Tensor:
        """See `OutputLayer.scored_nats`."""
        return level_nats(h_NE, self._weight(h_NE.dtype), self._bias(), targets_N, self.chunk)

    def gradients(self, h_NE: Tensor, targets_N: Tensor) -> Gradients:
        """See `OutputLayer.gradients`."""
        grad_VE = torch.empty_like(self.weight)
        return level_gradients(h_NE, self._weight(h_NE.dtype), self._bias(), targets_N, self.chunk, grad_VE)

    @torch.no_grad()
    def logp(self, features_NE: Tensor) -> Tensor:
        """See `OutputLayer.logp`."""
        return torch.log_softmax(F.linear(features_NE.to(self.weight.dtype), self.weight) + self._bias(), 1).float()
