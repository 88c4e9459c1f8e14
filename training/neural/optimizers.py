"""Implement the optimisers, each written out from its equation, and the learning-rate schedules.

The symbols are the same in all of them; every operation is entry by entry:

    θ  weights            g  gradient of the loss (a mean over tokens) by θ, after clipping
    η  learning rate      γ, ρ, β1, β2  decays of averages of the past, in [0, 1)
    ε  a small number that keeps a quotient finite

`torch.optim` has all of them too, and the tests compare each with its counterpart there. The exception is "adamw",
which is torch's own fused AdamW: it is the default, so its speed matters.

As in torch, a new η changes the whole velocity of the momentum at once, and ε is outside the root, except for AdaDelta
(`docs/concepts/models/tuning.md` compares the forms in use).

Schedules: Loshchilov & Hutter 2017, "SGDR", eq. 5 (half a cosine); Goyal et al. 2017, "Accurate, large minibatch SGD",
section 2.2 (linear warm-up); "plateau" is the rule of PyTorch's example word_language_model; "trapezoid" is that of
Zhai et al. 2022, "Scaling Vision Transformers", section 3.5: constant, then a short linear decay.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from inspect import unwrap
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from models.neural.spec import TrainingSpec


class NeverCompiled:
    """Mixin of an optimiser: takes the methods that torch hides from its compiler as they are without that.

    Hidden, the first call of one imports the compiler, which takes more than a second of each process that fits a
    network. `inspect.unwrap` returns a method unchanged that is not wrapped.
    """

    add_param_group = unwrap(torch.optim.Optimizer.add_param_group)
    state_dict = unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = unwrap(torch.optim.Optimizer.load_state_dict)
    zero_grad = unwrap(torch.optim.Optimizer.zero_grad)


class AdamW(NeverCompiled, torch.optim.AdamW):
    """torch's own AdamW, whose step looks for the compiler too."""

    step = torch.no_grad()(unwrap(torch.optim.AdamW.step))


Memory = dict[str, Tensor]
"""The tensors that a rule remembers for one parameter."""
Group = dict[str, Any]
"""Parameters that share their constants: "lr" (η), "weight_decay", and those of the rule."""


class Rule(NeverCompiled, torch.optim.Optimizer):
    """Base class: θ ← θ − Δ, where a subclass computes Δ from the gradient; weight decay is applied before.

    The decay is decoupled from the rule: θ ← (1 − η · weight_decay) θ (Loshchilov & Hutter 2019, algorithm 2, with η
    included as in torch). It grows with η: a decay that suits AdamW's η = 0.003 is far too large for an η of 1.

    Args:
        parameters: Tensors, or groups of them with their own "weight_decay".
        lr: η.
        weight_decay: Per update and unit of η.
        constants: Values in place of the rule's own, 0 or more.

    Raises:
        ValueError: A negative rate, decay or constant.
        TypeError: The rule has no such constant.

    Attributes:
        constants: The rule's constants with their usual values.
    """

    constants: ClassVar[Mapping[str, float]] = {}

    def __init__(self, parameters: Iterable[Any], lr: float, weight_decay: float = 0.0, **constants: float) -> None:
        if unknown := constants.keys() - self.constants.keys():
            raise TypeError(f"{type(self).__name__} has no constant {', '.join(sorted(unknown))}")
        chosen = {"lr": lr, "weight_decay": weight_decay, **self.constants, **constants}
        for name, value in chosen.items():
            if not value >= 0:
                raise ValueError(f"{name} is {value!r}; it must be 0 or more")
        super().__init__(parameters, chosen)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Change all parameters that have a gradient; *closure*, if given, computes gradients and returns the loss."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for theta in group["params"]:
                if (g := theta.grad) is None:
                    continue
                if group["weight_decay"]:
                    theta.mul_(1 - group["lr"] * group["weight_decay"])
                theta.sub_(self.delta(g, self.state[theta], group))
        return loss

    @abstractmethod
    def delta(self, g: Tensor, memory: Memory, group: Group) -> Tensor:
        """Return Δ, of the gradient's shape, and update the memory; the gradient is not changed."""
        raise NotImplementedError


def remembered(memory: Memory, name: str, g: Tensor) -> Tensor:
    """Return a tensor of the memory, to be changed in place; it is 0 at first."""
    if name not in memory:
        memory[name] = torch.zeros_like(g)
    return memory[name]


class SGD(Rule):
    """Gradient descent (Cauchy 1847); with g over a few examples it is stochastic (Robbins & Monro 1951).

    Δ = η g
    """

    def delta(self, g: Tensor, memory: Memory, group: Group) -> Tensor:
        """Return η g."""
        return group["lr"] * g


class Momentum(Rule):
    """The heavy-ball method (Polyak 1964): steps in the same direction add up, to at most 1/(1 − γ) times their length.

    v ← γ v + g
    Δ = η v
    """

    constants: ClassVar[Mapping[str, float]] = {"momentum": 0.9}

    def delta(self, g: Tensor, memory: Memory, group: Group) -> Tensor:
        """Return η v."""
        v = remembered(memory, "v", g).mul_(group["momentum"]).add_(g)
        return group["lr"] * v


class Nesterov(Momentum):
    """Nesterov's accelerated gradient: the gradient is taken at the point that the momentum alone would reach.

    v ← γ v + g
    Δ = η (g + γ v)

    Sutskever et al. 2013, eq. 3 and 4, take g at φ = θ − η γ v. This class keeps φ as the weights, so that it needs no
    second set; the same method then has the equations above.
    """

    def delta(self, g: Tensor, memory: Memory, group: Group) -> Tensor:
        """Return η (g + γ v)."""
        v = remembered(memory, "v", g).mul_(group["momentum"]).add_(g)
        return group["lr"] * (g + group["momentum"] * v)


class AdaGrad(Rule):
    """AdaGrad (Duchi, Hazan & Singer 2011): each weight's rate falls with the sum of its squared gradients.

    G ← G + g²
    Δ = η g / (√G + ε)
    """

    constants: ClassVar[Mapping[str, float]] = {"eps": 1e-10}

    def delta(self, g: Tensor, memory: Memory, group: Group) -> Tensor:
        """Return η g / (√G + ε)."""
        squares = remembered(memory, "G", g).add_(g * g)
        return group["lr"] * g / (squares.sqrt() + group["eps"])


class RMSprop(Rule):
    """AdaGrad with an exponential mean of squares instead of a sum (Tieleman & Hinton 2012, lecture 6.5, slide 29).

    v ← γ v + (1 − γ) g²
    Δ = η g / (√v + ε)
    """

    constants: ClassVar[Mapping[str, float]] = {"decay": 0.9, "eps": 1e-8}

    def delta(self, g: Tensor, memory: Memory, group: Group) -> Tensor:
        """Return η g / (√v + ε)."""
        v = remembered(memory, "v", g).mul_(group["decay"]).add_((1 - group["decay"]) * g * g)
        return group["lr"] * g / (v.sqrt() + group["eps"])


class AdaDelta(Rule):
    """RMSprop whose rate is the size of its own past steps, so that Δ has the unit of θ (Zeiler 2012, algorithm 1).

    v ← ρ v + (1 − ρ) g²
    δ = √(u + ε) / √(v + ε) · g
    u ← ρ u + (1 − ρ) δ²
    Δ = η δ                      Zeiler has no η: it is 1

    u starts at 0, so the first step has a length of about √(ε / (1 − ρ)): ε decides how slowly training starts.
    """

    constants: ClassVar[Mapping[str, float]] = {"decay": 0.9, "eps": 1e-6}

    def delta(self, g: Tensor, memory: Memory, group: Group) -> Tensor:
        """Return η δ."""
        rho, eps = group["decay"], group["eps"]
        v = remembered(memory, "v", g).mul_(rho).add_((1 - rho) * g * g)
        u = remembered(memory, "u", g)
        step = ((u + eps) / (v + eps)).sqrt() * g
        u.mul_(rho).add_((1 - rho) * step * step)
        return group["lr"] * step


class AdamSimplified(Rule):
    """Adam as many lectures print it, without bias correction of the averages that start at 0.

    m ← β1 m + (1 − β1) g
    v ← β2 v + (1 − β2) g²
    Δ = η m / (√v + ε)

    Its first step is (1 − β1)/√(1 − β2) times that of Adam: 3.2 times with 0.9 and 0.999, the same with 0.9 and 0.99.
    """

    constants: ClassVar[Mapping[str, float]] = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8}

    def delta(self, g: Tensor, memory: Memory, group: Group) -> Tensor:
        """Return η m / (√v + ε)."""
        m, v = self.moments(g, memory, group)
        return group["lr"] * m / (v.sqrt() + group["eps"])

    def moments(self, g: Tensor, memory: Memory, group: Group) -> tuple[Tensor, Tensor]:
        """Return m and v (the stored tensors) after adding the new gradient."""
        beta1, beta2 = group["beta1"], group["beta2"]
        m = remembered(memory, "m", g).mul_(beta1).add_((1 - beta1) * g)
        v = remembered(memory, "v", g).mul_(beta2).add_((1 - beta2) * g * g)
        return m, v


class Adam(AdamSimplified):
    """Adam (Kingma & Ba 2015, algorithm 1): m and v start at 0 and are divided by the sum of their weights so far.

    m̂ = m / (1 − β1^t)
    v̂ = v / (1 − β2^t)
    Δ = η m̂ / (√v̂ + ε)

    With a decoupled weight decay it is AdamW.
    """

    def delta(self, g: Tensor, memory: Memory, group: Group) -> Tensor:
        """Return η m̂ / (√v̂ + ε)."""
        m, v = self.moments(g, memory, group)
        # torch keeps a state called "step" in float32 for every number format of the parameters.
        t = memory["step"] = memory.get("step", torch.zeros(())) + 1
        m_hat = m / (1 - group["beta1"] ** t.item())
        v_hat = v / (1 - group["beta2"] ** t.item())
        return group["lr"] * m_hat / (v_hat.sqrt() + group["eps"])


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


def make_optimizer(network: nn.Module, training: TrainingSpec) -> torch.optim.Optimizer:
    """Return the optimiser that `training.optimizer` names, over all trainable parameters of a network.

    Its decay applies only to matrices (Loshchilov & Hutter 2019, "Decoupled weight decay regularization"); biases and
    other vectors do not decay.
    """
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": training.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return make_rule([group for group in groups if group["params"]], training)


def make_rule(groups: Iterable[Any], training: TrainingSpec) -> torch.optim.Optimizer:
    """Return the optimiser that `training.optimizer` names, with the constants of the options.

    "gd" and "sgd" are one rule: for gradient descent over the whole text, set `batch` to the number of windows in the
    text. "nt_asgd" is SGD too; `training/neural/averaging.py` says what it averages, and from when on.

    Args:
        groups: Of parameters, each with its "weight_decay".
        training: `learning_rate`; `momentum` is γ (and ρ of "adadelta"); `beta1`, `beta2`; `l2`.
    """
    lr, decay, beta1, beta2 = training.learning_rate, training.momentum, training.beta1, training.beta2
    rules: dict[str, Callable[[], torch.optim.Optimizer]] = {
        "gd": lambda: SGD(groups, lr),
        "sgd": lambda: SGD(groups, lr),
        "nt_asgd": lambda: SGD(groups, lr),
        "momentum": lambda: Momentum(groups, lr, momentum=decay),
        "nesterov": lambda: Nesterov(groups, lr, momentum=decay),
        "adagrad": lambda: AdaGrad(groups, lr),
        "rmsprop": lambda: RMSprop(groups, lr, decay=decay),
        "adadelta": lambda: AdaDelta(groups, lr, decay=decay),
        "adam": lambda: Adam(groups, lr, beta1=beta1, beta2=beta2),
        "adam_simplified": lambda: AdamSimplified(groups, lr, beta1=beta1, beta2=beta2),
        "adamw": lambda: AdamW(groups, lr=lr, betas=(beta1, beta2), fused=True),
    }
    rule = rules[training.optimizer]()
    if training.l2:
        penalise(rule, training.l2)
    return rule


PLATEAU_FACTOR = 0.25
"""Factor on the rate of "plateau" after an evaluation that does not improve on the best one before."""


DECAY = 0.3
"""Share of all updates in which the rate of a trapezoid falls."""


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
    return training.learning_rate * (training.final_rate + (1 - training.final_rate) * _left(training.schedule, done))


def decay_start(training: TrainingSpec, updates: int) -> int:
    """Return the number of updates before the rate begins to fall: those of the warm-up, or more for a trapezoid."""
    warm = round(training.warmup * updates)
    return max(warm, updates - round(DECAY * updates)) if training.schedule == "trapezoid" else warm


def _left(schedule: str, done: float) -> float:
    """Return the remaining share of the way from the peak to the final rate, 1 to 0, after a share of the updates."""
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    return 1 - done if schedule in ("linear", "trapezoid") else 1.0
