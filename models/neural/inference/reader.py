"""Read tokens with a fitted network, one position after another, with products of the caller's choice.

It computes what `Network.forward` and `OutputLayer.logp` compute, up to rounding. But the result for a stream depends
neither on its batch nor on where the text is cut: it is the same to the bit. (Not for the hierarchical output, which is
used as it is: there it is the same up to rounding.)

The usual product (`F.linear`) sums in another order for one row than for many, so its last digits differ. That is
enough to draw another word, once in some thousand texts. oneDNN's product with packed weights sums in the same order
for any number of rows, and is faster (batch invariance). Where it does not (a single row on processors without AVX2), a
row is computed beside a row of zeros; where torch has no oneDNN, the results depend on the batch as usual. A batch
becomes smaller whenever a text ends, and oneDNN generates code for each number of rows: milliseconds and half a
megabyte. So rows of zeros are added up to the next of a few numbers (`rows_computed`).
Shapes: N rows, E features in, G features out; for the other letters see `models/base.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...tokens.special import STARS
from ..architectures import NPLMNetwork, RecurrentNetwork, stars_so_far
from ..layers.cells import ACTIVATIONS, CELLS
from ..layers.own_layer import NormedLayer, OwnLayer, over_time
from ..network import Network, NetworkState
from ..output.adaptive import AdaptiveOutput
from ..output.base import SoftmaxOutput
from . import kernels

Linear = Callable[[Tensor], Tensor]
"""Maps x (N, E) to x Wᵀ + b (N, G)."""
MakeLinear = Callable[[Tensor, Tensor | None], Linear]
"""Makes it from W (G, E) and b (G)."""
ROWS = (1, 2, 3, 7, 16, 33, 64)
"""Numbers of rows that are compared to see whether they change a row's result."""
EXACT = 4
"""Products have exactly the given number of rows up to this one, where another row costs most; then a multiple."""
FEW = 32
MULTIPLE_OF_FEW = 8
"""Up to `FEW` rows, products have a multiple of this number of rows."""
MULTIPLE = 16
"""Above `FEW` rows, products have a multiple of this number of rows, or of more."""
LOGITS_ROWS = 256
"""Rows whose logits are in memory at a time where only one of each is asked for: about what a cache holds."""


def packed_linear(weight_GE: Tensor, bias_G: Tensor | None) -> Linear:
    """Return the product in float32 with packed weights."""
    weight_GE = weight_GE.detach()
    if bias_G is not None:
        bias_G = bias_G.detach()

    if not (weight_GE.dtype == torch.float32 and torch.backends.mkldnn.is_available()):
        return lambda x_NE: F.linear(x_NE, weight_GE, bias_G)

    packed = torch.ops.mkldnn._reorder_linear_weight(weight_GE.contiguous())

    def exactly(x_NE: Tensor) -> Tensor:
        return cast(
            Tensor,
            torch.ops.mkldnn._linear_pointwise(
                x_NE,
                packed,
                bias_G,
                "none",
                [],
                "",
            ),
        )

    least = 1 if same_for_any_rows(exactly, weight_GE.shape[1]) else 2

    def product(x_NE: Tensor) -> Tensor:
        rows = len(x_NE)
        spare = max(least, rows_computed(rows)) - rows
        if spare:
            return exactly(F.pad(x_NE, (0, 0, 0, spare)))[:rows]
        return exactly(x_NE)

    return product


def rows_computed(rows: int) -> int:
    """Return the number of rows of a product of so many: at least as many, and few different ones.

    Above 128 there are four to eight of them for each doubling.
    """
    if rows <= EXACT:
        return rows
    if rows <= FEW:
        multiple = MULTIPLE_OF_FEW
    else:
        multiple = max(MULTIPLE, 1 << (rows - 1).bit_length() - 3)

    return -(-rows // multiple) * multiple


def same_for_any_rows(linear: Linear, features: int) -> bool:
    """Return whether a row's result is the same, to the bit, alone and beside others."""
    x_NE = torch.rand(max(ROWS), features, generator=torch.Generator().manual_seed(1)) - 0.5
    whole_NG = linear(x_NE)
    return all(torch.equal(linear(x_NE[:rows].clone()), whole_NG[:rows]) for rows in ROWS)


def sigmoid(x: Tensor) -> Tensor:
    """Return σ(x); the last digit of `torch.sigmoid` depends on where in its tensor a number is."""
    return torch.tanh(x * 0.5) * 0.5 + 0.5


class Reader(ABC):
    """A fitted network, compiled for reading on the CPU.

    Args:
        network: In evaluation mode; its weights must not change any more.
        make: Makes the products.
        normalise: False: a plain softmax is left out of `logp`, which drawing does not need.

    Attributes:
        made_by: The function that made this reader, and its arguments.
        logp: From features (N, E) to log p of every entry (N, V); see `OutputLayer.logp`.
        normalised: Whether it gives log p itself, not log p plus a number.
    """

    def __init__(
        self,
        network: Network,
        make: MakeLinear = packed_linear,
        normalise: bool = True,
    ) -> None:
        self.network = network
        arguments = (network, make, normalise)
        self.made_by: tuple[Callable[..., object], tuple[object, ...]] = (type(self), arguments)
        self.logp = _output(network, make, normalise)
        self.normalised = normalise or not isinstance(network.output, SoftmaxOutput)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        """Pack the weights again in the process that reads a pickle: packed ones cannot be stored."""
        return self.made_by

    @abstractmethod
    def read(self, ids_BT: Tensor, state: NetworkState) -> tuple[Tensor, NetworkState]:
        """Read T tokens of each stream; see `Network.forward`."""


class _Layer:
    """One recurrent layer with its two products."""

    def __init__(self, layer: Any, make: MakeLinear) -> None:
        if isinstance(layer, OwnLayer):
            self.cell = layer.cell
            self.options = layer.options
        else:
            self.cell = CELLS["rnn" if isinstance(layer, nn.RNN) else layer.mode.lower()]
            if isinstance(layer, nn.RNN):
                self.options = {"f": ACTIVATIONS[layer.nonlinearity]}
            else:
                self.options = {}

        if self.cell is not CELLS["rnn"]:
            self.options = {"sigmoid": sigmoid}
        elif self.options["f"] is torch.sigmoid:
            self.options = {"f": sigmoid}

        self.of_input = make(layer.weight_ih_l0, layer.bias_ih_l0)
        self.of_state = make(layer.weight_hh_l0, layer.bias_hh_l0)

    def read(self, x_BTE: Tensor, state: NetworkState) -> tuple[Tensor, NetworkState]:
        """Return every hidden state (B, T, H) and the last state."""
        a_BTG = self.of_input(x_BTE.flatten(0, 1)).unflatten(0, x_BTE.shape[:2])
        return over_time(self._step, a_BTG, state)

    def _step(self, a_BG: Tensor, state: NetworkState) -> NetworkState:
        return self.cell.step(
            a_BG,
            state,
            None,
            None,
            lambda h_BH, *weights: self.of_state(h_BH),
            **self.options,
        )


class RecurrentReader(Reader):
    """A recurrent network whose cells are not normalised.

    Attributes:
        rows: From tokens (N) to new rows of the embedding (N, E).
        stars_SE: What is added to the input of a stream that has read this star token last.
    """

    LAYER: type[Any] = _Layer
    layers: Sequence[Any]
    network: RecurrentNetwork

    def __init__(
        self,
        network: RecurrentNetwork,
        make: MakeLinear = packed_linear,
        normalise: bool = True,
    ) -> None:
        super().__init__(network, make, normalise)
        self.layers = [self.LAYER(layer, make) for layer in network.layers]
        project = network.project
        if isinstance(project, nn.Linear):
            self.project: Linear = make(project.weight, None)
        else:
            self.project = lambda x_NE: x_NE

        self.look_up(network.embedding.weight.detach().numpy().__getitem__)

    def look_up(self, rows: Callable[[np.ndarray], np.ndarray]) -> None:
        """Take embeddings from a function from tokens (N) to new rows (N, E)."""
        self.rows = rows
        self.stars_SE = rows(np.arange(STARS[-1] + 1))
        self.stars_SE[: STARS[0] + 1 if self.network.condition_on_stars else None] = 0

    def read(self, ids_BT: Tensor, state: NetworkState) -> tuple[Tensor, NetworkState]:
        """Read T tokens of each stream; see `Network.forward`."""
        *memory, stars_1B = state
        stars_BT = stars_so_far(ids_BT, stars_1B[0])
        x_NE = self.inputs(ids_BT.flatten().numpy(), stars_BT.flatten().numpy())
        x_BTE = torch.from_numpy(x_NE).unflatten(0, ids_BT.shape)
        after = []
        for index, layer in enumerate(self.layers):
            x_BTE, last = layer.read(x_BTE, tuple(tensor[index] for tensor in memory))
            after.append(last)

        features_BTE = self.project(x_BTE.flatten(0, 1)).unflatten(0, ids_BT.shape)
        stacked = tuple(torch.stack(tensors) for tensors in zip(*after, strict=True))
        return features_BTE, (*stacked, stars_BT[:, -1][None])

    def inputs(self, ids_N: np.ndarray, stars_N: np.ndarray) -> np.ndarray:
        """Return the network's inputs (N, E) of tokens in any order, as `RecurrentNetwork.inputs` does."""
        x_NE: np.ndarray = self.rows(ids_N)
        if self.network.condition_on_stars:
            x_NE += self.stars_SE[stars_N]
        return x_NE


class LSTMLayer(_Layer):
    """An LSTM layer whose element-wise work is one compiled pass."""

    def read(self, x_BTE: Tensor, state: NetworkState) -> tuple[Tensor, NetworkState]:
        """Return every hidden state (B, T, H) and the last state; the same to the bit as T steps."""
        h_BH, c_BH = (tensor.contiguous().numpy() for tensor in state)
        x_TBE = x_BTE.transpose(0, 1)
        h_TBH = np.empty((len(x_TBE), *h_BH.shape), np.float32)
        x_TBI = self.inputs(x_TBE.flatten(0, 1)).reshape(*h_TBH.shape[:2], -1)
        for x_BI, new_BH in zip(x_TBI, h_TBH, strict=True):
            after_BH = np.empty_like(c_BH)
            self.step(
                x_BI,
                h_BH,
                c_BH,
                after_BH,
                new_BH,
            )
            h_BH = new_BH
            c_BH = after_BH

        return torch.from_numpy(h_TBH).transpose(0, 1), (
            torch.from_numpy(h_BH),
            torch.from_numpy(c_BH),
        )

    def inputs(self, x_NE: Tensor) -> np.ndarray:
        """Return the part of the gates that follows from inputs, for `step`."""
        return self.of_input(x_NE).numpy()

    def step(
        self,
        x_BI: np.ndarray,
        h_BH: np.ndarray,
        c_BH: np.ndarray,
        after_BH: np.ndarray,
        new_BH: np.ndarray,
    ) -> None:
        """Write c_t and h_t; overwrite x_BI."""
        x_BI += self.of_state(torch.from_numpy(h_BH)).numpy()
        kernels.lstm_step(x_BI, c_BH, after_BH, new_BH)


class LSTMReader(RecurrentReader):
    """An LSTM whose steps take few calls: with few streams, calls cost as much as the products."""

    LAYER = LSTMLayer
    layers: Sequence[LSTMLayer]

    def read(self, ids_BT: Tensor, state: NetworkState) -> tuple[Tensor, NetworkState]:
        """Read T tokens of each stream; see `Network.forward`."""
        if ids_BT.shape[1] != 1:
            return super().read(ids_BT, state)

        h_LBH, c_LBH = (tensor.contiguous().numpy() for tensor in state[:2])
        ids_B = ids_BT[:, 0].numpy()
        rated_B = (ids_B >= STARS[0]) & (ids_B <= STARS[-1])
        stars_B = np.where(rated_B, ids_B, state[2][0].numpy())
        new_LBH = np.empty_like(h_LBH)
        after_LBH = np.empty_like(c_LBH)
        x_BE = self.inputs(ids_B, stars_B)
        for index, layer in enumerate(self.layers):
            x_BI = layer.inputs(torch.from_numpy(x_BE))
            layer.step(
                x_BI,
                h_LBH[index],
                c_LBH[index],
                after_LBH[index],
                new_LBH[index],
            )
            x_BE = new_LBH[index]

        after = (
            torch.from_numpy(new_LBH),
            torch.from_numpy(after_LBH),
            torch.from_numpy(stars_B)[None],
        )
        return self.project(torch.from_numpy(x_BE))[:, None], after


class NPLMReader(Reader):
    """The feed-forward network over the last words."""

    network: NPLMNetwork

    def __init__(
        self,
        network: NPLMNetwork,
        make: MakeLinear = packed_linear,
        normalise: bool = True,
    ) -> None:
        super().__init__(network, make, normalise)
        self.hidden = make(network.hidden.weight, network.hidden.bias)

    def read(self, ids_BT: Tensor, state: NetworkState) -> tuple[Tensor, NetworkState]:
        """Read T tokens of each stream; see `Network.forward`."""
        x_BTF, after = self.network.inputs(ids_BT, state)
        h_BTH = torch.tanh(self.hidden(x_BTF.flatten(0, 1))).unflatten(0, ids_BT.shape)
        return torch.cat([x_BTF, h_BTH], -1) if self.network.direct else h_BTH, after


def _output(
    network: Network,
    make: MakeLinear,
    normalise: bool,
) -> Linear:
    output = network.output
    if isinstance(output, SoftmaxOutput):
        logits = make(output.weight, output._bias())
        if normalise:
            return SoftmaxLogp(logits)
        return logits
    if isinstance(output, AdaptiveOutput):
        return AdaptiveLogp(output, make)
    return output.logp


class SoftmaxLogp:
    """A `SoftmaxOutput`, packed."""

    def __init__(self, logits: Linear) -> None:
        self.logits = logits

    def __call__(self, h_NE: Tensor) -> Tensor:
        """Return log p of every entry (N, V)."""
        return torch.log_softmax(self.logits(h_NE), 1)

    def nats(self, h_NE: Tensor, targets_N: np.ndarray) -> np.ndarray:
        """Return −log p of targets that are predicted (N, float32)."""
        none_N = np.zeros(len(h_NE), np.float32)
        return -_logp_in_level(self.logits, h_NE, targets_N, none_N)


class AdaptiveLogp:
    """The levels of an `AdaptiveOutput`, packed."""

    def __init__(self, output: AdaptiveOutput, make: MakeLinear) -> None:
        head, tails = output._levels(output.weight.dtype)
        self.cuts = output.cuts
        self.entries = output.entries
        self.head = make(head.weight_CE, head.bias_C)
        self.projects = [
            make(output._own(k)[0], None) if output.shrinks else None for k in range(len(tails))
        ]
        self.tails = [make(tail.weight_CE, tail.bias_C) for tail in tails]
        self.order_P = output.order_P
        self.given = np.setdiff1d(np.arange(self.entries), self.order_P.numpy())
        self.rank_V = output.rank_V.numpy()

    def __call__(self, h_NE: Tensor) -> Tensor:
        """Return log p of every entry (N, V)."""
        levels = [self.head(h_NE)]
        for project, tail in zip(self.projects, self.tails, strict=True):
            levels.append(tail(h_NE if project is None else project(h_NE)))

        order_P = self.order_P.numpy()
        head_NC = levels[0].numpy()
        logp_NV = np.empty((len(head_NC), self.entries), np.float32)
        logp_NV[:, self.given] = -np.inf
        none_N = np.zeros(len(head_NC), np.float32)
        kernels.log_softmax_of_level(head_NC, none_N, order_P[: self.cuts[0]], logp_NV)
        for k, (low, high) in enumerate(pairwise(self.cuts)):
            tail_N = head_NC[:, self.cuts[0] + k].copy()
            kernels.log_softmax_of_level(levels[k + 1].numpy(), tail_N, order_P[low:high], logp_NV)

        return torch.from_numpy(logp_NV)

    def nats(self, h_NE: Tensor, targets_N: np.ndarray) -> np.ndarray:
        """Return −log p of targets that are predicted (N, float32)."""
        head = self.cuts[0]
        rank_N = self.rank_V[targets_N]
        level_N = np.searchsorted(self.cuts[:-1], rank_N, side="right")  # 0: the head
        classes_N = np.where(level_N == 0, rank_N, head - 1 + level_N)
        none_N = np.zeros(len(h_NE), np.float32)
        logp_N = _logp_in_level(self.head, h_NE, classes_N, none_N)
        for k, (project, tail) in enumerate(zip(self.projects, self.tails, strict=True)):
            rows_M = np.flatnonzero(level_N == k + 1)
            if len(rows_M):
                h_ME = h_NE[torch.from_numpy(rows_M)]
                features_ME = h_ME if project is None else project(h_ME)
                places_M = rank_N[rows_M] - self.cuts[k]
                logp_N[rows_M] = _logp_in_level(tail, features_ME, places_M, logp_N[rows_M])

        return -logp_N


def _logp_in_level(
    logits: Linear,
    h_NE: Tensor,
    classes_N: np.ndarray,
    plus_N: np.ndarray,
) -> np.ndarray:
    """Return log p of a class of one softmax (N) plus a number, some rows at a time."""
    logp_N = np.empty(len(h_NE), np.float32)
    for begin in range(0, len(h_NE), LOGITS_ROWS):
        some = slice(begin, begin + LOGITS_ROWS)
        kernels.logp_in_level(
            logits(h_NE[some]).numpy(),
            classes_N[some],
            plus_N[some],
            logp_N[some],
        )
    return logp_N


def reader_for(network: Network) -> Reader | None:
    """Return a reader of a network; None on a GPU and for kinds of cells that have none."""
    kind = reader_kind(network)
    if kind is None:
        return None
    return kind(network)


def reader_kind(network: Network) -> type[Reader] | None:
    """Return the kind of reader of a network; None on a GPU and for kinds of cells that have none."""
    if network.output.weight.is_cuda:
        return None
    if isinstance(network, NPLMNetwork):
        return NPLMReader
    plain = isinstance(network, RecurrentNetwork) and not any(map(_is_special, network.layers))
    if not isinstance(network, RecurrentNetwork) or not plain:
        return None
    compiled = network.kind == "lstm" and network.embedding.weight.dtype == torch.float32
    return LSTMReader if compiled else RecurrentReader


def _is_special(layer: nn.Module) -> bool:
    return isinstance(layer, NormedLayer) or (
        isinstance(layer, OwnLayer) and layer.cell is CELLS["gru_cho"]
    )
