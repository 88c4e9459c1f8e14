"""Run an LSTM layer over a whole window for training in bf16 on the CPU, forward and backward written out.

The equations are those of `cells.lstm_cell`; `sequence.py` explains how the work is divided. torch's own layer takes
1.3 to 1.5 times as long (`benchmarks/training/layers.py`).

Backward, with the gates after their non-linearities, from the last t to the first:

    ∂h_t = ∂out_t + W_hhᵀ ∂a_{t+1}
    ∂c_t = ∂h_t ∘ o_t ∘ (1 − tanh² c_t) + ∂c_{t+1} ∘ f_{t+1}
    ∂a_t = (∂c_t ∘ g_t ∘ i_t(1 − i_t),  ∂c_t ∘ c_{t−1} ∘ f_t(1 − f_t),  ∂c_t ∘ i_t ∘ (1 − g_t²),
            ∂h_t ∘ tanh c_t ∘ o_t(1 − o_t))
    ∂W_hh = Σ_t ∂a_tᵀ h_{t−1}

Products are in the requested number format, cell states and non-linearities in the format of the weights.
Shape legend: see `models/base.py`; G = 4 H, N = T B. Inside, time is the first dimension, so that the rows of one
position are contiguous in memory.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from training.neural.fused.kernels import lstm_backward, lstm_forward, view
from training.neural.fused.sequence import (
    all_read_before,
    format_once,
    product_with,
    read_before,
    rows_that_forget,
    weight_gradient,
)


class LSTMSequence(torch.autograd.Function):
    """Run an LSTM layer; see `run_sequence`. Its state is (h_BH, c_BH), its gates are in the order i, f, g, o.

    The gates are computed in place of W_ih x_t + b, and their gradients in place of the gates. So the gradient can be
    computed only once.
    """

    bias_of_past = False

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, gates_TBG: Tensor, h_BH: Tensor, c_BH: Tensor, W_hh: Tensor, dtype: torch.dtype,
        keep_BT: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """Return h_t of every position (T, B, H), and the last h and c."""
        (T, B, _), H = gates_TBG.shape, W_hh.shape[1]
        W_hh_low = W_hh.to(dtype)
        c_TBH, h_TBH = W_hh.new_empty(T + 1, B, H), W_hh.new_empty(T + 1, B, H, dtype=dtype)
        h_TBH[0], c_TBH[0] = h_BH, c_BH
        past, gates, c, h = product_with(W_hh_low, B), view(gates_TBG), view(c_TBH), view(h_TBH)
        forget, forgotten = rows_that_forget(keep_BT), {}
        for t in range(T):
            if t in forget:
                forgotten[t], c[t, forget[t]] = c[t, forget[t]], 0
            lstm_forward(t, gates, view(past(read_before(h_TBH, t, forget))), c, h)
        ctx.save_for_backward(h_TBH, c_TBH, gates_TBG, W_hh_low)
        ctx.full, ctx.forget, ctx.forgotten = W_hh.dtype, forget, forgotten
        return h_TBH[1:], h_TBH[T].to(W_hh.dtype), c_TBH[T].clone()

    @staticmethod
    @once_differentiable
    def backward(  # type: ignore[override]
        ctx: Any, dout_TBH: Tensor, dh_BH: Tensor, dc_BH: Tensor
    ) -> tuple[Tensor | None, ...]:
        """Return the gradients of the arguments of `forward`."""
        full = format_once(ctx, "an LSTM")
        h_TBH, c_TBH, gates_TBG, W_hh = ctx.saved_tensors
        T, B = dout_TBH.shape[:2]
        back, dtype = product_with(W_hh.t(), B), W_hh.dtype
        dh_BH, dc_BH = dh_BH.to(dtype).contiguous(), dc_BH.to(full, copy=True).contiguous()
        gates, c, dout, dc = view(gates_TBG), view(c_TBH), view(dout_TBH.to(dtype).contiguous()), view(dc_BH)
        for t in range(T - 1, -1, -1):
            lstm_backward(t, gates, c, dout, view(dh_BH), dc)
            dh_BH = back(gates_TBG[t])
            if t in ctx.forget:
                dh_BH[ctx.forget[t]], dc[ctx.forget[t]] = 0, 0
                c[t, ctx.forget[t]] = ctx.forgotten[t]  # restore c_{t−1}: step t − 1 needs it
        dW_hh = weight_gradient(gates_TBG, all_read_before(h_TBH, ctx.forget)).to(full)
        return gates_TBG, dh_BH.to(full), dc_BH, dW_hh, None, None
