"""Multiply by packed weights (oneDNN), so that a row's result does not depend on its batch (batch invariance).

A text must not depend on its neighbours in a batch. The usual product (`F.linear`) sums in another order for one row
than for many, so its results differ in the last digits. That is enough to draw another word, once in some thousand
texts. oneDNN's product with packed weights sums in the same order for any number of rows, and is faster. Where it does
not (a single row on processors without AVX2), a row is computed beside a row of zeros; where torch has no oneDNN, the
results depend on the batch as usual.

A batch becomes smaller whenever a text ends, and oneDNN generates code for each number of rows: milliseconds and half a
megabyte. So rows of zeros are added up to the next of a few numbers (`rows_computed`). 384 texts of an LSTM of 640
cells in batches of 128 then took 146 MiB less memory, and as long.
Shapes: N rows, E features in, G features out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

Linear = Callable[[Tensor], Tensor]
"""Maps x (N, E) to x Wᵀ + b (N, G)."""
MakeLinear = Callable[[Tensor, Tensor | None], Linear]
"""Makes it from W (G, E) and b (G)."""
ROWS = (1, 2, 3, 7, 16, 33, 64)
"""Numbers of rows that are compared to see whether they change a row's result."""
EXACT, FEW, MULTIPLE_OF_FEW, MULTIPLE = 4, 32, 8, 16
"""Products have exactly the given number of rows up to `EXACT`, where another row costs most; then a multiple: up to
`FEW` of `MULTIPLE_OF_FEW`, above of `MULTIPLE` or more."""


def packed_linear(weight_GE: Tensor, bias_G: Tensor | None) -> Linear:
    """Return the product in float32 with packed weights."""
    weight_GE = weight_GE.detach()
    bias_G = None if bias_G is None else bias_G.detach()
    if not (weight_GE.dtype == torch.float32 and torch.backends.mkldnn.is_available()):
        return lambda x_NE: F.linear(x_NE, weight_GE, bias_G)
    packed = torch.ops.mkldnn._reorder_linear_weight(weight_GE.contiguous())

    def exactly(x_NE: Tensor) -> Tensor:
        return cast(Tensor, torch.ops.mkldnn._linear_pointwise(x_NE, packed, bias_G, "none", [], ""))

    least = 1 if same_for_any_rows(exactly, weight_GE.shape[1]) else 2

    def product(x_NE: Tensor) -> Tensor:
        rows = len(x_NE)
        spare = max(least, rows_computed(rows)) - rows
        return exactly(F.pad(x_NE, (0, 0, 0, spare)))[:rows] if spare else exactly(x_NE)

    return product


def rows_computed(rows: int) -> int:
    """Return the number of rows of a product of so many: at least as many, and few different ones.

    Above 128 there are four to eight of them for each doubling.
    """
    if rows <= EXACT:
        return rows
    multiple = MULTIPLE_OF_FEW if rows <= FEW else max(MULTIPLE, 1 << (rows - 1).bit_length() - 3)
    return -(-rows // multiple) * multiple


def same_for_any_rows(linear: Linear, features: int) -> bool:
    """Return whether a row's result is the same, to the bit, alone and beside others."""
    x_NE = torch.rand(max(ROWS), features, generator=torch.Generator().manual_seed(1)) - 0.5
    whole_NG = linear(x_NE)
    return all(torch.equal(linear(x_NE[:rows].clone()), whole_NG[:rows]) for rows in ROWS)
