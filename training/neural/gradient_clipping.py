"""Clip gradients that are too large, before the step of the optimiser.

Pascanu, Mikolov & Bengio 2013, "On the difficulty of training recurrent neural networks", algorithm 1 (the norm of the
whole gradient); Mikolov 2012, "Statistical language models based on neural networks", section 3.3.2 (each entry).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm


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
        return Clipped(length, by_value=False, by_norm=False)

    by_value = value is not None and float(_largest(grads)) * scale > value
    left = length
    if value is not None and by_value:
        _scale_and_cut(grads, scale, value)
        left = float(get_total_norm(grads, foreach=True))
        scale = 1.0

    by_norm = norm is not None and left > norm
    torch._foreach_mul_(
        grads, scale * norm / (left + 1e-6) if norm is not None and by_norm else scale
    )
    return Clipped(length, by_value, by_norm)


def scale_and_clip_on_gpu(
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
        _scale_and_cut(grads, scale, value)
        left = get_total_norm(grads, foreach=True)
        scale = 1.0

    if norm is None:
        torch._foreach_mul_(grads, scale)
    else:
        by_norm = left > norm
        torch._foreach_mul_(grads, torch.where(by_norm, scale * norm / (left + 1e-6), scale))

    return length, by_value, by_norm


def _scale_and_cut(
    grads: list[Tensor],
    scale: float,
    value: float,
) -> None:
    """Scale the gradients, then cut each entry to [−value, value]."""
    torch._foreach_mul_(grads, scale)
    torch._foreach_clamp_max_(grads, value)
    torch._foreach_clamp_min_(grads, -value)


def _largest(grads: list[Tensor]) -> Tensor:
    """Return the largest absolute value of all entries."""
    return torch.stack(torch._foreach_norm(grads, float("inf"))).amax()
