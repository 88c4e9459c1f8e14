"""Compile the element-wise work of a step of an LSTM layer for a GPU with Triton: a kernel is one pass over its memory.

The counterpart of `models/neural/fused/kernels.py`. A program computes a block of the units of one stream. This module
needs Triton, which comes with the CUDA builds of torch, to be imported.
Shape legend: see `models/base.py`; G = number of gates × H.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK, WARPS = 512, 2
"""Units and warps of a program: 8 units for each thread, so that bf16 is read and written 16 bytes at a time."""


def lstm_forward(
    t: int, gates_TBG: Tensor, past_BG: Tensor, c_TBH: Tensor, h_TBH: Tensor, keep_TB: Tensor | None
) -> None:
    """Compute step t of an LSTM layer; see `fused.kernels.lstm_forward`.

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
        gates_TBG[t], past_BG, c_TBH[t], c_TBH[t + 1], h_TBH[t + 1], past_BG if keep_TB is None else keep_TB[t],
        H, KEEPS=keep_TB is None, BLOCK=BLOCK, num_warps=WARPS,
    )  # fmt: skip


def lstm_backward(
    t: int, gates_TBG: Tensor, c_TBH: Tensor, dout_TBH: Tensor, dh_BH: Tensor, dc_BH: Tensor, keep_TB: Tensor | None
) -> None:
    """Compute step t of the backward pass through an LSTM layer; see `fused.kernels.lstm_backward`.

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
    keeps, here, after = keep_TB is None, dh_BH, dh_BH
    if keep_TB is not None:
        # The gradients of the state after the last position are used for all streams.
        here, after = keep_TB[t], keep_TB[t + 1] if t + 1 < T else torch.ones_like(keep_TB[t])
    _lstm_backward[_grid(B, H)](
        gates_TBG[t], c_TBH[t], c_TBH[t + 1], dout_TBH[t], dh_BH, dc_BH, here, after,
        H, KEEPS=keeps, BLOCK=BLOCK, num_warps=WARPS,
    )  # fmt: skip


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
    gates: tl.tensor, past: tl.tensor, c_0: tl.tensor, c_1: tl.tensor, h: tl.tensor, keep: tl.tensor, H: tl.tensor,
    KEEPS: tl.constexpr, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    b, j = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside, at, a, p = j < H, b * H + j, gates + b * 4 * H + j, past + b * 4 * H + j
    kept = 1.0 if KEEPS else tl.load(keep + b).to(tl.float32)
    i = _sigmoid(tl.load(a, inside).to(tl.float32) + kept * tl.load(p, inside).to(tl.float32))
    f = _sigmoid(tl.load(a + H, inside).to(tl.float32) + kept * tl.load(p + H, inside).to(tl.float32))
    g = _tanh(tl.load(a + 2 * H, inside).to(tl.float32) + kept * tl.load(p + 2 * H, inside).to(tl.float32))
    o = _sigmoid(tl.load(a + 3 * H, inside).to(tl.float32) + kept * tl.load(p + 3 * H, inside).to(tl.float32))
    c = f * kept * tl.load(c_0 + at, inside) + i * g
    tl.store(c_1 + at, c, inside)
    tl.store(h + at, (o * _tanh(c)).to(h.dtype.element_ty), inside)
    form = gates.dtype.element_ty
    tl.store(a, i.to(form), inside)
    tl.store(a + H, f.to(form), inside)
    tl.store(a + 2 * H, g.to(form), inside)
    tl.store(a + 3 * H, o.to(form), inside)


@triton.jit
def _lstm_backward(
    gates: tl.tensor, c_0: tl.tensor, c_1: tl.tensor, dout: tl.tensor, dh: tl.tensor, dc: tl.tensor,
    keep: tl.tensor, keep_after: tl.tensor, H: tl.tensor,
    KEEPS: tl.constexpr, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    b, j = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside, at, a = j < H, b * H + j, gates + b * 4 * H + j
    kept = 1.0 if KEEPS else tl.load(keep + b).to(tl.float32)
    kept_after = 1.0 if KEEPS else tl.load(keep_after + b).to(tl.float32)
    i, f = tl.load(a, inside).to(tl.float32), tl.load(a + H, inside).to(tl.float32)
    g, o = tl.load(a + 2 * H, inside).to(tl.float32), tl.load(a + 3 * H, inside).to(tl.float32)
    squashed = _tanh(tl.load(c_1 + at, inside))
    dh_t = tl.load(dout + at, inside).to(tl.float32) + kept_after * tl.load(dh + at, inside).to(tl.float32)
    dc_t = kept_after * tl.load(dc + at, inside) + dh_t * o * (1 - squashed * squashed)
    form = gates.dtype.element_ty
    tl.store(a, (dc_t * g * i * (1 - i)).to(form), inside)
    tl.store(a + H, (dc_t * kept * tl.load(c_0 + at, inside) * f * (1 - f)).to(form), inside)
    tl.store(a + 2 * H, (dc_t * i * (1 - g * g)).to(form), inside)
    tl.store(a + 3 * H, (dh_t * squashed * o * (1 - o)).to(form), inside)
    tl.store(dc + at, dc_t * f, inside)
