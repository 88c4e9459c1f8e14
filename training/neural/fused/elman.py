"""Run an Elman layer over a whole window for training in bf16 on the CPU, forward and backward written out.

The equation is that of `cells.elman_cell` with tanh or relu; `sequence.py` explains how the work is divided.
torch's own layer takes 1.6 to 2.2 times as long (`benchmarks/training/layers.py`).

Backward, from the last t to the first, with the derivative of f computed from its value:

    ∂h_t = ∂out_t + W_hhᵀ ∂a_{t+1}
    ∂a_t = ∂h_t ∘ (1 − h_t²)  for tanh,   ∂h_t ∘ [h_t > 0]  for relu
    ∂W_hh = Σ_t ∂a_tᵀ h_{t−1}

Products are in the requested number format, non-linearities in float32 (float64 in float64).
Shape legend: see `models/base.py`. Inside, time is the first dimension.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from training.neural.fused.kernels import elman_backward, elman_forward, view
from training.neural.fused.sequence import (
    all_read_before,
    product_with,
    read_before,
    rows_that_forget,
    weight_gradient,
)


class ElmanSequence(torch.autograd.Function):
    """Run an Elman layer; see `run_sequence`. Its state is (h_BH,); its option *relu* replaces tanh by relu."""

    bias_of_past = False

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, a_TBH: Tensor, h_BH: Tensor, W_hh: Tensor, dtype: torch.dtype, keep_BT: Tensor | None, relu: bool
    ) -> tuple[Tensor, Tensor]:
        """Return h_t of every position (T, B, H), and the last h."""
        T, B, H = a_TBH.shape
        W_hh_low = W_hh.to(dtype)
        h_TBH = W_hh_low.new_empty(T + 1, B, H)
        h_TBH[0] = h_BH
        past, a, h, forget = product_with(W_hh_low, B), view(a_TBH), view(h_TBH), rows_that_forget(keep_BT)
        for t in range(T):
            elman_forward(t, relu, a, view(past(read_before(h_TBH, t, forget))), h)
        ctx.save_for_backward(h_TBH, W_hh_low)
        ctx.full, ctx.forget, ctx.relu = W_hh.dtype, forget, relu
        return h_TBH[1:], h_TBH[T].to(W_hh.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout_TBH: Tensor, dh_BH: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Return the gradients of the arguments of `forward`."""
        h_TBH, W_hh = ctx.saved_tensors
        full, (T, B, _), dtype = ctx.full, dout_TBH.shape, W_hh.dtype
        back, da_TBH, dh_BH = product_with(W_hh.t(), B), torch.empty_like(h_TBH[1:]), dh_BH.to(dtype).contiguous()
        h, dout, da = view(h_TBH), view(dout_TBH.to(dtype).contiguous()), view(da_TBH)
        for t in range(T - 1, -1, -1):
            elman_backward(t, ctx.relu, h, dout, view(dh_BH), da)
            dh_BH = back(da_TBH[t])
            if t in ctx.forget:
                dh_BH[ctx.forget[t]] = 0
        dW_hh = weight_gradient(da_TBH, all_read_before(h_TBH, ctx.forget)).to(full)
        return da_TBH, dh_BH.to(full), dW_hh, None, None, None
