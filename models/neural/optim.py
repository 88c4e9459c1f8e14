"""The optimiser of a recipe (Loshchilov & Hutter 2019, "Decoupled weight decay regularization": AdamW)."""

from __future__ import annotations

import torch
from torch import nn

from ..specs import TrainingSpec
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
