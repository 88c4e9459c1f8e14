"""Read sequences with recurrent layers; give a classifier a summary of each, or a tagger every position; score labels.

    x_t = C[w_t]
    h_t = encoder(x)_t            from the beginning, or with `bidirectional` from both ends
    tagging                       features of every position: h_t
    classification                features of a sequence: (last state of each direction, max_t h_t, 1/n Σ_t h_t), joined
                                  (Howard & Ruder 2018, section 3.3)
    s = W features + b            the scores; p = softmax(s), trained by cross-entropy

Padding never changes a result.
Shapes: B sequences, T positions of the longest, F features, K labels; N = B or, for tagging, positions of all of them.

**Both directions** (Schuster & Paliwal 1997).

    f_t = cell(x_t, f_{t−1})          t = 1 … n, from the beginning
    b_t = cell'(x_t, b_{t+1})         t = n … 1, from the end of the same sequence
    h_t = (f_t, b_t)                  also the input of the next layer

This is not a language model: b_t has read x_{t+1}, the word that would be predicted from h_t. So a "next-word" loss
falls to 0 although nothing is learnt (`tests/models/neural/layers/test_bidirectional.py` shows it).
So `RecurrentSpec` has no such option. Shape legend: see `models/base.py`; n = length of a sequence.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...neural import network
from ..layers.cells import CELLS
from ..layers.dropout import Dropout
from ..layers.recurrent_layers import make_layer, run_layer
from ..network import EMBEDDING_STD
from .spec import LabellingOptions


class SequenceEncoder(nn.Module):
    """L layers that read from the beginning, and perhaps L that read from the end; padding never changes a result.

    Args:
        kind: "rnn", "gru" or "lstm".
        inputs: E.
        hidden: H of each direction.
        layers: L.
        cells: "fused" or "reference".
        dropout: On the outputs of all layers except the last, while training; in [0, 1).
        bidirectional: Also read from the end; the outputs then have 2 H entries.
        options: Further options of `make_layer`.

    Attributes:
        layers: L layers that read from the beginning, with the names and shapes of a recurrent language model's.
        backwards: L layers that read from the end, or none.
    """

    def __init__(
        self,
        kind: str,
        inputs: int,
        hidden: int,
        layers: int = 1,
        cells: str = "fused",
        dropout: float = 0.0,
        bidirectional: bool = False,
        **options: Any,
    ) -> None:
        super().__init__()
        sizes = [inputs] + [hidden * (1 + bidirectional)] * (layers - 1)
        self.hidden = hidden
        self.states = CELLS[kind].states

        def make_layers() -> nn.ModuleList:
            layers = (
                make_layer(
                    kind,
                    size,
                    hidden,
                    cells,
                    **options,
                )
                for size in sizes
            )
            return nn.ModuleList(layers)

        self.layers = make_layers()
        self.backwards = make_layers() if bidirectional else nn.ModuleList()
        self.dropout = Dropout(dropout)

    def forward(self, x_BTE: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Read whole sequences.

        Args:
            x_BTE: Inputs; positions at and after a sequence's length are padding with any content.
            lengths_B: int64, from 1 to T, on the inputs' device.

        Returns:
            h_BTH: the outputs of the last layer at each position, of both directions side by side, 0 in the padding;
            and a summary of the sequence: the last state of each direction, f_n and b_1, side by side.
        """
        inside_BT = inside(lengths_B, x_BTE.shape[1])
        position_T = torch.arange(x_BTE.shape[1], device=x_BTE.device)
        # Reversing twice changes nothing; padding does not move, so it comes last in both directions.
        backwards_BT = torch.where(inside_BT, lengths_B[:, None] - 1 - position_T, position_T)
        x_BTE = torch.where(inside_BT[..., None], x_BTE, 0.0)
        for index, layer in enumerate(self.layers):
            if index != 0:
                x_BTE = self.dropout(x_BTE)

            f_BTH = self._read(layer, x_BTE)
            if self.backwards:
                back = self.backwards[index]
                b_BTH = _reorder(self._read(back, _reorder(x_BTE, backwards_BT)), backwards_BT)
                f_BTH = torch.cat([f_BTH, b_BTH], -1)
            x_BTE = torch.where(inside_BT[..., None], f_BTH, 0.0)

        end_BH = x_BTE[torch.arange(len(x_BTE), device=x_BTE.device), lengths_B - 1, : self.hidden]
        return x_BTE, torch.cat([end_BH, x_BTE[:, 0, self.hidden :]], -1)

    def _read(self, layer: nn.Module, x_BTE: Tensor) -> Tensor:
        start = (x_BTE.new_zeros(len(x_BTE), self.hidden),) * self.states
        return run_layer(layer, dict(layer.named_parameters()), x_BTE, start)[0]


def _reorder(x_BTE: Tensor, positions_BT: Tensor) -> Tensor:
    return x_BTE.gather(1, positions_BT[..., None].expand_as(x_BTE))


def inside(lengths_B: Tensor, positions: int) -> Tensor:
    """Return a mask (B, T), True for positions that are not padding."""
    return torch.arange(positions, device=lengths_B.device) < lengths_B[:, None]


def mean(h_BTF: Tensor, inside_BT: Tensor) -> Tensor:
    """Return the mean over the positions inside each sequence (B, F)."""
    inside_BT1 = inside_BT[..., None]
    return torch.where(inside_BT1, h_BTF, 0.0).sum(1) / inside_BT1.sum(1).to(h_BTF.dtype)


def largest(h_BTF: Tensor, inside_BT: Tensor) -> Tensor:
    """Return the maximum over the positions inside each sequence (B, F)."""
    return h_BTF.masked_fill(~inside_BT[..., None], -torch.inf).amax(1)


class LabellingNetwork(nn.Module):
    """Embedding, encoder, pooling or positions, head.

    In evaluation mode there is no dropout and all is float32, so that an answer does not depend on the batch.

    Args:
        spec: Task and architecture.
        entries: V of the vocabulary.
        targets_N: Targets in training (without `NOT_SCORED`). The head's b starts at the logarithm of the share of each
            label, 0.5 added to each count, and W so small that the first answers are nearly these shares.

    Attributes:
        share_K: These shares (float64).
    """

    share_K: Tensor

    def __init__(
        self,
        spec: LabellingOptions,
        entries: int,
        targets_N: np.ndarray,
    ) -> None:
        super().__init__()
        self.entries = entries
        self.precision = spec.training.precision
        self.tagging = spec.task == "tagging"

        self.embedding = nn.Embedding(entries, spec.embedding)
        nn.init.normal_(self.embedding.weight, 0.0, EMBEDDING_STD)
        self.encoder = SequenceEncoder(
            spec.kind,
            spec.embedding,
            spec.hidden,
            spec.layers,
            spec.cells,
            spec.dropout,
            spec.bidirectional,
            nonlinearity=spec.nonlinearity,
            form=spec.form,
            forget_bias=spec.forget_bias,
            layer_norm=spec.layer_norm,
            start=spec.recurrent_start,
        )
        self.dropout = Dropout(spec.dropout)

        width = spec.hidden * (2 if spec.bidirectional else 1)
        self.head = nn.Linear(width if self.tagging else 3 * width, len(spec.labels))
        nn.init.normal_(self.head.weight, 0.0, EMBEDDING_STD)

        numbers_K = np.bincount(targets_N, minlength=len(spec.labels))
        counts_K = torch.from_numpy(numbers_K).double() + 0.5
        share_K = counts_K / counts_K.sum()
        self.register_buffer("share_K", share_K)
        with torch.no_grad():
            self.head.bias.copy_(share_K.log())

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.head.weight.device

    def forward(self, ids_BT: Tensor, lengths_B: Tensor) -> Tensor:
        """Return the features that enter the head (N, F)."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._in_bf16()):
            features_NF = self._features(ids_BT, lengths_B)
        dropped_NF: Tensor = self.dropout(features_NF.to(self.head.weight.dtype))
        return dropped_NF

    def _features(self, ids_BT: Tensor, lengths_B: Tensor) -> Tensor:
        inside_BT = inside(lengths_B, ids_BT.shape[1])
        x_BTE = self.dropout(self.embedding(ids_BT.masked_fill(~inside_BT, 0)))
        h_BTF, last_BF = (each.to(x_BTE.dtype) for each in self.encoder(x_BTE, lengths_B))
        # Not with a mask: a GPU would look up its positions once more in the backward pass.
        if self.tagging:
            return h_BTF.flatten(0, 1).index_select(0, inside_BT.flatten().nonzero()[:, 0])
        return torch.cat([last_BF, largest(h_BTF, inside_BT), mean(h_BTF, inside_BT)], 1)

    def _in_bf16(self) -> bool:
        trains = self.training and self.precision == "bf16"
        return trains and (self.head.weight.is_cuda or network.bf16_on_processor())


def empty_network(spec: LabellingOptions, entries: int) -> LabellingNetwork:
    """Return a network whose weights are filled in later; the random stream does not change."""
    with torch.random.fork_rng(devices=[]):
        return LabellingNetwork(spec, entries, np.zeros(0, np.int64))
