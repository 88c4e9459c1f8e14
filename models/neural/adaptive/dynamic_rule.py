"""Update the weights of a network in dynamic evaluation: gradient, step, decay towards the static weights.

With the weights W, the static ones W_s, the gradient g of the mean nats of a segment, rate η and decay λ,

    sgd    W  ←  W − η g            +  λ (W_s − W)
    rms    W  ←  W − η g / (r + ε)  +  min(1, λ r / mean(r)) (W_s − W)

r is the root mean square of each weight's gradient on the training text, over minibatches of 100 segments side by side,
and mean(r) its mean over all weights. A weight with large gradients there takes smaller steps and decays faster.

B. Krause, E. Kahembwe, I. Murray and S. Renals (2018), "Dynamic evaluation of neural sequence models", ICML: stochastic
gradient descent, its global prior, and the rules that divide and decay by RMS. All weights change, as in the paper.

Shapes: see `models/base.py`; N positions.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from ...base import ModelError
from ..network import Network, detach
from ..output import CONTEXT_IDS, NOT_SCORED

if TYPE_CHECKING:
    from ...streams import TokenStream

Weights = tuple[Tensor, ...]
"""One tensor for each parameter of a network, in the network's order."""
SIDE_BY_SIDE = 100
"""Segments of a minibatch of the statistics r; the size of r depends on it."""


class DynamicRule:
    """The update rule: gradient step and decay towards the static weights.

    Args:
        static: W_s.
        rate: η.
        decay: λ.
        rms: r of each weight for "rms", None for "sgd".
        epsilon: ε.
    """

    def __init__(
        self, static: Weights, rate: float, decay: float, rms: Weights | None = None, epsilon: float = 0.0
    ) -> None:
        self.static, self.rate, self.decay = static, rate, decay
        self.scale = None if rms is None else [1 / (r + epsilon) for r in rms]
        self.pull = None if rms is None else _pull(rms, decay)

    @torch.no_grad()
    def apply(self, weights: Weights, gradients: Sequence[Tensor] | None, positions: int) -> None:
        """Change the weights in place.

        Args:
            weights: Changed.
            gradients: Of the sum of nats; None where no token was scored: then the weights only decay.
            positions: Of the segment; the sum is divided by this.
        """
        own = list(weights)
        if self.decay and self.pull is not None:
            torch._foreach_lerp_(own, list(self.static), self.pull)
        elif self.decay:
            torch._foreach_lerp_(own, list(self.static), self.decay)
        if gradients is not None and self.scale is not None:
            torch._foreach_addcmul_(own, list(gradients), self.scale, value=-self.rate / positions)
        elif gradients is not None:
            torch._foreach_add_(own, list(gradients), alpha=-self.rate / positions)


def _pull(rms: Weights, decay: float) -> list[Tensor]:
    mean = sum(float(r.double().sum()) for r in rms) / sum(r.numel() for r in rms)
    if not 0 < mean < float("inf"):
        raise ModelError(f"the root mean square of the gradients on the training text is {mean} on average", "diverged")
    return [(decay / mean * r).clamp_(max=1.0) for r in rms]


def twin(network: Network) -> Network:
    """Return a network that shares the weights' memory and whose parameters may be replaced by other tensors.

    Its embeddings return sparse gradients: only the rows that were read.
    """
    shared: dict[int, object] = {id(own): nn.Parameter(own.detach()) for own in network.parameters()}
    copied = copy.deepcopy(network, shared).eval()
    for module in copied.modules():
        if isinstance(module, nn.Embedding):
            module.sparse = True
    return copied


def weights_of(network: Network) -> Weights:
    """Return the current weights of a network, not copies."""
    return tuple(own.detach() for own in network.parameters())


def use(network: Network, weights: Weights) -> None:
    """Make a network compute with these tensors themselves, not copies."""
    for own, weight in zip(network.parameters(), weights, strict=True):
        own.data = weight


class _WithoutCudnn:
    """Switch cuDNN off while any block is open; the switch is one for the whole process, and blocks may overlap."""

    def __init__(self) -> None:
        self._lock, self._blocks, self._switches = Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._blocks:
                self._switches.enter_context(torch.backends.cudnn.flags(enabled=False, allow_tf32=False))
            self._blocks += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._blocks -= 1
            if not self._blocks:
                self._switches.close()


_without_cudnn = _WithoutCudnn()


@contextmanager
def differentiable() -> Iterator[None]:
    """Allow gradients through a network that is not training, which cuDNN's recurrent layers do not."""
    with torch.enable_grad(), _without_cudnn:
        yield


def gradients_of(network: Network, features_NE: Tensor, targets_N: Tensor) -> tuple[Tensor, list[Tensor] | None]:
    """Return −log p of each target (N, 0 where it is −1), and the gradient of their sum for each parameter.

    Args:
        network: Its output layer predicts the targets.
        features_NE: Computed by the network with gradients enabled.
        targets_N: Ids; −1 is not scored. If none is scored, there is no gradient: None.
    """
    nats_N = features_NE.new_zeros(len(targets_N))
    rows_M = (targets_N != NOT_SCORED).nonzero()[:, 0]
    if not len(rows_M):
        return nats_N, None
    network.zero_grad(set_to_none=True)
    scored_ME = features_NE.index_select(0, rows_M)
    with torch.no_grad():
        found = network.output.gradients(scored_ME.detach(), targets_N[rows_M])
    for own, gradient in zip(network.output.parameters(recurse=False), found.parameters, strict=True):
        own.grad = gradient
    scored_ME.backward(found.features_NE)  # type: ignore[no-untyped-call]
    nats_N[rows_M] = found.nats_N
    return nats_N, [_dense(own) for own in network.parameters()]


def _dense(parameter: nn.Parameter) -> Tensor:
    gradient = parameter.grad
    if gradient is None:
        return torch.zeros_like(parameter)
    return gradient.to_dense() if gradient.is_sparse else gradient


def targets_of(ids: Tensor) -> Tensor:
    """Return the ids, with −1 for those that are given and never predicted."""
    return ids.masked_fill(torch.isin(ids, torch.tensor(CONTEXT_IDS, device=ids.device)), NOT_SCORED)


def root_mean_squares(network: Network, train: TokenStream, segment: int, tokens: int) -> Weights:
    """Return r: the root of the mean over minibatches of the squared gradient of a minibatch's mean nats.

    Args:
        network: A twin, with the static weights.
        train: Read from its beginning, in lanes side by side whose state is carried from minibatch to minibatch.
        segment: Tokens of a segment.
        tokens: Number of tokens to read, approximately; at least one minibatch is read.

    Raises:
        ModelError: kind "input": the text is shorter than a segment.
    """
    ids = np.asarray(train.ids[: max(tokens, SIDE_BY_SIDE * segment) + 1], np.int64)
    lanes = min(SIDE_BY_SIDE, (len(ids) - 1) // segment)
    if lanes < 1:
        raise ModelError(f"the training text has {len(ids)} tokens, fewer than a segment of {segment} and one", "input")
    length = (len(ids) - 1) // lanes // segment * segment
    start_B1 = np.arange(lanes)[:, None] * length
    ids_BL = torch.from_numpy(ids[start_B1 + np.arange(length + 1)]).to(network.output.weight.device)
    squares = [torch.zeros_like(own) for own in network.parameters()]
    state, count = network.start(lanes, ids_BL.device), 0
    for begin in range(0, length, segment):
        with differentiable():
            features_BTE, state = network(ids_BL[:, begin : begin + segment], detach(state))
            targets_N = targets_of(ids_BL[:, begin + 1 : begin + segment + 1]).flatten()
            _, gradients = gradients_of(network, features_BTE.flatten(0, 1), targets_N)
        count += 1
        if gradients is not None:
            torch._foreach_addcmul_(squares, gradients, gradients, value=(1 / len(targets_N)) ** 2)
    return tuple((square / count).sqrt_() for square in squares)
