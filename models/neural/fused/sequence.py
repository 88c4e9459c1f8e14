"""Share the parts of the recurrent layers that train in bf16 on the CPU (`lstm.py`, `gru.py`, `elman.py`).

Such a layer runs over a whole window, forward and backward written out. All work that does not depend on the previous
position is done for all T positions at once: W_ih x_t, and in the backward pass the gradients of both matrices and of
the inputs. Two things remain per position: one product with W_hh, whose weights are packed once for all positions, and
the element-wise part, one compiled pass (`kernels.py`). torch's own layers add up the gradients of the matrices
position by position. Inside, time is the first dimension, so that the rows of one position are contiguous in memory.

Where a stream is reset inside a window, the code masks copies and not the layer's outputs: h_{t−1} is also the output
of position t − 1. Shape legend: see `models/base.py`; G = number of gates × H.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..device import onednn_has_bf16
from ..network import NetworkState

Product = Callable[[Tensor], Tensor]
Forget = Mapping[int, list[int]]
"""By position, the streams that are reset before it; only positions that have any."""


def run_sequence(
    layer: type[torch.autograd.Function],
    options: Sequence[Any],
    x_BTE: Tensor,
    state: NetworkState,
    weights: Sequence[Tensor],
    dtype: torch.dtype,
    keep_BT: Tensor | None = None,
) -> tuple[Tensor, NetworkState]:
    """Run a recurrent layer over T positions.

    Args:
        layer: `LSTMSequence`, `GRUSequence` or `ElmanSequence`; on a GPU `GPULSTMSequence`.
        options: The last arguments of its `forward`.
        x_BTE: Inputs.
        state: Tensors (B, H) before the first position.
        weights: W_ih (G, E), W_hh (G, H), b_ih (G), b_hh (G).
        dtype: Number format of the matrix products.
        keep_BT: False where a stream is reset before it reads that position; None: nowhere.

    Returns:
        h_BTH (in *dtype*), every hidden state; and the last state, in the format of the weights.
    """
    h_TBH, *after = layer.apply(x_BTE, *state, *weights, dtype, keep_BT, *options)
    return h_TBH.transpose(0, 1), tuple(after)


def input_product(
    x_BTE: Tensor, W_GE: Tensor, bias_G: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Return x_TBE and W in *dtype*, and W x_t + b (T, B, G) of all positions."""
    x_TBE, W_GE = x_BTE.transpose(0, 1).to(dtype).contiguous(), W_GE.to(dtype)
    return x_TBE, W_GE, F.linear(x_TBE, W_GE, bias_G.to(dtype))


def product_with(weight_OI: Tensor, rows: int, bias_O: Tensor | None = None) -> Product:
    """Return the map x (rows, I) → x Wᵀ + b (rows, O), with the weight packed once for many calls."""
    if weight_OI.dtype == torch.bfloat16 and onednn_has_bf16():
        packed = torch.ops.mkldnn._reorder_linear_weight(weight_OI, rows)
        return lambda x_BI: torch.ops.mkldnn._linear_pointwise(x_BI, packed, bias_O, "none", [], "")
    transposed_IO = weight_OI.t().contiguous()
    if bias_O is None:
        return lambda x_BI: x_BI @ transposed_IO
    return lambda x_BI: torch.addmm(bias_O, x_BI, transposed_IO)


def rows_that_forget(keep_BT: Tensor | None) -> Forget:
    """Return by position the streams that are reset before it, those where keep_BT is False; None: nowhere."""
    forget: dict[int, list[int]] = {}
    if keep_BT is not None:
        for b, t in (~keep_BT).nonzero().tolist():
            forget.setdefault(t, []).append(b)
    return forget


def read_before(h_TBH: Tensor, t: int, forget: Forget) -> Tensor:
    """Return h_{t−1} (B, H) as position t reads it: 0 for the streams that are reset.

    *h_TBH* begins before position 0.
    """
    return h_TBH[t].index_fill(0, torch.tensor(forget[t]), 0) if t in forget else h_TBH[t]


def all_read_before(h_TBH: Tensor, forget: Forget) -> Tensor:
    """Return `read_before` of every position; a copy only where a stream is reset."""
    before_TBH = h_TBH[:-1].clone() if forget else h_TBH[:-1]
    for t, rows in forget.items():
        before_TBH[t, rows] = 0
    return before_TBH


def weight_gradient(da_TBG: Tensor, x_TBE: Tensor) -> Tensor:
    """Return the gradient of W (G, E) from those of a_t = W x_t + b.

    oneDNN's bf16 product takes twice as long if its left operand is a transposed view. So the inputs are copied in
    transposed order (they usually have fewer columns), and the result is a view.
    """
    da_NG, x_NE = da_TBG.flatten(0, 1), x_TBE.flatten(0, 1)
    if da_NG.dtype != torch.bfloat16:
        return da_NG.t() @ x_NE
    return (x_NE.t().contiguous() @ da_NG).t()


def bias_gradient(da_TBG: Tensor) -> Tensor:
    """Return the gradient of b (G) from those of a_t = W x_t + b: their sum, computed as a product."""
    da_NG = da_TBG.flatten(0, 1)
    return (da_NG.new_ones(1, len(da_NG)) @ da_NG)[0]


def input_gradient(da_TBG: Tensor, W_GE: Tensor) -> Tensor:
    """Return the gradients of x_t (T, B, E) from those of a_t = W x_t + b."""
    return (da_TBG.flatten(0, 1) @ W_GE).unflatten(0, da_TBG.shape[:2])


def formats_once(ctx: Any, layer: str) -> tuple[torch.dtype, torch.dtype]:
    """Return ctx.formats, of the inputs and of the weights, at the first call only.

    The backward pass overwrites the values saved by the forward pass, so it can run only once.

    Raises:
        RuntimeError: The gradient has been computed before.
    """
    if ctx.formats is None:
        raise RuntimeError(f"the gradient of this window of {layer} was already computed")
    formats, ctx.formats = ctx.formats, None
    return formats
