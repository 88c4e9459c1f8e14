"""Add the L2 penalty λ ‖θ‖² to the gradients that an optimiser of `optimizers.py` uses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


@torch.no_grad()
def add_penalty_gradient(weights: Iterable[Tensor], l2: float) -> None:
    """Add 2 λ θ, the gradient of the penalty λ ‖θ‖², to the gradient of each weight that has one."""
    for theta in weights:
        if theta.grad is not None:
            theta.grad.add_(theta, alpha=2 * l2)


def penalise(rule: torch.optim.Optimizer, l2: float) -> None:
    """Begin every step of an optimiser with `add_penalty_gradient`, for the matrices alone, as with weight decay.

    The penalty goes through the optimiser: momentum accumulates it, and AdaGrad, RMSprop and Adam divide it by the size
    of past gradients, so it pulls least where gradients are large. A decoupled decay does not do that; only for SGD is
    λ the same as weight_decay = 2 λ. The penalty comes after clipping: the clipped norm is that of the data's gradient.
    """

    def before(rule: torch.optim.Optimizer, arguments: Any, options: Any) -> None:
        weights = [theta for group in rule.param_groups for theta in group["params"] if theta.ndim >= 2]
        add_penalty_gradient(weights, l2)

    rule.register_step_pre_hook(before)
