"""Compute the affine map of the recurrent cells (`models/neural/layers/cells.py`) by einsum, as a sum over indices."""

from __future__ import annotations

import torch
from torch import Tensor


def einsum_affine(
    x_NE: Tensor,
    W_GE: Tensor,
    b_G: Tensor,
) -> Tensor:
    """Return x Wᵀ + b (…G) with the sum over e written out: a_g = Σ_e W_ge x_e + b_g."""
    return torch.einsum("...e,ge->...g", x_NE, W_GE) + b_G
