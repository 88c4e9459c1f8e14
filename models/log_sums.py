"""Add probabilities that are given by their logarithms, log Σ_k w_k p_k, for mixtures and averages over ratings.

In float32 on the CPU, each sum is one compiled pass over its rows, and a row's result does not depend on the other
rows. Shapes: B distributions, P parts, V vocabulary entries.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .neural.inference.kernels import add_to_log_sum


def log_sum_of(logp_PBV: Sequence[Tensor], log_weight_PB: Tensor) -> Tensor:
    """Return log Σ_p w_p p_p (B, V) of separate tensors; the weights (P, B) broadcast over B."""
    total_BV = logp_PBV[0] + log_weight_PB[0][:, None]
    for logp_BV, weight_B in zip(logp_PBV[1:], log_weight_PB[1:], strict=True):
        _add(total_BV, logp_BV[:, None], 0, weight_B[:, None])
    return total_BV


def log_sum_over(logp_BPV: Tensor, log_weight_BP: Tensor) -> Tensor:
    """Return log Σ_p w_p p_p (B, V) of one tensor."""
    total_BV = logp_BPV[:, 0] + log_weight_BP[:, :1]
    _add(total_BV, logp_BPV, 1, log_weight_BP)
    return total_BV


def _add(
    total_BV: Tensor,
    logp_BPV: Tensor,
    first: int,
    weight_BP: Tensor,
) -> None:
    """Replace log a by log(a + Σ w p) of the parts from *first* on."""
    B, P, _ = logp_BPV.shape
    if total_BV.dtype != torch.float32 or total_BV.device.type != "cpu":
        for part in range(first, P):
            torch.logaddexp(total_BV, logp_BPV[:, part] + weight_BP[:, part, None], out=total_BV)
        return
    weights_BP = np.ascontiguousarray(np.broadcast_to(weight_BP.numpy(), (B, P)))
    add_to_log_sum(total_BV.numpy(), logp_BPV.contiguous().numpy(), first, weights_BP)
