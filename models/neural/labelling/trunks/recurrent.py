"""Read a sequence with recurrent layers, and summarise it for a classifier or give every position to a tagger.

    x_t = C[w_t]
    h_t = encoder(x)_t                  from the beginning, or with `bidirectional` from both ends
    tagging                             features: h_t of every position
    classification                      features: a pooling of h_1 … h_n
        last                            the last state of each direction (h_n; bidirectional: f_n and b_1)
        mean, max, min, attention       see `pooling.py`
        concat                          (last, max, mean): Howard & Ruder 2018, section 3.3

Shapes: see `models/base.py`; F = features of a position: H, or 2 H of a bidirectional encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ....base import ModelError
from ...layers.bidirectional import BidirectionalEncoder
from ...layers.cells import CELLS
from ...layers.dropout import Dropout
from ...layers.recurrent_layers import make_layer, run_layer
from ...network import EMBEDDING_STD
from ...recurrent import RecurrentNetwork
from .pooling import POOLINGS, Attention, pool
from .trunk import Trunk, inside, require_lengths


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


class RecurrentTrunk(Trunk):
    """Embedding, encoder, pooling.

    Args:
        spec: A `LabellingSpec` or `RecurrentClassifierSpec`.
        entries: V.

    Attributes:
        encoder: Reads from the beginning, or from both ends.
        attention: For the pooling "attention"; else None.
    """

    def __init__(self, spec: Any, entries: int) -> None:
        super().__init__()
        self.tagging, self.pooling = spec.task == "tagging", spec.pooling
        self.embedding = nn.Embedding(entries, spec.embedding)
        nn.init.normal_(self.embedding.weight, 0.0, EMBEDDING_STD)
        make = BidirectionalEncoder if spec.bidirectional else ForwardEncoder
        self.encoder = make(
            spec.kind, spec.embedding, spec.hidden, spec.layers, spec.cells, spec.dropout,
            nonlinearity=spec.nonlinearity, form=spec.form, forget_bias=spec.forget_bias, layer_norm=spec.layer_norm,
            start=spec.recurrent_start,
        )  # fmt: skip
        self.dropout = Dropout(spec.dropout)
        width = spec.hidden * (2 if spec.bidirectional else 1)
        self.attention = Attention(width) if self.pooling == "attention" else None
        self.entries, self.features = entries, width * (3 if self.pooling == "concat" else 1)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Read whole sequences; see `Trunk.forward`.

        Returns:
            features_NF: (B, F) for classification; for tagging those of all positions, sequence after sequence,
                without the padding.
        """
        ids_BT, lengths_B = inputs
        require_lengths(ids_BT, lengths_B)
        inside_BT = inside(lengths_B, ids_BT.shape[1])
        x_BTE = self.dropout(self.embedding(ids_BT.masked_fill(~inside_BT, 0)))
        h_BTF, last_BF = (each.to(x_BTE.dtype) for each in self.encoder(x_BTE, lengths_B))
        if self.tagging:  # of a mask, a GPU would look up the positions once more in the backward pass
            return h_BTF.flatten(0, 1).index_select(0, inside_BT.flatten().nonzero()[:, 0])
        return self._summary(h_BTF, last_BF, inside_BT)

    def _summary(self, h_BTF: Tensor, last_BF: Tensor, inside_BT: Tensor) -> Tensor:
        if self.pooling in POOLINGS:
            return pool([self.pooling], h_BTF, inside_BT)
        if self.attention is not None:
            summary_BF: Tensor = self.attention(h_BTF, inside_BT)
            return summary_BF
        return torch.cat([last_BF, pool(["max", "mean"], h_BTF, inside_BT)], 1) if self.pooling == "concat" else last_BF

    def groups(self) -> Sequence[nn.Module]:
        """Return the embedding and each layer: all that a language model has."""
        return [self.embedding, *self.encoder.layers] if isinstance(self.encoder, ForwardEncoder) else [self]

    def take_over(self, trained: RecurrentNetwork) -> None:
        """Copy embedding and recurrent layers of a language model, which was trained on more text than has labels.

        Raises:
            ModelError: kind "input": this network also reads from the end, which no language model does; or a shape
                differs.
        """
        if not isinstance(self.encoder, ForwardEncoder):
            raise ModelError("a language model reads from the beginning only: bidirectional must be false", "input")
        pairs = {"embedding": (self.embedding, trained.embedding), "layers": (self.encoder.layers, trained.layers)}
        for name, (part_below, other) in pairs.items():
            ours, theirs = ({key: tuple(value.shape) for key, value in part.state_dict().items()}
                            for part in (part_below, other))  # fmt: skip
            if ours != theirs:
                raise ModelError(f"{name} of the language model is {theirs}, here {ours}", "input")
        for part_below, other in pairs.values():
            part_below.load_state_dict(other.state_dict())
