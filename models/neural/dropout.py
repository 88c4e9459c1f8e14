"""Dropout with a Bernoulli mask, either one mask per position or one for all positions of a window."""

from __future__ import annotations

import torch
from torch import Tensor, nn

LEVELS = 1 << 16
"""A mask entry is drawn as 16 random bits, so p is rounded to a multiple of 1/65,536 (and the scale with it)."""


def kept(shape: torch.Size, share: int, device: torch.device) -> Tensor:
    """Return a bool mask whose entries are False with chance share / LEVELS, independently.

    Four entries are cut from each 64-bit random number: on the processor, drawing one number per entry (as
    `torch.nn.functional.dropout` does) takes twice as long for the whole layer, forward and backward.
    """
    words = torch.empty((shape.numel() + 3) // 4, dtype=torch.int64, device=device)
    bits = words.random_(-(2**63), None).view(torch.int16)[: shape.numel()]
    return (bits >= share - LEVELS // 2).view(shape)


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
        share = min(round(self.p * LEVELS), LEVELS - 1)
        if not self.training or share == 0:
            return x_BTE
        shape = x_BTE[:, :1].shape if self.variational else x_BTE.shape
        # At least float32: 1 / (1 − p) rounded to bfloat16 would shift the mean.
        dtype = torch.promote_types(x_BTE.dtype, torch.float32)
        return x_BTE * kept(shape, share, x_BTE.device).to(dtype).mul_(LEVELS / (LEVELS - share))
