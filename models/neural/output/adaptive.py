"""Build the adaptive softmax: a head of frequent entries, tails of rare ones; most tokens need only the head.

The head is a softmax over the most frequent entries and one entry for each tail. A tail is a softmax over its own
entries, and p(w) = p(tail | h) p(w | tail, h). Only the 10-16 % of tokens in a tail need a second level.

`AdaptiveOutput`: Grave et al. 2017, "Efficient softmax approximation for GPUs", section 4.3; with one tail and
whole features, classes as in Goodman 2001, "Classes for fast maximum entropy training".

Shapes: N positions, M of them in one tail (with spare rows where its products run), V vocabulary entries, E features, C
entries of one level, K tails, P predicted entries (V minus the given), S features of a tail that shrinks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..device import to_device, with_spare_rows
from .base import OutputLayer
from .cross_entropy import (
    MOST_SPARE,
    Gradients,
    in_format,
    level_gradients,
    level_nats,
    spare_entries,
)

ROWS_STD = 0.05
"""Standard deviation of the initial rows of a tail that shrinks, as for embeddings: see `models/neural/network.py`."""


@dataclass(frozen=True)
class _Level:
    """Weight and bias of one softmax, in the number format of the products; the weight may have `spare_entries`."""

    weight_CE: Tensor
    bias_C: Tensor


class AdaptiveOutput(OutputLayer):
    """Head softmax over the most frequent entries and the tails, then a softmax within the tail.

    With `shrink` above 1 the k-th tail (from 1) reads P_k h with E / shrink^k features, where P_k is its own matrix. It
    also has its own rows, because rows of another length cannot be an embedding's. The head's rows stay those of
    `weight`.

    Args:
        weight: One row per entry, in the order of ids; may be the embedding's own. With `head_only` one row per entry
            of the head, in the order of `order_P`: the other rows are not needed if tails have their own.
        bias_V: Initial bias: log-frequencies.
        order_P: All predicted ids, most frequent first; the first `head` are the head.
        cuts: Ranks at which the tails begin, and P: at least two, the first is the size of the head.
        shrink: See above.
        head_only: See `weight`; only with `shrink` above 1.
        chunk: Rows whose logits are in memory at a time.

    Attributes:
        tail_weight: (K, E), the rows of the tails in the head.
        tail_bias: (K).
        project_k: (S, E) and rows_k (C, S), for the k-th tail from 1, only with `shrink` above 1.
    """

    order_P: Tensor
    rank_V: Tensor
    _ranges: list[slice | None]
    _rank_on_host: Tensor

    def __init__(
        self,
        weight: nn.Parameter,
        bias_V: Tensor,
        order_P: Tensor,
        cuts: Sequence[int],
        shrink: float = 1.0,
        head_only: bool = False,
        chunk: int = 512,
    ) -> None:
        super().__init__(weight, bias_V, len(bias_V), chunk)
        self.head = cuts[0]
        self.cuts = tuple(cuts)
        self.shrinks = shrink > 1
        self.head_only = head_only
        shares = [
            torch.logsumexp(bias_V[order_P[low:high]], 0, keepdim=True)
            for low, high in pairwise(cuts)
        ]
        self.tail_weight = nn.Parameter(weight.new_zeros(len(shares), weight.shape[1]))
        self.tail_bias = nn.Parameter(torch.cat(shares))
        if self.shrinks:
            for k, (low, high) in enumerate(pairwise(cuts), 1):
                self._add_own_rows(k, high - low, max(1, int(weight.shape[1] / shrink**k)))

        self.register_buffer("order_P", order_P)
        self.register_buffer(
            "rank_V", torch.zeros_like(self.given_V, dtype=torch.long), persistent=False
        )
        self._index(self)
        self.register_load_state_dict_post_hook(self._index)

    def _add_own_rows(
        self,
        k: int,
        entries: int,
        features: int,
    ) -> None:
        project_SE = self.weight.new_empty(features, self.weight.shape[1])
        rows_CS = self.weight.new_empty(entries, features)
        self.register_parameter(f"project_{k}", nn.Parameter(nn.init.xavier_uniform_(project_SE)))
        self.register_parameter(f"rows_{k}", nn.Parameter(nn.init.normal_(rows_CS, 0.0, ROWS_STD)))

    @staticmethod
    def _index(layer: AdaptiveOutput, _: object = None) -> None:
        """Compute from the order each id's rank, and each tail as a slice where its ids are consecutive."""
        order_P = layer.order_P
        layer.rank_V[order_P] = torch.arange(len(order_P), device=order_P.device)
        layer._rank_on_host = layer.rank_V.cpu()
        layer._ranges = []
        for low, high in pairwise(layer.cuts):
            in_order = bool((order_P[low:high].diff() == 1).all())
            layer._ranges.append(
                slice(int(order_P[low]), int(order_P[high - 1]) + 1) if in_order else None
            )

    def _of_tail(
        self,
        k: int,
        tensor_VX: Tensor,
        spare: int = 0,
    ) -> Tensor:
        """Return the rows of the k-th tail (from 0) of a tensor with one row per id: a view where possible.

        Args:
            k: Tail.
            tensor_VX: One row per id, and at the end at least *spare* more.
            spare: Any rows after those of the tail, whose biases are −inf.
        """
        within = self._ranges[k]
        if within is not None:
            return tensor_VX[within.start : within.stop + spare]
        rows_CX = tensor_VX.index_select(0, self.order_P[self.cuts[k] : self.cuts[k + 1]])
        if spare:
            return torch.cat([rows_CX, tensor_VX[:spare]])
        return rows_CX

    def _head_rows(self) -> Tensor:
        """Return the indices of the rows of `weight` that belong to the head."""
        ids = self.order_P[: self.head]
        if self.head_only:
            return torch.arange(self.head, device=ids.device)
        return ids

    def _levels(self, dtype: torch.dtype) -> tuple[_Level, list[_Level]]:
        """Return the head, whose last entries are the tails', and the tails; the weights are cast once."""
        weight_XE = self.weight.detach()
        bias_V = self.bias.detach()
        ids = self.order_P[: self.head]
        if not self.shrinks:
            weight_XE = in_format(weight_XE, dtype, MOST_SPARE if self._spare(1, dtype) else 0)

        own_CE = weight_XE.index_select(0, self._head_rows())
        tails_KE = self.tail_weight.detach()
        spare = self._spare(self.head + len(tails_KE), dtype)
        head_CE = torch.cat([in_format(own_CE, dtype), in_format(tails_KE, dtype, spare)])
        head = _Level(head_CE, torch.cat([bias_V.index_select(0, ids), self.tail_bias.detach()]))
        tails = []
        for k in range(len(self.cuts) - 1):
            spare = self._spare(self.cuts[k + 1] - self.cuts[k], dtype)
            whole = not self.shrinks
            if whole:
                rows_CX = self._of_tail(k, weight_XE, spare)
            else:
                rows_CX = in_format(self._own(k)[1], dtype, spare)

            tails.append(_Level(rows_CX, self._of_tail(k, bias_V)))

        return head, tails

    def _spare(self, entries: int, dtype: torch.dtype) -> int:
        return spare_entries(entries, dtype, self.weight.device)

    def _own(self, k: int) -> tuple[Tensor, Tensor]:
        """Return projection (S, E) and rows (C, S) of the k-th tail (from 0), for `shrink` above 1."""
        project_SE, rows_CS = (
            self.get_parameter(f"{name}_{k + 1}").detach() for name in ("project", "rows")
        )
        return project_SE, rows_CS

    def _features(self, k: int, h_ME: Tensor) -> Tensor:
        """Return the features that the k-th tail (from 0) reads."""
        if not self.shrinks:
            return h_ME
        return in_format(F.linear(h_ME, in_format(self._own(k)[0], h_ME.dtype)), h_ME.dtype)

    def _classes(self, targets_N: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Return the class in the head (N), and per tail its rows (M) and their classes there (M).

        The rows are on the layer's device; the classes are where the targets are.
        """
        rank_N = (self.rank_V if targets_N.is_cuda else self._rank_on_host)[targets_N]
        device = self.weight.device
        if len(self.cuts) == 2:
            rows_M = (rank_N >= self.head).nonzero()[:, 0]
            classes_M = rank_N[rows_M] - self.head
            return rank_N.clamp_max(self.head), [(to_device(rows_M, device), classes_M)]

        inner = torch.tensor(self.cuts[:-1], device=rank_N.device)
        tail_N = torch.bucketize(rank_N, inner, right=True)  # 0 in the head, k in the k-th tail
        classes_N = torch.where(tail_N == 0, rank_N, self.head - 1 + tail_N)
        tails = []
        for k, low in enumerate(self.cuts[:-1], start=1):
            rows_M = (tail_N == k).nonzero()[:, 0]
            tails.append((to_device(rows_M, device), rank_N[rows_M] - low))

        return classes_N, tails

    def scored_nats(self, h_NE: Tensor, targets_N: Tensor) -> Tensor:
        """See `OutputLayer.scored_nats`."""
        head, tails = self._levels(h_NE.dtype)
        classes_N, within = self._classes(targets_N)
        nats_N = level_nats(
            h_NE,
            head.weight_CE,
            head.bias_C,
            classes_N,
            self.chunk,
        )
        for k, (tail, (rows_M, classes_M)) in enumerate(zip(tails, within, strict=True)):
            g_MX = self._features(k, with_spare_rows(h_NE[rows_M]))
            nats_N[rows_M] += level_nats(
                g_MX,
                tail.weight_CE,
                tail.bias_C,
                classes_M,
                self.chunk,
            )

        return nats_N

    def gradients(self, h_NE: Tensor, targets_N: Tensor) -> Gradients:
        """See `OutputLayer.gradients`."""
        head, tails = self._levels(h_NE.dtype)
        classes_N, within = self._classes(targets_N)
        grad_XE = torch.empty_like(self.weight)
        grad_V = torch.zeros_like(self.bias)
        into_CE = grad_XE.new_empty(len(head.bias_C), grad_XE.shape[1])
        first = level_gradients(
            h_NE,
            head.weight_CE,
            head.bias_C,
            classes_N,
            self.chunk,
            into_CE,
        )
        self._clear(grad_XE)
        grad_XE[self._head_rows()] = into_CE[: self.head]
        grad_V[self.order_P[: self.head]] = first.parameters[1][: self.head]

        projections: list[Tensor] = []
        for k, (tail, (rows_M, classes_M)) in enumerate(zip(tails, within, strict=True)):
            h_ME = with_spare_rows(h_NE.index_select(0, rows_M))
            second = self._tail_gradients(
                k,
                tail,
                h_ME,
                classes_M,
                grad_XE,
            )
            first.nats_N[rows_M] += second.nats_N
            first.features_NE.index_add_(0, rows_M, second.features_NE[: len(rows_M)])
            grad_C, *rest = second.parameters
            grad_V[self.order_P[self.cuts[k] : self.cuts[k + 1]]] = grad_C
            projections += rest

        of_tails = into_CE[self.head :], first.parameters[1][self.head :]
        return Gradients(
            first.nats_N, first.features_NE, (grad_XE, grad_V, *of_tails, *projections)
        )

    def _clear(self, grad_XE: Tensor) -> None:
        """Write zeros to the rows that no level writes."""
        if not self.shrinks:
            grad_XE.index_fill_(0, self.given_ids, 0)
        elif not self.head_only:
            grad_XE.zero_()

    def _tail_gradients(
        self,
        k: int,
        tail: _Level,
        h_ME: Tensor,
        classes_M: Tensor,
        grad_XE: Tensor,
    ) -> Gradients:
        """Return the gradients of the k-th tail (from 0): of its bias, and of projection and rows where it shrinks.

        Gradients of whole rows are written to their place in grad_XE.
        """
        dtype = grad_XE.dtype
        if self.shrinks:
            project_SE, rows_CS = self._own(k)
            shrunk, features = project_SE.shape
            grad_CS = torch.empty_like(rows_CS)
            gradients = level_gradients(
                self._features(k, h_ME),
                tail.weight_CE,
                tail.bias_C,
                classes_M,
                self.chunk,
                grad_CS,
            )
            grad_MS = gradients.features_NE[:, :shrunk]
            grad_SE = torch.mm(grad_MS.t(), h_ME)[:, :features].to(dtype)
            grad_ME = torch.mm(grad_MS, in_format(project_SE, h_ME.dtype))
            return Gradients(gradients.nats_N, grad_ME, (gradients.parameters[1], grad_SE, grad_CS))

        within = self._ranges[k]
        if within is not None:
            grad_CE = grad_XE[within]
        else:
            grad_CE = grad_XE.new_empty(len(tail.bias_C), grad_XE.shape[1])

        gradients = level_gradients(
            h_ME,
            tail.weight_CE,
            tail.bias_C,
            classes_M,
            self.chunk,
            grad_CE,
        )
        if within is None:
            grad_XE[self.order_P[self.cuts[k] : self.cuts[k + 1]]] = grad_CE

        return Gradients(gradients.nats_N, gradients.features_NE, (gradients.parameters[1],))

    @torch.no_grad()
    def logp(self, features_NE: Tensor) -> Tensor:
        """See `OutputLayer.logp`."""
        head, tails = self._levels(self.weight.dtype)
        h_NE = features_NE.to(self.weight.dtype)
        head_NC = torch.log_softmax(F.linear(h_NE, head.weight_CE) + head.bias_C, 1)
        parts = [head_NC[:, : self.head]]
        for k, tail in enumerate(tails):
            tail_NC = torch.log_softmax(
                F.linear(self._features(k, h_NE), tail.weight_CE) + tail.bias_C, 1
            )
            parts.append(tail_NC + head_NC[:, self.head + k, None])

        logp_NV = head_NC.new_full((h_NE.shape[0], len(self.bias)), -torch.inf)
        logp_NV[:, self.order_P] = torch.cat(parts, 1)
        return logp_NV.float()
