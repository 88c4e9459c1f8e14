"""Look up embeddings tied to the output, and add the gradient of the rows read to the output's gradient in place.

A look-up is the one-hot vector of a word times the embedding matrix. So the gradient of the matrix is zero except in
the rows of the words that were read. The output layer has already computed a full gradient matrix. torch adds the two
by writing a third matrix; for 10,000 words that costs more than the rest of the look-up, forward and backward.

Shapes: N positions, V vocabulary entries, E features.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def look_up(ids_BT: Tensor, weight_VE: Tensor) -> Tensor:
    """Return weight[ids] (B, T, E); `backward` adds the gradient of the rows to `weight.grad` itself.

    Use it only for training by `backward()`: torch.autograd.grad would miss this part of the gradient. torch runs
    backward from the end and writes the gradient of a leaf as soon as it expects no more contributions. So the gradient
    of the weight's later uses is already in `weight.grad` when this function adds to it. Therefore torch must not see
    that this function uses the weight.
    """
    tracked = torch.empty(0, requires_grad=torch.is_grad_enabled())
    return _LookUp.apply(tracked, ids_BT, (weight_VE,))


class _LookUp(torch.autograd.Function):
    """See `look_up`."""

    @staticmethod
    def forward(ctx: Any, tracked: Tensor, ids_BT: Tensor, leaf: tuple[Tensor]) -> Tensor:  # type: ignore[override]
        ctx.ids_N, ctx.leaf = ids_BT.flatten(), leaf
        return leaf[0].detach().index_select(0, ctx.ids_N).view(*ids_BT.shape, -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BTE: Tensor) -> tuple[None, None, None]:  # type: ignore[override]
        (weight_VE,) = ctx.leaf
        if weight_VE.grad is None:
            weight_VE.grad = torch.zeros_like(weight_VE)
        weight_VE.grad.index_add_(0, ctx.ids_N, grad_BTE.flatten(0, 1))
        return None, None, None
