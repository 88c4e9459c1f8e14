"""Choose the optimiser of a training, torch's own.

`course/optimization/rules.py` writes the rules out from their equations; the tests compare both. In all of them the
weight decay is decoupled from the rule: θ ← (1 − η · decay) θ before the step (Loshchilov & Hutter 2019, algorithm 2,
with η included). It grows with η: a decay that suits AdamW's η = 0.003 is far too large for an η of 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from inspect import unwrap
from typing import Any

import torch
from torch import Tensor, nn, optim

from reviewlm.models.neural.spec import TrainingSpec


class NeverCompiled:
    """Mixin of an optimiser: takes the methods that torch hides from its compiler as they are without that.

    Hidden, the first call of one imports the compiler, which takes more than a second of each process that fits a
    network. `inspect.unwrap` returns a method unchanged that is not wrapped.
    """

    add_param_group = unwrap(optim.Optimizer.add_param_group)
    state_dict = unwrap(optim.Optimizer.state_dict)
    load_state_dict = unwrap(optim.Optimizer.load_state_dict)
    zero_grad = unwrap(optim.Optimizer.zero_grad)


def never_compiled(rule: type[optim.Optimizer]) -> Any:
    """Return a rule of torch whose methods do not look for the compiler; see `NeverCompiled`."""
    return type(rule.__name__, (NeverCompiled, rule), {"step": torch.no_grad()(unwrap(rule.step))})


SGD = never_compiled(optim.SGD)
Adagrad = never_compiled(optim.Adagrad)
RMSprop = never_compiled(optim.RMSprop)
Adadelta = never_compiled(optim.Adadelta)
Adam = never_compiled(optim.Adam)
AdamW = never_compiled(optim.AdamW)


@torch.no_grad()
def add_penalty_gradient(weights: Iterable[Tensor], l2: float) -> None:
    """Add 2 λ θ, the gradient of the penalty λ ‖θ‖², to the gradient of each weight that has one."""
    for theta in weights:
        if theta.grad is not None:
            theta.grad.add_(theta, alpha=2 * l2)


def penalise(rule: optim.Optimizer, l2: float) -> None:
    """Begin every step of an optimiser with `add_penalty_gradient`, for the matrices alone, as with weight decay.

    The penalty goes through the optimiser: momentum accumulates it, and AdaGrad, RMSprop and Adam divide it by the size
    of past gradients, so it pulls least where gradients are large. A decoupled decay does not do that; only for SGD is
    λ the same as weight_decay = 2 λ. The penalty comes after clipping: the clipped norm is that of the data's gradient.
    """

    def before(
        rule: optim.Optimizer,
        arguments: Any,
        options: Any,
    ) -> None:
        weights = [
            theta for group in rule.param_groups for theta in group["params"] if theta.ndim >= 2
        ]
        add_penalty_gradient(weights, l2)

    rule.register_step_pre_hook(before)


@torch.no_grad()
def decay_apart(
    rule: optim.Optimizer,
    arguments: Any,
    options: Any,
) -> None:
    """Shrink the weights of each group by its "decay"; a hook before the steps of an optimiser."""
    for group in rule.param_groups:
        for theta in group["params"] if group["decay"] else ():
            if theta.grad is not None:
                theta.mul_(1 - group["lr"] * group["decay"])


def make_optimizer(network: nn.Module, training: TrainingSpec) -> optim.Optimizer:
    """Return the optimiser that `training.optimizer` names, over all trainable parameters of a network.

    Its decay applies only to matrices (Loshchilov & Hutter 2019, "Decoupled weight decay regularization"); biases and
    other vectors do not decay.
    """
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in parameters if parameter.ndim >= 2]
    others = [parameter for parameter in parameters if parameter.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": training.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return make_rule([group for group in groups if group["params"]], training)


def make_rule(groups: Iterable[Any], training: TrainingSpec) -> optim.Optimizer:
    """Return the optimiser that `training.optimizer` names, with the constants of the options.

    "gd" and "sgd" are one rule: for gradient descent over the whole text, set `batch` to the number of windows in the
    text. "nt_asgd" is SGD too; `training/neural/averaging.py` says what it averages, and from when on.

    Args:
        groups: Of parameters, each with its "weight_decay".
        training: `learning_rate`; `momentum` is γ (and ρ of "adadelta"); `beta1`, `beta2`; `l2`.
    """
    groups = list(groups)
    if training.optimizer != "adamw":  # torch's other rules add theirs to the gradient
        groups = [
            {
                **group,
                "weight_decay": 0.0,
                "decay": group["weight_decay"],
            }
            for group in groups
        ]

    rule = _rule(groups, training)
    if training.l2:
        penalise(rule, training.l2)

    if training.optimizer != "adamw":
        rule.register_step_pre_hook(decay_apart)

    return rule


def _rule(groups: list[Any], training: TrainingSpec) -> optim.Optimizer:
    """Return torch's optimiser with the constants of the options."""
    lr = training.learning_rate
    momentum = training.momentum
    betas = (training.beta1, training.beta2)
    match training.optimizer:
        case "gd" | "sgd" | "nt_asgd":
            return SGD(groups, lr)
        case "momentum":
            return SGD(groups, lr, momentum=momentum)
        case "nesterov":
            return SGD(groups, lr, momentum=momentum, nesterov=True)
        case "adagrad":
            return Adagrad(groups, lr)
        case "rmsprop":
            return RMSprop(groups, lr, alpha=momentum)
        case "adadelta":
            return Adadelta(groups, lr, rho=momentum)
        case "adam":
            return Adam(groups, lr, betas=betas)
        case "adamw":
            return AdamW(
                groups,
                lr=lr,
                betas=betas,
                fused=True,
            )
