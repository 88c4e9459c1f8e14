"""Average the weights over a training: often better than the last weights, at no cost in use.

    w̄_t = w̄_{t−1} + a_t (w_t − w̄_{t−1}),    a_t = (1 − β) / (1 − β^t)    exponential, decay β
                                             a_t = 1 / t                    Polyak: equal weights (β → 1)

t counts from the first update of the average. a_1 is 1, so the value before the first update has no effect. The
exponential average starts at 0 and is divided by 1 − β^t, as Adam's moments are.

Polyak & Juditsky 1992, "Acceleration of stochastic approximation by averaging"; the trigger of NT-ASGD: Merity,
Keskar & Socher 2017, "Regularizing and optimizing LSTM language models", algorithm 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

COUNT = "count"


class WeightAverage:
    """A running average of parameters, in their own number format, kept next to them.

    Args:
        parameters: Averaged. They are read at every `update` and exchanged within `apply`.
        decay: β of the exponential average, from 0 (only the newest weights) to below 1; None gives all equal weight.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], decay: float | None = None) -> None:
        self.parameters: list[Tensor] = list(parameters)
        self.decay = decay
        self.count = 0
        self.mean = [parameter.detach().clone() for parameter in self.parameters]

    @property
    def share(self) -> float:
        """a_t: the share of the newest weights in the average."""
        if self.decay is None:
            return 1 / self.count
        return (1 - self.decay) / (1 - self.decay**self.count)

    @torch.no_grad()
    def update(self) -> None:
        """Add the current weights to the average: call it after every optimiser step that should count."""
        self.count += 1
        if self.count == 1:
            torch._foreach_copy_(self.mean, self.parameters)
        else:
            torch._foreach_lerp_(self.mean, self.parameters, self.share)

    def weights(self) -> list[Tensor]:
        """Return the average (the stored tensors, not copies); before the first update, the weights themselves."""
        if self.count:
            return self.mean
        return [parameter.detach() for parameter in self.parameters]

    @contextmanager
    def apply(self) -> Iterator[None]:
        """Put the average into the parameters within the block; afterwards restore them bit for bit."""
        if not self.count:
            yield
            return
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        current = [parameter.detach().clone() for parameter in self.parameters]
        torch._foreach_copy_(self.parameters, self.mean)
        torch._foreach_copy_(self.mean, current)

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors by name, for a checkpoint; before the first update only the count."""
        mean = {}
        if self.count:
            mean = {str(index): tensor for index, tensor in enumerate(self.mean)}

        return {COUNT: torch.tensor(self.count), **mean}

    @torch.no_grad()
    def fill(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore the result of `tensors`: the next averages are the same to the last bit."""
        self.count = int(tensors[COUNT])
        if self.count:
            torch._foreach_copy_(
                self.mean, [tensors[str(index)] for index in range(len(self.mean))]
            )


@dataclass
class NonMonotonicTrigger:
    """The trigger that starts the averaging of NT-ASGD once, when plain SGD no longer improves.

    It fires when a measurement is above the lowest of those more than *patience* back. That is the condition of the
    authors' program (nonmono = 5) and of their text ("fails to improve for multiple cycles"). Algorithm 1 as printed
    compares with the lowest of the last n instead, which a single chance rise triggers.

    Args:
        patience: n, 1 or more. It fires at measurement n + 2 at the earliest.
        measured: The measurements so far, lower is better; none are added after it has fired.
        fired: It has fired.
    """

    patience: int = 5
    measured: list[float] = field(default_factory=list)
    fired: bool = False

    def observe(self, nats: float) -> bool:
        """Add a measurement on validation; return True if the trigger fires now (False afterwards)."""
        if self.fired:
            return False
        earlier = self.measured[: -self.patience]
        self.fired = bool(earlier) and nats > min(earlier)
        self.measured.append(nats)
        return self.fired
