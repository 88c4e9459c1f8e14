"""Differences against the gradient of an output layer, which it hands over only once."""

from typing import Any

import torch
from torch import Tensor


class _Fresh(torch.autograd.Function):
    """The loss, made anew for every gradient that is asked for."""

    @staticmethod
    def forward(
        ctx: Any,
        layer: Any,
        targets_N: Tensor,
        features_NE: Tensor,
        *parameters: Tensor,
    ) -> Tensor:
        with torch.enable_grad():
            features_NE = features_NE.detach().requires_grad_()
            loss, _ = layer.loss(features_NE, targets_N)
            ctx.gradients = torch.autograd.grad(loss, [features_NE, *layer.parameters()])
        return loss.detach()

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *[gradient * scale for gradient in ctx.gradients]


def gradcheck_loss(
    layer: Any,
    features_NE: Tensor,
    targets_N: Tensor,
) -> bool:
    """Compare the gradients of all parameters and features with differences along random directions; float64."""

    def loss(features_NE: Tensor, *parameters: Tensor) -> Tensor:
        return _Fresh.apply(layer, targets_N, features_NE, *parameters)

    return torch.autograd.gradcheck(loss, (features_NE, *layer.parameters()), fast_mode=True)
