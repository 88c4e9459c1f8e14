"""Multiply matrices of int8 exactly: compiled for the VNNI instructions, elsewhere as whole numbers in floats.

Both give the same sums. That in floats is slower than a network in float32, so no text is written with it; but what
int8 loses can be measured on every processor.
Shapes: N rows, E features in, G features out.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from . import kernels, vnni

LEVELS = 127
Rows = Callable[[np.ndarray], np.ndarray]
"""Returns some rows of W (N, E; float32) by their numbers (N)."""


class Compiled:
    """The product x Wᵀ + b with quantised rows of x, compiled for VNNI; its packed weights can be read back.

    Args:
        weight_GE: W as whole numbers (int8).
        scale_G: Their scales.
        bias_G: b.
    """

    def __init__(self, weight_GE: Tensor, scale_G: np.ndarray, bias_G: np.ndarray) -> None:
        self._packed, self._scale_G, self._bias_G = vnni.pack(weight_GE.numpy()), *map(vnni.padded, (scale_G, bias_G))
        self._features = weight_GE.shape[1]

    def __call__(self, x_NE: np.ndarray, out_NG: np.ndarray) -> None:
        """Write x Wᵀ + b (N, G), both float32."""
        vnni.linear(x_NE, self._packed, self._scale_G, self._bias_G, out_NG)

    def rows(self, ids_N: np.ndarray) -> np.ndarray:
        """Return some rows of W (N, E)."""
        out_NE = np.empty((len(ids_N), self._features), np.float32)
        vnni.rows(self._packed, self._scale_G, ids_N, out_NE)
        return out_NE


class InFloats:
    """The same product of whole numbers as floats, which are wide enough for every sum."""

    def __init__(self, weight_GE: Tensor, scale_G: np.ndarray, bias_G: np.ndarray) -> None:
        self._float = torch.float32 if LEVELS**2 * weight_GE.shape[1] <= 2**24 else torch.float64
        self._weight_EG, self._scale_G, self._bias_G = weight_GE.to(self._float).t(), scale_G, bias_G
        self.rows = plain_rows(weight_GE, scale_G)

    def __call__(self, x_NE: np.ndarray, out_NG: np.ndarray) -> None:
        """Write x Wᵀ + b (N, G), both float32."""
        q_NE, scale_N = np.empty(x_NE.shape, np.int8), np.empty(len(x_NE), np.float32)
        kernels.quantise(x_NE, q_NE, scale_N)
        sums_NG = torch.from_numpy(q_NE).to(self._float) @ self._weight_EG
        # float() even of float32: compiled kernels exist once.
        kernels.scale_back(sums_NG.float().numpy(), scale_N, self._scale_G, self._bias_G, out_NG)


def product_of(weight_GE: Tensor, scale_G: np.ndarray, bias_G: np.ndarray) -> Compiled | InFloats:
    """Return the quickest product of this processor."""
    kind = Compiled if vnni.available() else InFloats
    return kind(weight_GE.contiguous(), scale_G, bias_G)


def quantised(weight_GE: Tensor) -> tuple[Tensor, np.ndarray]:
    """Return the rows of W as whole numbers (int8), and their scales (G)."""
    weight_GE = weight_GE.detach().float()
    scale_G1 = weight_GE.abs().amax(1, keepdim=True).clamp_min(1e-30) / LEVELS
    return (weight_GE / scale_G1).round().to(torch.int8), scale_G1[:, 0].numpy()


def plain_rows(weight_GE: Tensor, scale_G: np.ndarray) -> Rows:
    """Return rows of W from whole numbers that are kept for this alone."""
    whole_GE = weight_GE.contiguous().numpy()
    return lambda ids_N: whole_GE[ids_N] * scale_G[ids_N, None]
