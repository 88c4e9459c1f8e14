"""Compile softmaxes and sums of log-probabilities with numba, each in one pass over a row.

Every row is treated alone and in the same way, so its result does not depend on the batch.
Shapes: N rows, C entries of a level, P entries or parts, V vocabulary entries.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from ...compiled import kernel

_F, _I = np.float32, np.int32


@njit(inline="always")  # type: ignore[untyped-decorator]
def exp(x: Any) -> Any:
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


@njit  # type: ignore[untyped-decorator]
def largest(x_V: Any) -> Any:
    """Return the largest number; −inf of none. By whole numbers in the same order, which the compiler vectorises."""
    bits_V, most = x_V.view(np.int32), _ordered(_F(-np.inf).view(_I))
    for v in range(len(bits_V)):
        number = _ordered(bits_V[v])
        most = number if number > most else most
    return _ordered(most).view(_F)


@njit(inline="always")  # type: ignore[untyped-decorator]
def _ordered(bits: Any) -> Any:
    """Return the bits of a float32 as a whole number in the order of floats, and back: inverted if it is negative."""
    return _I(bits ^ ((bits >> _I(31)) & _I(0x7FFFFFFF)))


@kernel
def log_softmax_of_level(logits_NC: Any, plus_N: Any, ids_P: Any, out_NV: Any) -> None:
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
        logits, out = logits_NC[n], out_NV[n]
        most, total = largest(logits), _F(0.0)
        for c in range(C):
            total += exp(logits[c] - most)
        normaliser = most + _F(np.log(total))
        shift = plus_N[n] - normaliser
        for p in range(P):
            out[ids_P[p]] = logits[p] + shift
        for c in range(P, C):
            logits[c] -= normaliser


@kernel
def add_to_log_sum(total_NV: Any, logp_NPV: Any, first: int, log_weight_NP: Any) -> None:
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
            total, logp, weight = total_NV[n], logp_NPV[n, part], log_weight_NP[n, part]
            for v in range(V):
                a, b = total[v], logp[v] + weight
                most, least = max(a, b), min(a, b)
                e = exp(least - most) if least > _F(-np.inf) else _F(0.0)
                s = e / (_F(2.0) + e)
                q = s * s
                series = q * _F(1 / 13) + _F(1 / 11)
                series = series * q + _F(1 / 9)
                series = series * q + _F(1 / 7)
                series = series * q + _F(1 / 5)
                series = series * q + _F(1 / 3)
                total[v] = most + (s + s) * (series * q + _F(1.0))
