"""Run an LSTM layer over a whole window for training in bf16 on a GPU, forward and backward written out.

The equations, also of the backward pass, are those of `models/neural/fused/lstm.py`. A step is a product of cuBLAS with
W_hh and one kernel for all that is done element by element (`lstm_step.py`). cuDNN's layer cannot reset a stream inside
a window, keeps c_t in bf16, and takes 1.1 to 1.2 times as long (H100, 640 and 1536 units, 128 to 1,024 streams). The
host launches two kernels per position; `captured.py` spares it that.

Where a stream is reset, W_hh h_{t−1} and c_{t−1} are multiplied by 0. Shape legend: see `models/base.py`; G = 4 H,
N = T B. Inside, time is the first dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ..fused.sequence import format_once, input_gradient
from ..network import NetworkState
from .lstm_step import lstm_backward, lstm_forward


def run_lstm(
    x_BTE: Tensor, state: NetworkState, weights: Sequence[Tensor], dtype: torch.dtype, keep_BT: Tensor | None = None
) -> tuple[Tensor, NetworkState]:
    """Run an LSTM layer over T positions; arguments and results as of `fused.sequence.run_sequence`."""
    h_TBH, *after = GPULSTMSequence.apply(x_BTE, *state, *weights, dtype, keep_BT)
    return h_TBH.transpose(0, 1), tuple(after)


class GPULSTMSequence(torch.autograd.Function):
    """Run an LSTM layer; see `run_lstm`. Its state is (h_BH, c_BH), its gates are in the order i, f, g, o.

    The gradient can be computed only once: the backward pass overwrites the values saved by the forward pass.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x_BTE: Tensor, h_BH: Tensor, c_BH: Tensor, W_ih: Tensor, W_hh: Tensor, b_ih: Tensor, b_hh: Tensor,
        dtype: torch.dtype, keep_BT: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """Return h_t of every position (T, B, H), and the last h and c."""
        (B, T, _), H = x_BTE.shape, W_hh.shape[1]
        x_TBE, W_ih_low, W_hh_low = x_BTE.transpose(0, 1).to(dtype).contiguous(), W_ih.to(dtype), W_hh.to(dtype)
        gates_TBG = F.linear(x_TBE, W_ih_low, (b_ih + b_hh).to(dtype))
        keep_TB = None if keep_BT is None else keep_BT.t().contiguous()
        c_TBH, h_TBH = W_hh.new_empty(T + 1, B, H), W_hh_low.new_empty(T + 1, B, H)
        h_TBH[0], c_TBH[0] = h_BH, c_BH
        past_BG, from_h_GH = W_hh_low.new_empty(B, 4 * H), W_hh_low.t()
        with torch.cuda.device(x_TBE.device):  # Triton launches on the current device
            for t in range(T):
                torch.mm(h_TBH[t], from_h_GH, out=past_BG)
                lstm_forward(t, gates_TBG, past_BG, c_TBH, h_TBH, keep_TB)
        ctx.save_for_backward(x_TBE, h_TBH, c_TBH, gates_TBG, W_ih_low, W_hh_low)
        ctx.inputs, ctx.full, ctx.keep_TB = x_BTE.dtype, W_hh.dtype, keep_TB
        return h_TBH[1:], h_TBH[T].to(W_hh.dtype), c_TBH[T].clone()

    @staticmethod
    @once_differentiable
    def backward(  # type: ignore[override]
        ctx: Any, dout_TBH: Tensor, dh_BH: Tensor, dc_BH: Tensor
    ) -> tuple[Tensor | None, ...]:
        """Return the gradients of the arguments of `forward`."""
        inputs, full = ctx.inputs, format_once(ctx, "an LSTM")
        x_TBE, h_TBH, c_TBH, gates_TBG, W_ih, W_hh = ctx.saved_tensors
        keep_TB, dout_TBH = ctx.keep_TB, dout_TBH.to(x_TBE.dtype).contiguous()
        dh_BH, dc_BH = (
            tensor.to(dtype, memory_format=torch.contiguous_format, copy=True)
            for tensor, dtype in ((dh_BH, x_TBE.dtype), (dc_BH, full))
        )
        with torch.cuda.device(x_TBE.device):
            for t in range(len(x_TBE) - 1, -1, -1):
                lstm_backward(t, gates_TBG, c_TBH, dout_TBH, dh_BH, dc_BH, keep_TB)
                torch.mm(gates_TBG[t], W_hh, out=dh_BH)
        before_TBH = h_TBH[:-1]
        if keep_TB is not None:
            kept_B1 = keep_TB[0, :, None]
            before_TBH, dh_BH, dc_BH = before_TBH * keep_TB[..., None], dh_BH * kept_B1, dc_BH * kept_B1
        da_GN = gates_TBG.flatten(0, 1).t()
        dx_TBE, db_G = input_gradient(gates_TBG, W_ih).to(inputs), da_GN.sum(1, dtype=full)
        dW_ih, dW_hh = (torch.mm(da_GN, tensor.flatten(0, 1)).to(full) for tensor in (x_TBE, before_TBH))
        # Two tensors: a replay hands gradients over without copies, and they are changed in place afterwards.
        return dx_TBE.transpose(0, 1), dh_BH.to(full), dc_BH, dW_ih, dW_hh, db_G, db_G.clone(), None, None
