"""Run a cell of `cells.py` over time.

It computes the same as torch.nn's fused layers, where these exist: `tests/models/neural/layers/test_neural_cells.py`
checks that to 1e-12. It is meant for reading, changing and checking; the Python loop over time makes it slower.
Shape legend: see `models/base.py`; G = number of gates × H.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..network import NetworkState
from .cells import ACTIVATIONS, CELLS, Affine, Cell, Weights, matmul_affine

Step = Callable[[Tensor, NetworkState], NetworkState]


def over_time(
    step: Step, a_BTG: Tensor, state: NetworkState, keep_BT: Tensor | None = None
) -> tuple[Tensor, NetworkState]:
    """Take one step per position.

    Args:
        step: Maps the input's part (B, G) and a state to the next state.
        a_BTG: The input's part at each position.
        state: Before the first position, tensors (B, H).
        keep_BT: False where a stream is reset before it reads position t: its state is 0 there.

    Returns:
        h_BTH, every hidden state; and the last state.
    """
    outputs = []
    for t, a_BG in enumerate(a_BTG.unbind(1)):
        if keep_BT is not None:
            state = tuple(torch.where(keep_BT[:, t, None], tensor, 0.0) for tensor in state)
        state = step(a_BG, state)
        outputs.append(state[0])
    return torch.stack(outputs, 1), state


def unroll(
    cell: Cell,
    weights: Weights,
    x_BTE: Tensor,
    state: NetworkState,
    keep_BT: Tensor | None = None,
    affine: Affine = matmul_affine,
    **options: Any,
) -> tuple[Tensor, NetworkState]:
    """Run the equations of *cell* over T positions with the weights of one layer (own or torch.nn's).

    Returns:
        See `over_time`, which also explains *keep_BT*.
    """
    W_GH, b_G = weights["weight_hh_l0"], weights["bias_hh_l0"]
    a_BTG = affine(x_BTE, weights["weight_ih_l0"], weights["bias_ih_l0"])
    return over_time(lambda a_BG, past: cell.step(a_BG, past, W_GH, b_G, affine, **options), a_BTG, state, keep_BT)


class OwnLayer(nn.Module):
    """One recurrent layer over time, with the parameter names, shapes and initial values of torch.nn's layers.

    Args:
        cell: An entry of `CELLS`.
        inputs: Size E of x_t.
        hidden: Size H of h_t.
        nonlinearity: A key of `ACTIVATIONS`; only for the "rnn" cell.
    """

    affine: Affine = staticmethod(matmul_affine)

    def __init__(self, cell: str, inputs: int, hidden: int, nonlinearity: str = "tanh") -> None:
        super().__init__()
        self.cell = CELLS[cell]
        self.options = {"f": ACTIVATIONS[nonlinearity]} if cell == "rnn" else {}
        rows = self.cell.gates * hidden
        self.weight_ih_l0 = nn.Parameter(torch.empty(rows, inputs))
        self.weight_hh_l0 = nn.Parameter(torch.empty(rows, hidden))
        self.bias_ih_l0 = nn.Parameter(torch.empty(rows))
        self.bias_hh_l0 = nn.Parameter(torch.empty(rows))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -1 / math.sqrt(hidden), 1 / math.sqrt(hidden))

    def forward(
        self, x_BTE: Tensor, state: NetworkState, keep_BT: Tensor | None = None, weights: Weights | None = None
    ) -> tuple[Tensor, NetworkState]:
        """Run the cell over T positions.

        Args:
            state: Tensors (B, H): (h,) or, for the LSTM, (h, c).
            keep_BT: See `over_time`; None resets nowhere.
            weights: Used in place of the layer's own parameters.

        Returns:
            h_BTH, every hidden state; and the last state.
        """
        weights = dict(self.named_parameters()) if weights is None else weights
        return unroll(self.cell, weights, x_BTE, state, keep_BT, self.affine, **self.options)
