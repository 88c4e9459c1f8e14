"""Build the network of a classifier or tagger: embedding, recurrent encoder, head.

    x_t = C[w_t]
    h_t = encoder(x)_t                  from the beginning, or with `bidirectional` from both ends
    classification                      features: the last state of each direction (h_n; bidirectional: f_n and b_1)
    tagging                             features: h_t of every position

Shapes: see `models/base.py`; F = features: H, or 2 H of a bidirectional encoder; N = sequences, or positions of all.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from ...base import ModelError
from .. import network
from ..layers.bidirectional import BidirectionalEncoder
from ..layers.cells import CELLS
from ..layers.dropout import Dropout
from ..layers.recurrent_layers import make_layer, run_layer
from ..network import EMBEDDING_STD
from ..recurrent import RecurrentNetwork
from .heads import make_head
from .spec import LabellingSpec


class ForwardEncoder(nn.Module):
    """L layers that read from the beginning; arguments and results as in `BidirectionalEncoder`, with H for 2 H.

    The parameters have the names and shapes of a recurrent language model's `layers`.
    """

    def __init__(
        self, kind: str, inputs: int, hidden: int, layers: int = 1, cells: str = "fused", dropout: float = 0.0,
        **options: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        self.hidden, self.states = hidden, CELLS[kind].states
        sizes = [inputs] + [hidden] * (layers - 1)
        self.layers = nn.ModuleList(make_layer(kind, size, hidden, cells, **options) for size in sizes)
        self.dropout = Dropout(dropout)

    def forward(self, x_BTE: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Read whole sequences.

        Args:
            x_BTE: Inputs; positions at and after a sequence's length are padding with any finite numbers.
            lengths_B: int64, from 1 to T.

        Returns:
            h_BTH, 0 in the padding; and h_n of each sequence (B, H).
        """
        start = (x_BTE.new_zeros(len(x_BTE), self.hidden),) * self.states
        h_BTH = x_BTE
        for index, layer in enumerate(self.layers):
            h_BTH = h_BTH if index == 0 else self.dropout(h_BTH)
            h_BTH, _ = run_layer(layer, dict(layer.named_parameters()), h_BTH, start)
        h_BTH = torch.where(inside(lengths_B, h_BTH.shape[1])[..., None], h_BTH, 0.0)
        return h_BTH, h_BTH[torch.arange(len(h_BTH), device=h_BTH.device), lengths_B - 1]


class LabellingNetwork(nn.Module):
    """Embedding, encoder and head.

    In evaluation mode there is no dropout and all is float32, so that an answer does not depend on the batch.

    Args:
        spec: Task, architecture and loss.
        entries: V of the vocabulary.
        targets_N: Targets in training, for the head's first bias.

    Attributes:
        encoder: Reads from the beginning, or from both ends.
        head: See `heads.py`.
    """

    def __init__(self, spec: LabellingSpec, entries: int, targets_N: np.ndarray) -> None:
        super().__init__()
        self.tagging, self.precision = spec.task == "tagging", spec.training.precision
        self.embedding = nn.Embedding(entries, spec.embedding)
        nn.init.normal_(self.embedding.weight, 0.0, EMBEDDING_STD)
        make = BidirectionalEncoder if spec.bidirectional else ForwardEncoder
        self.encoder = make(
            spec.kind, spec.embedding, spec.hidden, spec.layers, spec.cells, spec.dropout,
            nonlinearity=spec.nonlinearity, form=spec.form, forget_bias=spec.forget_bias, layer_norm=spec.layer_norm,
            start=spec.recurrent_start,
        )  # fmt: skip
        self.dropout = Dropout(spec.dropout)
        self.head = make_head(spec, spec.hidden * (2 if spec.bidirectional else 1), targets_N)

    def forward(self, ids_BT: Tensor, lengths_B: Tensor) -> Tensor:
        """Read whole sequences.

        Args:
            ids_BT: int64; positions at and after a sequence's length are padding with any ids.
            lengths_B: int64, from 1 to T.

        Returns:
            features_NF: (B, F) for classification; for tagging those of all positions, sequence after sequence,
                without the padding.

        Raises:
            ModelError: kind "input": no sequence, or not one length between 1 and T for each.
        """
        _require_lengths(ids_BT, lengths_B)
        inside_BT = inside(lengths_B, ids_BT.shape[1])
        x_BTE = self.dropout(self.embedding(ids_BT.masked_fill(~inside_BT, 0)))
        with torch.autocast(ids_BT.device.type, torch.bfloat16, enabled=self._in_bf16()):
            h_BTF, summary_BF = self.encoder(x_BTE, lengths_B)
        features_NF = h_BTF[inside_BT] if self.tagging else summary_BF
        return cast(Tensor, self.dropout(features_NF.to(self.embedding.weight.dtype)))

    def take_over(self, trained: RecurrentNetwork) -> None:
        """Copy embedding and recurrent layers of a language model, which was trained on more text than has labels.

        Raises:
            ModelError: kind "input": this network also reads from the end, which no language model does; or a shape
                differs.
        """
        if not isinstance(self.encoder, ForwardEncoder):
            raise ModelError("a language model reads from the beginning only: bidirectional must be false", "input")
        pairs = {"embedding": (self.embedding, trained.embedding), "layers": (self.encoder.layers, trained.layers)}
        for name, (own, other) in pairs.items():
            ours, theirs = ({key: tuple(value.shape) for key, value in part.state_dict().items()}
                            for part in (own, other))  # fmt: skip
            if ours != theirs:
                raise ModelError(f"{name} of the language model is {theirs}, here {ours}", "input")
        for own, other in pairs.values():
            own.load_state_dict(other.state_dict())

    def _in_bf16(self) -> bool:
        wanted = self.training and self.precision == "bf16"
        return wanted and (self.embedding.weight.is_cuda or network.bf16_on_processor())


def inside(lengths_B: Tensor, positions: int) -> Tensor:
    """Return a mask (B, T), True for positions that are not padding."""
    return torch.arange(positions, device=lengths_B.device) < lengths_B[:, None]


def _require_lengths(ids_BT: Tensor, lengths_B: Tensor) -> None:
    if ids_BT.ndim != 2 or not ids_BT.numel():
        raise ModelError(f"ids are {tuple(ids_BT.shape)}; one row for each of 1 or more sequences is needed", "input")
    batch, positions = ids_BT.shape
    if lengths_B.shape != (batch,) or lengths_B.min() < 1 or lengths_B.max() > positions:
        needed = f"{batch} of them are needed, each between 1 and {positions}"
        raise ModelError(f"lengths are {lengths_B.tolist()}; {needed}", "input")
