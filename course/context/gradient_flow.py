"""Measure how far back a gradient reaches: ‖∂J(i)/∂h(j)‖ by the distance ℓ = i − j.

J(i) = −log p(w_{i+1} | w_1 … w_i) is the loss at position i, h(j) the memory that the network passes from position j to
position j + 1. By the chain rule

    ∂J(i)/∂h(j) = [∏_{k=j+1…i} ∂h(k)/∂h(k−1)]ᵀ ∂J(i)/∂h(i)                                            (1)

is a product of ℓ Jacobian matrices (Bengio, Simard & Frasconi 1994; Pascanu, Mikolov & Bengio 2013, equations 3–5). In
a linear network h(t) = W_h h(t−1) + W_x x(t) each of them is W_h. With W_h = Q Λ Q⁻¹,

    (W_hᵀ)^ℓ = Q⁻ᵀ Λ^ℓ Qᵀ                                                                              (2)

and its largest eigenvalue λ₁ (in absolute value, ρ = |λ₁|) dominates: the norm goes like ρ^ℓ, so its logarithm is a
line of slope log ρ. Below ρ = 1 the gradient vanishes, above it explodes. A tanh multiplies each factor by
diag(1 − h²) ≤ 1, a ReLU by a diagonal of zeros and ones. The largest singular value of these diagonals is at most 1, so
the norm of the product is at most σ₁^ℓ, where σ₁ is the largest singular value of W_h. The product with them may still
be larger than that of W_h alone: for W = (1 −1; 1 −1) the square is 0, while diag(1, 0) W is its own square. The gates
of the LSTM and the GRU add a path on which the factor is diag(f) (diag(z)), and f near 1 keeps the product from
shrinking.

The results are exact, not estimates: reverse-mode differentiation computes (1) for any network whose memory is a tuple
of tensors. It uses float64, since after a hundred steps float32 may underflow. For the LSTM, "h" is ∂J(i)/∂h(j) with
c(j) constant, "c" is ∂J(i)/∂c(j) with h(j) constant, and "all" is the norm of both together, which can be compared with
other cells.

    python -m reviewlm.course.context.gradient_flow                     # new networks of every cell, on random tokens
    python -m reviewlm.course.context.gradient_flow --model champion    # the networks of a version, beside their initial weights

Shape legend: see `models/base.py`; D distances, N pairs of a stream and a position i.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, log
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from reviewlm.course.inputs import held_out, networks, open_models, program, show
from reviewlm.models.base import ModelError
from reviewlm.models.neural.architectures import RecurrentNetwork
from reviewlm.models.neural.network import STREAMS, Network, NetworkState
from reviewlm.models.neural.output import NOT_SCORED
from reviewlm.models.specs import ObjectiveSpec, RecurrentSpec, TrainingSpec
from reviewlm.models.tokens.special import CONTEXT_IDS
from reviewlm.models.tokens.words import FIRST

if TYPE_CHECKING:
    from reviewlm.models.streams import TokenStream

SHOWN = (5, 20, 50, 100, 200)
"""Distances that the table shows."""
POSITIONS = 20
BEGINNINGS = 16
RANDOM_WORDS = 1_000
"""Positions i of each review whose loss is differentiated, their reviews, and the vocabulary of new networks."""
LEGEND = (
    "half-length: tokens after which the gradient is half as large; reach: largest distance, in tokens, at which it is "
    "still 1 %;\n5 back: its norm with respect to the memory 5 tokens before, as a share of that 1 token before"
)
"""Meaning of the values of the table."""
MEMORIES = ("h", "c")
"""Names of the tensors of a recurrent network's memory, in the order of its state."""


class GradientDecay(NamedTuple):
    """The best-fitting line log norm = a + slope · ℓ; `half_length` tokens halve the norm (inf: it does not fall)."""

    slope: float
    half_length: float


@dataclass(frozen=True)
class GradientFlow:
    """Norms of the gradient with respect to one memory tensor.

    Args:
        norms_ND: Row n is one stream and position i, column d the distance ℓ = d + 1; float64.
    """

    norms_ND: np.ndarray

    @property
    def distance_D(self) -> np.ndarray:
        """The distances 1 … D in tokens."""
        return np.arange(1, self.norms_ND.shape[1] + 1)

    @property
    def mean_D(self) -> np.ndarray:
        """The mean norm at each distance."""
        mean_D: np.ndarray = self.norms_ND.mean(0)
        return mean_D

    def quantile_D(self, share: float) -> np.ndarray:
        """Return, at each distance, the norm below which *share* of the pairs are."""
        quantile_D: np.ndarray = np.quantile(self.norms_ND, share, axis=0)
        return quantile_D

    def decay(self, first: int = 1, last: int | None = None) -> GradientDecay:
        """Fit a line to the logarithm of the mean norm over the distances *first* to *last* by least squares.

        Distances at which every gradient is exactly 0 are left out. If fewer than two remain, the slope is −inf and the
        half-length 0: no gradient is known to pass.
        """
        mean_D = self.mean_D[first - 1 : last]
        there_D = mean_D > 0
        if there_D.sum() < 2:
            return GradientDecay(-inf, 0.0)
        slope = float(
            np.polyfit(self.distance_D[first - 1 : last][there_D], np.log(mean_D[there_D]), 1)[0]
        )
        return GradientDecay(slope, log(2) / -slope if slope < 0 else inf)

    def reach(self, share: float = 0.01) -> int:
        """Return the largest distance at which the mean norm is still at least *share* of that at distance 1."""
        mean_D = self.mean_D
        return int(self.distance_D[mean_D >= share * mean_D[0]].max())


def gradient_flow(
    network: Network,
    ids_BT: np.ndarray,
    distances: int,
) -> dict[str, GradientFlow]:
    """Measure ‖∂J(i)/∂h(j)‖ for the distances 1 … D, at every position i with at least D positions before it.

    Each stream starts from the network's own start. Targets that are never predicted (`<bos>`, stars) are left out.

    Args:
        network: Any network with a recurrent memory; neither changed nor moved. Dropout is off.
        ids_BT: Tokens; each stream needs at least D + 2, and one more for each further position i.
        distances: D.

    Returns:
        "h" for the first tensor of the memory, "c" for the second one if there is one; then also "all".

    Raises:
        ModelError: kind "input": too few tokens, ids outside the vocabulary, nothing to predict, or a network whose
            state has no real numbers (no recurrent memory).
    """
    _check(network, ids_BT, distances)
    frozen = copy.deepcopy(network).to("cpu", torch.float64).eval().requires_grad_(False)
    ids = torch.from_numpy(np.ascontiguousarray(ids_BT, np.int64))
    state = frozen.start(len(ids), "cpu")
    handed_on: list[list[Tensor]] = []
    norms: list[Tensor] = []
    for i in range(ids.shape[1] - 1):
        features_B1E, state = frozen(ids[:, i : i + 1], state)
        if i >= distances:
            norms.append(
                _norms(frozen, features_B1E[:, 0], ids[:, i + 1], handed_on[-distances:][::-1])
            )
        handed_on.append(_track_state(state))

    found_NDM = torch.cat(norms).numpy()
    if not len(found_NDM):
        raise ModelError(
            "none of the tokens is ever predicted; there is no loss to differentiate", "input"
        )

    names = [
        MEMORIES[index] if index < len(MEMORIES) else f"m{index}"
        for index in range(found_NDM.shape[2])
    ]
    flows = {name: GradientFlow(found_NDM[..., index]) for index, name in enumerate(names)}
    if len(flows) == 1:
        return flows
    return {**flows, "all": GradientFlow(np.sqrt((found_NDM**2).sum(2)))}


def _check(
    network: Network,
    ids_BT: np.ndarray,
    distances: int,
) -> None:
    if distances < 1 or ids_BT.ndim != 2 or not len(ids_BT) or ids_BT.shape[1] < distances + 2:
        wanted = f"streams of at least {distances + 2} tokens for {distances} distances (1 or more)"
        raise ModelError(
            f"ids of shape {ids_BT.shape}; gradients by distance need {wanted}", "input"
        )

    size = network.output.entries
    if not 0 <= ids_BT.min() <= ids_BT.max() < size:
        raise ModelError(
            f"token ids go from {ids_BT.min()} to {ids_BT.max()}; there are {size} entries", "input"
        )
    if not any(
        tensor.is_floating_point() for tensor in network.start(1, network.output.weight.device)
    ):
        raise ModelError(
            "the network has no recurrent memory: no gradient flows from one position to another",
            "input",
        )


def _track_state(state: NetworkState) -> list[Tensor]:
    """Return the tensors of real numbers in a state, each tracked by autograd from here on."""
    memories = [tensor for tensor in state if tensor.is_floating_point()]
    return [tensor if tensor.requires_grad else tensor.requires_grad_() for tensor in memories]


def _norms(
    network: Network,
    features_BE: Tensor,
    following_B: Tensor,
    past: Sequence[Sequence[Tensor]],
) -> Tensor:
    """Return the norms of one position's gradients, (n, D, M): n streams that are scored, M tensors of memory.

    Args:
        network: Its output layer computes the loss.
        features_BE: After position i.
        following_B: The tokens that follow.
        past: The memory passed on at i − 1, i − 2, … i − D.
    """
    given_B = torch.isin(following_B, torch.tensor(sorted(CONTEXT_IDS)))
    nats, _ = network.output.loss(
        features_BE, following_B.masked_fill(given_B, NOT_SCORED), "float32"
    )
    flat = [tensor for memory in past for tensor in memory]
    gradients = torch.autograd.grad(
        nats,
        flat,
        retain_graph=True,
        allow_unused=True,
        materialize_grads=True,
    )
    norms = [gradient.movedim(STREAMS, 0).flatten(1).norm(dim=1) for gradient in gradients]
    return torch.stack(norms, 1).unflatten(1, (len(past), -1))[~given_B]


def initial_network(spec: RecurrentSpec, vocabulary_size: int) -> Network:
    """Return a network with the initial weights that a fit of *spec* starts from."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.training.seed)
        return RecurrentNetwork(spec, torch.ones(vocabulary_size, dtype=torch.int64))


def each_cell(hidden: int, embedding: int) -> dict[str, RecurrentSpec]:
    """Return options of a one-layer network of every cell, by name: tanh and ReLU RNN, GRU, LSTM."""
    tanh = RecurrentSpec(
        kind="rnn",
        name="rnn",
        hidden=hidden,
        embedding=embedding,
        dropout=0.0,
        objective=ObjectiveSpec(output="softmax"),
        training=TrainingSpec(seed=1),
    )
    relu = replace(tanh, name="relu", nonlinearity="relu")
    gru = replace(tanh, kind="gru", name="gru")
    lstm = replace(tanh, kind="lstm", name="lstm")
    return {spec.name: spec for spec in (tanh, relu, gru, lstm)}


def beginnings(
    stream: TokenStream,
    length: int,
    count: int,
) -> np.ndarray:
    """Return the first *length* tokens of up to *count* reviews that are that long, evenly spaced (B, T) int64.

    Raises:
        ModelError: kind "input": no review is long enough.
    """
    lengths_D = np.diff(np.asarray(stream.offsets))
    long = np.flatnonzero(lengths_D >= length)
    if not len(long) or count < 1:
        longest = int(lengths_D.max(initial=0))
        raise ModelError(
            f"no review has {length} tokens (the longest has {longest}); ask for fewer distances",
            "input",
        )

    chosen = long[np.linspace(0, len(long) - 1, min(count, len(long))).astype(np.int64)]
    return np.stack(
        [np.asarray(stream.document(int(review))[:length], np.int64) for review in chosen]
    )


class UnitActivity(NamedTuple):
    """The behaviour of the units of one ReLU layer on data.

    `dead_share` of the units are 0 at every position, so no gradient ever reaches their weights; `zero_share` of all
    activations are 0.
    """

    layer: int
    units: int
    dead_share: float
    zero_share: float


@torch.no_grad()
def relu_activity(
    network: Network,
    spec: RecurrentSpec,
    ids_BT: np.ndarray,
) -> list[UnitActivity]:
    """Return for each layer of a ReLU network the share of units that are dead on these tokens, and of zeros.

    Args:
        network: The network of *spec*; neither changed nor moved. Dropout is off.
        spec: Must be of the "rnn" kind with nonlinearity "relu".
        ids_BT: Tokens; a unit counts as dead only if it is 0 for all of them.

    Raises:
        ModelError: kind "input": another kind of network, or no tokens.
    """
    if spec.kind != "rnn" or spec.nonlinearity != "relu":
        raise ModelError(f"model {spec.name!r} has no ReLU units: only these can be dead", "input")
    if not ids_BT.size:
        raise ModelError("there are no tokens to run the network on", "input")

    frozen = copy.deepcopy(network).to("cpu").eval()
    ids = torch.from_numpy(np.ascontiguousarray(ids_BT, np.int64))
    state = frozen.start(len(ids), "cpu")
    zeros_LH: Tensor = torch.zeros(state[0].shape[0], state[0].shape[2], dtype=torch.float64)
    for column_B in ids.unbind(1):
        _, state = frozen(column_B[:, None], state)
        zeros_LH += (state[0] == 0).sum(STREAMS)

    share_LH = zeros_LH / ids.numel()
    return [
        UnitActivity(
            layer, len(share_H), float((share_H == 1).double().mean()), float(share_H.mean())
        )
        for layer, share_H in enumerate(share_LH)
    ]


def gradient_row(name: str, flow: GradientFlow) -> dict[str, Any]:
    """Return half-length, reach, and the mean norm at some distances, in units of that at distance 1."""
    unit = float(flow.mean_D[0]) or 1.0
    at = {}
    for ell in SHOWN:
        if ell <= len(flow.mean_D):
            at[f"{ell} back"] = float(flow.mean_D[ell - 1]) / unit

    return {
        "network": name,
        "half-length": flow.decay().half_length,
        "reach": flow.reach(),
        **at,
    }


def main() -> None:
    """Show how far gradients reach in each network, and the dead units of those with ReLU."""
    options = program(
        __doc__,
        models=True,
        hidden=128,
        distances=100,
    ).parse_args()
    torch.set_num_threads(1)
    length = options.distances + POSITIONS + 1
    asked: list[tuple[str, RecurrentSpec, Network, np.ndarray]] = []
    if options.model:
        for name, bundle in open_models(options)[0].items():
            ids_BT = beginnings(held_out(options, bundle, None), length, BEGINNINGS)
            for inner, spec, network in networks(name, bundle.spec, bundle.model):
                asked += [(inner, spec, network, ids_BT)]
                asked += [
                    (
                        f"{inner}, untrained",
                        spec,
                        initial_network(spec, bundle.vocabulary.size),
                        ids_BT,
                    )
                ]
    else:
        ids_BT = np.random.default_rng(options.seed).integers(
            FIRST, RANDOM_WORDS, (BEGINNINGS, length)
        )
        for name, spec in each_cell(options.hidden, options.hidden).items():
            asked += [(name, spec, initial_network(spec, RANDOM_WORDS), ids_BT)]

    rows = []
    activity: list[dict[str, Any]] = []
    for name, spec, network, ids_BT in asked:
        flows = gradient_flow(network, ids_BT, options.distances)
        rows.append(gradient_row(name, flows.get("all", flows["h"])))
        if spec.kind == "rnn" and spec.nonlinearity == "relu":
            activity += [
                {"network": name, **layer._asdict()}
                for layer in relu_activity(network, spec, ids_BT)
            ]

    print(LEGEND)
    show(rows)
    if activity:
        print()
        show(activity)


if __name__ == "__main__":
    main()
