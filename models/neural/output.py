"""Output layers: from features to log-probabilities, loss and gradient, always exactly normalised.

`SoftmaxOutput` is one softmax over all entries. `TwoLevelOutput` is a softmax over the `head` most frequent entries
and one entry for "the tail", followed by a softmax within the tail (Goodman 2001, "Classes for fast maximum entropy
training"; Grave et al. 2017, "Efficient softmax approximation for GPUs", with one cluster). Only the 10-16 % of
tokens in the tail pay for the second level, so it costs several times less and still sums to exactly 1.

Loss and gradient are computed together, some rows at a time (`models/neural/softmax.py`): memory does not grow with
N times V, and the backward pass only scales what is there.

Shapes: N positions, V vocabulary entries, E features, C entries of one level, P predicted entries (V minus the given).
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ..base import ModelError
from ..specs import ObjectiveSpec
from ..vocabulary import GIVEN as GIVEN_IDS
from .softmax import Gradients, level_gradients, level_nats

log = logging.getLogger(__name__)

GIVEN = tuple(sorted(GIVEN_IDS))
"""Ids of `<bos>` and the stars: read, never predicted, probability exactly 0 in every model."""

NOT_SCORED = -1
"""The target of a position that is not scored."""

Precision = Literal["bf16", "float32"]


class _SumOfNats(torch.autograd.Function):
    """Loss and gradient in one go: forward has the gradient ready, backward only scales it."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, layer: OutputLayer, features_NE: Tensor, targets_N: Tensor, dtype: torch.dtype, *parameters: Tensor
    ) -> Tensor:
        found = layer.gradients(features_NE.to(dtype), targets_N)
        ctx.gradients, ctx.dtype = [found.features_NE, *found.parameters], features_NE.dtype
        return found.nats_N.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        # Handed over, not shared: autograd copies all weights' gradients where somebody else still holds them.
        (features_NE, *parameters), ctx.gradients = ctx.gradients, ()
        # The trainer asks for the sum itself (scale 1): a pass over all weights saved. On a GPU the look would wait.
        if scale.device.type != "cpu" or scale.item() != 1:
            features_NE, parameters = features_NE * scale, [grad * scale for grad in parameters]
        return None, features_NE.to(ctx.dtype), None, None, *parameters


class OutputLayer(nn.Module):
    """Features to the distribution of the next token. Made by `build_output`."""

    def __init__(self, weight: nn.Parameter, bias_V: Tensor, chunk: int) -> None:
        super().__init__()
        self.weight = weight
        self.bias = nn.Parameter(bias_V)
        self.chunk = chunk
        given_V = torch.zeros(len(bias_V), dtype=torch.bool, device=weight.device)
        given_V[[i for i in GIVEN if i < len(bias_V)]] = True
        self.given_V: Tensor
        self.register_buffer("given_V", given_V, persistent=False)

    def loss(self, features_NE: Tensor, targets_N: Tensor, precision: Precision = "float32") -> tuple[Tensor, int]:
        """Return the sum of −log p(target) in nats (scalar, with the gradient of the sum) and how many were scored.

        Args:
            features_NE: Any floating dtype; its gradient comes back in the same.
            targets_N: Right ids; −1 is not scored.
            precision: Format of the matrix products; the softmax and all sums over rows are float32 at least.

        Raises:
            ModelError: A target is a given id, whose probability is 0.
        """
        rows = self._scored_rows(targets_N)
        if len(rows) < len(targets_N):
            features_NE, targets_N = features_NE.index_select(0, rows), targets_N.index_select(0, rows)
        dtype = torch.bfloat16 if precision == "bf16" else self.weight.dtype
        if not torch.is_grad_enabled():
            return self.scored_nats(features_NE.to(dtype), targets_N).sum(), len(rows)
        return _SumOfNats.apply(self, features_NE, targets_N, dtype, *self.parameters(recurse=False)), len(rows)

    @torch.no_grad()
    def nats(self, features_NE: Tensor, targets_N: Tensor) -> Tensor:
        """Return −log p(target) of each row (N, float32, no gradient); 0 where the target is −1.

        Raises:
            ModelError: A target is a given id.
        """
        rows = self._scored_rows(targets_N)
        nats_N = self.bias.new_zeros(len(targets_N))
        nats_N[rows] = self.scored_nats(features_NE[rows].to(self.weight.dtype), targets_N[rows])
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

    def _scored_rows(self, targets_N: Tensor) -> Tensor:
        scored_N = targets_N >= 0
        if bool((scored_N & self.given_V[targets_N.clamp_min(0)]).any()):
            raise ModelError("a target is <bos> or a star token, which are never predicted: mask it with -1", "input")
        return scored_N.nonzero()[:, 0]


class SoftmaxOutput(OutputLayer):
    """One softmax: p = softmax(W h + b), Bengio et al. 2003, eq. 1; the given ids' logits are −inf."""

    def _bias(self) -> Tensor:
        return self.bias.detach().masked_fill(self.given_V, -torch.inf)

    def scored_nats(self, h_NE: Tensor, targets_N: Tensor) -> Tensor:
        """See `OutputLayer.scored_nats`."""
        return level_nats(h_NE, self.weight.to(h_NE.dtype), self._bias(), targets_N, self.chunk)

    def gradients(self, h_NE: Tensor, targets_N: Tensor) -> Gradients:
        """See `OutputLayer.gradients`."""
        grad_VE = torch.empty_like(self.weight)
        return level_gradients(h_NE, self.weight.to(h_NE.dtype), self._bias(), targets_N, self.chunk, grad_VE)

    @torch.no_grad()
    def logp(self, features_NE: Tensor) -> Tensor:
        """See `OutputLayer.logp`."""
        return torch.log_softmax(F.linear(features_NE.to(self.weight.dtype), self.weight) + self._bias(), 1).float()


class TwoLevelOutput(OutputLayer):
    """Head softmax over the most frequent entries and "the tail", then a softmax within the tail.

    Args:
        weight: (V, E), one row per entry, in the order of ids; may be the embedding's own.
        bias_V: First values of the bias: log-frequencies.
        order_P: All predicted ids, most frequent first; the first `head` are the head.
        head: Entries in the head.
        chunk: Rows whose logits are in memory at a time.
    """

    def __init__(self, weight: nn.Parameter, bias_V: Tensor, order_P: Tensor, head: int, chunk: int) -> None:
        super().__init__(weight, bias_V, chunk)
        self.head = head
        self.tail_weight = nn.Parameter(weight.new_zeros(weight.shape[1]))
        self.tail_bias = nn.Parameter(torch.logsumexp(bias_V[order_P[head:]], 0, keepdim=True))
        self.order_P: Tensor
        self.rank_V: Tensor
        self.register_buffer("order_P", order_P)
        self.register_buffer("rank_V", torch.zeros_like(self.given_V, dtype=torch.long), persistent=False)
        self._index(self)
        self.register_load_state_dict_post_hook(self._index)

    @staticmethod
    def _index(layer: TwoLevelOutput, _: object = None) -> None:
        """Derive from the order: each id's rank, and the tail as a plain range where ids are sorted by frequency."""
        order_P, head = layer.order_P, layer.head
        layer.rank_V[order_P] = torch.arange(len(order_P), device=order_P.device)
        first, last = int(order_P[head]), int(order_P[-1])
        in_order = bool((order_P[head:].diff() == 1).all())
        layer._range = slice(first, last + 1) if in_order else None

    _range: slice | None

    def _tail(self, tensor_VX: Tensor) -> Tensor:
        return tensor_VX[self._range] if self._range else tensor_VX.index_select(0, self.order_P[self.head :])

    def _levels(self, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return weight and bias of the head (its last row is the tail's) and of the tail, cast once."""
        weight_VE, bias_V, head_ids = self.weight.detach().to(dtype), self.bias.detach(), self.order_P[: self.head]
        head_CE = torch.cat([weight_VE.index_select(0, head_ids), self.tail_weight.detach().to(dtype)[None]])
        head_C = torch.cat([bias_V.index_select(0, head_ids), self.tail_bias.detach()])
        return head_CE, head_C, self._tail(weight_VE), self._tail(bias_V)

    def _classes(self, targets_N: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the class in the head (N), the rows in the tail (M) and their classes there (M)."""
        rank_N = self.rank_V[targets_N]
        rows_M = (rank_N >= self.head).nonzero()[:, 0]
        return rank_N.clamp_max(self.head), rows_M, rank_N[rows_M] - self.head

    def scored_nats(self, h_NE: Tensor, targets_N: Tensor) -> Tensor:
        """See `OutputLayer.scored_nats`."""
        head_CE, head_C, tail_CE, tail_C = self._levels(h_NE.dtype)
        classes_N, rows_M, classes_M = self._classes(targets_N)
        nats_N = level_nats(h_NE, head_CE, head_C, classes_N, self.chunk)
        nats_N[rows_M] += level_nats(h_NE[rows_M], tail_CE, tail_C, classes_M, self.chunk)
        return nats_N

    def gradients(self, h_NE: Tensor, targets_N: Tensor) -> Gradients:
        """See `OutputLayer.gradients`."""
        head_CE, head_C, tail_CE, tail_C = self._levels(h_NE.dtype)
        classes_N, rows_M, classes_M = self._classes(targets_N)
        grad_VE, grad_V = torch.empty_like(self.weight), torch.zeros_like(self.bias)
        grad_VE[self.given_V] = 0
        into_CE = torch.empty_like(head_CE, dtype=grad_VE.dtype)
        nats_N, grad_NE, (into_CE, into_C) = level_gradients(h_NE, head_CE, head_C, classes_N, self.chunk, into_CE)
        ids = self.order_P[: self.head]
        grad_VE[ids], grad_V[ids] = into_CE[:-1], into_C[:-1]

        tail = grad_VE[self._range] if self._range else torch.empty_like(tail_CE, dtype=grad_VE.dtype)
        second = level_gradients(h_NE.index_select(0, rows_M), tail_CE, tail_C, classes_M, self.chunk, tail)
        nats_N[rows_M] += second.nats_N
        grad_NE.index_add_(0, rows_M, second.features_NE)
        ids = self.order_P[self.head :]
        grad_V[ids] = second.parameters[1]
        if not self._range:
            grad_VE[ids] = tail
        return Gradients(nats_N, grad_NE, (grad_VE, grad_V, into_CE[-1], into_C[-1:]))

    @torch.no_grad()
    def logp(self, features_NE: Tensor) -> Tensor:
        """See `OutputLayer.logp`."""
        head_CE, head_C, tail_CE, tail_C = self._levels(self.weight.dtype)
        h_NE = features_NE.to(self.weight.dtype)
        head_NC = torch.log_softmax(F.linear(h_NE, head_CE) + head_C, 1)
        tail_NC = torch.log_softmax(F.linear(h_NE, tail_CE) + tail_C, 1) + head_NC[:, -1:]
        logp_NV = head_NC.new_full((len(h_NE), len(self.bias)), -torch.inf)
        logp_NV[:, self.order_P] = torch.cat([head_NC[:, :-1], tail_NC], 1)
        return logp_NV.float()


def build_output(
    objective: ObjectiveSpec, weight: nn.Parameter, unigram_counts_V: np.ndarray | Tensor
) -> OutputLayer:
    """Make the output layer of a neural model; equal arguments give equal shapes, whatever the counts.

    Args:
        objective: Kind of output, size of the head, rows per chunk.
        weight: (V, E); may be the embedding's own weight (tied).
        unigram_counts_V: How often each entry is predicted in the training stream. The bias starts at the logarithm
            of these frequencies (0.5 added to each count), so that training starts from the unigram model.

    Raises:
        ModelError: The counts are not one per row of the weight.
    """
    counts_V = torch.as_tensor(np.asarray(unigram_counts_V), dtype=torch.float64)
    if counts_V.shape != weight.shape[:1]:
        raise ModelError(f"{tuple(counts_V.shape)} unigram counts for {weight.shape[0]} output rows", "input")
    predicted = torch.tensor([i for i in range(len(counts_V)) if i not in GIVEN])
    share_V = (counts_V + 0.5) / (counts_V[predicted] + 0.5).sum()
    bias_V = share_V.log().to(weight)
    tail = len(predicted) - objective.head
    if objective.output == "softmax":
        return SoftmaxOutput(weight, bias_V, objective.chunk)
    if tail < max(2, objective.head // 4):
        log.info("two-level softmax: %d entries leave a tail of %d beside a head of %d; one softmax is used instead",
                 len(counts_V), max(0, tail), objective.head)
        return SoftmaxOutput(weight, bias_V, objective.chunk)
    order_P = predicted[torch.argsort(counts_V[predicted], descending=True, stable=True)].to(weight.device)
    return TwoLevelOutput(weight, bias_V, order_P, objective.head, objective.chunk)
