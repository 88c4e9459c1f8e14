"""Compile what is done with the whole distribution before each token: one pass over each row instead of ten.

Shapes: N positions, V vocabulary entries, E entries in the order of their texts, P lengths of the typed part.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from models.compiled import FAST, kernel
from models.neural.inference.kernels import exp, largest

_F = np.float32
BLOCK = 256
"""Entries whose sum is kept in float32."""
LOWEST = _F(-1e4)
"""What log 0 counts as in the entropy."""


@kernel
def judge(
    logp_NV: Any, target_N: Any, better_NV: Any, rank_N: Any, top_N: Any, entropy_N: Any, mass_N: Any
) -> None:  # fmt: skip
    """Write what the distribution says about the written token, and how sharp it is.

    Args:
        logp_NV: Log-probabilities (float32).
        target_N: The tokens that were written.
        better_NV: Result: the entries that are more probable than the written token; of equal ones, those of lower id.
        rank_N: Result: 1 + their number.
        top_N: Result: log p of the most probable entry.
        entropy_N: Result: −Σ p log p.
        mass_N: Result: Σ p, which is 1 unless the model is wrong.
    """
    V = logp_NV.shape[1]
    for n in range(len(logp_NV)):
        logp, better, target = logp_NV[n], better_NV[n], target_N[n]
        top_N[n], target_logp = largest(logp), logp[target]
        rank_N[n] = 1 + _compare(logp, target_logp, target, better)
        entropy_N[n] = mass_N[n] = 0.0
        for begin in range(0, V, BLOCK):
            entropy, mass = _sums(logp[begin : begin + BLOCK])
            entropy_N[n] -= entropy
            mass_N[n] += mass


@njit  # type: ignore[untyped-decorator]
def _compare(logp: Any, target_logp: Any, target: Any, better: Any) -> Any:
    """Write which entries come before the written token; return their number."""
    count = 0
    for v in range(target):
        better[v] = logp[v] >= target_logp
        count += better[v]
    better[target] = False
    for v in range(target + 1, len(logp)):
        better[v] = logp[v] > target_logp
        count += better[v]
    return count


@njit(fastmath=FAST)  # type: ignore[untyped-decorator]
def _sums(logp: Any) -> Any:
    """Return Σ p log p and Σ p of a few entries."""
    entropy, mass = _F(0.0), _F(0.0)
    for v in range(len(logp)):
        p = exp(logp[v])
        entropy += p * max(logp[v], LOWEST)
        mass += p
    return entropy, mass


@kernel
def spare(
    better_NV: Any, order_E: Any, low_P: Any, high_P: Any, first_N: Any, last_N: Any, shown: int, spared_N: Any
) -> None:
    """Write how many keys a keyboard saves that shows the best entries that begin with what has been typed.

    Args:
        better_NV: The entries that are shown before the written token.
        order_E: Entries in the order of their texts.
        low_P, high_P: For all tokens one after another: the entries that begin with its first 0, 1, 2 … bytes, as a
            range of *order_E*.
        first_N, last_N: The range of these two that belongs to the token of a position.
        shown: Entries that are shown at a time.
        spared_N: Result.
    """
    before_E = np.zeros(len(order_E) + 1, np.int64)
    for n in range(len(better_NV)):
        spared_N[n] = 0
        if first_N[n] == last_N[n]:
            continue
        better = better_NV[n]
        for e in range(len(order_E)):
            before_E[e + 1] = before_E[e] + better[order_E[e]]
        for p in range(first_N[n], last_N[n]):
            if before_E[high_P[p]] - before_E[low_P[p]] < shown:
                spared_N[n] = last_N[n] - 1 - p
                break
