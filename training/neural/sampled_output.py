"""Estimate the softmax's gradient from a few sampled entries instead of all; for training only.

Both estimators share S negatives among all positions of an update, for any number of parts in which it is read
(`one_update`). With several ranks, each draws its own. They are drawn with replacement from Q(w) ∝ count(w)^0.75
(Mikolov et al. 2013, "Distributed representations of words and phrases", section 2.2). With s the logit of the exact
softmax:

`SampledSoftmaxOutput`, importance sampling of the normaliser (Bengio & Senécal 2003, "Quick training of probabilistic
neural nets by importance sampling"; Jean et al. 2015, "On using very large target vocabulary", eq. 9 and 10):

    loss = −s(y) + log(exp s(y) + Σ over samples j ≠ y of exp(s(j) − log(S Q(j))))

The mean of the sum is the exact normaliser, so loss and gradient approach the exact ones as S grows.

`NCEOutput`, noise-contrastive estimation (Gutmann & Hyvärinen 2010; Mnih & Teh 2012, "A fast and simple algorithm for
training neural probabilistic language models", eq. 8, with the normaliser fixed at 1):

    loss = −log σ(s(y) − log(S Q(y))) − Σ over samples j of log σ(log(S Q(j)) − s(j))

Shapes: N positions, V vocabulary entries, E features, P predicted entries, S samples, U of them different.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from reviewlm.models.neural.device import to_device
from reviewlm.models.neural.output import CONTEXT_IDS, OutputLayer, SoftmaxOutput
from reviewlm.models.neural.output.cross_entropy import (
    Gradients,
    in_format,
    rows_at_once,
    softmax_nats,
)
from reviewlm.models.specs import ObjectiveSpec

NOISE_POWER = 0.75


@dataclass(frozen=True)
class Negatives:
    """The entries drawn for one update.

    Attributes:
        ids_U: Different ids.
        times_U: How often each was drawn.
        place_V: The index of an id in ids_U; U where it was not drawn.
    """

    ids_U: Tensor
    times_U: Tensor
    place_V: Tensor


class _EstimatedOutput(SoftmaxOutput):
    """A softmax that is exact except for its training gradient; its state is that of `SoftmaxOutput`.

    Args:
        exact: The softmax, whose weight and bias it takes.
        counts_V: How often each entry is predicted; a count of 0 is treated as 1.
        samples: S.
    """

    noise_V: Tensor
    cumulative_V: Tensor
    _shared: Negatives | None

    def __init__(
        self,
        exact: SoftmaxOutput,
        counts_V: Tensor,
        samples: int,
    ) -> None:
        super().__init__(exact.weight, exact.bias.detach(), exact.chunk)
        self.samples = samples
        self._shares = False
        self._shared = None
        power_V = counts_V.double().clamp_min(1) ** NOISE_POWER
        power_V[[i for i in CONTEXT_IDS if i < len(power_V)]] = 0
        noise_V = (power_V / power_V.sum()).to(exact.weight.device)
        self.register_buffer("noise_V", noise_V, persistent=False)
        self.register_buffer("cumulative_V", noise_V.cumsum(0), persistent=False)

    @property
    def reports_nats(self) -> bool:
        """See `OutputLayer.reports_nats`: False while training."""
        return not self.training

    def draw(self, samples: int) -> Tensor:
        """Return ids (S) drawn from Q with replacement, from torch's random stream, so that a restart repeats them."""
        uniform_S = torch.rand(samples, dtype=torch.float64, device=self.cumulative_V.device)
        # Scaled to the last sum, which may be just below 1 after rounding; `right` skips ids without probability.
        return torch.searchsorted(self.cumulative_V, uniform_S * self.cumulative_V[-1], right=True)

    @contextmanager
    def one_update(self) -> Iterator[None]:
        """See `OutputLayer.one_update`: the first call of `loss` draws the samples, the others reuse them."""
        self._shares = True
        try:
            yield
        finally:
            self._shares = False
            self._shared = None

    def _negatives(self) -> Negatives:
        negatives = self._shared or self._draw_negatives()
        self._shared = negatives if self._shares else None
        return negatives

    def _draw_negatives(self) -> Negatives:
        ids_U, times_U = torch.unique(self.draw(self.samples), return_counts=True)
        place_V = torch.full_like(self.given_V, len(ids_U), dtype=torch.long)
        place_V[ids_U] = torch.arange(len(ids_U), device=ids_U.device)
        return Negatives(ids_U, times_U, place_V)

    def training_gradients(self, h_NE: Tensor, targets_N: Tensor) -> Gradients:
        """Return the estimator's loss of each position and its gradients in training mode, else the exact ones."""
        if not self.training:
            return self.gradients(h_NE, targets_N)

        weight_VE = self.weight.detach()
        bias_V = self.bias.detach()
        negatives = self._negatives()
        features = weight_VE.shape[1]
        dtype = h_NE.dtype
        targets_N = to_device(targets_N, h_NE.device)
        rows = rows_at_once(self.chunk, len(negatives.ids_U), h_NE)
        weight_UE = in_format(weight_VE[negatives.ids_U], dtype)
        bias_U = bias_V[negatives.ids_U]
        loss_N = bias_V.new_empty(len(h_NE))
        grad_NE = torch.empty_like(h_NE)
        grad_VE = torch.zeros_like(weight_VE)
        grad_V = torch.zeros_like(bias_V)
        grad_UE = torch.zeros_like(weight_VE[negatives.ids_U])
        grad_U = torch.zeros_like(bias_U)
        for i in range(0, len(h_NE), rows):
            part_NE = h_NE[i : i + rows]
            right_N = targets_N[i : i + rows]
            own_NE = weight_VE[right_N]
            part = part_NE[:, :features].to(own_NE.dtype)
            own_N = (part * own_NE).sum(1) + bias_V[right_N]
            others_NU = F.linear(part_NE, weight_UE) + bias_U
            loss_N[i : i + rows], to_own_N, to_others_NU = self._estimate(
                own_N, others_NU, right_N, negatives
            )
            low_NU = to_others_NU.to(dtype)
            grad_NE[i : i + rows] = torch.mm(low_NU, weight_UE)
            grad_NE[i : i + rows, :features] += (to_own_N[:, None] * own_NE).to(dtype)
            grad_UE += torch.mm(low_NU.t(), part_NE)[:, :features]
            grad_U += to_others_NU.sum(0)
            grad_VE.index_add_(0, right_N, to_own_N[:, None] * part)
            grad_V.index_add_(0, right_N, to_own_N)

        grad_VE.index_add_(0, negatives.ids_U, grad_UE)
        grad_V.index_add_(0, negatives.ids_U, grad_U)
        return Gradients(loss_N, grad_NE, (grad_VE, grad_V))

    def _log_expected_draws(self, ids_X: Tensor) -> Tensor:
        """Return log(S Q(w)), the logarithm of the expected number of draws of an id."""
        return (self.noise_V[ids_X] * self.samples).log().to(self.bias.dtype)

    @abstractmethod
    def _estimate(
        self,
        own_N: Tensor,
        others_NU: Tensor,
        targets_N: Tensor,
        negatives: Negatives,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the loss (N), and its derivatives by the targets' logits (N) and the negatives' logits (N, U)."""
        raise NotImplementedError


class SampledSoftmaxOutput(_EstimatedOutput):
    """The estimator whose normaliser is a sum over the target and weighted samples; a sampled target is left out."""

    def _estimate(
        self,
        own_N: Tensor,
        others_NU: Tensor,
        targets_N: Tensor,
        negatives: Negatives,
    ) -> tuple[Tensor, Tensor, Tensor]:
        times_U = negatives.times_U.to(others_NU.dtype)
        weighted_NU = others_NU + (times_U.log() - self._log_expected_draws(negatives.ids_U))
        # Column 0 is extra: a target that was not drawn masks it, and it is overwritten afterwards.
        logits_NX = torch.cat([own_N[:, None], weighted_NU], 1)
        hit_N1 = (negatives.place_V[targets_N, None] + 1) % logits_NX.shape[1]
        logits_NX.scatter_(1, hit_N1, -torch.inf)
        logits_NX[:, 0] = own_N
        loss_N, delta_NX = softmax_nats(logits_NX, torch.zeros_like(targets_N))
        return loss_N, delta_NX[:, 0] - 1, delta_NX[:, 1:]


class NCEOutput(_EstimatedOutput):
    """The estimator that learns to tell the target from samples of Q; as in the theory, a sampled target is noise."""

    def _estimate(
        self,
        own_N: Tensor,
        others_NU: Tensor,
        targets_N: Tensor,
        negatives: Negatives,
    ) -> tuple[Tensor, Tensor, Tensor]:
        times_U = negatives.times_U.to(own_N.dtype)
        own_N = own_N - self._log_expected_draws(targets_N)
        others_NU = others_NU - self._log_expected_draws(negatives.ids_U)
        loss_N = -F.logsigmoid(own_N) - torch.mv(F.logsigmoid(-others_NU), times_U)
        return loss_N, -torch.sigmoid(-own_N), torch.sigmoid(others_NU) * times_U


def training_output(
    output: OutputLayer,
    objective: ObjectiveSpec,
    counts_V: Tensor,
) -> OutputLayer:
    """Return the output layer that a network trains with: itself, or an estimator with its weights.

    Args:
        counts_V: How often each entry is predicted in the training stream.
    """
    if objective.estimator == "exact":
        return output
    assert isinstance(output, SoftmaxOutput)
    if objective.estimator == "nce":
        return NCEOutput(output, counts_V, objective.samples)
    return SampledSoftmaxOutput(output, counts_V, objective.samples)
