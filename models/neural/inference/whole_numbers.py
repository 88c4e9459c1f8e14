"""Multiply matrices of 8-bit whole numbers, where this processor sums the products exactly.

Without VNNI, AMX or their like, pairs of products are added in 16 bits and can overflow; there int8 is also slower.
`torch._int_mm` arranges the weights for the processor at each call. oneDNN's product with weights that were packed once
takes down to a third of the time, where it has a kernel for it: on an AMD EPYC (Zen 5), torch 2.13 takes its reference
code, which is thousands of times slower. So both are timed once in a process. Both sums are exact, the packed ones are
given as float32.
Shapes: N rows, E features in, G features out.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from time import perf_counter
from typing import cast

import torch
from torch import Tensor

Product = Callable[[Tensor], Tensor]
"""Maps x (N, E; int8) to x Wᵀ (N, G; int32 or float32)."""


def product_with(weight_GE: Tensor) -> Product:
    """Return the product with W (int8), packed if torch can do that, and quickly."""
    return _quickest()(weight_GE.contiguous())


def int8_is_exact() -> bool:
    """Return whether this processor sums products of 8 bits exactly."""
    return _is_exact(_unpacked) or _is_exact(_packed)


def _unpacked(weight_GE: Tensor) -> Product:
    weight_EG = weight_GE.t()
    return lambda x_NE: torch._int_mm(x_NE, weight_EG)


def _packed(weight_GE: Tensor) -> Product:
    onednn, width = torch.ops.onednn, len(weight_GE)
    packed = onednn.qlinear_prepack(weight_GE, None)
    ones_G, zeros_G = torch.ones(width), torch.zeros(width, dtype=torch.int64)

    def product(x_NE: Tensor) -> Tensor:
        # Scales of 1 and zero points of 0: nothing but the sums.
        sums_NG = onednn.qlinear_pointwise(
            x_NE, 1.0, 0, packed, ones_G, zeros_G, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return cast(Tensor, sums_NG)

    return product


@cache
def _quickest() -> Callable[[Tensor], Product]:
    """Return the quicker of the exact ways; the choice changes no result."""
    exact = [make for make in (_packed, _unpacked) if _is_exact(make)]
    return min(exact, key=_seconds) if len(exact) > 1 else (exact or [_unpacked])[0]


def _seconds(make: Callable[[Tensor], Product]) -> float:
    """Return the least of three times of a product of 16 rows with 256 by 256 weights."""
    x_NE, product = torch.ones(16, 256, dtype=torch.int8), make(torch.ones(256, 256, dtype=torch.int8))

    def timed() -> float:
        start = perf_counter()
        product(x_NE)
        return perf_counter() - start

    return min(timed() for _ in range(3))


@cache
def _is_exact(make: Callable[[Tensor], Product]) -> bool:
    """Return whether the sums of the largest numbers are exact, for one row and for many."""
    draws = torch.Generator().manual_seed(1)
    x_NE, weight_GE = (torch.randint(0, 2, shape, generator=draws) * 254 - 127 for shape in ((65, 130), (129, 130)))
    x_NE[0], weight_GE[:2] = 127, torch.tensor([[127], [-127]])
    expected_NG = x_NE @ weight_GE.t()
    try:
        product = make(weight_GE.to(torch.int8))
        found = [product(x_NE[:rows].to(torch.int8)) for rows in (1, 65)]
    except (AttributeError, RuntimeError):
        return False
    return all(torch.equal(sums_NG.long(), expected_NG[: len(sums_NG)]) for sums_NG in found)
