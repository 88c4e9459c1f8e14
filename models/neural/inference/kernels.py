"""Compile the element-wise work of int8 steps with numba: quantise, scale back, draw; each is one pass over its rows.

Every row is treated alone and in the same way, so its result does not depend on the batch. For the flags of the
compiler and the cache of compiled code see `models/neural/fused/kernels.py`.
Shapes: N rows, E features in, G features out, V vocabulary entries.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from ..fused.kernels import kernel, sigmoid, tanh

_F, _I = np.float32, np.int32
LEVELS = _F(127.0)
SMALLEST = _F(1e-30)
BLOCK = 128


@njit(inline="always")  # type: ignore[untyped-decorator]
def _exp(x: Any) -> Any:
    """Return eˣ for x at most 0, with a relative error below 2e-7 (0 below −87): e^r 2^n with a polynomial for e^r."""
    possible, x = x > _F(-87.0), max(x, _F(-87.0))
    n = np.floor(x * _F(1.44269504) + _F(0.5))
    r = (x - n * _F(0.693359375)) + n * _F(2.12194440e-4)
    p = _F(1.9875691500e-4) * r + _F(1.3981999507e-3)
    p = p * r + _F(8.3334519073e-3)
    p = p * r + _F(4.1665795894e-2)
    p = p * r + _F(1.6666665459e-1)
    p = p * r + _F(5.0000001201e-1)
    p = p * r * r + r + _F(1.0)
    return p * _I((_I(n) + _I(127)) << _I(23)).view(_F) if possible else _F(0.0)


@kernel
def quantise(x_NE: Any, q_NE: Any, scale_N: Any) -> None:
    """Write each row as whole numbers from −127 to 127 times a scale."""
    N, E = x_NE.shape
    for n in range(N):
        x, q, most = x_NE[n], q_NE[n], SMALLEST
        for e in range(E):
            most = max(most, abs(x[e]))
        scale_N[n] = most / LEVELS
        inverse = LEVELS / most
        for e in range(E):
            q[e] = np.int8(np.rint(x[e] * inverse))


@kernel
def scale_back(sums_NG: Any, scale_N: Any, scale_G: Any, bias_G: Any, out_NG: Any) -> None:
    """Write the product of two quantised matrices as float32, plus the bias."""
    N, G = sums_NG.shape
    for n in range(N):
        sums, out, scale = sums_NG[n], out_NG[n], scale_N[n]
        for g in range(G):
            out[g] = _F(sums[g]) * (scale * scale_G[g]) + bias_G[g]


@kernel
def lstm_step(
    gates_NG: Any, sums_NG: Any, scale_N: Any, scale_G: Any, c_NH: Any, after_NH: Any, h_NH: Any
) -> None:
    """Take a step of an LSTM (the equations of `cells.lstm_cell`) from a quantised product.

    Loops over few arrays at a time: with more, the compiler does not vectorise them.

    Args:
        gates_NG: What is added to the product; overwritten.
        sums_NG: The quantised product, with the scales *scale_N* and *scale_G*.
        c_NH: c_{t−1}.
        after_NH: The result c_t.
        h_NH: The result h_t.
    """
    N, H = c_NH.shape
    for n in range(N):
        gates, sums, scale, before, after, h = gates_NG[n], sums_NG[n], scale_N[n], c_NH[n], after_NH[n], h_NH[n]
        for g in range(4 * H):
            gates[g] += _F(sums[g]) * (scale * scale_G[g])
        for g in range(2 * H):
            gates[g] = sigmoid(gates[g])
        for g in range(2 * H, 3 * H):
            gates[g] = tanh(gates[g])
        for g in range(3 * H, 4 * H):
            gates[g] = sigmoid(gates[g])
        write, keep, new, read = gates[:H], gates[H : 2 * H], gates[2 * H : 3 * H], gates[3 * H :]
        for j in range(H):
            after[j] = keep[j] * before[j] + write[j] * new[j]
        for j in range(H):
            h[j] = read[j] * tanh(after[j])


@kernel
def draw(logp_NV: Any, never_K: Any, inverse_temperature: Any, uniforms_N: Any, weights_V: Any, ids_N: Any) -> None:
    """Draw one id per row by inversion of softmax(logp / temperature), without some ids.

    Args:
        never_K: Ids that are not drawn.
        inverse_temperature: 1 / temperature (float32).
        uniforms_N: Numbers in [0, 1).
        weights_V: Space to work in.
        ids_N: The result; −1 where no id has any probability.
    """
    N, V = logp_NV.shape
    blocks = (V + BLOCK - 1) // BLOCK
    sums = np.zeros(blocks)
    for n in range(N):
        logp, most = logp_NV[n], _F(-np.inf)
        for v in range(V):
            most = max(most, logp[v])
        ids_N[n] = -1
        if most == _F(-np.inf):
            continue
        for v in range(V):
            weights_V[v] = _exp((logp[v] - most) * inverse_temperature)
        for k in never_K:
            weights_V[k] = _F(0.0)
        total = 0.0
        for block in range(blocks):
            inner: Any = _F(0.0)
            for v in range(block * BLOCK, min(V, block * BLOCK + BLOCK)):
                inner += weights_V[v]
            sums[block] = inner
            total += inner
        left, block = uniforms_N[n] * total, 0
        while block < blocks - 1 and left >= sums[block]:
            left -= sums[block]
            block += 1
        for v in range(block * BLOCK, V):
            if weights_V[v] > _F(0.0):
                ids_N[n] = v
                left -= weights_V[v]
                if left < 0.0:
                    break
