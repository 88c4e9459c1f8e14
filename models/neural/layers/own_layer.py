"""Run a cell of `cells.py` over time, with or without layer normalisation.

It computes the same as torch.nn's fused layers, where these exist: `tests/models/neural/layers/test_neural_cells.py`
checks that to 1e-12. It is meant for reading, changing and checking; the Python loop over time makes it slower.

**Layer normalisation** inside the cells (Ba, Kiros & Hinton 2016).

    LN(v; g, b) = g ∘ (v − μ) / sqrt(σ² + ε) + b        μ and σ² over the entries of v              (paper: equation 3)

The cells of `cells.py` use it in three places, as in the paper's equation 4 and its supplement (20 to 22 for the
LSTM, 23 to 25 for the GRU); the biases of the two affine maps are the b of their normalisations:

    rnn    h_t = f(LN(W_ih x_t + b_ih + W_hh h_{t−1} + b_hh; g, s))
    lstm   (i, f, g, o) = LN(W_ih x_t; g_ih, b_ih) + LN(W_hh h_{t−1}; g_hh, b_hh)       over all 4 H entries at once
           c_t = σ(f) ∘ c_{t−1} + σ(i) ∘ tanh(g),    h_t = σ(o) ∘ tanh(LN(c_t; g, s))
    gru    (r, z) = LN(W_i(r,z) x_t; …) + LN(W_h(r,z) h_{t−1}; …)                       over 2 H entries at once
           n = tanh(LN(W_in x_t; …) + σ(r) ∘ LN(W_hn h_{t−1}; …))                        over H entries each
           in Cho's form n = tanh(LN(W_in x_t; …) + LN(W_hn (σ(r) ∘ h_{t−1}); …))

The cell state c_t itself is not normalised, only the value read from it, so that it can still be kept unchanged.
Shape legend: see `models/base.py`; G = number of gates × H.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..network import NetworkState
from .cells import ACTIVATIONS, CELLS, Activation, Affine, Cell, Weights, matmul_affine

Step = Callable[[Tensor, NetworkState], NetworkState]
EPSILON = 1e-5
"""ε of LN: avoids a division by 0 for a vector of equal entries; torch.nn.LayerNorm has the same value."""


def over_time(
    step: Step,
    a_BTG: Tensor,
    state: NetworkState,
    keep_BT: Tensor | None = None,
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
    W_GH = weights["weight_hh_l0"]
    b_G = weights["bias_hh_l0"]
    a_BTG = affine(x_BTE, weights["weight_ih_l0"], weights["bias_ih_l0"])
    return over_time(
        lambda a_BG, past: cell.step(
            a_BG,
            past,
            W_GH,
            b_G,
            affine,
            **options,
        ),
        a_BTG,
        state,
        keep_BT,
    )


class OwnLayer(nn.Module):
    """One recurrent layer over time, with the parameter names, shapes and initial values of torch.nn's layers.

    Args:
        cell: An entry of `CELLS`.
        inputs: Size E of x_t.
        hidden: Size H of h_t.
        nonlinearity: A key of `ACTIVATIONS`; only for the "rnn" cell.
    """

    affine: Affine = staticmethod(matmul_affine)

    def __init__(
        self,
        cell: str,
        inputs: int,
        hidden: int,
        nonlinearity: str = "tanh",
    ) -> None:
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
        self,
        x_BTE: Tensor,
        state: NetworkState,
        keep_BT: Tensor | None = None,
        weights: Weights | None = None,
    ) -> tuple[Tensor, NetworkState]:
        """Run the cell over T positions.

        Args:
            state: Tensors (B, H): (h,) or, for the LSTM, (h, c).
            keep_BT: See `over_time`; None resets nowhere.
            weights: Used in place of the layer's own parameters.

        Returns:
            h_BTH, every hidden state; and the last state.
        """
        if weights is None:
            weights = dict(self.named_parameters())

        return unroll(
            self.cell,
            weights,
            x_BTE,
            state,
            keep_BT,
            self.affine,
            **self.options,
        )


def layer_norm(
    v_BH: Tensor,
    gain_H: Tensor,
    shift_H: Tensor,
) -> Tensor:
    """Return LN(v; g, b) over the last dimension, in float32 at least."""
    v_BH = v_BH.to(torch.promote_types(v_BH.dtype, torch.float32))
    centred_BH = v_BH - v_BH.mean(-1, keepdim=True)
    variance_B1 = centred_BH.square().mean(-1, keepdim=True)
    return gain_H * centred_BH * (variance_B1 + EPSILON).rsqrt() + shift_H


def normalise_affine(
    affine: Affine,
    gain_G: Tensor,
    sizes: Sequence[int],
) -> Affine:
    """Return the affine map whose product is normalised before the bias is added: LN(W x; gain, b), part by part.

    Args:
        affine: Implementation of the product.
        gain_G: Of the rows of W.
        sizes: Numbers of rows that are normalised together, from first to last.
    """

    def run(
        x_NE: Tensor,
        W_GE: Tensor,
        b_G: Tensor,
    ) -> Tensor:
        products = affine(x_NE, W_GE, b_G.new_zeros(())).split(list(sizes), -1)
        parts = zip(products, gain_G.split(list(sizes)), b_G.split(list(sizes)), strict=True)
        return torch.cat([layer_norm(*part) for part in parts], -1)

    return run


class NormedLayer(OwnLayer):
    """A layer of `OwnLayer` with a normalised cell; arguments as in `OwnLayer`.

    Attributes:
        gain_ih_l0: g of the input's part (G), where a product is normalised (LSTM, GRU); initially 1.
        gain_hh_l0: g of the state's part (G), for the same cells; initially 1.
        gain_l0: g of the argument of f (H): the Elman cell's sum, the LSTM's cell state; initially 1.
        shift_l0: s of the same; initially 0.
    """

    def __init__(
        self,
        cell: str,
        inputs: int,
        hidden: int,
        nonlinearity: str = "tanh",
    ) -> None:
        super().__init__(cell, inputs, hidden, nonlinearity)
        self.sizes = tuple(gates * hidden for gates in self.cell.normed)
        if self.sizes:
            self.gain_ih_l0 = nn.Parameter(torch.ones(sum(self.sizes)))
            self.gain_hh_l0 = nn.Parameter(torch.ones(sum(self.sizes)))

        self.squash: Activation | None = None
        if self.cell.squash:
            self.squash = self.options.get("f", torch.tanh)
            self.gain_l0 = nn.Parameter(torch.ones(hidden))
            self.shift_l0 = nn.Parameter(torch.zeros(hidden))

    def forward(
        self,
        x_BTE: Tensor,
        state: NetworkState,
        keep_BT: Tensor | None = None,
        weights: Weights | None = None,
    ) -> tuple[Tensor, NetworkState]:
        """See `OwnLayer.forward`."""
        if weights is None:
            weights = dict(self.named_parameters())

        inputs = self.affine
        options = self._past(weights)
        if self.sizes:
            inputs = normalise_affine(self.affine, weights["gain_ih_l0"], self.sizes)

        a_BTG = inputs(x_BTE, weights["weight_ih_l0"], weights["bias_ih_l0"])
        W_GH = weights["weight_hh_l0"]
        b_G = weights["bias_hh_l0"]
        return over_time(
            lambda a_BG, past: self.cell.step(
                a_BG,
                past,
                W_GH,
                b_G,
                **options,
            ),
            a_BTG,
            state,
            keep_BT,
        )

    def _past(self, weights: Weights) -> dict[str, Any]:
        """Return the options that make a step of the cell a normalised one."""
        options: dict[str, Any] = {"affine": self.affine}
        squash = self.squash
        if squash is not None:
            options["f"] = lambda v_BH: squash(
                layer_norm(v_BH, weights["gain_l0"], weights["shift_l0"])
            )

        if self.cell.candidate:
            # Two products: with the state for the gates, with the reset state for the candidate.
            *gates, candidate = self.sizes
            gain_gates, gain_candidate = weights["gain_hh_l0"].split([sum(gates), candidate])
            options["affine"] = normalise_affine(self.affine, gain_gates, gates)
            options["candidate"] = normalise_affine(self.affine, gain_candidate, [candidate])
        elif self.sizes:
            options["affine"] = normalise_affine(self.affine, weights["gain_hh_l0"], self.sizes)

        return options
