"""Draw Bernoulli masks for dropout: of features (per position or locked), of whole words, of recurrent weights.

All are for training only; callers skip them in evaluation. Kept values are multiplied by 1 / (1 − p), so that the
expected value is that of evaluation.

Masks are drawn once per call of the network, so "a window" below is the tokens of one call. One window of training
takes several calls if not all streams are read at a time (`TrainingSpec.micro_batch`), or if the gradient flows back
beyond it (k2 > k1, see `tbptt.read_window`). Each call draws its own masks, also for tokens that are read again.

Shape legend: see `models/base.py`; G = number of gates × H.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .cells import Weights

LEVELS = 1 << 16
"""A mask entry is drawn as 16 random bits, so p is rounded to a multiple of 1/65,536 (and the scale with it)."""


def draw_keep_mask(
    shape: torch.Size,
    share: int,
    device: torch.device,
) -> Tensor:
    """Return a bool mask whose entries are False with chance share / LEVELS, independently.

    Four entries come from each 64-bit random number. On the CPU, drawing one number per entry (as
    `torch.nn.functional.dropout` does) makes the whole layer take twice as long, forward and backward.
    """
    numbers = torch.empty((shape.numel() + 3) // 4, dtype=torch.int64, device=device)
    numbers.random_(-(2**63), None)
    # 16 bits with a sign: from −LEVELS / 2 on, each of LEVELS values is as probable.
    levels = numbers.view(torch.int16)[: shape.numel()]
    return (levels >= share - LEVELS // 2).view(shape)


def bernoulli_mask(
    shape: torch.Size,
    p: float,
    like: Tensor,
) -> Tensor | None:
    """Return 0 with chance p and 1 / (1 − p) otherwise, independently for each entry; None (nothing drawn) for p = 0.

    Args:
        shape: Of the mask.
        p: In [0, 1).
        like: Gives the device, and the number format if it is wider than float32: 1 / (1 − p) rounded to bfloat16
            would shift the mean. On a GPU the mask has its number format in any case: there 1 / (1 − p) is rounded
            first, and an entry is kept with the chance 1 / that, so the mean stays.
    """
    share = min(round(p * LEVELS), LEVELS - 1)
    if share == 0:
        return None
    if like.is_cuda:
        factor = torch.tensor(1 / (1 - p), dtype=like.dtype).item()
        return (
            torch.empty(shape, dtype=like.dtype, device=like.device)
            .bernoulli_(1 / factor)
            .mul_(factor)
        )

    dtype = torch.promote_types(like.dtype, torch.float32)
    return draw_keep_mask(shape, share, like.device).to(dtype).mul_(LEVELS / (LEVELS - share))


class Dropout(nn.Module):
    """Dropout of features: in training, a random share p is zeroed and the rest multiplied by 1 / (1 − p).

    In evaluation it does nothing.

    Args:
        p: Share of features dropped, in [0, 1).
        variational: Draw one mask per stream and use it at every position of the window (Gal & Ghahramani 2016,
            the "locked" dropout of AWD-LSTM), instead of an independent one per position (Srivastava et al. 2014).
    """

    def __init__(self, p: float, variational: bool = False) -> None:
        super().__init__()
        self.p = p
        self.variational = variational

    def forward(self, x_BTE: Tensor) -> Tensor:
        """Return the masked features, of the same shape."""
        if not self.training:
            return x_BTE
        if x_BTE.is_cuda and self.p and not self.variational:
            return F.dropout(x_BTE, self.p)  # one kernel
        mask = bernoulli_mask(
            x_BTE[:, :1].shape if self.variational else x_BTE.shape, self.p, x_BTE
        )
        return x_BTE if mask is None else x_BTE * mask


def word_mask(embedding_VE: Tensor, p: float) -> Tensor | None:
    """Return a mask (V, 1) over the entries of the vocabulary that drops a word at all its positions; None for p = 0.

    Gal & Ghahramani 2016; Merity et al. 2017, section 4.3.
    """
    return bernoulli_mask(torch.Size((len(embedding_VE), 1)), p, embedding_VE)


def drop_weights(weights: Weights, p: float) -> Weights:
    """Return the weights of a layer with a share p of the recurrent ones, weight_hh_l0 (G, H), zeroed.

    DropConnect (Wan et al. 2013) on the hidden-to-hidden matrix (Merity et al. 2017, section 2): one mask is used for
    all positions and streams of a window. The parameters do not change, and get their gradients through the mask.
    """
    W_GH = weights["weight_hh_l0"]
    mask_GH = bernoulli_mask(W_GH.shape, p, W_GH)
    return weights if mask_GH is None else {**weights, "weight_hh_l0": W_GH * mask_GH}
