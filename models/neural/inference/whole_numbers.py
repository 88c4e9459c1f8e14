"""Select an exact int8 matrix product for this processor of torch, or a compiled one, by timing them once.

Without VNNI, AMX or their like, pairs of products are added in 16 bits and can overflow. There, a product of the same
whole numbers as floats gives the same sums: slower than the weights in float32, but the same on every processor.
Where numba compiles for VNNI, `vnni.py` does all of a linear layer in one call. `torch._int_mm` arranges the weights
for the processor at each call. Two libraries in torch multiply with weights that were packed once: oneDNN takes down
to a third of the time where it has a kernel for it (on AMD processors, torch 2.13 takes its reference code, thousands
of times slower), and FBGEMM has kernels for them too. So the exact ways are timed once in a process, for one row, for
a few and for many: with AMX, for instance, another may be quicker for many rows. All give the same sums.
Shapes: N rows, E features in, G features out.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from time import perf_counter
from typing import cast

import numpy as np
import torch
from torch import Tensor

from . import kernels, vnni

LEVELS = 127
ROWS = (1, 4, 32)
"""Numbers of rows for which the ways are timed. With fewer rows than the next one, that for the one before is used."""
REFERENCE_SECONDS = 0.02
"""Time of `_seconds` above which a library has only reference code; it is then not measured again."""
Product = Callable[[Tensor], Tensor]
"""Maps x (N, E; int8) to x Wᵀ (N, G; int32 or float32)."""
Write = Callable[[np.ndarray, np.ndarray], None]
"""Writes x Wᵀ + b (N, G) for x (N, E), both float32."""
Way = Callable[[Tensor, np.ndarray, np.ndarray], Write]
"""Makes it from W as whole numbers (int8), their scales (G) and b (G)."""
Rows = Callable[[np.ndarray], np.ndarray]
"""Returns some rows of W (N, E; float32) by their numbers (N)."""


class Linear:
    """The product x Wᵀ + b with quantised rows of x; for each number of rows, the quickest of the exact ways.

    Args:
        weight_GE: W as whole numbers (int8).
        scale_G: Their scales.
        bias_G: b.
    """

    def __init__(self, weight_GE: Tensor, scale_G: np.ndarray, bias_G: np.ndarray) -> None:
        ways = [_quickest(rows) for rows in ROWS]
        made = {way: way(weight_GE.contiguous(), scale_G, bias_G) for way in dict.fromkeys(ways)}
        self._one, self._few, self._many = (made[way] for way in ways)
        compiled = [write for write in made.values() if isinstance(write, _Compiled)]
        self.rows: Rows | None = compiled[0].rows if compiled else None
        """Rows of W from its packed form; None: no way that is used can give them back."""

    def __call__(self, x_NE: np.ndarray, out_NG: np.ndarray) -> None:
        """Write x Wᵀ + b."""
        write = self._one if len(x_NE) < ROWS[1] else self._few if len(x_NE) < ROWS[2] else self._many
        write(x_NE, out_NG)


def quantised(weight_GE: Tensor) -> tuple[Tensor, np.ndarray]:
    """Return the rows of W as whole numbers (int8), and their scales (G)."""
    weight_GE = weight_GE.detach().float()
    scale_G1 = weight_GE.abs().amax(1, keepdim=True).clamp_min(1e-30) / LEVELS
    return (weight_GE / scale_G1).round().to(torch.int8), scale_G1[:, 0].numpy()


def plain_rows(weight_GE: Tensor, scale_G: np.ndarray) -> Rows:
    """Return rows of W from whole numbers that are kept for this alone."""
    whole_GE = weight_GE.contiguous().numpy()
    return lambda ids_N: whole_GE[ids_N] * scale_G[ids_N, None]


class _Compiled:
    """The way that is compiled for VNNI; its packed weights can be read back."""

    def __init__(self, weight_GE: Tensor, scale_G: np.ndarray, bias_G: np.ndarray) -> None:
        self._packed, self._scale_G, self._bias_G = vnni.pack(weight_GE.numpy()), *map(vnni.padded, (scale_G, bias_G))
        self._features = weight_GE.shape[1]

    def __call__(self, x_NE: np.ndarray, out_NG: np.ndarray) -> None:
        vnni.linear(x_NE, self._packed, self._scale_G, self._bias_G, out_NG)

    def rows(self, ids_N: np.ndarray) -> np.ndarray:
        """Return some rows of W."""
        out_NE = np.empty((len(ids_N), self._features), np.float32)
        vnni.rows(self._packed, self._scale_G, ids_N, out_NE)
        return out_NE


def _of_torch(make: Callable[[Tensor], Product]) -> Way:
    """Return the way that quantises, takes a product of torch, and scales it back."""

    def way(weight_GE: Tensor, scale_G: np.ndarray, bias_G: np.ndarray) -> Write:
        product = make(weight_GE)

        def write(x_NE: np.ndarray, out_NG: np.ndarray) -> None:
            q_NE, scale_N = np.empty(x_NE.shape, np.int8), np.empty(len(x_NE), np.float32)
            kernels.quantise(x_NE, q_NE, scale_N)
            # float() of some: compiled kernels exist once.
            kernels.scale_back(product(torch.from_numpy(q_NE)).float().numpy(), scale_N, scale_G, bias_G, out_NG)

        return write

    return way


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


def _in_floats(weight_GE: Tensor) -> Product:
    exact = torch.float32 if LEVELS**2 * weight_GE.shape[1] <= 2**24 else torch.float64  # all sums are whole numbers
    weight_EG = weight_GE.to(exact).t()
    return lambda x_NE: x_NE.to(exact) @ weight_EG


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


OF_TORCH: tuple[Way, ...] = tuple(map(_of_torch, (_packed_by_fbgemm, _packed_by_onednn, _unpacked)))
OF_FLOATS = _of_torch(_in_floats)
"""Exact everywhere, but with weights of four or eight bytes."""
WAYS: tuple[Way, ...] = (_Compiled, *OF_TORCH) if vnni.available() else (*OF_TORCH, OF_FLOATS)


@cache
def _quickest(rows: int) -> Way:
    """Return the quickest of the exact ways for some rows; the choice changes no result."""
    exact = [way for way in WAYS if _is_exact(way)] or [OF_FLOATS]
    return min(exact, key=partial(_seconds, rows=rows)) if len(exact) > 1 else exact[0]


def _seconds(way: Way, rows: int) -> float:
    """Return the least of some times of a product with weights that no inner cache holds, as in use."""
    x_NE, write = np.ones((rows, 1024), np.float32), _plain(way, torch.ones(2048, 1024, dtype=torch.int8))
    out_NG = np.empty((rows, 2048), np.float32)

    def timed() -> float:
        start = perf_counter()
        write(x_NE, out_NG)
        return perf_counter() - start

    first = timed()
    return first if first > REFERENCE_SECONDS else min(timed() for _ in range(5))


def _plain(way: Way, weight_GE: Tensor) -> Write:
    return way(weight_GE, np.ones(len(weight_GE), np.float32), np.zeros(len(weight_GE), np.float32))


@cache
def _is_exact(way: Way) -> bool:
    """Return whether the sums of the largest numbers are exact, for one row and for many."""
    draws = torch.Generator().manual_seed(1)
    x_NE, weight_GE = (torch.randint(0, 2, shape, generator=draws) * 254 - 127 for shape in ((65, 130), (129, 130)))
    x_NE[0], weight_GE[:2] = 127, torch.tensor([[127], [-127]])
    expected_NG = (x_NE @ weight_GE.t()).numpy()
    try:
        write = _plain(way, weight_GE.to(torch.int8))
        for rows in (1, 65):
            found_NG = np.empty((rows, len(weight_GE)), np.float32)
            write(x_NE[:rows].float().numpy(), found_NG)
            if not np.array_equal(found_NG, expected_NG[:rows]):
                return False
    except (AttributeError, RuntimeError):
        return False
    return True
