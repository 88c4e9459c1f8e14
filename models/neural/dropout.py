"""Dropout with a Bernoulli mask, either one mask per position or one for all positions of a window."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Dropout(nn.Module):
    """Zero a random share p of the features while training; multiply the rest by 1 / (1 − p). Nothing in evaluation.

    Args:
        p: Share of features dropped, in [0, 1).
        variational: Draw one mask per stream and use it at every position of the window (Gal & Ghahramani 2016,
            the "locked" dropout of AWD-LSTM), instead of an independent one per position (Srivastava et al. 2014).
    """

    def __init__(self, p: float, variational: bool = False) -> None:
        super().__init__()
        self.p, self.variational = p, variational

    def forward(self, x_BTE: Tensor) -> Tensor:
        """Return the masked features, of the same shape."""
        if not self.training or self.p == 0:
            return x_BTE
        if not self.variational:
            return F.dropout(x_BTE, self.p)
        mask_B1E = F.dropout(torch.ones_like(x_BTE[:, :1]), self.p)
        return x_BTE * mask_B1E
