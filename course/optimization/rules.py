"""Write the rules of optimisers out, each from its equation; trainings take torch's, which make the same steps.

The symbols are the same in all of them; every operation is entry by entry:

    θ  weights            g  gradient of the loss (a mean over tokens) by θ, after clipping
    η  learning rate      γ, ρ, β1, β2  decays of averages of the past, in [0, 1)
    ε  a small number that keeps a quotient finite

As in torch, a new η changes the whole velocity of the momentum at once, and ε is outside the root, except for AdaDelta
(`docs/concepts/models/tuning.md` compares the forms in use).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

Memory = dict[str, Tensor]
"""The tensors that a rule remembers for one parameter."""
Group = dict[str, Any]
"""Parameters that share their constants: "lr" (η), "weight_decay", and those of the rule."""


class Rule(torch.optim.Optimizer):
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

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float,
        weight_decay: float = 0.0,
        **constants: float,
    ) -> None:
        if unknown := constants.keys() - self.constants.keys():
            raise TypeError(f"{type(self).__name__} has no constant {', '.join(sorted(unknown))}")
        chosen = {
            "lr": lr,
            "weight_decay": weight_decay,
            **self.constants,
            **constants,
        }
        for name, value in chosen.items():
            if not value >= 0:
                raise ValueError(f"{name} is {value!r}; it must be 0 or more")
        super().__init__(parameters, chosen)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Change all parameters that have a gradient; *closure*, if given, computes gradients and returns the loss."""
        loss = None
        if closure is not None:
            loss = torch.enable_grad()(closure)()

        for group in self.param_groups:
            for theta in group["params"]:
                g = theta.grad
                if g is None:
                    continue
                if group["weight_decay"]:
                    theta.mul_(1 - group["lr"] * group["weight_decay"])
                theta.sub_(self.delta(g, self.state[theta], group))
        return loss

    @abstractmethod
    def delta(
        self,
        g: Tensor,
        memory: Memory,
        group: Group,
    ) -> Tensor:
        """Return Δ, of the gradient's shape, and update the memory; the gradient is not changed."""
        raise NotImplementedError


def memory_of(
    memory: Memory,
    name: str,
    g: Tensor,
) -> Tensor:
    """Return a tensor of the memory, to be changed in place; it is 0 at first."""
    if name not in memory:
        memory[name] = torch.zeros_like(g)
    return memory[name]


class SGD(Rule):
    """Gradient descent (Cauchy 1847); with g over a few examples it is stochastic (Robbins & Monro 1951).

    Δ = η g
    """

    def delta(
        self,
        g: Tensor,
        memory: Memory,
        group: Group,
    ) -> Tensor:
        """Return η g."""
        return group["lr"] * g


class Momentum(Rule):
    """The heavy-ball method (Polyak 1964): steps in the same direction add up, to at most 1/(1 − γ) times their length.

    v ← γ v + g
    Δ = η v
    """

    constants: ClassVar[Mapping[str, float]] = {"momentum": 0.9}

    def delta(
        self,
        g: Tensor,
        memory: Memory,
        group: Group,
    ) -> Tensor:
        """Return η v."""
        v = memory_of(memory, "v", g).mul_(group["momentum"]).add_(g)
        return group["lr"] * v


class Nesterov(Momentum):
    """Nesterov's accelerated gradient: the gradient is taken at the point that the momentum alone would reach.

    v ← γ v + g
    Δ = η (g + γ v)

    Sutskever et al. 2013, eq. 3 and 4, take g at φ = θ − η γ v. This class keeps φ as the weights, so that it needs no
    second set; the same method then has the equations above.
    """

    def delta(
        self,
        g: Tensor,
        memory: Memory,
        group: Group,
    ) -> Tensor:
        """Return η (g + γ v)."""
        v = memory_of(memory, "v", g).mul_(group["momentum"]).add_(g)
        return group["lr"] * (g + group["momentum"] * v)


class AdaGrad(Rule):
    """AdaGrad (Duchi, Hazan & Singer 2011): each weight's rate falls with the sum of its squared gradients.

    G ← G + g²
    Δ = η g / (√G + ε)
    """

    constants: ClassVar[Mapping[str, float]] = {"eps": 1e-10}

    def delta(
        self,
        g: Tensor,
        memory: Memory,
        group: Group,
    ) -> Tensor:
        """Return η g / (√G + ε)."""
        squares = memory_of(memory, "G", g).add_(g * g)
        return group["lr"] * g / (squares.sqrt() + group["eps"])


class RMSprop(Rule):
    """AdaGrad with an exponential mean of squares instead of a sum (Tieleman & Hinton 2012, lecture 6.5, slide 29).

    v ← γ v + (1 − γ) g²
    Δ = η g / (√v + ε)
    """

    constants: ClassVar[Mapping[str, float]] = {"decay": 0.9, "eps": 1e-8}

    def delta(
        self,
        g: Tensor,
        memory: Memory,
        group: Group,
    ) -> Tensor:
        """Return η g / (√v + ε)."""
        v = memory_of(memory, "v", g).mul_(group["decay"]).add_((1 - group["decay"]) * g * g)
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

    def delta(
        self,
        g: Tensor,
        memory: Memory,
        group: Group,
    ) -> Tensor:
        """Return η δ."""
        rho = group["decay"]
        eps = group["eps"]
        v = memory_of(memory, "v", g).mul_(rho).add_((1 - rho) * g * g)
        u = memory_of(memory, "u", g)
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

    constants: ClassVar[Mapping[str, float]] = {
        "beta1": 0.9,
        "beta2": 0.999,
        "eps": 1e-8,
    }

    def delta(
        self,
        g: Tensor,
        memory: Memory,
        group: Group,
    ) -> Tensor:
        """Return η m / (√v + ε)."""
        m, v = self.moments(g, memory, group)
        return group["lr"] * m / (v.sqrt() + group["eps"])

    def moments(
        self,
        g: Tensor,
        memory: Memory,
        group: Group,
    ) -> tuple[Tensor, Tensor]:
        """Return m and v (the stored tensors) after adding the new gradient."""
        beta1 = group["beta1"]
        beta2 = group["beta2"]
        m = memory_of(memory, "m", g).mul_(beta1).add_((1 - beta1) * g)
        v = memory_of(memory, "v", g).mul_(beta2).add_((1 - beta2) * g * g)
        return m, v


class Adam(AdamSimplified):
    """Adam (Kingma & Ba 2015, algorithm 1): m and v start at 0 and are divided by the sum of their weights so far.

    m̂ = m / (1 − β1^t)
    v̂ = v / (1 − β2^t)
    Δ = η m̂ / (√v̂ + ε)

    With a decoupled weight decay it is AdamW.
    """

    def delta(
        self,
        g: Tensor,
        memory: Memory,
        group: Group,
    ) -> Tensor:
        """Return η m̂ / (√v̂ + ε)."""
        m, v = self.moments(g, memory, group)
        # torch keeps a state called "step" in float32 for every number format of the parameters.
        t = memory["step"] = memory.get("step", torch.zeros(())) + 1
        m_hat = m / (1 - group["beta1"] ** t.item())
        v_hat = v / (1 - group["beta2"] ** t.item())
        return group["lr"] * m_hat / (v_hat.sqrt() + group["eps"])
