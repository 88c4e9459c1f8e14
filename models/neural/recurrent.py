"""Recurrent language models (Mikolov et al. 2010): embedding, L recurrent layers, softmax tied to the embedding.

    x_t = C[w_t]                              look-up, the same as the one-hot vector times C
    x_t = C[w_t] + C[s]                       with `remind`: s is the star token of the review, known at its beginning
    h_t^1 = cell(x_t, h_{t−1}^1), h_t^l = cell(h_t^{l−1}, h_{t−1}^l)
    y_t = P h_t^L                             only where H differs from E and the output is tied
    p(w_{t+1} | w_1 … w_t) = softmax(C y_t + b)

Shape legend: see `models/base.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..specs import RecurrentSpec
from ..vocabulary import STARS
from .cells import CELLS, OwnLayer, unroll
from .dropout import Dropout
from .lm import NeuralLM
from .network import EMBEDDING_STD, Network, NetworkState
from .output import build_output


def make_layer(kind: str, inputs: int, hidden: int, cells: str, nonlinearity: str = "tanh") -> nn.Module:
    """Return one recurrent layer with its initial weights, uniform in ±1/√H except where noted.

    The LSTM's forget gate starts with a bias of 1, so that it remembers from the start (Jozefowicz et al. 2015);
    the relu network's recurrent matrix starts as the identity with biases of 0 (Le, Jaitly & Hinton 2015).
    """
    if cells == "own":
        layer: nn.Module = OwnLayer(kind, inputs, hidden, nonlinearity)
    else:
        options: dict[str, Any] = {"nonlinearity": nonlinearity} if kind == "rnn" else {}
        layer = CELLS[kind].fused(inputs, hidden, batch_first=True, **options)
    parameters = dict(layer.named_parameters())
    with torch.no_grad():
        if kind == "lstm":
            parameters["bias_ih_l0"][hidden : 2 * hidden] = 1.0
            parameters["bias_hh_l0"][hidden : 2 * hidden] = 0.0
        if kind == "rnn" and nonlinearity == "relu":
            nn.init.eye_(parameters["weight_hh_l0"])
            parameters["bias_ih_l0"].zero_()
            parameters["bias_hh_l0"].zero_()
    return layer


def run_layer(kind: str, layer: nn.Module, x_BTE: Tensor, state: NetworkState) -> tuple[Tensor, NetworkState]:
    """Run an own or fused layer over T positions from state tensors (B, H); returns h_BTH and the last state.

    A fused LSTM repacks its weights at each call, so one step of it on the processor takes 2 to 6 times as long as
    the equations written out (batch 1, H 320 and 640): single steps of generation go through those.
    """
    if isinstance(layer, OwnLayer):
        return layer(x_BTE, state)
    if isinstance(layer, nn.LSTM) and x_BTE.shape[1] == 1 and x_BTE.device.type == "cpu" and not layer.training:
        return unroll(layer, CELLS[kind], x_BTE, state)
    before = tuple(tensor.unsqueeze(0).to(x_BTE.dtype) for tensor in state)
    h_BTH, after = layer(x_BTE, before if isinstance(layer, nn.LSTM) else before[0])
    after = after if isinstance(after, tuple) else (after,)
    return h_BTH, tuple(tensor.squeeze(0) for tensor in after)


class RecurrentNetwork(Network):
    """Embedding, L recurrent layers with dropout around each, projection where needed, output layer.

    The layers hold parameters of the same names and shapes whether `spec.cells` is "own" or "fused", so weights trained
    with one load into the other and give the same numbers.

    Args:
        spec: Architecture, objective and number format.
        unigram_counts_V: How often each entry is predicted in the training text: initial output bias and head.

    Attributes:
        layers: L modules, each with weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0.
        project: Linear H → E, or the identity.
    """

    def __init__(self, spec: RecurrentSpec, unigram_counts_V: Tensor) -> None:
        super().__init__()
        self.precision = spec.training.precision
        self.kind, self.hidden = spec.kind, spec.hidden
        self.embedding = nn.Embedding(len(unigram_counts_V), spec.embedding)
        nn.init.normal_(self.embedding.weight, 0.0, EMBEDDING_STD)
        sizes = [spec.embedding] + [spec.hidden] * (spec.layers - 1)
        self.layers = nn.ModuleList(
            make_layer(spec.kind, size, spec.hidden, spec.cells, spec.nonlinearity) for size in sizes
        )
        self.remind = spec.remind
        self.dropout = Dropout(spec.dropout, spec.variational)
        projected = spec.tied and spec.hidden != spec.embedding
        self.project = nn.Linear(spec.hidden, spec.embedding, bias=False) if projected else nn.Identity()
        self.output = build_output(spec.objective, self._output_weight(spec), unigram_counts_V)

    def _output_weight(self, spec: RecurrentSpec) -> nn.Parameter:
        """Return the embedding itself, or rows of their own (V, H) that need no projection."""
        if spec.tied:
            return cast(nn.Parameter, self.embedding.weight)
        rows_VH = torch.empty(self.embedding.num_embeddings, spec.hidden)
        return nn.Parameter(nn.init.normal_(rows_VH, 0.0, EMBEDDING_STD))

    def start(self, batch: int, device: torch.device | str) -> NetworkState:
        """Return zeros: h_LBH, c_LBH for the LSTM, and the star token of each stream (1, B), 0 for none yet."""
        shape = len(self.layers), batch, self.hidden
        zeros = torch.zeros(shape, dtype=self.embedding.weight.dtype, device=device)
        stars_1B = torch.zeros(1, batch, dtype=torch.int64, device=device)
        return *(zeros,) * CELLS[self.kind].states, stars_1B

    def forward(self, ids_BT: Tensor, state: NetworkState) -> tuple[Tensor, NetworkState]:
        """See `Network.forward`; under "bf16" the layers and the projection run in bfloat16 while training."""
        bf16 = self.training and self.precision == "bf16"
        *memory, stars_1B = state
        stars_BT = stars_so_far(ids_BT, stars_1B[0])
        x_BTE = self.dropout(self._inputs(ids_BT, stars_BT))
        after = []
        with torch.autocast(ids_BT.device.type, torch.bfloat16, enabled=bf16):
            for index, layer in enumerate(self.layers):
                x_BTE, last = run_layer(self.kind, layer, x_BTE, tuple(tensor[index] for tensor in memory))
                x_BTE = self.dropout(x_BTE)
                after.append(last)
            features_BTE = self.project(x_BTE)
        dtype = self.embedding.weight.dtype
        state = *(tensor.to(dtype) for tensor in _stack(after)), stars_BT[:, -1][None]
        return features_BTE.to(dtype), state

    def _inputs(self, ids_BT: Tensor, stars_BT: Tensor) -> Tensor:
        x_BTE = self.embedding(ids_BT)
        if not self.remind:
            return x_BTE
        known_BT1 = (stars_BT > STARS[0])[..., None]
        return x_BTE + self.embedding(stars_BT) * known_BT1


def stars_so_far(ids_BT: Tensor, before_B: Tensor) -> Tensor:
    """Return at each position the star token that the stream has read last.

    Args:
        ids_BT: Tokens.
        before_B: The star token read before them, 0 for none.
    """
    position_T = torch.arange(ids_BT.shape[1], device=ids_BT.device)
    is_star_BT = (ids_BT >= STARS[0]) & (ids_BT <= STARS[-1])
    last_BT = torch.where(is_star_BT, position_T, -1).cummax(1).values
    stars_BT = ids_BT.gather(1, last_BT.clamp(min=0))
    return torch.where(last_BT >= 0, stars_BT, before_B[:, None])


def _stack(layers: Sequence[NetworkState]) -> NetworkState:
    return tuple(torch.stack(tensors) for tensors in zip(*layers, strict=True))


class RecurrentLM(NeuralLM):
    """The kinds "rnn", "gru" and "lstm"."""

    @classmethod
    def build(cls, spec: RecurrentSpec, unigram_counts_V: Tensor) -> Network:
        """Return the network that the spec describes, with seeded initial weights."""
        return RecurrentNetwork(spec, unigram_counts_V)
