"""Compile the element-wise work of training on the CPU with numba: each kernel is one pass over its memory.

A step of a recurrent layer does little arithmetic on many small arrays. With torch's operators, every operator is a
separate pass that writes values which the next one reads again; a kernel keeps the intermediate results in registers.
A kernel is an ordinary Python function over numpy arrays. numpy has no bfloat16, so such arrays are passed as uint16,
and `load` and `store` convert: a bfloat16 is the upper half of a float32. Given float32 or float64 arrays, the same
kernels compute in that format; the tests use that to check them to 1e-12.

Shape legend: see `models/base.py`; G = number of gates × H.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from numba import types
from numba.extending import overload
from torch import Tensor

from reviewlm.models.compiled import kernel
from reviewlm.models.neural.inference.kernels import sigmoid, tanh


def view(tensor: Tensor) -> np.ndarray:
    """Return a CPU tensor as a numpy array of the same memory; bfloat16 as uint16."""
    tensor = tensor.detach()
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def load(value: Any) -> Any:
    """Return a number of an array; a bfloat16 is converted to float32."""
    return value


@overload(load)
def _load(value):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    if value == types.uint16:
        return lambda value: np.uint32(np.uint32(value) << np.uint32(16)).view(np.float32)
    return lambda value: value


def store(
    array_N: Any,
    index: int,
    value: Any,
) -> None:
    """Put a number into an array; round to nearest (ties to even) if the array holds bfloat16.

    NaN stays NaN without a branch, which would cost a tenth of a kernel's time. The carry of the rounding reaches the
    sign only from 0x7FFF8000 on; neither a NaN that the CPU produces (0x7FC00000) nor a bfloat16 NaN (low half 0) is in
    that range.
    """
    array_N[index] = value


@overload(store)
def _store(array_N, index, value):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    def rounded(array_N, index, value):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        bits = np.float32(value).view(np.uint32)
        bits += np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
        array_N[index] = np.uint16(bits >> np.uint32(16))

    def as_it_is(array_N, index, value):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        array_N[index] = value

    return rounded if array_N.dtype == types.uint16 else as_it_is


_F = np.float32


@partial(
    kernel,
    calls=[
        "int64, float32[:,:,::1], float32[:,::1], float32[:,:,::1], float32[:,:,::1]",
    ],
)
def lstm_forward(
    t: int,
    gates_TBG: Any,
    past_BG: Any,
    c_TBH: Any,
    h_TBH: Any,
) -> None:
    """Compute step t of an LSTM layer (the equations of `models.neural.layers.cells.lstm_cell`).

    Args:
        t: Position.
        gates_TBG: At t, W_ih x_t + b; overwritten by the gates (i, f, g, o) after their non-linearities.
        past_BG: W_hh h_{t−1}.
        c_TBH: Holds c_{t−1} at t; c_t is written at t + 1.
        h_TBH: h_t is written at t + 1.
    """
    B, H = c_TBH.shape[1:]
    for b in range(B):
        a = gates_TBG[t, b]
        past = past_BG[b]
        c_0 = c_TBH[t, b]
        c_1 = c_TBH[t + 1, b]
        h = h_TBH[t + 1, b]
        a_i = a[:H]
        a_f = a[H : 2 * H]
        a_g = a[2 * H : 3 * H]
        a_o = a[3 * H :]
        p_i = past[:H]
        p_f = past[H : 2 * H]
        p_g = past[2 * H : 3 * H]
        p_o = past[3 * H :]
        for j in range(H):
            i = sigmoid(load(a_i[j]) + load(p_i[j]))
            f = sigmoid(load(a_f[j]) + load(p_f[j]))
            g = tanh(load(a_g[j]) + load(p_g[j]))
            o = sigmoid(load(a_o[j]) + load(p_o[j]))
            c = f * c_0[j] + i * g
            c_1[j] = c
            store(h, j, o * tanh(c))
            store(a_i, j, i)
            store(a_f, j, f)
            store(a_g, j, g)
            store(a_o, j, o)


@partial(
    kernel,
    calls=[
        "int64, float32[:,:,::1], float32[:,:,::1], float32[:,:,::1], float32[:,::1], float32[:,::1]",
    ],
)
def lstm_backward(
    t: int,
    gates_TBG: Any,
    c_TBH: Any,
    dout_TBH: Any,
    dh_BH: Any,
    dc_BH: Any,
) -> None:
    """Compute step t of the backward pass through an LSTM layer.

    Args:
        t: Position.
        gates_TBG: At t, (i, f, g, o) from `lstm_forward`; overwritten by their gradients before the non-linearities.
            With a second array the loop would not be vectorised.
        c_TBH: Holds c_{t−1} at t and c_t at t + 1.
        dout_TBH: Gradient of h_t from the layers above.
        dh_BH: Gradient of h_t from step t + 1.
        dc_BH: Gradient of c_t from step t + 1; overwritten by the gradient of c_{t−1}.
    """
    one = c_TBH.dtype.type(1)
    B, H = c_TBH.shape[1:]
    for b in range(B):
        gates = gates_TBG[t, b]
        c_0 = c_TBH[t, b]
        c_1 = c_TBH[t + 1, b]
        dout = dout_TBH[t, b]
        dh_H = dh_BH[b]
        dc_H = dc_BH[b]
        g_i = gates[:H]
        g_f = gates[H : 2 * H]
        g_g = gates[2 * H : 3 * H]
        g_o = gates[3 * H :]
        for j in range(H):
            i = load(g_i[j])
            f = load(g_f[j])
            g = load(g_g[j])
            o = load(g_o[j])
            squashed = tanh(c_1[j])
            dh = load(dout[j]) + load(dh_H[j])
            dc = dc_H[j] + dh * o * (one - squashed * squashed)
            store(g_i, j, dc * g * i * (one - i))
            store(g_f, j, dc * c_0[j] * f * (one - f))
            store(g_g, j, dc * i * (one - g * g))
            store(g_o, j, dh * squashed * o * (one - o))
            dc_H[j] = dc * f


@partial(
    kernel,
    calls=[
        "int64, float32[:,:,::1], float32[:,::1], float32[:,:,::1], float32[:,::1], float32[:,:,::1]",
    ],
)
def gru_forward(
    t: int,
    gates_TBG: Any,
    past_BG: Any,
    q_TBH: Any,
    state_BH: Any,
    h_TBH: Any,
) -> None:
    """Compute step t of a GRU layer (the equations of `models.neural.layers.cells.gru_cell`).

    Args:
        t: Position.
        gates_TBG: At t, W_ih x_t + b_ih; overwritten by the gates (r, z, n) after their non-linearities.
        past_BG: W_hh h_{t−1} + b_hh.
        q_TBH: The last third of *past_BG* is written at t; the backward pass needs it.
        state_BH: h_{t−1}; overwritten by h_t.
        h_TBH: h_t is written at t + 1.
    """
    B, H = state_BH.shape
    for b in range(B):
        a = gates_TBG[t, b]
        past = past_BG[b]
        q_H = q_TBH[t, b]
        state = state_BH[b]
        h_H = h_TBH[t + 1, b]
        a_r = a[:H]
        a_z = a[H : 2 * H]
        a_n = a[2 * H :]
        p_r = past[:H]
        p_z = past[H : 2 * H]
        p_n = past[2 * H :]
        for j in range(H):
            r = sigmoid(load(a_r[j]) + load(p_r[j]))
            z = sigmoid(load(a_z[j]) + load(p_z[j]))
            n = tanh(load(a_n[j]) + r * load(p_n[j]))
            h = n + z * (state[j] - n)
            q_H[j] = p_n[j]
            state[j] = h
            store(h_H, j, h)
            store(a_r, j, r)
            store(a_z, j, z)
            store(a_n, j, n)


@partial(
    kernel,
    calls=[
        "int64, float32[:,:,::1], float32[:,:,::1], float32[:,:,::1], float32[:,:,::1], float32[:,::1], float32[:,::1]",
    ],
)
def gru_backward(
    t: int,
    gates_TBG: Any,
    q_TBH: Any,
    h_TBH: Any,
    dout_TBH: Any,
    dpast_BH: Any,
    dh_BH: Any,
) -> None:
    """Compute step t of the backward pass through a GRU layer.

    Args:
        t: Position.
        gates_TBG: At t, (r, z, n) from `gru_forward`; overwritten by the gradient of W_hh h_{t−1} + b_hh.
        q_TBH: At t, the last third of W_hh h_{t−1} + b_hh; overwritten by the gradient before the non-linearity of n.
        h_TBH: Holds h_{t−1} at t.
        dout_TBH: Gradient of h_t from the layers above.
        dpast_BH: Gradient of h_t through W_hh from step t + 1.
        dh_BH: Gradient of h_t through z from step t + 1; overwritten by the gradient of h_{t−1}.
    """
    one = dh_BH.dtype.type(1)
    B, H = dh_BH.shape
    for b in range(B):
        gates = gates_TBG[t, b]
        q_H = q_TBH[t, b]
        h_H = h_TBH[t, b]
        dout_H = dout_TBH[t, b]
        dpast_H = dpast_BH[b]
        dh_H = dh_BH[b]
        g_r = gates[:H]
        g_z = gates[H : 2 * H]
        g_n = gates[2 * H :]
        for j in range(H):
            r = load(g_r[j])
            z = load(g_z[j])
            n = load(g_n[j])
            dh = load(dout_H[j]) + load(dpast_H[j]) + dh_H[j]
            da_n = dh * (one - z) * (one - n * n)
            store(g_r, j, da_n * load(q_H[j]) * r * (one - r))
            store(g_z, j, dh * (load(h_H[j]) - n) * z * (one - z))
            store(g_n, j, da_n * r)
            store(q_H, j, da_n)
            dh_H[j] = dh * z


@partial(
    kernel,
    calls=[
        "int64, boolean, float32[:,:,::1], float32[:,::1], float32[:,:,::1]",
    ],
)
def elman_forward(
    t: int,
    relu: bool,
    a_TBH: Any,
    past_BH: Any,
    h_TBH: Any,
) -> None:
    """Compute step t of an Elman layer (the equation of `models.neural.layers.cells.elman_cell`).

    Args:
        t: Position.
        relu: The non-linearity is relu, not tanh.
        a_TBH: At t, W_ih x_t + b.
        past_BH: W_hh h_{t−1}.
        h_TBH: h_t is written at t + 1.
    """
    zero = load(a_TBH.dtype.type(0))
    B, H = past_BH.shape
    for b in range(B):
        a_H = a_TBH[t, b]
        past_H = past_BH[b]
        h_H = h_TBH[t + 1, b]
        if relu:  # outside the loop: inside, the loop would not be vectorised
            for j in range(H):
                store(h_H, j, max(load(a_H[j]) + load(past_H[j]), zero))  # zero last: NaN stays NaN
        else:
            for j in range(H):
                store(h_H, j, tanh(load(a_H[j]) + load(past_H[j])))


@partial(
    kernel,
    calls=[
        "int64, boolean, float32[:,:,::1], float32[:,:,::1], float32[:,::1], float32[:,:,::1]",
    ],
)
def elman_backward(
    t: int,
    relu: bool,
    h_TBH: Any,
    dout_TBH: Any,
    dh_BH: Any,
    da_TBH: Any,
) -> None:
    """Compute step t of the backward pass through an Elman layer.

    Args:
        t: Position.
        relu: The non-linearity is relu, not tanh.
        h_TBH: Holds h_t at t + 1.
        dout_TBH: Gradient of h_t from the layers above.
        dh_BH: Gradient of h_t from step t + 1.
        da_TBH: The gradient before the non-linearity is written at t.
    """
    zero = load(h_TBH.dtype.type(0))
    B, H = dh_BH.shape
    for b in range(B):
        h_H = h_TBH[t + 1, b]
        dout_H = dout_TBH[t, b]
        dh_H = dh_BH[b]
        da_H = da_TBH[t, b]
        if relu:
            for j in range(H):
                h = load(h_H[j])
                da = load(dout_H[j]) + load(dh_H[j])
                # False for NaN; a conditional expression instead would not be vectorised.
                if h <= zero:
                    da = zero
                store(da_H, j, da)
        else:
            for j in range(H):
                h = load(h_H[j])
                dh = load(dout_H[j]) + load(dh_H[j])
                store(da_H, j, dh * (_F(1) - h * h))
