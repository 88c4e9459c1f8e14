"""The optimiser of a recipe (Loshchilov & Hutter 2019, "Decoupled weight decay regularization": AdamW) and its step."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from ..specs import TrainingSpec
from .clipping import multiply
from .optimizers import make_rule


def make_optimizer(network: nn.Module, training: TrainingSpec) -> torch.optim.Optimizer:
    """Return the rule that `training.optimizer` names, over all parameters of a network that are trained.

    Its decay acts on matrices only: biases and other vectors are not pulled towards 0.
    """
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": training.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return make_rule([group for group in groups if group["params"]], training)


def take_step(optimizer: torch.optim.Optimizer, parameters: Iterable[nn.Parameter], factor: float) -> None:
    """Take a step with the gradients times *factor*; what is in `.grad` afterwards is of no more use.

    Torch's fused AdamW divides by a number while it reads the gradients (as automatic mixed precision wants it): a pass
    over all gradients is saved. A penalty that is added before the step must find them multiplied already.
    """
    fused = isinstance(optimizer, torch.optim.AdamW) and optimizer.defaults["fused"]
    if fused and not optimizer._optimizer_step_pre_hooks:
        device = optimizer.param_groups[0]["params"][0].device
        optimizer.grad_scale = torch.tensor(1 / factor, device=device)  # type: ignore[attr-defined]
        optimizer.found_inf = torch.zeros((), device=device)  # type: ignore[attr-defined]
    else:
        multiply(parameters, factor)
    optimizer.step()
