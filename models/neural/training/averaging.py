"""Averages of the weights that a training goes through: often better than the last weights, at no cost in use.

    w̄_t = w̄_{t−1} + a_t (w_t − w̄_{t−1}),    a_t = (1 − β) / (1 − β^t)    exponential, decay β
                                             a_t = 1 / t                    Polyak: all weigh the same (β → 1)

t counts from the first update of the average. a_1 is 1, so what the average held before has no part in it: the
exponential average is the one that starts at 0 and is divided by 1 − β^t, as Adam's moments are.

Polyak & Juditsky 1992, "Acceleration of stochastic approximation by averaging"; the trigger of NT-ASGD: Merity,
Keskar & Socher 2017, "Regularizing and optimizing LSTM language models", algorithm 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

COUNT = "count"


class WeightAverage:
    """A running average of parameters, in their own number format, beside them.

    Args:
        parameters: What is averaged. They are read at every `update` and exchanged within `applied`.
        decay: β of the exponential average, from 0 (the newest weights alone) to below 1; None weighs all alike.

    Raises:
        ValueError: A decay outside [0, 1).
    """

    def __init__(self, parameters: Iterable[nn.Parameter], decay: float | None = None) -> None:
        if decay is not None and not 0 <= decay < 1:
            raise ValueError(f"decay is {decay!r}; it must be in [0, 1), or None for equal weights")
        self.parameters: list[Tensor] = list(parameters)
        self.decay, self.count = decay, 0
        self.mean = [parameter.detach().clone() for parameter in self.parameters]

    @property
    def share(self) -> float:
        """a_t: what the newest weights count for in the average."""
        return 1 / self.count if self.decay is None else (1 - self.decay) / (1 - self.decay**self.count)

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are now: call it after every step of the optimiser that is to count."""
        self.count += 1
        if self.count == 1:
            torch._foreach_copy_(self.mean, self.parameters)
        else:
            torch._foreach_lerp_(self.mean, self.parameters, self.share)

    def weights(self) -> list[Tensor]:
        """Return the average (the very tensors, not copies); before the first update the weights themselves."""
        return self.mean if self.count else [parameter.detach() for parameter in self.parameters]

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average into the parameters within the block; afterwards they are what they were, bit for bit."""
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
        kept = [parameter.detach().clone() for parameter in self.parameters]
        torch._foreach_copy_(self.parameters, self.mean)
        torch._foreach_copy_(self.mean, kept)

    def tensors(self) -> dict[str, Tensor]:
        """Return all that is remembered, by name: for a checkpoint. Nothing but the count before the first update."""
        mean = {str(index): tensor for index, tensor in enumerate(self.mean)} if self.count else {}
        return {COUNT: torch.tensor(self.count), **mean}

    @torch.no_grad()
    def fill(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `tensors` returned: the next averages are the same to the last bit."""
        self.count = int(tensors[COUNT])
        if self.count:
            torch._foreach_copy_(self.mean, [tensors[str(index)] for index in range(len(self.mean))])


@dataclass
class NonMonotonicTrigger:
    """Says when plain SGD has come as far as it can and its averaging begins: once, after which it stays so.

    It does when a measurement is above the lowest of those that lie more than *patience* back. That is the condition of
    the authors' program (nonmono = 5) and of their text ("fails to improve for multiple cycles"). Algorithm 1 as
    printed compares with the lowest of the last n instead, which a single chance rise sets off.

    Args:
        patience: n, 1 or more. The earliest that it can be set off is measurement n + 2.
        measured: What was measured so far, lower is better; not kept any further once it is set off.
        fired: It was set off.

    Raises:
        ValueError: A patience below 1.
    """

    patience: int = 5
    measured: list[float] = field(default_factory=list)
    fired: bool = False

    def __post_init__(self) -> None:
        if self.patience < 1:
            raise ValueError(f"patience is {self.patience!r}; it must be at least 1")

    def observe(self, nats: float) -> bool:
        """Take in a measurement on validation; return True if this one sets it off (False afterwards)."""
        if self.fired:
            return False
        earlier = self.measured[: -self.patience]
        self.fired = bool(earlier) and nats > min(earlier)
        self.measured.append(nats)
        return self.fired

    def facts(self) -> dict[str, Any]:
        """Return all that is remembered as JSON values: for a checkpoint."""
        return {"measured": list(self.measured), "fired": self.fired}

    def fill(self, facts: Mapping[str, Any]) -> None:
        """Put back what `facts` returned."""
        self.measured, self.fired = list(facts["measured"]), facts["fired"]
