"""Cross-entropy of one softmax, with its gradient computed in the same pass.

With p = softmax(logits), d(−log p_y)/d logits = p − y (y one-hot), so the gradient is written over the probabilities
and no (N, C) matrix is kept for a backward pass. `models/neural/output.py` makes output layers of it.

Shapes: N positions, E features, C entries of this softmax.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Gradients(NamedTuple):
    """−log p of each row (N) and the gradients of their sum with respect to features and the layer's parameters."""

    nats_N: Tensor
    features_NE: Tensor
    parameters: tuple[Tensor, ...]


def softmax_nats(logits_NC: Tensor, classes_N: Tensor) -> tuple[Tensor, Tensor]:
    """Return −log softmax(logits)[n, classes[n]] (N) and the probabilities (N, C).

    Adding a constant to a row changes nothing ("+log C"): the row's maximum m is subtracted before exponentials are
    taken, and −log p_y is computed as (m − logit_y) − log p_max, which stays finite where p_y itself underflows to 0.
    """
    p_NC = torch.softmax(logits_NC, 1)
    highest_N = logits_NC.amax(1)
    own_N = logits_NC.gather(1, classes_N[:, None])[:, 0]
    return (highest_N - own_N) - p_NC.amax(1).log(), p_NC


def level_nats(h_NE: Tensor, weight_CE: Tensor, bias_C: Tensor, classes_N: Tensor, chunk: int) -> Tensor:
    """Return −log p of one softmax (N), `chunk` rows at a time and without gradients."""
    parts = [
        softmax_nats(F.linear(h_NE[i : i + chunk], weight_CE) + bias_C, classes_N[i : i + chunk])[0]
        for i in range(0, len(h_NE), chunk)
    ]
    return torch.cat(parts) if parts else bias_C.new_empty(0)


def level_gradients(
    h_NE: Tensor, weight_CE: Tensor, bias_C: Tensor, classes_N: Tensor, chunk: int, grad_CE: Tensor
) -> Gradients:
    """Cross-entropy of one softmax together with the gradient of its sum, `chunk` rows at a time.

    Args:
        h_NE: Features; the matrix products run in their dtype.
        weight_CE: Rows of the level's entries, same dtype.
        bias_C: float32; −inf for entries that must have probability 0. Added after the product, so that it keeps
            its resolution where the product is in bf16.
        classes_N: Index of the right entry of each row, in [0, C).
        chunk: Rows whose logits are in memory at a time.
        grad_CE: The gradient of the weight is written here (float32).
    """
    nats_N, grad_h_NE, grad_b_C = bias_C.new_empty(len(h_NE)), torch.empty_like(h_NE), torch.zeros_like(bias_C)
    for i in range(0, len(h_NE), chunk):
        part_NE, right_N1 = h_NE[i : i + chunk], classes_N[i : i + chunk, None]
        nats_N[i : i + chunk], delta_NC = softmax_nats(F.linear(part_NE, weight_CE) + bias_C, right_N1[:, 0])
        delta_NC.scatter_add_(1, right_N1, delta_NC.new_full((1, 1), -1.0).expand_as(right_N1))  # p − y
        grad_b_C += delta_NC.sum(0)
        low_NC = delta_NC.to(h_NE.dtype)
        torch.mm(low_NC, weight_CE, out=grad_h_NE[i : i + chunk])
        if i == 0:
            grad_CE.copy_(torch.mm(low_NC.t(), part_NE))  # not added to zeros: three passes over all weights less
        else:
            grad_CE += torch.mm(low_NC.t(), part_NE)
    if not len(h_NE):
        grad_CE.zero_()
    return Gradients(nats_N, grad_h_NE, (grad_CE, grad_b_C))
