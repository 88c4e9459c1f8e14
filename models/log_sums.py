"""Add probabilities that are given by their logarithms, log Σ_k w_k p_k, for mixtures and averages over ratings.

With numba, each sum is one pass over its rows; without it, torch's operators take three. A row's result does not
depend on the other rows. Shapes: B distributions, P parts, V vocabulary entries.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

try:
    from .neural.inference.log_kernels import add_to_log_sum
except ImportError:  # numba is not installed, as where a stranger opens an exported model
    add_to_log_sum = None


def log_sum_of(logp_PBV: Sequence[Tensor], log_weight_PB: Tensor) -> Tensor:
    """Return log Σ_p w_p p_p (B, V) of separate tensors; the weights (P, B) broadcast over B."""
    total_BV = logp_PBV[0] + log_weight_PB[0][:, None]
    for logp_BV, weight_B in zip(logp_PBV[1:], log_weight_PB[1:], strict=True):
        _add(total_BV, logp_BV[:, None], 0, weight_B)
    return total_BV


def log_sum_over(logp_BPV: Tensor, log_weight_BP: Tensor) -> Tensor:
    """Return log Σ_p w_p p_p (B, V) of one tensor."""
    total_BV = logp_BPV[:, 0] + log_weight_BP[:, :1]
    for part in range(1, logp_BPV.shape[1]):
        _add(total_BV, logp_BPV, part, log_weight_BP[:, part])
    return total_BV


def _add(total_BV: Tensor, logp_BPV: Tensor, part: int, weight_B: Tensor) -> None:
    """Replace log a by log(a + w p) of one part."""
    if add_to_log_sum is None or total_BV.dtype != torch.float32 or total_BV.device.type != "cpu":
        torch.logaddexp(total_BV, logp_BPV[:, part] + weight_B[:, None], out=total_BV)
        return
    weights_B = np.ascontiguousarray(np.broadcast_to(weight_B.numpy(), len(total_BV)))
    add_to_log_sum(total_BV.numpy(), logp_BPV.contiguous().numpy(), part, weights_B)
