"""Define the base class of all output layers, and the plain softmax: scored rows, loss and gradient in one pass.

Shapes: N positions, V vocabulary entries, E features.
"""

from __future__ import annotations

from abc import abstractmethod
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ...base import ModelError
from ...tokens.special import CONTEXT_IDS as GIVEN_IDS
from ..device import is_one, to_device
from .cross_entropy import Gradients, in_format, level_gradients, level_nats, spare_entries

CONTEXT_IDS = tuple(sorted(GIVEN_IDS))
"""Ids of `<bos>` and the stars: read, never predicted, probability exactly 0 in every model."""


Precision = Literal["bf16", "float32"]


class _LossAndGradient(torch.autograd.Function):
    """Loss and gradient in one pass: forward computes the gradient, backward only scales it.

    Only *rows* of the features are scored (None: all). The gradient of torch's own selection of rows is slower, because
    there a row may be chosen twice.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        layer: OutputLayer,
        features_NE: Tensor,
        rows: Tensor | None,
        targets_N: Tensor,
        dtype: torch.dtype,
        *parameters: Tensor,
    ) -> Tensor:
        scored_NE = features_NE
        if rows is not None:
            scored_NE = features_NE.index_select(0, rows)

        gradients = layer.training_gradients(in_format(scored_NE, dtype), targets_N)
        grad_NE = gradients.features_NE[:, : features_NE.shape[1]].to(features_NE.dtype)
        if rows is not None:
            grad_NE = torch.zeros_like(features_NE).index_copy_(0, rows, grad_NE)
        ctx.gradients = [grad_NE, *gradients.parameters]
        return gradients.nats_N.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        if not ctx.gradients:
            raise RuntimeError(
                "an earlier backward() already returned the gradient of this loss: call `loss` again"
            )

        # Clear ctx.gradients: autograd copies all weights' gradients if another reference to them exists.
        features_NE, *parameters = ctx.gradients
        ctx.gradients = ()
        # The trainer's scale is 1: without the product there is a pass over all weights less.
        if not is_one(scale):
            torch._foreach_mul_([features_NE, *parameters], scale)

        return None, features_NE, None, None, None, *parameters


class OutputLayer(nn.Module):
    """Base class: from features to the distribution of the next token. Created by `build_output`.

    Targets may be on the processor while the features are on a GPU. All that depends on their values is then computed
    on the processor, and it never waits for the GPU.

    Args:
        weight: One row of features per entry, or per choice if the layer does not choose between entries.
        bias: One number per row in use.
        entries: V.
        chunk: Rows whose logits are in memory at a time.

    Attributes:
        weight: Its rows are as long as the features.
        entries: V.
    """

    given_V: Tensor
    given_ids: Tensor

    def __init__(
        self,
        weight: nn.Parameter,
        bias: Tensor,
        entries: int,
        chunk: int,
    ) -> None:
        super().__init__()
        self.weight = weight
        self.bias = nn.Parameter(bias)
        self.entries = entries
        self.chunk = chunk
        given_V = torch.zeros(entries, dtype=torch.bool, device=weight.device)
        given_ids = torch.tensor(
            [i for i in CONTEXT_IDS if i < entries], dtype=torch.long, device=weight.device
        )
        given_V[given_ids] = True
        self.register_buffer("given_V", given_V, persistent=False)
        self.register_buffer("given_ids", given_ids, persistent=False)
        self._given_on_host = given_V.cpu()

    @property
    def reports_nats(self) -> bool:
        """Whether `loss` currently is the sum of −log p in nats, whose exponential is a perplexity.

        False for the estimators while they train: their losses can be compared with each other, not with nats.
        """
        return True

    def loss(
        self,
        features_NE: Tensor,
        targets_N: Tensor,
        precision: Precision = "float32",
    ) -> tuple[Tensor, int]:
        """Return the loss (scalar, a sum over rows, with the gradient of the sum) and the number of scored rows.

        The loss is the sum of −log p(target) in nats, except that an estimator in training mode returns its own loss;
        see `reports_nats`.

        Args:
            features_NE: Any floating dtype; the gradient has the same.
            targets_N: Target ids, on the processor or the features' device; −1 is not scored.
            precision: Format of the matrix products. In bf16 the values between products are bf16 too; sums within a
                row and the gradients of the parameters are float32.

        Raises:
            ModelError: A target is a given id, whose probability is 0.
        """
        rows = self._scored_rows(targets_N)
        there = None
        if len(rows) < len(targets_N):
            targets_N = targets_N.index_select(0, rows)
            there = to_device(rows, features_NE.device)

        dtype = torch.bfloat16 if precision == "bf16" else self.weight.dtype
        if not torch.is_grad_enabled():
            scored_NE = features_NE
            if there is not None:
                scored_NE = features_NE.index_select(0, there)

            return self.scored_nats(in_format(scored_NE, dtype), targets_N).sum(), len(rows)

        parameters = self.parameters(recurse=False)
        return _LossAndGradient.apply(
            self,
            features_NE,
            there,
            targets_N,
            dtype,
            *parameters,
        ), len(rows)

    @torch.no_grad()
    def nats(self, features_NE: Tensor, targets_N: Tensor) -> Tensor:
        """Return −log p(target) of each row (N, float32, no gradient); 0 where the target is −1. Always exact.

        Raises:
            ModelError: A target is a given id.
        """
        rows = self._scored_rows(targets_N)
        nats_N = self.bias.new_zeros(len(targets_N))
        there = to_device(rows, features_NE.device)
        nats_N[there] = self.scored_nats(features_NE[there].to(self.weight.dtype), targets_N[rows])
        return nats_N

    @torch.no_grad()
    @abstractmethod
    def logp(self, features_NE: Tensor) -> Tensor:
        """Return log p of every entry (N, V), float32, no gradient; −inf for the given ids; exp sums to 1."""
        raise NotImplementedError

    @abstractmethod
    def scored_nats(self, h_NE: Tensor, targets_N: Tensor) -> Tensor:
        """Return −log p (N) of targets that are all scored; products in the dtype of h_NE."""
        raise NotImplementedError

    @abstractmethod
    def gradients(self, h_NE: Tensor, targets_N: Tensor) -> Gradients:
        """Return −log p of targets that are all scored, and the gradients of its sum in the order of the parameters."""
        raise NotImplementedError

    def training_gradients(self, h_NE: Tensor, targets_N: Tensor) -> Gradients:
        """Return the training loss of each row and its gradients, like `gradients`; estimators override it."""
        return self.gradients(h_NE, targets_N)

    def one_update(self) -> AbstractContextManager[None]:
        """Return a context in which all calls of `loss` share the samples of one update; estimators override it."""
        return nullcontext()

    def _scored_rows(self, targets_N: Tensor) -> Tensor:
        given_V = self.given_V if targets_N.is_cuda else self._given_on_host
        scored_N = targets_N >= 0
        if bool((scored_N & given_V[targets_N.clamp_min(0)]).any()):
            raise ModelError(
                "a target is <bos> or a star token, which are never predicted: mask it with -1",
                "input",
            )
        return scored_N.nonzero()[:, 0]


class SoftmaxOutput(OutputLayer):
    """One softmax: p = softmax(W h + b), Bengio et al. 2003, eq. 1; the given ids' logits are −inf.

    Args:
        weight: (V, E), one row per entry; may be the embedding's own.
        bias_V: Initial bias: log-frequencies.
        chunk: Rows whose logits are in memory at a time.
    """

    def __init__(
        self,
        weight: nn.Parameter,
        bias_V: Tensor,
        chunk: int,
    ) -> None:
        super().__init__(weight, bias_V, len(bias_V), chunk)

    def _bias(self) -> Tensor:
        return self.bias.detach().masked_fill(self.given_V, -torch.inf)

    def _weight(self, dtype: torch.dtype) -> Tensor:
        weight_VE = self.weight.detach()
        return in_format(weight_VE, dtype, spare_entries(len(weight_VE), dtype, weight_VE.device))

    def scored_nats(self, h_NE: Tensor, targets_N: Tensor) -> Tensor:
        """See `OutputLayer.scored_nats`."""
        return level_nats(
            h_NE,
            self._weight(h_NE.dtype),
            self._bias(),
            targets_N,
            self.chunk,
        )

    def gradients(self, h_NE: Tensor, targets_N: Tensor) -> Gradients:
        """See `OutputLayer.gradients`."""
        grad_VE = torch.empty_like(self.weight)
        return level_gradients(
            h_NE,
            self._weight(h_NE.dtype),
            self._bias(),
            targets_N,
            self.chunk,
            grad_VE,
        )

    @torch.no_grad()
    def logp(self, features_NE: Tensor) -> Tensor:
        """See `OutputLayer.logp`."""
        return torch.log_softmax(
            F.linear(features_NE.to(self.weight.dtype), self.weight) + self._bias(), 1
        ).float()
