"""Compile the element-wise work of steps with numba: LSTM, quantise, scale back; each is one pass over its rows.

Every row is treated alone and in the same way, so its result does not depend on the batch. For the flags of the
compiler and the cache of compiled code see `models/compiled.py`.
Shapes: N rows, E features in, G features out.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload

from ...compiled import FAST, kernel
from .log_kernels import largest

_F, _I = np.float32, np.int32
LEVELS = _F(127.0)
SMALLEST = _F(1e-30)


def tanh(x: Any) -> Any:
    """Return tanh x; for a float32 as a quotient of polynomials (error below 3e-7), which vectorises."""
    return math.tanh(x)


@overload(tanh)
def _tanh(x):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    def quotient(x):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        x = min(max(x, _F(-7.90531110763549805)), _F(7.90531110763549805))  # x first: then NaN stays NaN
        s = x * x
        p = _F(-2.76076847742355e-16) * s + _F(2.00018790482477e-13)
        p = p * s + _F(-8.60467152213735e-11)
        p = p * s + _F(5.12229709037114e-08)
        p = p * s + _F(1.48572235717979e-05)
        p = p * s + _F(6.37261928875436e-04)
        p = p * s + _F(4.89352455891786e-03)
        q = _F(1.19825839466702e-06) * s + _F(1.18534705686654e-04)
        q = q * s + _F(2.26843463243900e-03)
        q = q * s + _F(4.89352518554385e-03)
        return x * p / q

    return quotient if x == types.float32 else lambda x: math.tanh(x)


def sigmoid(x: Any) -> Any:
    """Return the logistic function σ(x) = ½ tanh(x / 2) + ½."""
    return 0.5 * tanh(0.5 * x) + 0.5


@overload(sigmoid)
def _sigmoid(x):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    if x == types.float32:
        return lambda x: _F(0.5) * tanh(_F(0.5) * x) + _F(0.5)
    return lambda x: 0.5 * tanh(0.5 * x) + 0.5


@kernel
def quantise(x_NE: Any, q_NE: Any, scale_N: Any) -> None:
    """Write each row as whole numbers from −127 to 127 times a scale."""
    N, E = x_NE.shape
    for n in range(N):
        x, q, most = x_NE[n], q_NE[n], max(SMALLEST, largest(np.abs(x_NE[n])))
        scale_N[n] = most / LEVELS
        inverse = LEVELS / most
        for e in range(E):
            q[e] = np.int8(np.rint(x[e] * inverse))


@partial(kernel, fast={"contract"})  # in the order that is written, as `vnni.linear` does
def scale_back(sums_NG: Any, scale_N: Any, scale_G: Any, bias_G: Any, out_NG: Any) -> None:
    """Write the product of two quantised matrices as float32, plus the bias."""
    N, G = sums_NG.shape
    for n in range(N):
        sums, out, scale = sums_NG[n], out_NG[n], scale_N[n]
        for g in range(G):
            out[g] = _F(sums[g]) * (scale * scale_G[g]) + bias_G[g]


@kernel
def lstm_step(gates_NG: Any, c_NH: Any, after_NH: Any, h_NH: Any) -> None:
    """Take a step of an LSTM (the equations of `cells.lstm_cell`).

    Loops over few arrays at a time: with more, the compiler does not vectorise them.

    Args:
        gates_NG: W_ih x_t + W_hh h_{t−1} and both biases; overwritten.
        c_NH: c_{t−1}.
        after_NH: The result c_t.
        h_NH: The result h_t.
    """
    for n in range(len(c_NH)):
        _lstm_cell(gates_NG[n], c_NH[n], after_NH[n], h_NH[n])


@kernel
def float_lstm_step(gates_NG: Any, past_NG: Any, c_NH: Any, after_NH: Any, h_NH: Any) -> None:
    """Take a step of an LSTM as `lstm_step` does, from products in float32.

    Args:
        gates_NG: W_ih x_t and both biases; overwritten.
        past_NG: W_hh h_{t−1}.
        c_NH, after_NH, h_NH: As for `lstm_step`.
    """
    N, G = gates_NG.shape
    for n in range(N):
        gates, past = gates_NG[n], past_NG[n]
        for g in range(G):
            gates[g] += past[g]
        _lstm_cell(gates, c_NH[n], after_NH[n], h_NH[n])


@njit(fastmath=FAST, error_model="numpy")  # type: ignore[untyped-decorator]
def _lstm_cell(gates: Any, before: Any, after: Any, h: Any) -> None:
    """Compute one row of a step from the sums of its gates, which are overwritten."""
    H = len(before)
    _sigmoids(gates[: 2 * H])
    _tanhs(gates[2 * H : 3 * H])
    _sigmoids(gates[3 * H :])
    write, keep, new, read = gates[:H], gates[H : 2 * H], gates[2 * H : 3 * H], gates[3 * H :]
    for j in range(H):
        after[j] = keep[j] * before[j] + write[j] * new[j]
    for j in range(H):
        h[j] = read[j] * tanh(after[j])


@njit(fastmath=FAST, error_model="numpy")  # type: ignore[untyped-decorator]
def _sigmoids(x: Any) -> None:
    """Replace each number by its sigmoid. The compiler only vectorises loops that begin at 0."""
    for j in range(len(x)):
        x[j] = sigmoid(x[j])


@njit(fastmath=FAST, error_model="numpy")  # type: ignore[untyped-decorator]
def _tanhs(x: Any) -> None:
    """Replace each number by its tanh."""
    for j in range(len(x)):
        x[j] = tanh(x[j])
