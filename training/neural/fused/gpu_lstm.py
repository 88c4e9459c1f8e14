"""Run an LSTM layer over a whole window for training in bf16 on a GPU, forward and backward written out.

The equations, also of the backward pass, are those of `cells.py`, beside this file. A step is a product of cuBLAS with
W_hh and one Triton kernel for all that is done element by element. cuDNN's layer cannot reset a stream inside a window,
keeps c_t in bf16, and takes 1.1 to 1.2 times as long (H100, 640 and 1536 units, 128 to 1,024 streams). The host launches
two kernels per position; `captured.py` spares it that. A program of Triton computes a block of the units of one stream.
This module needs Triton, which comes with the CUDA builds of torch, to be imported.

Where a stream is reset, W_hh h_{t−1} and c_{t−1} are multiplied by 0. Shape legend: see `models/base.py`; G = 4 H,
N = T B. Inside, time is the first dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from reviewlm.models.neural.network import NetworkState
from reviewlm.training.neural.fused.sequence import format_once, input_gradient

BLOCK = 512
"""Units of a program."""
WARPS = 2
"""Warps of a program: each thread has 8 units, so that bf16 is read and written 16 bytes at a time."""


def run_lstm(
    x_BTE: Tensor,
    state: NetworkState,
    weights: Sequence[Tensor],
    dtype: torch.dtype,
    keep_BT: Tensor | None = None,
) -> tuple[Tensor, NetworkState]:
    """Run an LSTM layer over T positions; arguments and results as of `sequence.run_sequence`."""
    h_TBH, *after = GPULSTMSequence.apply(
        x_BTE,
        *state,
        *weights,
        dtype,
        keep_BT,
    )
    return h_TBH.transpose(0, 1), tuple(after)


class GPULSTMSequence(torch.autograd.Function):
    """Run an LSTM layer; see `run_lstm`. Its state is (h_BH, c_BH), its gates are in the order i, f, g, o.

    The gradient can be computed only once: the backward pass overwrites the values saved by the forward pass.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        x_BTE: Tensor,
        h_BH: Tensor,
        c_BH: Tensor,
        W_ih: Tensor,
        W_hh: Tensor,
        b_ih: Tensor,
        b_hh: Tensor,
        dtype: torch.dtype,
        keep_BT: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return h_t of every position (T, B, H), and the last h and c."""
        (B, T, _), H = x_BTE.shape, W_hh.shape[1]
        x_TBE = x_BTE.transpose(0, 1).to(dtype).contiguous()
        W_ih_low = W_ih.to(dtype)
        W_hh_low = W_hh.to(dtype)
        gates_TBG = F.linear(x_TBE, W_ih_low, (b_ih + b_hh).to(dtype))
        keep_TB = None if keep_BT is None else keep_BT.t().contiguous()
        c_TBH = W_hh.new_empty(T + 1, B, H)
        h_TBH = W_hh_low.new_empty(T + 1, B, H)
        h_TBH[0], c_TBH[0] = h_BH, c_BH
        past_BG = W_hh_low.new_empty(B, 4 * H)
        from_h_GH = W_hh_low.t()
        with torch.cuda.device(x_TBE.device):  # Triton launches on the current device
            for t in range(T):
                torch.mm(h_TBH[t], from_h_GH, out=past_BG)
                lstm_forward(
                    t,
                    gates_TBG,
                    past_BG,
                    c_TBH,
                    h_TBH,
                    keep_TB,
                )

        ctx.save_for_backward(
            x_TBE,
            h_TBH,
            c_TBH,
            gates_TBG,
            W_ih_low,
            W_hh_low,
        )
        ctx.inputs = x_BTE.dtype
        ctx.full = W_hh.dtype
        ctx.keep_TB = keep_TB
        return h_TBH[1:], h_TBH[T].to(W_hh.dtype), c_TBH[T].clone()

    @staticmethod
    @once_differentiable
    def backward(  # type: ignore[override]
        ctx: Any,
        dout_TBH: Tensor,
        dh_BH: Tensor,
        dc_BH: Tensor,
    ) -> tuple[Tensor | None, ...]:
        """Return the gradients of the arguments of `forward`."""
        inputs = ctx.inputs
        full = format_once(ctx, "an LSTM")
        x_TBE, h_TBH, c_TBH, gates_TBG, W_ih, W_hh = ctx.saved_tensors
        keep_TB = ctx.keep_TB
        dout_TBH = dout_TBH.to(x_TBE.dtype).contiguous()
        dh_BH, dc_BH = (
            tensor.to(dtype, memory_format=torch.contiguous_format, copy=True)
            for tensor, dtype in ((dh_BH, x_TBE.dtype), (dc_BH, full))
        )
        with torch.cuda.device(x_TBE.device):
            for t in range(len(x_TBE) - 1, -1, -1):
                lstm_backward(
                    t,
                    gates_TBG,
                    c_TBH,
                    dout_TBH,
                    dh_BH,
                    dc_BH,
                    keep_TB,
                )
                torch.mm(gates_TBG[t], W_hh, out=dh_BH)

        before_TBH = h_TBH[:-1]
        if keep_TB is not None:
            kept_B1 = keep_TB[0, :, None]
            before_TBH = before_TBH * keep_TB[..., None]
            dh_BH = dh_BH * kept_B1
            dc_BH = dc_BH * kept_B1

        da_GN = gates_TBG.flatten(0, 1).t()
        dx_TBE = input_gradient(gates_TBG, W_ih).to(inputs)
        db_G = da_GN.sum(1, dtype=full)
        dW_ih, dW_hh = (
            torch.mm(da_GN, tensor.flatten(0, 1)).to(full) for tensor in (x_TBE, before_TBH)
        )
        # Two tensors: a replay hands gradients over without copies, and they are changed in place afterwards.
        return (
            dx_TBE.transpose(0, 1),
            dh_BH.to(full),
            dc_BH,
            dW_ih,
            dW_hh,
            db_G,
            db_G.clone(),
            None,
            None,
        )


def lstm_forward(
    t: int,
    gates_TBG: Tensor,
    past_BG: Tensor,
    c_TBH: Tensor,
    h_TBH: Tensor,
    keep_TB: Tensor | None,
) -> None:
    """Compute step t of an LSTM layer; see `kernels.lstm_forward`.

    Args:
        t: Position.
        gates_TBG: At t, W_ih x_t + b; overwritten by the gates (i, f, g, o) after their non-linearities.
        past_BG: W_hh h_{t−1}.
        c_TBH: Holds c_{t−1} at t; c_t is written at t + 1.
        h_TBH: h_t is written at t + 1.
        keep_TB: False for streams that are reset before t; None: none is, anywhere.
    """
    B, H = c_TBH.shape[1:]
    _lstm_forward[_grid(B, H)](
        gates_TBG[t],
        past_BG,
        c_TBH[t],
        c_TBH[t + 1],
        h_TBH[t + 1],
        past_BG if keep_TB is None else keep_TB[t],
        H,
        KEEPS=keep_TB is None,
        BLOCK=BLOCK,
        num_warps=WARPS,
    )


def lstm_backward(
    t: int,
    gates_TBG: Tensor,
    c_TBH: Tensor,
    dout_TBH: Tensor,
    dh_BH: Tensor,
    dc_BH: Tensor,
    keep_TB: Tensor | None,
) -> None:
    """Compute step t of the backward pass through an LSTM layer; see `kernels.lstm_backward`.

    Args:
        t: Position.
        gates_TBG: At t, (i, f, g, o) from `lstm_forward`; overwritten by their gradients before the non-linearities.
        c_TBH: Holds c_{t−1} at t and c_t at t + 1.
        dout_TBH: Gradient of h_t from the layers above.
        dh_BH: Gradient of h_t from step t + 1, also of streams that are reset before t + 1; it is not used for them.
        dc_BH: The same of c_t; overwritten by the gradient of c_{t−1}.
        keep_TB: See `lstm_forward`.
    """
    T, (B, H) = len(gates_TBG), dc_BH.shape
    keeps = keep_TB is None
    here = dh_BH
    after = dh_BH
    if keep_TB is not None:
        # The gradients of the state after the last position are used for all streams.
        here = keep_TB[t]
        after = keep_TB[t + 1] if t + 1 < T else torch.ones_like(keep_TB[t])

    _lstm_backward[_grid(B, H)](
        gates_TBG[t],
        c_TBH[t],
        c_TBH[t + 1],
        dout_TBH[t],
        dh_BH,
        dc_BH,
        here,
        after,
        H,
        KEEPS=keeps,
        BLOCK=BLOCK,
        num_warps=WARPS,
    )


def _grid(streams: int, units: int) -> tuple[int, int]:
    return streams, triton.cdiv(units, BLOCK)


@triton.jit
def _sigmoid(x: tl.tensor) -> tl.tensor:
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def _tanh(x: tl.tensor) -> tl.tensor:
    return 2.0 / (1.0 + tl.exp(-2.0 * x)) - 1.0


@triton.jit
def _lstm_forward(
    gates: tl.tensor,
    past: tl.tensor,
    c_0: tl.tensor,
    c_1: tl.tensor,
    h: tl.tensor,
    keep: tl.tensor,
    H: tl.tensor,
    KEEPS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    b = tl.program_id(0).to(tl.int64)
    j = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = j < H
    at = b * H + j
    a = gates + b * 4 * H + j
    p = past + b * 4 * H + j
    keeps = 1.0 if KEEPS else tl.load(keep + b).to(tl.float32)
    i = _sigmoid(tl.load(a, inside).to(tl.float32) + keeps * tl.load(p, inside).to(tl.float32))
    f = _sigmoid(
        tl.load(a + H, inside).to(tl.float32) + keeps * tl.load(p + H, inside).to(tl.float32)
    )
    g = _tanh(
        tl.load(a + 2 * H, inside).to(tl.float32)
        + keeps * tl.load(p + 2 * H, inside).to(tl.float32)
    )
    o = _sigmoid(
        tl.load(a + 3 * H, inside).to(tl.float32)
        + keeps * tl.load(p + 3 * H, inside).to(tl.float32)
    )
    c = f * keeps * tl.load(c_0 + at, inside) + i * g
    tl.store(c_1 + at, c, inside)
    tl.store(h + at, (o * _tanh(c)).to(h.dtype.element_ty), inside)
    form = gates.dtype.element_ty
    tl.store(a, i.to(form), inside)
    tl.store(a + H, f.to(form), inside)
    tl.store(a + 2 * H, g.to(form), inside)
    tl.store(a + 3 * H, o.to(form), inside)


@triton.jit
def _lstm_backward(
    gates: tl.tensor,
    c_0: tl.tensor,
    c_1: tl.tensor,
    dout: tl.tensor,
    dh: tl.tensor,
    dc: tl.tensor,
    keep: tl.tensor,
    keep_after: tl.tensor,
    H: tl.tensor,
    KEEPS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    b = tl.program_id(0).to(tl.int64)
    j = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = j < H
    at = b * H + j
    a = gates + b * 4 * H + j
    keeps = 1.0 if KEEPS else tl.load(keep + b).to(tl.float32)
    kept_after = 1.0 if KEEPS else tl.load(keep_after + b).to(tl.float32)
    i = tl.load(a, inside).to(tl.float32)
    f = tl.load(a + H, inside).to(tl.float32)
    g = tl.load(a + 2 * H, inside).to(tl.float32)
    o = tl.load(a + 3 * H, inside).to(tl.float32)
    squashed = _tanh(tl.load(c_1 + at, inside))
    dh_t = tl.load(dout + at, inside).to(tl.float32) + kept_after * tl.load(dh + at, inside).to(
        tl.float32
    )
    dc_t = kept_after * tl.load(dc + at, inside) + dh_t * o * (1 - squashed * squashed)
    form = gates.dtype.element_ty
    tl.store(a, (dc_t * g * i * (1 - i)).to(form), inside)
    tl.store(a + H, (dc_t * keeps * tl.load(c_0 + at, inside) * f * (1 - f)).to(form), inside)
    tl.store(a + 2 * H, (dc_t * i * (1 - g * g)).to(form), inside)
    tl.store(a + 3 * H, (dh_t * squashed * o * (1 - o)).to(form), inside)
    tl.store(dc + at, dc_t * f, inside)
