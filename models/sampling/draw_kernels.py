"""Compile the draw of tokens with numba: by inversion, after temperature, top-k, top-p and min-p, without sorting.

Every row is treated alone, so a row's token does not depend on the rest of its batch.
Shapes: N rows, V vocabulary entries, K ids, C classes of weights, M weights of one class.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numba import njit

from ..compiled import FAST, kernel
from ..neural.inference.kernels import exp, largest

_F = np.float32
_I = np.int32
BLOCK = 128
SHIFT = np.uint32(20)
NEAR = _F(2**-10)
"""Bound of the weights that are looked at first; a class begins with it."""
NO_LIMIT = 1 << 62
CLASSES = 1 + (0x3F800000 >> 20)
"""Classes of weights up to 1 by the upper bits of their float32."""


@partial(
    kernel,
    calls=[
        "float32[:,::1], int64[::1], float32, int64, float64, float64, float64[::1], int64, int64[::1]",
    ],
)
def draw(
    logp_NV: Any,
    never_K: Any,
    inverse_temperature: Any,
    top_k: Any,
    top_p: Any,
    min_p: Any,
    uniforms_N: Any,
    otherwise: int,
    ids_N: Any,
) -> None:
    """Draw one id per row by inversion of softmax(logp / temperature), cut by top-k, top-p and min-p in this order.

    As in `sampling/filters.py`, entries as good as the last one that is kept are kept too.

    Args:
        never_K: Ids that are not drawn, ascending.
        inverse_temperature: 1 / temperature (float32).
        top_k: 0 keeps all.
        top_p: 1 keeps all.
        min_p: 0 keeps all.
        uniforms_N: Numbers in [0, 1).
        otherwise: The id of a row where no id has any probability.
        ids_N: The result; -1 for a row of numbers that are none (NaN).
    """
    N, V = logp_NV.shape
    weights_V = np.empty(V, np.float32)
    sums = np.zeros((V + BLOCK - 1) // BLOCK)
    for n in range(N):
        logp = logp_NV[n]
        most = _largest_without(logp_NV[n], never_K)
        ids_N[n] = otherwise
        if not most > _F(-np.inf):
            ids_N[n] = -1 if np.isnan(logp).any() else otherwise
            continue

        for block in range(len(sums)):
            sums[block] = _weigh(
                _part(logp, block), most, inverse_temperature, _part(weights_V, block)
            )

        for k in never_K:
            weights_V[k] = _F(0.0)
            sums[k // BLOCK] = _cut(_part(weights_V, k // BLOCK), _F(0.0))

        if top_k > 0 or top_p < 1.0 or min_p > 0.0:
            floor = (
                _floor(weights_V, sums.sum(), top_k, top_p) if top_k > 0 or top_p < 1.0 else _F(0.0)
            )
            if min_p > 0.0:
                floor = max(floor, _F(min_p) * largest(weights_V))
            for block in range(len(sums)):
                sums[block] = _cut(_part(weights_V, block), floor)

        entry = _id_at(uniforms_N[n] * sums.sum(), weights_V, sums)
        if entry >= 0:
            ids_N[n] = entry


@njit(inline="always")  # type: ignore[untyped-decorator]
def _part(x_V: Any, block: Any) -> Any:
    return x_V[block * BLOCK : (block + 1) * BLOCK]


@njit  # type: ignore[untyped-decorator]
def _largest_without(logp: Any, never_K: Any) -> Any:
    """Return the largest of the ids that may be drawn: relative to another one, all of these can be too small."""
    most = _F(-np.inf)
    begin = 0
    for k in never_K:
        most = max(most, largest(logp[begin:k]))
        begin = k + 1
    return max(most, largest(logp[begin:]))


@njit(fastmath=FAST)  # type: ignore[untyped-decorator]
def _weigh(
    logp: Any,
    most: Any,
    inverse_temperature: Any,
    weights: Any,
) -> Any:
    """Write the weights of a block, at most 1 each, and return their sum."""
    total: Any = _F(0.0)
    for v in range(len(weights)):
        x = (logp[v] - most) * inverse_temperature
        weights[v] = exp(_F(0.0) if x > _F(0.0) else x)
        total += weights[v]
    return total


@njit(fastmath=FAST)  # type: ignore[untyped-decorator]
def _cut(weights: Any, floor: Any) -> Any:
    """Put 0 in place of the weights below a floor, and return the sum of a block."""
    total: Any = _F(0.0)
    for v in range(len(weights)):
        weights[v] = weights[v] if weights[v] >= floor else _F(0.0)
        total += weights[v]
    return total


@njit  # type: ignore[untyped-decorator]
def _id_at(
    left: Any,
    weights_V: Any,
    sums: Any,
) -> Any:
    """Return the id at which the weights before it and its own exceed a number; else the last that has a weight."""
    V = len(weights_V)
    block = 0
    entry = -1
    while block < len(sums) - 1 and left >= sums[block]:
        left -= sums[block]
        block += 1

    for v in range(block * BLOCK, V):
        if weights_V[v] > _F(0.0):
            entry = v
            left -= weights_V[v]
            if left < 0.0:
                break

    return entry


@njit  # type: ignore[untyped-decorator]
def _floor(
    weights_V: Any,
    total: Any,
    top_k: Any,
    top_p: Any,
) -> Any:
    """Return the smallest weight that top-k and then top-p keep. Mostly, the few weights near 1 decide it."""
    near_M = np.empty(len(weights_V), np.float32)
    size = 0
    for v in range(len(weights_V)):
        near_M[size] = weights_V[v]
        size += int(weights_V[v] >= NEAR)
    floor = _floor_among(near_M[:size], total, top_k, top_p) if size >= top_k else _F(0.0)
    return floor if floor > _F(0.0) else _floor_among(weights_V, total, top_k, top_p)


@njit  # type: ignore[untyped-decorator]
def _floor_among(
    weights_V: Any,
    total: Any,
    top_k: Any,
    top_p: Any,
) -> Any:
    """Return the smallest weight that top-k and top-p keep; 0 if these weights are too few to tell.

    *weights_V* are all weights or only the largest ones, *total* is the sum of all.

    Sorting all weights takes ten times as long as the rest of a draw. Instead they are counted in classes of similar
    size (exponent and three bits), and the class in which a limit is reached is halved until one weight is left.
    Weights are at most 1.
    """
    counts_C = np.zeros(CLASSES, np.int64)
    sums_C = np.zeros(CLASSES)
    bits_V = weights_V.view(np.uint32)
    for v in range(len(weights_V)):
        counts_C[bits_V[v] >> SHIFT] += 1
        sums_C[bits_V[v] >> SHIFT] += weights_V[v]

    floor = _F(0.0)
    if top_k > 0:
        floor, total = _floor_in(
            weights_V,
            counts_C,
            sums_C,
            top_k,
            np.inf,
            total,
        )

    if top_p < 1.0:
        floor = max(
            floor,
            _floor_in(
                weights_V,
                counts_C,
                sums_C,
                NO_LIMIT,
                top_p * total,
                total,
            )[0],
        )

    return floor


@njit  # type: ignore[untyped-decorator]
def _floor_in(
    weights_V: Any,
    counts_C: Any,
    sums_C: Any,
    most: Any,
    share: Any,
    total: Any,
) -> Any:
    """Return the weight at which a number or a sum of weights is reached, the largest first, and the sum down to it."""
    bits_V = weights_V.view(np.uint32)
    count = 0
    done = 0.0
    c = CLASSES - 1
    while c > 0 and count + counts_C[c] < most and done + sums_C[c] < share:
        count += counts_C[c]
        done += sums_C[c]
        c -= 1

    if c == 0:
        return _F(0.0), total

    inside_M = np.empty(counts_C[c], np.uint32)
    size = 0
    for v in range(len(bits_V)):
        if bits_V[v] >> SHIFT == c:
            inside_M[size] = bits_V[v]
            size += 1

    weights_M = inside_M.view(np.float32)
    # Weights are at least 0: the larger one has the larger bits. Down to *low* the limit is reached, to *high* not.
    low = c << _I(SHIFT)
    high = (c + 1) << _I(SHIFT)
    reached = done + sums_C[c]
    while high - low > 1:
        middle = (low + high) // 2
        number = count
        sum_here = done
        for m in range(size):
            if inside_M[m] >= middle:
                number += 1
                sum_here += weights_M[m]
        if number >= most or sum_here >= share:
            low = middle
            reached = sum_here
        else:
            high = middle

    return _I(low).view(np.float32), reached
