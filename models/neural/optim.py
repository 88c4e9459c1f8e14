"""What happens between a gradient and the next weights: schedule, clipping, AdamW.

Loshchilov & Hutter 2019, "Decoupled weight decay regularization" (AdamW) and 2017, "SGDR", eq. 5 (cosine);
Pascanu, Mikolov & Bengio 2013, "On the difficulty of training recurrent neural networks", algorithm 1 (clipping).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn
from torch.nn.utils import get_total_norm

from ..specs import TrainingSpec


def learning_rate(training: TrainingSpec, update: int, updates: int) -> float:
    """Return the rate of update number *update* (from 0) of *updates*: linear warm-up, then half a cosine."""
    warm = round(training.warmup * updates)
    if update < warm:
        return training.learning_rate * ((update + 1) / warm)
    done = (update - warm) / max(1, updates - 1 - warm)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    return training.learning_rate * (training.final_rate + (1 - training.final_rate) * cosine)


def make_optimizer(network: nn.Module, training: TrainingSpec) -> torch.optim.AdamW:
    """Return fused AdamW whose decay acts on matrices only: biases and other vectors are not pulled towards 0."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": training.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    betas = (training.beta1, training.beta2)
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=training.learning_rate, betas=betas, fused=True
    )


def scale_and_clip(parameters: Iterable[nn.Parameter], scale: float, limit: float | None) -> float:
    """Multiply all gradients by *scale*, then shorten them to norm *limit* where they are longer; one pass for both.

    Returns:
        The norm after scaling and before clipping. Where it is not finite the gradients are left alone.
    """
    grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = float(get_total_norm(grads, foreach=True)) * scale
    if math.isfinite(norm):
        factor = scale if limit is None or norm <= limit else scale * limit / (norm + 1e-6)
        torch._foreach_mul_(grads, factor)
    return norm
