"""Compile the element-wise work of steps with numba: LSTM, int8, softmaxes, sums of log-probabilities; one pass each.

Every row is treated alone and in the same way, so its result does not depend on the batch. For the flags of the
compiler and the cache of compiled code see `models/compiled.py`.
Shapes: N rows, E features in, G features out, C entries of a level, P entries or parts, V vocabulary entries.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload

from ...compiled import FAST, kernel

_F = np.float32
_I = np.int32
LEVELS = _F(127.0)
SMALLEST = _F(1e-30)


@njit(inline="always")  # type: ignore[untyped-decorator]
def exp(x: Any) -> Any:
    """Return eˣ for x at most 0, with a relative error below 2e-7 (0 below −87): e^r 2^n with a polynomial for e^r."""
    possible = x > _F(-87.0)
    x = max(x, _F(-87.0))
    n = np.floor(x * _F(1.44269504) + _F(0.5))
    r = (x - n * _F(0.693359375)) + n * _F(2.12194440e-4)
    p = _F(1.9875691500e-4) * r + _F(1.3981999507e-3)
    p = p * r + _F(8.3334519073e-3)
    p = p * r + _F(4.1665795894e-2)
    p = p * r + _F(1.6666665459e-1)
    p = p * r + _F(5.0000001201e-1)
    p = p * r * r + r + _F(1.0)
    return p * _I((_I(n) + _I(127)) << _I(23)).view(_F) if possible else _F(0.0)


@njit  # type: ignore[untyped-decorator]
def largest(x_V: Any) -> Any:
    """Return the largest number; −inf of none. By whole numbers in the same order, which the compiler vectorises."""
    bits_V = x_V.view(np.int32)
    most = _order_bits(_F(-np.inf).view(_I))
    for v in range(len(bits_V)):
        number = _order_bits(bits_V[v])
        most = number if number > most else most
    return _order_bits(most).view(_F)


@njit(inline="always")  # type: ignore[untyped-decorator]
def _order_bits(bits: Any) -> Any:
    """Return the bits of a float32 as a whole number in the order of floats, and back: inverted if it is negative."""
    return _I(bits ^ ((bits >> _I(31)) & _I(0x7FFFFFFF)))


@partial(
    kernel,
    calls=[
        "float32[:,::1], float32[::1], int64[::1], float32[:,::1]",
    ],
)
def log_softmax_of_level(
    logits_NC: Any,
    plus_N: Any,
    ids_P: Any,
    out_NV: Any,
) -> None:
    """Write the log-softmax of each row to the places of its first entries.

    Args:
        logits_NC: C at least P; those from P on are replaced by their log-softmax.
        plus_N: What is added to what is written.
        ids_P: Places of the first P entries.
        out_NV: The result; its other places are left as they are.
    """
    N, C = logits_NC.shape
    P = len(ids_P)
    for n in range(N):
        logits = logits_NC[n]
        out = out_NV[n]
        most = largest(logits)
        total = _F(0.0)
        for c in range(C):
            total += exp(logits[c] - most)
        normaliser = most + _F(np.log(total))
        shift = plus_N[n] - normaliser
        for p in range(P):
            out[ids_P[p]] = logits[p] + shift
        for c in range(P, C):
            logits[c] -= normaliser


@partial(
    kernel,
    calls=[
        "float32[:,::1], int64[::1], float32[::1], float32[::1]",
    ],
)
def logp_in_level(
    logits_NC: Any,
    classes_N: Any,
    plus_N: Any,
    logp_N: Any,
) -> None:
    """Write the log-softmax of one class of each row, as `log_softmax_of_level` does.

    Args:
        logits_NC: Logits.
        classes_N: A class of each row.
        plus_N: What is added to what is written.
        logp_N: The result.
    """
    N, C = logits_NC.shape
    for n in range(N):
        logits = logits_NC[n]
        most = largest(logits)
        total = _F(0.0)
        for c in range(C):
            total += exp(logits[c] - most)
        normaliser = most + _F(np.log(total))
        shift = plus_N[n] - normaliser
        logp_N[n] = logits[classes_N[n]] + shift


@partial(
    kernel,
    calls=[
        "float32[:,::1], float32[:,:,::1], int64, float32[:,::1]",
        "float32[:,::1], float32[:,:,::1], int64, const float32[:,::1]",
    ],
)
def add_to_log_sum(
    total_NV: Any,
    logp_NPV: Any,
    first: int,
    log_weight_NP: Any,
) -> None:
    """Replace log a of each entry by log(a + Σ w p), one part after another.

    The larger of both logarithms plus log(1 + e) of e = exp(−difference), which is 2 artanh(e / (2 + e)): seven terms
    of its series, with an error below 1e-8.

    Args:
        total_NV: log a; overwritten.
        logp_NPV: log p of P parts, of which those from *first* on are added.
        log_weight_NP: log w.
    """
    N, V = total_NV.shape
    for n in range(N):
        for part in range(first, logp_NPV.shape[1]):
            total = total_NV[n]
            logp = logp_NPV[n, part]
            weight = log_weight_NP[n, part]
            for v in range(V):
                a = total[v]
                b = logp[v] + weight
                most = max(a, b)
                least = min(a, b)
                e = exp(least - most) if least > _F(-np.inf) else _F(0.0)
                s = e / (_F(2.0) + e)
                q = s * s
                series = q * _F(1 / 13) + _F(1 / 11)
                series = series * q + _F(1 / 9)
                series = series * q + _F(1 / 7)
                series = series * q + _F(1 / 5)
                series = series * q + _F(1 / 3)
                total[v] = most + (s + s) * (series * q + _F(1.0))


def tanh(x: Any) -> Any:
    """Return tanh x; for a float32 as a quotient of polynomials (error below 3e-7), which vectorises."""
    return math.tanh(x)


@overload(tanh)
def _tanh(x):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    def quotient(x):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        # x first: then NaN stays NaN.
        x = min(max(x, _F(-7.90531110763549805)), _F(7.90531110763549805))
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
def quantise(
    x_NE: Any,
    q_NE: Any,
    scale_N: Any,
) -> None:
    """Write each row as whole numbers from −127 to 127 times a scale."""
    N, E = x_NE.shape
    for n in range(N):
        x = x_NE[n]
        q = q_NE[n]
        most = max(SMALLEST, largest(np.abs(x_NE[n])))
        scale_N[n] = most / LEVELS
        inverse = LEVELS / most
        for e in range(E):
            q[e] = np.int8(np.rint(x[e] * inverse))


@partial(
    kernel,
    calls=[
        "float32[:,::1], float32[:,::1], float32[:,::1], float32[:,::1]",
    ],
)
def lstm_step(
    gates_NG: Any,
    c_NH: Any,
    after_NH: Any,
    h_NH: Any,
) -> None:
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


@partial(
    kernel,
    calls=[
        "float32[:,::1], float32[:,::1], int64[::1], float32[:,::1], int64[::1], float32[:,::1], float32[:,::1]",
    ],
)
def lstm_step_of_copies(
    gates_NG: Any,
    x_UG: Any,
    place_N: Any,
    star_SG: Any,
    star_N: Any,
    c_NH: Any,
    h_NH: Any,
) -> None:
    """Take a step of an LSTM in streams of which several read the same input.

    Args:
        gates_NG: W_hh h_{t−1}; overwritten.
        x_UG: W_ih x_t and both biases, for different inputs.
        place_N: Row of each stream's input.
        star_SG: A further part of the gates, for different star tokens.
        star_N: Row of each stream there.
        c_NH: c_{t−1}; c_t is written over it.
        h_NH: The result h_t.
    """
    for n in range(len(c_NH)):
        gates = gates_NG[n]
        x = x_UG[place_N[n]]
        star = star_SG[star_N[n]]
        for g in range(len(gates)):
            gates[g] += x[g] + star[g]
        _lstm_cell(gates, c_NH[n], c_NH[n], h_NH[n])


@njit(fastmath=FAST, error_model="numpy")  # type: ignore[untyped-decorator]
def _lstm_cell(
    gates: Any,
    before: Any,
    after: Any,
    h: Any,
) -> None:
    """Compute one row of a step from the sums of its gates, which are overwritten."""
    H = len(before)
    _sigmoids(gates[: 2 * H])
    _tanhs(gates[2 * H : 3 * H])
    _sigmoids(gates[3 * H :])
    write = gates[:H]
    keep = gates[H : 2 * H]
    new = gates[2 * H : 3 * H]
    read = gates[3 * H :]
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
