"""Choose the optimiser of a training, torch's own, and its learning-rate schedule.

`course/optimization/rules.py` writes the rules out from their equations; the tests compare both. In all of them the
weight decay is decoupled from the rule: θ ← (1 − η · decay) θ before the step (Loshchilov & Hutter 2019, algorithm 2,
with η included).
It grows with η: a decay that suits AdamW's η = 0.003 is far too large for an η of 1.

Schedules: Loshchilov & Hutter 2017, "SGDR", eq. 5 (half a cosine); Goyal et al. 2017, "Accurate, large minibatch SGD",
section 2.2 (linear warm-up); "plateau" is the rule of PyTorch's example word_language_model; "trapezoid" is that of
Zhai et al. 2022, "Scaling Vision Transformers", section 3.5: constant, then a short linear decay.

Clip gradients that are too large before the optimiser step.

Pascanu, Mikolov & Bengio 2013, "On the difficulty of training recurrent neural networks", algorithm 1 (the norm of the
whole gradient); Mikolov 2012, "Statistical language models based on neural networks", section 3.3.2 (each entry).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from inspect import unwrap
from typing import Any

import torch
from torch import Tensor, nn, optim
from torch.nn.utils import get_total_norm

from reviewlm.models.neural.spec import TrainingSpec

PLATEAU_FACTOR = 0.25
"""Factor on the rate of "plateau" after an evaluation that does not improve on the best one before."""
DECAY = 0.3
"""Share of all updates in which the rate of a trapezoid falls."""


@dataclass(frozen=True)
class Clipped:
    """The result of clipping a gradient.

    Args:
        norm: Of the whole gradient, after scaling and before clipping.
        by_value: At least one entry was clipped.
        by_norm: The whole gradient was shortened, after entries had been clipped.
    """

    norm: float
    by_value: bool
    by_norm: bool


def scale_and_clip(
    parameters: Iterable[nn.Parameter],
    scale: float,
    norm: float | None = None,
    value: float | None = None,
) -> Clipped:
    """Multiply all gradients by *scale*, clip entries to ± *value*, then shorten the whole gradient to *norm*.

    Only a longer gradient is shortened. If the norm is not finite, the gradients are not changed. Without *value* this
    takes one pass over the gradients.
    """
    grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
    length = float(get_total_norm(grads, foreach=True)) * scale
    if not math.isfinite(length):
        return Clipped(length, False, False)

    by_value = value is not None and float(_largest(grads)) * scale > value
    left = length
    if value is not None and by_value:
        _cut(grads, scale, value)
        left = float(get_total_norm(grads, foreach=True))
        scale = 1.0

    by_norm = norm is not None and left > norm
    torch._foreach_mul_(
        grads, scale * norm / (left + 1e-6) if norm is not None and by_norm else scale
    )
    return Clipped(length, by_value, by_norm)


def scale_and_clip_unread(
    parameters: Iterable[nn.Parameter],
    scale: float,
    norm: float | None = None,
    value: float | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Do the same as `scale_and_clip` without a wait for the GPU: return norm, by_value and by_norm as scalars on it.

    A gradient whose norm is not finite becomes useless; the norm tells.
    """
    grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
    left = length = get_total_norm(grads, foreach=True) * scale
    by_value = by_norm = torch.zeros_like(length)
    if value is not None:
        by_value = _largest(grads) * scale > value
        _cut(grads, scale, value)
        left = get_total_norm(grads, foreach=True)
        scale = 1.0

    if norm is None:
        torch._foreach_mul_(grads, scale)
    else:
        by_norm = left > norm
        torch._foreach_mul_(grads, torch.where(by_norm, scale * norm / (left + 1e-6), scale))

    return length, by_value, by_norm


def _cut(grads: list[Tensor], scale: float, value: float) -> None:
    """Scale the gradients, then cut each entry to [−value, value]."""
    torch._foreach_mul_(grads, scale)
    torch._foreach_clamp_max_(grads, value)
    torch._foreach_clamp_min_(grads, -value)


def _largest(grads: list[Tensor]) -> Tensor:
    """Return the largest absolute value of all entries."""
    return torch.stack(torch._foreach_norm(grads, float("inf"))).amax()


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

    def before(rule: optim.Optimizer, arguments: Any, options: Any) -> None:
        weights = [
            theta for group in rule.param_groups for theta in group["params"] if theta.ndim >= 2
        ]
        add_penalty_gradient(weights, l2)

    rule.register_step_pre_hook(before)


@torch.no_grad()
def decay_apart(rule: optim.Optimizer, arguments: Any, options: Any) -> None:
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
            {**group, "weight_decay": 0.0, "decay": group["weight_decay"]} for group in groups
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
    decay = training.momentum
    betas = (training.beta1, training.beta2)
    match training.optimizer:
        case "gd" | "sgd" | "nt_asgd":
            return SGD(groups, lr)
        case "momentum":
            return SGD(groups, lr, momentum=decay)
        case "nesterov":
            return SGD(groups, lr, momentum=decay, nesterov=True)
        case "adagrad":
            return Adagrad(groups, lr)
        case "rmsprop":
            return RMSprop(groups, lr, alpha=decay)
        case "adadelta":
            return Adadelta(groups, lr, rho=decay)
        case "adam":
            return Adam(groups, lr, betas=betas)
        case "adamw":
            return AdamW(groups, lr=lr, betas=betas, fused=True)


def learning_rate(training: TrainingSpec, update: int, updates: int) -> float:
    """Return the rate of update number *update* (from 0) of *updates*: linear warm-up, then down to the final rate.

    A trapezoid stays at the peak until its decay, "constant" and "plateau" to the end; `TrainingMetrics.plateau` holds
    the factor by which "plateau" has reduced the rate.
    """
    warm = round(training.warmup * updates)
    if update < warm:
        return training.learning_rate * ((update + 1) / warm)
    begin = decay_start(training, updates)
    done = min(1.0, max(0, update - begin) / max(1, updates - 1 - begin))
    return training.learning_rate * (
        training.final_rate + (1 - training.final_rate) * _left(training.schedule, done)
    )


def decay_start(training: TrainingSpec, updates: int) -> int:
    """Return the number of updates before the rate begins to fall: those of the warm-up, or more for a trapezoid."""
    warm = round(training.warmup * updates)
    if training.schedule == "trapezoid":
        return max(warm, updates - round(DECAY * updates))
    return warm


def _left(schedule: str, done: float) -> float:
    """Return the remaining share of the way from the peak to the final rate, 1 to 0, after a share of the updates."""
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    return 1 - done if schedule in ("linear", "trapezoid") else 1.0
