"""Share the parts of the recurrent layers that train on the CPU (`cells.py`).

Such a layer runs over a whole window, forward and backward written out. All work that does not depend on the previous
position is done for all T positions at once: W_ih x_t (`InputProduct`), and in the backward pass the gradients of both
matrices and of the inputs. Two things remain per position: one product with W_hh, whose weights are packed once for all
positions, and the element-wise part, one compiled pass (`kernels.py`). torch's own layers add up the gradients of the
matrices position by position. Inside, time is the first dimension, so that the rows of one position are contiguous in
memory.

Where a stream is reset inside a window, the code masks copies and not the layer's outputs: h_{t−1} is also the output
of position t − 1. Shape legend: see `models/base.py`; G = number of gates × H, N = T B, U different inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from reviewlm.models.neural.device import onednn_has_bf16, with_spare_rows
from reviewlm.models.neural.layers.recurrent_layers import RepeatedInputs
from reviewlm.models.neural.network import NetworkState

Product = Callable[[Tensor], Tensor]
Forget = Mapping[int, list[int]]
"""By position, the streams that are reset before it; only positions that have any."""


def run_sequence(
    layer: type[torch.autograd.Function],
    options: Sequence[Any],
    inputs: Tensor | RepeatedInputs,
    state: NetworkState,
    weights: Sequence[Tensor],
    dtype: torch.dtype,
    keep_BT: Tensor | None = None,
) -> tuple[Tensor, NetworkState]:
    """Run a recurrent layer over T positions.

    Args:
        layer: `LSTMSequence`, `GRUSequence` or `ElmanSequence`. Its `bias_of_past`: its `forward` takes b_hh, because
            it is not simply added to the rest.
        options: The last arguments of its `forward`.
        inputs: x_BTE, or the same without repetitions.
        state: Tensors (B, H) before the first position.
        weights: W_ih (G, E), W_hh (G, H), b_ih (G), b_hh (G).
        dtype: Number format of the matrix products.
        keep_BT: False where a stream is reset before it reads that position; None: nowhere.

    Returns:
        h_BTH (in *dtype*), every hidden state; and the last state, in the format of the weights.
    """
    W_ih, W_hh, b_ih, b_hh = weights
    takes_b_hh = layer.bias_of_past  # type: ignore[attr-defined]
    # Different inputs alone are multiplied; rows_BT says which of them is read at a position.
    x, rows_BT = inputs if isinstance(inputs, RepeatedInputs) else (inputs, None)
    a_TBG = InputProduct.apply(
        x,
        rows_BT,
        W_ih,
        b_ih if takes_b_hh else b_ih + b_hh,
        dtype,
    )
    recurrent_weights = (W_hh, b_hh) if takes_b_hh else (W_hh,)
    h_TBH, *after = layer.apply(
        a_TBG,
        *state,
        *recurrent_weights,
        dtype,
        keep_BT,
        *options,
    )
    return h_TBH.transpose(0, 1), tuple(after)


class InputProduct(torch.autograd.Function):
    """Compute a_t = W x_t + b of all positions, once for each different input.

    A window of 3,360 words of reviews has about 980 different ones, so most of the products are saved, forward and
    backward: ∂x_u = Wᵀ ∂a_u and ∂W = Σ_u ∂a_uᵀ x_u, where ∂a_u is the sum of ∂a_t over the positions that read x_u.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        x: Tensor,
        rows_BT: Tensor | None,
        W_GE: Tensor,
        b_G: Tensor,
        dtype: torch.dtype,
    ) -> Tensor:
        """Return a_TBG in *dtype*, for x_BTE without *rows_BT* and x_UE with them."""
        low = x.to(dtype)
        W_low = W_GE.to(dtype)
        rows_TB = None
        if rows_BT is not None:
            rows_TB = rows_BT.t()

        if rows_TB is None:
            x_low = low.transpose(0, 1).contiguous()
        else:
            x_low = with_spare_rows(low)

        ctx.save_for_backward(x_low, W_low, rows_TB)
        ctx.different = len(x)
        ctx.formats = (x.dtype, W_GE.dtype)
        a = F.linear(x_low, W_low, b_G.to(dtype))
        if rows_TB is None:
            return a
        return a.index_select(0, rows_TB.flatten()).unflatten(0, rows_TB.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, da_TBG: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Return the gradients of the arguments of `forward`."""
        x_low, W_low, rows_TB = ctx.saved_tensors
        inputs, full = ctx.formats
        da = da_TBG
        if rows_TB is not None:
            da = sums_by_row(da_TBG.flatten(0, 1), rows_TB.flatten(), len(x_low))

        dW_GE = weight_gradient(da, x_low).to(full)
        db_G = bias_gradient(da).to(full)
        dx = None
        if ctx.needs_input_grad[0]:
            dx = input_gradient(da, W_low).to(inputs)
            if rows_TB is None:
                dx = dx.transpose(0, 1)
            else:
                dx = dx[: ctx.different]

        return dx, None, dW_GE, db_G, None


def sums_by_row(
    da_NG: Tensor,
    rows_N: Tensor,
    count: int,
) -> Tensor:
    """Return da_UG: for each of *count* rows the sum of da_NG over the positions that read it.

    `index_add_` takes 30 times as long.
    """
    order_N = rows_N.argsort(stable=True)
    ends_U = rows_N.bincount(minlength=count).cumsum(0)
    return F.embedding_bag(order_N, da_NG, F.pad(ends_U, (1, -1)), mode="sum")


def product_with(
    weight_OI: Tensor,
    rows: int,
    bias_O: Tensor | None = None,
) -> Product:
    """Return the map x (rows, I) → x Wᵀ + b (rows, O), with the weight packed once for many calls."""
    if weight_OI.dtype == torch.bfloat16 and onednn_has_bf16():
        packed = torch.ops.mkldnn._reorder_linear_weight(weight_OI, rows)
        return lambda x_BI: torch.ops.mkldnn._linear_pointwise(
            x_BI,
            packed,
            bias_O,
            "none",
            [],
            "",
        )

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


def read_before(
    h_TBH: Tensor,
    t: int,
    forget: Forget,
) -> Tensor:
    """Return h_{t−1} (B, H) as position t reads it: 0 for the streams that are reset.

    *h_TBH* begins before position 0.
    """
    if t in forget:
        return h_TBH[t].index_fill(0, torch.tensor(forget[t]), 0)
    return h_TBH[t]


def all_read_before(h_TBH: Tensor, forget: Forget) -> Tensor:
    """Return `read_before` of every position; a copy only where a stream is reset."""
    if forget:
        before_TBH = h_TBH[:-1].clone()
    else:
        before_TBH = h_TBH[:-1]

    for t, rows in forget.items():
        before_TBH[t, rows] = 0
    return before_TBH


def weight_gradient(da: Tensor, x: Tensor) -> Tensor:
    """Return the gradient of W (G, E) from those of a = W x + b; the last dimensions of *da* and *x* are G and E.

    oneDNN's bf16 product takes twice as long on some processors if its left operand is a transposed view. So the inputs
    are copied in transposed order (they usually have fewer columns). The result is transposed while it has two bytes a
    number: as the gradient in float32 it would be copied more slowly.
    """
    da_NG = da.flatten(0, -2)
    x_NE = x.flatten(0, -2)
    if da_NG.dtype != torch.bfloat16:
        return da_NG.t() @ x_NE
    return (x_NE.t().contiguous() @ da_NG).t().contiguous()


def bias_gradient(da: Tensor) -> Tensor:
    """Return the gradient of b (G) from those of a = W x + b: their sum, computed as a product."""
    da_NG = da.flatten(0, -2)
    return (da_NG.new_ones(1, len(da_NG)) @ da_NG)[0]


def input_gradient(da: Tensor, W_GE: Tensor) -> Tensor:
    """Return the gradients of x from those of a = W x + b, of the same dimensions but the last."""
    return (da.flatten(0, -2) @ W_GE).unflatten(0, da.shape[:-1])


def format_once(ctx: Any, layer: str) -> torch.dtype:
    """Return ctx.full, the number format of the weights, at the first call only.

    The backward pass overwrites the values saved by the forward pass, so it can run only once.

    Raises:
        RuntimeError: The gradient has been computed before.
    """
    if ctx.full is None:
        raise RuntimeError(f"the gradient of this window of {layer} was already computed")
    full = ctx.full
    ctx.full = None
    return full
