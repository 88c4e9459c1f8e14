"""Define the recurrent cells, equation by equation; `own_layer.py` runs one over time.

Notation: x_t input, h_t hidden state, c_t cell state, σ the logistic function, ∘ the element-wise product. Every cell
has two affine maps per gate, W_ih x_t + b_ih from the input and W_hh h_{t−1} + b_hh from the state. The gates' rows
are stacked in one matrix each, in the order of torch.nn, so that parameters are interchangeable with `torch.nn.RNN`,
`GRU` and `LSTM`. The input's part does not depend on earlier positions, so it is computed for all positions in one
matrix product; the cells below get it as a_t = W_ih x_t + b_ih.

All cells have the same arguments and return the next state, (h_t,) or for the LSTM (h_t, c_t):

    a_BG         the input's part of all gates, a_t
    state        the state before: (h_{t−1},) or (h_{t−1}, c_{t−1})
    W_GH, b_G    W_hh of all gates, one above the other, and their biases
    affine       implementation of an affine map; does not change the result beyond rounding

Shape legend: see `models/base.py`; G = number of gates × H.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..network import NetworkState

Affine = Callable[[Tensor, Tensor, Tensor], Tensor]
Weights = Mapping[str, Tensor]
"""The weights of one layer, by torch.nn's names: weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0."""
Activation = Callable[[Tensor], Tensor]

ACTIVATIONS: dict[str, Activation] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "arctan": torch.arctan,
}
"""The non-linearities f of the Elman cell; derivatives 1 − f², [a > 0], f (1 − f), 1 / (1 + a²)."""


def matmul_affine(
    x_NE: Tensor,
    W_GE: Tensor,
    b_G: Tensor,
) -> Tensor:
    """Return x Wᵀ + b (…G) by a matrix product."""
    return x_NE @ W_GE.T + b_G


def elman_cell(
    a_BH: Tensor,
    state: NetworkState,
    W_HH: Tensor,
    b_H: Tensor,
    affine: Affine = matmul_affine,
    f: Activation = torch.tanh,
) -> NetworkState:
    """Take one step of the simple recurrent network (Elman 1990).

        h_t = f(W_ih x_t + b_ih + W_hh h_{t−1} + b_hh)

    Args:
        f: The non-linearity.
    """
    (h_BH,) = state
    return (f(a_BH + affine(h_BH, W_HH, b_H)),)


def gru_cell(
    a_BG: Tensor,
    state: NetworkState,
    W_GH: Tensor,
    b_G: Tensor,
    affine: Affine = matmul_affine,
    sigmoid: Activation = torch.sigmoid,
) -> NetworkState:
    """Take one step of the gated recurrent unit in the form of cuDNN and torch; gates in the order r, z, n.

        r_t = σ(W_ir x_t + b_ir + W_hr h_{t−1} + b_hr)            reset
        z_t = σ(W_iz x_t + b_iz + W_hz h_{t−1} + b_hz)            keep
        n_t = tanh(W_in x_t + b_in + r_t ∘ (W_hn h_{t−1} + b_hn))  candidate
        h_t = (1 − z_t) ∘ n_t + z_t ∘ h_{t−1}

    Cho et al. (2014) reset the state before the matrix product (`cho_gru_cell`); the form here needs one product with
    h_{t−1} for all three gates. As in Cho's paper, z keeps the old state. Chung et al. (2014) define the update gate u
    the other way round, h_t = u ∘ n_t + (1 − u) ∘ h_{t−1}, so u = 1 − z: u = 0, that is z = 1, leaves the state exactly
    as it was.

    Args:
        sigmoid: Implementation of σ; does not change the result beyond rounding.
    """
    (h_BH,) = state
    a_r, a_z, a_n = a_BG.chunk(3, dim=-1)
    past_r, past_z, past_n = affine(h_BH, W_GH, b_G).chunk(3, dim=-1)
    r_BH = sigmoid(a_r + past_r)
    z_BH = sigmoid(a_z + past_z)
    n_BH = torch.tanh(a_n + r_BH * past_n)
    return ((1 - z_BH) * n_BH + z_BH * h_BH,)


def cho_gru_cell(
    a_BG: Tensor,
    state: NetworkState,
    W_GH: Tensor,
    b_G: Tensor,
    affine: Affine = matmul_affine,
    candidate: Affine | None = None,
) -> NetworkState:
    """Take one step of the gated recurrent unit as it was published (Cho et al. 2014, equations 5 to 8).

        r_t = σ(W_ir x_t + b_ir + W_hr h_{t−1} + b_hr)             reset
        z_t = σ(W_iz x_t + b_iz + W_hz h_{t−1} + b_hz)             keep
        n_t = tanh(W_in x_t + b_in + W_hn (r_t ∘ h_{t−1}) + b_hn)   candidate
        h_t = (1 − z_t) ∘ n_t + z_t ∘ h_{t−1}

    The parameters are those of `gru_cell`, the function differs: here the state is reset *before* the matrix product.
    The paper has no biases.

    Args:
        candidate: Implementation of the candidate's map, if it differs (`own_layer.py`).
    """
    (h_BH,) = state
    gates = 2 * h_BH.shape[-1]
    a_r, a_z, a_n = a_BG.chunk(3, dim=-1)
    past_r, past_z = affine(h_BH, W_GH[:gates], b_G[:gates]).chunk(2, dim=-1)
    r_BH = torch.sigmoid(a_r + past_r)
    z_BH = torch.sigmoid(a_z + past_z)
    n_BH = torch.tanh(a_n + (candidate or affine)(r_BH * h_BH, W_GH[gates:], b_G[gates:]))
    return ((1 - z_BH) * n_BH + z_BH * h_BH,)


def lstm_cell(
    a_BG: Tensor,
    state: NetworkState,
    W_GH: Tensor,
    b_G: Tensor,
    affine: Affine = matmul_affine,
    f: Activation = torch.tanh,
    sigmoid: Activation = torch.sigmoid,
) -> NetworkState:
    """Take one step of the LSTM (Hochreiter & Schmidhuber 1997) with the forget gate of Gers et al. (2000).

    Gates in the order i, f, g, o:

        i_t = σ(W_ii x_t + b_ii + W_hi h_{t−1} + b_hi)        write
        f_t = σ(W_if x_t + b_if + W_hf h_{t−1} + b_hf)        keep (1 − f erases)
        g_t = tanh(W_ig x_t + b_ig + W_hg h_{t−1} + b_hg)     candidate to write
        o_t = σ(W_io x_t + b_io + W_ho h_{t−1} + b_ho)        read
        c_t = f_t ∘ c_{t−1} + i_t ∘ g_t
        h_t = o_t ∘ tanh(c_t)

    With f = 1 and i = 0 the cell state never changes: the gradient along c neither vanishes nor explodes, which is the
    purpose of the design.

    Args:
        f: The function applied to the cell state before it is read; not tanh in `own_layer.py`.
        sigmoid: See `gru_cell`.
    """
    h_BH, c_BH = state
    write, keep, new, read = (a_BG + affine(h_BH, W_GH, b_G)).chunk(4, dim=-1)
    c_BH = sigmoid(keep) * c_BH + sigmoid(write) * torch.tanh(new)
    return sigmoid(read) * f(c_BH), c_BH


@dataclass(frozen=True)
class Cell:
    """A kind of cell: its equations, and the facts that layers need.

    Args:
        step: One step, called like the functions above.
        gates: Gates whose rows are stacked.
        states: Number of state tensors.
        fused: The layer of torch.nn that computes the same; None if there is none: then only cells "reference" work.
        normed: Numbers of gates that `own_layer.py` normalises together, in the order of their rows; () normalises
            no product, only the argument of f.
        squash: Whether `step` takes an f, with a normalisation right before it.
        candidate: Whether `step` takes the map of its last gate separately; that gate is then the last of `normed`.
    """

    step: Callable[..., NetworkState]
    gates: int
    states: int
    fused: Callable[..., nn.RNNBase] | None
    normed: tuple[int, ...]
    squash: bool = False
    candidate: bool = False


CELLS = {
    "rnn": Cell(
        elman_cell,
        1,
        1,
        nn.RNN,
        normed=(),
        squash=True,
    ),
    "gru": Cell(
        gru_cell,
        3,
        1,
        nn.GRU,
        normed=(2, 1),
    ),
    "gru_cho": Cell(
        cho_gru_cell,
        3,
        1,
        None,
        normed=(2, 1),
        candidate=True,
    ),
    "lstm": Cell(
        lstm_cell,
        4,
        2,
        nn.LSTM,
        normed=(4,),
        squash=True,
    ),
}
"""The register of cells: one more entry is enough for a layer of another cell, plain or normalised.

The key is the kind, with the form added if there are several (`cell_name`). A language model also needs the kind in
`RecurrentSpec`. That spec is read without torch, so it lists itself the cells without a fused layer in torch.
"""


def cell_name(kind: str, form: str = "cudnn") -> str:
    """Return the name in `CELLS` of a kind of cell in one of its forms; "cudnn" is torch's form and has no suffix."""
    return kind if form == "cudnn" else f"{kind}_{form}"
