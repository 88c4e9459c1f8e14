"""Select an exact int8 matrix product for this processor (`torch._int_mm`, oneDNN or FBGEMM), by timing them once.

Without VNNI, AMX or their like, pairs of products are added in 16 bits and can overflow; there int8 is also slower.
`torch._int_mm` arranges the weights for the processor at each call. Two libraries in torch multiply with weights that
were packed once. oneDNN takes down to a third of the time where it has a kernel for it: on AMD processors, torch 2.13
takes its reference code, which is thousands of times slower. FBGEMM has kernels for them too: on an AMD EPYC (Zen 4), a
step of a 2×650 LSTM takes 0.6 instead of 1.1 ms for 4 texts and 6.8 instead of 8.0 for 64, but 0.48 instead of 0.41 for
one. So the exact ways are timed once in a process, for one row and for several. All give the same sums.
Shapes: N rows, E features in, G features out.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from time import perf_counter
from typing import cast

import torch
from torch import Tensor

SEVERAL = 4
"""Rows for which the product of several rows is chosen."""
REFERENCE_SECONDS = 0.02
"""Time of `_seconds` above which a library has only reference code; it is then not measured again."""
Product = Callable[[Tensor], Tensor]
"""Maps x (N, E; int8) to x Wᵀ (N, G; int32 or float32)."""


def product_with(weight_GE: Tensor) -> Product:
    """Return the product with W (int8): for one row, and for several, that of the quickest of the exact ways."""
    weight_GE = weight_GE.contiguous()
    if (for_one := _quickest(1)) is (for_several := _quickest(SEVERAL)):
        return for_several(weight_GE)
    one, several = for_one(weight_GE), for_several(weight_GE)
    return lambda x_NE: (one(x_NE) if len(x_NE) == 1 else several(x_NE)).float()


def int8_is_exact() -> bool:
    """Return whether this processor sums products of 8 bits exactly."""
    return any(map(_is_exact, WAYS))


def _unpacked(weight_GE: Tensor) -> Product:
    weight_EG = weight_GE.t()
    return lambda x_NE: torch._int_mm(x_NE, weight_EG)


def _packed_by_onednn(weight_GE: Tensor) -> Product:
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


def _packed_by_fbgemm(weight_GE: Tensor) -> Product:
    quantized = torch.ops.quantized
    with _engine("fbgemm"):
        packed = quantized.linear_prepack(torch._make_per_tensor_quantized_tensor(weight_GE, 1.0, 0), None)

    def product(x_NE: Tensor) -> Tensor:
        # A scale of 1: whole numbers stay what they are. The library's inputs are from 0 to 255, so 128 is its zero.
        sums_NG = quantized.linear_with_input_q_dq_qweight_dq_output_fp32(x_NE.float(), 1.0, 128, packed)
        return cast(Tensor, sums_NG)

    return product


@contextmanager
def _engine(name: str) -> Iterator[None]:
    """Let torch pack weights for a library; leave the process's choice as it was."""
    engines, before = torch.backends.quantized, torch.backends.quantized.engine
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # tensors of such numbers will go, and then so does this way
        engines.engine = name
        try:
            yield
        finally:
            engines.engine = before


WAYS = (_packed_by_fbgemm, _packed_by_onednn, _unpacked)


@cache
def _quickest(rows: int) -> Callable[[Tensor], Product]:
    """Return the quickest of the exact ways for some rows; the choice changes no result."""
    exact = [make for make in WAYS if _is_exact(make)]
    return min(exact, key=partial(_seconds, rows=rows)) if len(exact) > 1 else (exact or [_unpacked])[0]


def _seconds(make: Callable[[Tensor], Product], rows: int) -> float:
    """Return the least of some times of a product with weights that no inner cache holds, as in use."""
    x_NE, product = torch.ones(rows, 1024, dtype=torch.int8), make(torch.ones(2048, 1024, dtype=torch.int8))

    def timed() -> float:
        start = perf_counter()
        product(x_NE)
        return perf_counter() - start

    first = timed()
    return first if first > REFERENCE_SECONDS else min(timed() for _ in range(5))


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
