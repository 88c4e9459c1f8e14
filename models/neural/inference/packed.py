"""Multiply by packed weights (oneDNN), so that a row's result does not depend on its batch (batch invariance).

A text must not depend on its neighbours in a batch. The usual product (`F.linear`) sums in another order for one row
than for many, so its results differ in the last digits. That is enough to draw another word, once in some thousand
texts. oneDNN's product with packed weights sums in the same order for any number of rows, and is faster. Where it does
not (a single row on processors without AVX2), a row is computed beside a row of zeros; where torch has no oneDNN, the
results depend on the batch as usual.
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


def packed_linear(weight_GE: Tensor, bias_G: Tensor | None) -> Linear:
    """Return the product in float32 with packed weights."""
    weight_GE = weight_GE.detach()
    bias_G = None if bias_G is None else bias_G.detach()
    if not (weight_GE.dtype == torch.float32 and torch.backends.mkldnn.is_available()):
        return lambda x_NE: F.linear(x_NE, weight_GE, bias_G)
    packed = torch.ops.mkldnn._reorder_linear_weight(weight_GE.contiguous())

    def product(x_NE: Tensor) -> Tensor:
        return cast(Tensor, torch.ops.mkldnn._linear_pointwise(x_NE, packed, bias_G, "none", [], ""))

    def beside_zeros(x_NE: Tensor) -> Tensor:
        return product(F.pad(x_NE, (0, 0, 0, 1)))[:1] if len(x_NE) == 1 else product(x_NE)

    return product if same_for_any_rows(product, weight_GE.shape[1]) else beside_zeros


def same_for_any_rows(linear: Linear, features: int) -> bool:
    """Return whether a row's result is the same, to the bit, alone and beside others."""
    x_NE = torch.rand(max(ROWS), features, generator=torch.Generator().manual_seed(1)) - 0.5
    whole_NG = linear(x_NE)
    return all(torch.equal(linear(x_NE[:rows].clone()), whole_NG[:rows]) for rows in ROWS)
