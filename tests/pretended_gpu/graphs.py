"""Replay a module as a CUDA graph does, so that its traps are there without a GPU.

What differs from a launch of each kernel, as in torch.cuda.make_graphed_callables:

- inputs are copied into tensors of the graph; results and gradients lie in memory that the next replay overwrites;
- gradients are handed over without copies: two that share memory at the capture share it for ever;
- attributes that the module sets on itself are set at the capture only, since Python does not run in a replay;
- parameters are read where they lay at the capture;
- the host cannot wait in a capture, and copies from or to it are refused (a real capture would take the address of
  pinned memory that is free by the time of the replay).

Python does run here, unseen, because kernels cannot be recorded. Random numbers are new in every replay, as in a real
one. The operators are counted as if each was launched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tests.pretended_gpu.tensors import COUNTS, PretendedTensor


class ReplayedModule:
    """What make_graphed_callables returns for one module.

    Args:
        module: Returns a tuple of tensors.
        sample: Its inputs at the capture, all of them tensors; others are copied into these.
        allow_unused_input: A parameter may have no gradient.
    """

    def __init__(
        self,
        module: nn.Module,
        sample: tuple[Tensor, ...],
        allow_unused_input: bool = False,
    ) -> None:
        self.module, self.inputs, self.parameters = module, sample, tuple(module.parameters())
        self.allow_unused_input = allow_unused_input
        # Once without capture: what is done only the first time may wait.
        self._results(module(*sample))
        with COUNTS.capture():
            self.results, self.result_gradients, self.gradients = self._results(module(*sample))
        self.places = [parameter.data_ptr() for parameter in self.parameters]
        self._found: Sequence[Tensor] = ()

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        found: tuple[Tensor, ...] = _Replay.apply(self, len(inputs), *inputs, *self.parameters)
        return found

    def _results(
        self, found: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Tensor | None], list[Tensor | None]]:
        """Return results, memory for their gradients, and the parameters' gradients."""
        given = [torch.empty_like(result) if result.requires_grad else None for result in found]
        return [result.detach() for result in found], given, self._backward(found, given)

    def _backward(
        self, found: Sequence[Tensor], given: Sequence[Tensor | None]
    ) -> list[Tensor | None]:
        pairs = [
            (result, gradient)
            for result, gradient in zip(found, given, strict=True)
            if gradient is not None
        ]
        trained = [parameter for parameter in self.parameters if parameter.requires_grad]
        results, gradients = zip(*pairs, strict=True)
        of_trained = iter(
            torch.autograd.grad(results, trained, gradients, allow_unused=self.allow_unused_input)
        )
        return [
            next(of_trained) if parameter.requires_grad else None for parameter in self.parameters
        ]

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Replay the forward pass."""
        for own, other in zip(self.inputs, inputs, strict=True):
            if own.data_ptr() != other.data_ptr():
                own.copy_(other)
        if self.places != [parameter.data_ptr() for parameter in self.parameters]:
            raise AssertionError(
                "a parameter lies elsewhere now: a replay would read what was there before"
            )
        with _replayed(self.module), torch.enable_grad():
            self._found = self.module(*self.inputs)
        _overwrite(self.results, self._found)
        return tuple(result.detach() for result in self.results)

    def backward(self, gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Replay the backward pass of the latest forward pass."""
        for own, other in zip(self.result_gradients, gradients, strict=True):
            if own is not None:
                own.copy_(torch.zeros_like(own) if other is None else other)
        with _replayed(self.module):
            found = self._backward(self._found, self.result_gradients)
        _overwrite(self.gradients, found)
        return [None if gradient is None else gradient.detach() for gradient in self.gradients]


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        replayed: ReplayedModule,
        inputs: int,
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)  # torch would make them on the processor
        ctx.replayed, ctx.inputs = replayed, inputs
        return replayed.forward(tensors[:inputs])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        return None, None, *[None] * ctx.inputs, *ctx.replayed.backward(gradients)


@contextmanager
def _replayed(module: nn.Module) -> Iterator[None]:
    """Refuse waits within the block, and undo afterwards what Python has set on the module and its parts."""
    before = [(part, dict(part.__dict__)) for part in module.modules()]
    with COUNTS.capture():
        yield
    for part, attributes in before:
        part.__dict__.clear()
        part.__dict__.update(attributes)


def _overwrite(fixed: Sequence[Tensor | None], new: Sequence[Tensor | None]) -> None:
    """Put numbers into fixed memory; a graph computes them there, so nothing is launched for it."""
    for own, other in zip(fixed, new, strict=True):
        if isinstance(own, PretendedTensor) and isinstance(other, PretendedTensor):
            own.inner.copy_(other.inner)
