"""Encode sequences in both directions (Schuster & Paliwal 1997), for classifiers and taggers.

    f_t = cell(x_t, f_{t−1})          t = 1 … n, from the beginning
    b_t = cell'(x_t, b_{t+1})         t = n … 1, from the end of the same sequence
    h_t = (f_t, b_t)                  also the input of the next layer

This is not a language model: b_t has read x_{t+1}, the word that would be predicted from h_t. So a "next-word" loss
falls to 0 although nothing is learnt (`tests/models/neural/layers/test_bidirectional.py` shows it).
`RecurrentSpec.bidirectional` is therefore refused. Shape legend: see `models/base.py`; n = length of a sequence.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...base import ModelError
from .cells import CELLS
from .dropout import Dropout
from .recurrent_layers import make_layer, run_layer


class BidirectionalEncoder(nn.Module):
    """L layers, each with one direction from the beginning and one from the end; padding never changes a result.

    Args:
        kind: "rnn", "gru" or "lstm".
        inputs: E.
        hidden: H of each direction; the outputs have 2 H entries.
        layers: L.
        cells: "fused" or "reference".
        dropout: On the outputs of all layers except the last, while training; in [0, 1).
        options: Further options of `make_layer`.

    Raises:
        ModelError: kind "input": the dropout is out of range.

    Attributes:
        forwards: L layers that read from the beginning.
        backwards: L layers that read from the end.
    """

    def __init__(
        self,
        kind: str,
        inputs: int,
        hidden: int,
        layers: int = 1,
        cells: str = "fused",
        dropout: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__()
        sizes = [inputs] + [2 * hidden] * (layers - 1)
        self.hidden, self.states = hidden, CELLS[kind].states
        self.forwards = nn.ModuleList(make_layer(kind, size, hidden, cells, **options) for size in sizes)
        self.backwards = nn.ModuleList(make_layer(kind, size, hidden, cells, **options) for size in sizes)
        self.dropout = Dropout(dropout)

    def forward(self, x_BTE: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Read whole sequences.

        Args:
            x_BTE: Inputs; positions at and after a sequence's length are padding with any content.
            lengths_B: int64, from 1 to T.

        Returns:
            h_BTH (B, T, 2 H): the outputs of both directions of the last layer at each position, 0 in the padding; and
            (B, 2 H): the last state of each direction, f_n and b_1, a summary of the sequence.

        Raises:
            ModelError: kind "input": there is no sequence, a length is not between 1 and T, or there is not one per
                sequence.
        """
        backwards_BT, inside_BT1 = _positions(lengths_B, x_BTE)
        x_BTE = torch.where(inside_BT1, x_BTE, 0.0)
        for index, (forth, back) in enumerate(zip(self.forwards, self.backwards, strict=True)):
            x_BTE = x_BTE if index == 0 else self.dropout(x_BTE)
            f_BTH = self._read(forth, x_BTE)
            b_BTH = _reorder(self._read(back, _reorder(x_BTE, backwards_BT)), backwards_BT)
            x_BTE = torch.where(inside_BT1, torch.cat([f_BTH, b_BTH], -1), 0.0)
        last_B = lengths_B.to(x_BTE.device) - 1
        f_end_BH = x_BTE[torch.arange(len(last_B), device=last_B.device), last_B, : self.hidden]
        return x_BTE, torch.cat([f_end_BH, x_BTE[:, 0, self.hidden :]], -1)

    def _read(self, layer: nn.Module, x_BTE: Tensor) -> Tensor:
        start = (x_BTE.new_zeros(len(x_BTE), self.hidden),) * self.states
        return run_layer(layer, dict(layer.named_parameters()), x_BTE, start)[0]


def _positions(lengths_B: Tensor, x_BTE: Tensor) -> tuple[Tensor, Tensor]:
    """Return the index map that reverses every sequence within its length, and the mask of positions inside it.

    Reversing twice changes nothing; padding does not move, so it comes last in both directions. Lengths that are on a
    GPU are not checked, because the host would wait for them.
    """
    batch, length = x_BTE.shape[:2]
    if not batch:
        raise ModelError("there is no sequence to read: the batch has 0", "input")
    readable = not lengths_B.is_cuda
    if lengths_B.shape != (batch,) or (readable and (lengths_B.min() < 1 or lengths_B.max() > length)):
        raise ModelError(
            f"lengths are {lengths_B.tolist()}; {batch} of them are needed, each between 1 and {length}", "input"
        )
    lengths_B1, position_T = lengths_B.to(x_BTE.device)[:, None], torch.arange(length, device=x_BTE.device)
    inside_BT = position_T < lengths_B1
    return torch.where(inside_BT, lengths_B1 - 1 - position_T, position_T), inside_BT[..., None]


def _reorder(x_BTE: Tensor, positions_BT: Tensor) -> Tensor:
    return x_BTE.gather(1, positions_BT[..., None].expand_as(x_BTE))
