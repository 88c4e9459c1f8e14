"""Create recurrent layers, of torch.nn or from our own cells, and run one on a window with given weights.

A layer holds the parameters; the weights it computes with are an argument. So weights can be changed for one window
(`dropout.drop_weights`) without changing the parameters that an optimiser and a checkpoint see.
Shape legend: see `models/base.py`; G = number of gates × H.

"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..device import cudnn_has_bf16
from ..network import NetworkState
from .cells import ACTIVATIONS, CELLS, Cell, Weights, cell_name
from .own_layer import NormedLayer, OwnLayer, unroll

PARAMETERS = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
"""Names of every fused layer's parameters, in the order of torch's functions."""


OwnRun = Callable[..., tuple[Tensor, NetworkState]]
"""Another way to run a fused layer in training; arguments: inputs, state, weights, number format, keep_BT."""
ChosenRun = Callable[[str, torch.device, torch.dtype, bool], OwnRun | None]
"""Return one for a mode of torch.nn ("LSTM"), a device, the format of the products, and whether streams are reset or
inputs are `RepeatedInputs`; None: torch's is the faster."""
STARTS: dict[str, Callable[[Tensor], object]] = {
    "usual": lambda W_HH: None,
    "uniform": lambda W_HH: nn.init.uniform_(W_HH, -(len(W_HH) ** -0.5), len(W_HH) ** -0.5),
    "orthogonal": nn.init.orthogonal_,
    "identity": nn.init.eye_,
}
"""Initial recurrent matrices, applied to each gate; "usual" keeps the values that `make_layer` has drawn."""


class RepeatedInputs(NamedTuple):
    """Inputs of a window that has few different ones: x_UE, and which of its rows a position reads, rows_BT (int64)."""

    x_UE: Tensor
    rows_BT: Tensor

    @property
    def x_BTE(self) -> Tensor:
        """The input of each position."""
        return self.x_UE[self.rows_BT]


def make_layer(
    kind: str,
    inputs: int,
    hidden: int,
    cells: str,
    nonlinearity: str = "tanh",
    form: str = "cudnn",
    forget_bias: float = 1.0,
    layer_norm: bool = False,
    start: str = "usual",
) -> nn.Module:
    """Return one recurrent layer with its initial weights, uniform in ±1/√H except where noted.

    The LSTM's forget gate starts with a bias of 1, so that it remembers from the start (Jozefowicz et al. 2015);
    the relu network's recurrent matrix starts as the identity with biases of 0 (Le, Jaitly & Hinton 2015).

    Args:
        kind: "rnn", "gru" or "lstm", or another one of `CELLS`.
        inputs: E.
        hidden: H.
        cells: "reference" or "fused".
        nonlinearity: For the "rnn" kind.
        form: For the "gru" kind; "cho" needs cells "reference".
        forget_bias: For the "lstm" kind: initial b_if + b_hf.
        layer_norm: See `own_layer.py`; needs cells "reference".
        start: Initial recurrent matrices; a key of `STARTS`.

    Raises:
        ValueError: torch has no such fused layer.
    """
    name = cell_name(kind, form)
    if cells == "reference":
        layer: nn.Module = (NormedLayer if layer_norm else OwnLayer)(
            name, inputs, hidden, nonlinearity
        )
    else:
        layer = _fused_layer(
            name,
            inputs,
            hidden,
            nonlinearity,
            layer_norm,
        )

    parameters = dict(layer.named_parameters())
    with torch.no_grad():
        if kind == "lstm":
            parameters["bias_ih_l0"][hidden : 2 * hidden] = forget_bias
            parameters["bias_hh_l0"][hidden : 2 * hidden] = 0.0
        if kind == "rnn" and nonlinearity == "relu":
            nn.init.eye_(parameters["weight_hh_l0"])
            parameters["bias_ih_l0"].zero_()
            parameters["bias_hh_l0"].zero_()
        for W_HH in parameters["weight_hh_l0"].split(hidden):
            STARTS[start](W_HH)

    return layer


def _fused_layer(
    name: str,
    inputs: int,
    hidden: int,
    nonlinearity: str,
    layer_norm: bool,
) -> nn.Module:
    make = CELLS[name].fused
    if make is None or layer_norm or nonlinearity not in ("tanh", "relu"):
        cell = f"{name!r}, nonlinearity {nonlinearity!r}, layer_norm {layer_norm}"
        raise ValueError(
            f"torch has no fused layer for the cell {cell}: that needs cells = 'reference'"
        )
    options: dict[str, Any] = {"nonlinearity": nonlinearity} if name == "rnn" else {}
    return make(inputs, hidden, batch_first=True, **options)


def run_layer(
    layer: nn.Module,
    weights: Weights,
    inputs: Tensor | RepeatedInputs,
    state: NetworkState,
    keep_BT: Tensor | None = None,
) -> tuple[Tensor, NetworkState]:
    """Run an own or fused layer over T positions.

    A fused LSTM repacks its weights at each call, so one step of it on the CPU takes 2 to 6 times as long as the
    equations written out (batch 1, H 320 and 640). Therefore single steps of generation use the equations. So does a
    window in which a stream is reset, because the fused layers cannot do that. When a layer trains, its `chosen_run` is
    used, which can: a `ChosenRun` that the trainer has set.

    Args:
        layer: The result of `make_layer`.
        weights: The layer's parameters by name, or replacements for them.
        inputs: x_BTE, or on the CPU the same without repetitions.
        state: Tensors (B, H) before the first position.
        keep_BT: False where a stream is reset before it reads position t; None resets nowhere.

    Returns:
        h_BTH, every hidden state; and the last state.
    """
    device = state[0].device
    choose: ChosenRun | None = getattr(layer, "chosen_run", None)
    if (
        choose
        and isinstance(layer, nn.RNNBase)
        and (dtype := training_format(layer, device))
        and (
            chosen_run := choose(
                layer.mode, device, dtype, keep_BT is not None or isinstance(inputs, RepeatedInputs)
            )
        )
    ):
        return chosen_run(
            inputs,
            state,
            [weights[name] for name in PARAMETERS],
            dtype,
            keep_BT,
        )

    x_BTE = inputs.x_BTE if isinstance(inputs, RepeatedInputs) else inputs
    if isinstance(layer, OwnLayer):
        return layer(x_BTE, state, keep_BT, weights)

    assert isinstance(layer, nn.RNNBase)
    step_of_lstm = (
        layer.mode == "LSTM"
        and x_BTE.shape[1] == 1
        and x_BTE.device.type == "cpu"
        and not layer.training
    )
    if keep_BT is not None or step_of_lstm:
        cell, options = _equations(layer)
        return unroll(
            cell,
            weights,
            x_BTE,
            state,
            keep_BT,
            **options,
        )

    return _run_fused(layer, weights, x_BTE, state)


def training_format(layer: nn.RNNBase, device: torch.device) -> torch.dtype | None:
    """Return the number format of a layer's products while it trains; None while it does not."""
    lower = None
    if torch.is_autocast_enabled(device.type):
        lower = torch.get_autocast_dtype(device.type)

    if layer.training and torch.is_grad_enabled():
        return lower or next(layer.parameters()).dtype
    return None


def _equations(layer: nn.RNNBase) -> tuple[Cell, dict[str, Any]]:
    """Return the cell with the equations of a fused layer, and the options of its steps."""
    if isinstance(layer, nn.RNN):
        return CELLS["rnn"], {"f": ACTIVATIONS[layer.nonlinearity]}
    return CELLS[layer.mode.lower()], {}


def _run_fused(
    layer: nn.RNNBase,
    weights: Weights,
    x_BTE: Tensor,
    state: NetworkState,
) -> tuple[Tensor, NetworkState]:
    """Call the function behind torch.nn's layer (torch.lstm, gru, rnn_tanh, rnn_relu) with the given weights."""
    function: Callable[..., tuple[Tensor, ...]] = getattr(torch, layer.mode.lower())
    dtype = _own_format(layer.mode, x_BTE.device)
    flat = [weights[name] for name in PARAMETERS]
    if dtype is not None:
        x_BTE = x_BTE.to(dtype)
        flat = _in_one_piece(flat, dtype)

    before = tuple(tensor.unsqueeze(0).to(x_BTE.dtype) for tensor in state)
    with nullcontext() if dtype is None else torch.autocast(x_BTE.device.type, enabled=False):
        h_BTH, *after = function(
            x_BTE,
            before if layer.mode == "LSTM" else before[0],
            flat,
            has_biases=True,
            num_layers=1,
            dropout=0.0,
            train=layer.training,
            bidirectional=False,
            batch_first=True,
        )

    return h_BTH, tuple(tensor.squeeze(0) for tensor in after)


def _in_one_piece(weights: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """Copy weights one after another into one piece of memory, as cuDNN reads them; else torch does, and warns."""
    together = torch.cat([weight.flatten() for weight in weights]).to(dtype)
    parts = together.split([weight.numel() for weight in weights])
    return [part.view(weight.shape) for part, weight in zip(parts, weights, strict=True)]


def _own_format(mode: str, device: torch.device) -> torch.dtype | None:
    """Return the number format to cast a fused layer to in place of autocast; None if autocast is off or not on a GPU.

    On a GPU, autocast casts cuDNN's recurrent layers to float16 for every requested format (torch's AutocastRNN.cpp).
    A sum of gradients over a whole window does not fit into float16, which ends at 65,504.
    """
    if device.type != "cuda" or not torch.is_autocast_enabled("cuda"):
        return None
    dtype = torch.get_autocast_dtype("cuda")
    if dtype == torch.bfloat16 and not cudnn_has_bf16(mode, device):
        return torch.float32
    return dtype
