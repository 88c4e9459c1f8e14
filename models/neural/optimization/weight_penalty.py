"""The penalty λ ‖θ‖² on the weights, which goes through the rule that makes steps of gradients (`optimizers.py`)."""

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
    """Let every step of a rule begin with `add_penalty_gradient`, for the matrices alone, as with the decay.

    The penalty goes through the rule: momentum gathers it, and AdaGrad, RMSprop and Adam divide it by the size of past
    gradients, so it pulls least where gradients are large. That is the difference to a decoupled decay; for SGD alone
    λ is the same as weight_decay = 2 λ. It comes after clipping: the norm that is clipped is that of the data.
    """

    def before(rule: torch.optim.Optimizer, arguments: Any, options: Any) -> None:
        weights = [theta for group in rule.param_groups for theta in group["params"] if theta.ndim >= 2]
        add_penalty_gradient(weights, l2)

    rule.register_step_pre_hook(before)
