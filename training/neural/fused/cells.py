"""Run recurrent layers over a whole window for training on the CPU, forward and backward written out.

The equations are those of `models/neural/layers/cells.py`; `sequence.py` explains how the work is divided. Shape legend:
see `models/base.py`; G = 3 H in a GRU and 4 H in an LSTM, N = T B. Inside, time is the first dimension, so that the
rows of one position are contiguous in memory.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from reviewlm.training.neural.fused.kernels import (
    elman_backward,
    elman_forward,
    gru_backward,
    gru_forward,
    lstm_backward,
    lstm_forward,
    view,
)
from reviewlm.training.neural.fused.sequence import (
    all_read_before,
    bias_gradient,
    format_once,
    product_with,
    read_before,
    rows_that_forget,
    weight_gradient,
)


class ElmanSequence(torch.autograd.Function):
    """Run an Elman layer; see `sequence.run_sequence`. Its state is (h_BH,); its option *relu* replaces tanh by relu.

    The equation is that of `models.neural.layers.cells.elman_cell` with tanh or relu. torch's own layer takes 1.6 to 2.2
    times as long (`benchmarks/training/layers.py`).

    Backward, from the last t to the first, with the derivative of f computed from its value:

        ∂h_t = ∂out_t + W_hhᵀ ∂a_{t+1}
        ∂a_t = ∂h_t ∘ (1 − h_t²)  for tanh,   ∂h_t ∘ [h_t > 0]  for relu
        ∂W_hh = Σ_t ∂a_tᵀ h_{t−1}

    Products are in the requested number format, non-linearities in float32 (float64 in float64).
    """

    bias_of_past = False

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        a_TBH: Tensor,
        h_BH: Tensor,
        W_hh: Tensor,
        dtype: torch.dtype,
        keep_BT: Tensor | None,
        relu: bool,
    ) -> tuple[Tensor, Tensor]:
        """Return h_t of every position (T, B, H), and the last h."""
        T, B, H = a_TBH.shape
        W_hh_low = W_hh.to(dtype)
        h_TBH = W_hh_low.new_empty(T + 1, B, H)
        h_TBH[0] = h_BH
        past = product_with(W_hh_low, B)
        a = view(a_TBH)
        h = view(h_TBH)
        forget = rows_that_forget(keep_BT)
        for t in range(T):
            elman_forward(
                t,
                relu,
                a,
                view(past(read_before(h_TBH, t, forget))),
                h,
            )

        ctx.save_for_backward(h_TBH, W_hh_low)
        ctx.full = W_hh.dtype
        ctx.forget = forget
        ctx.relu = relu
        return h_TBH[1:], h_TBH[T].to(W_hh.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout_TBH: Tensor, dh_BH: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Return the gradients of the arguments of `forward`."""
        h_TBH, W_hh = ctx.saved_tensors
        full = ctx.full
        dtype = W_hh.dtype
        T, B, _ = dout_TBH.shape
        back = product_with(W_hh.t(), B)
        da_TBH = torch.empty_like(h_TBH[1:])
        dh_BH = dh_BH.to(dtype).contiguous()
        h = view(h_TBH)
        dout = view(dout_TBH.to(dtype).contiguous())
        da = view(da_TBH)
        for t in range(T - 1, -1, -1):
            elman_backward(
                t,
                ctx.relu,
                h,
                dout,
                view(dh_BH),
                da,
            )
            dh_BH = back(da_TBH[t])
            if t in ctx.forget:
                dh_BH[ctx.forget[t]] = 0

        dW_hh = weight_gradient(da_TBH, all_read_before(h_TBH, ctx.forget)).to(full)
        return da_TBH, dh_BH.to(full), dW_hh, None, None, None


class GRUSequence(torch.autograd.Function):
    """Run a GRU layer; see `sequence.run_sequence`. Its state is (h_BH,), its gates are in the order r, z, n.

    The gates are computed in place of W_ih x_t + b_ih, and their gradients in place of the gates. So the gradient can
    be computed only once.

    The equations are those of `models.neural.layers.cells.gru_cell`, in cuDNN's form. torch's own layer takes 2.0 to 2.7
    times as long (`benchmarks/training/layers.py`). With q_t = W_hn h_{t−1} + b_hn, which the reset gate multiplies:

        n_t = tanh(W_in x_t + b_in + r_t ∘ q_t)
        h_t = n_t + z_t ∘ (h_{t−1} − n_t)

    Backward, from the last t to the first, with the gradients ∂a_r, ∂a_z, ∂a_n before the non-linearities:

        ∂h_t = ∂out_t + W_hhᵀ (∂a_r, ∂a_z, ∂q)_{t+1} + z_{t+1} ∘ ∂h_{t+1}
        ∂a_n = ∂h_t ∘ (1 − z_t) ∘ (1 − n_t²)
        ∂a_z = ∂h_t ∘ (h_{t−1} − n_t) ∘ z_t(1 − z_t)
        ∂a_r = ∂a_n ∘ q_t ∘ r_t(1 − r_t)
        ∂q   = ∂a_n ∘ r_t

    The bias b_hn is inside q_t, so the third gate's gradient differs on the two sides. The input side gets
    (∂a_r, ∂a_z, ∂a_n), the state side (∂a_r, ∂a_z, ∂q):

        ∂W_hh = Σ_t (∂a_r, ∂a_z, ∂q)ᵀ h_{t−1},     ∂b_hh = Σ_t (∂a_r, ∂a_z, ∂q)

    Products are in the requested number format, non-linearities in the format of the weights. The state carried from
    position to position is in the format of the weights too: h_t differs from h_{t−1} by (1 − z_t) ∘ (n_t − h_{t−1}),
    and bfloat16 would round that to 0 where z_t is near 1.
    """

    bias_of_past = True

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        gates_TBG: Tensor,
        h_BH: Tensor,
        W_hh: Tensor,
        b_hh: Tensor,
        dtype: torch.dtype,
        keep_BT: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Return h_t of every position (T, B, H), and the last h."""
        T, B, _ = gates_TBG.shape
        H = W_hh.shape[1]
        W_hh_low = W_hh.to(dtype)
        q_TBH = W_hh_low.new_empty(T, B, H)
        h_TBH = W_hh_low.new_empty(T + 1, B, H)
        h_TBH[0] = h_BH
        h_BH = h_BH.to(W_hh.dtype, memory_format=torch.contiguous_format, copy=True)
        past = product_with(W_hh_low, B, b_hh.to(dtype))
        gates = view(gates_TBG)
        q = view(q_TBH)
        carried = view(h_BH)
        h = view(h_TBH)
        forget = rows_that_forget(keep_BT)
        for t in range(T):
            if t in forget:
                carried[forget[t]] = 0
            gru_forward(
                t,
                gates,
                view(past(read_before(h_TBH, t, forget))),
                q,
                carried,
                h,
            )

        ctx.save_for_backward(h_TBH, q_TBH, gates_TBG, W_hh_low)
        ctx.full = W_hh.dtype
        ctx.forget = forget
        return h_TBH[1:], h_BH

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout_TBH: Tensor, dh_BH: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Return the gradients of the arguments of `forward`."""
        full = format_once(ctx, "a GRU")
        h_TBH, q_TBH, gates_TBG, W_hh = ctx.saved_tensors
        T, B, H = dout_TBH.shape
        dtype = W_hh.dtype
        before_TBH = all_read_before(h_TBH, ctx.forget)
        back = product_with(W_hh.t(), B)
        dpast_BH = W_hh.new_zeros(B, H)
        dh_BH = dh_BH.to(full, memory_format=torch.contiguous_format, copy=True)
        gates, q, before, dh = map(view, (gates_TBG, q_TBH, before_TBH, dh_BH))
        dout = view(dout_TBH.to(dtype).contiguous())
        for t in range(T - 1, -1, -1):
            gru_backward(
                t,
                gates,
                q,
                before,
                dout,
                view(dpast_BH),
                dh,
            )
            dpast_BH = back(gates_TBG[t])
            if t in ctx.forget:
                dpast_BH[ctx.forget[t]] = 0
                dh[ctx.forget[t]] = 0

        dW_hh = weight_gradient(gates_TBG, before_TBH).to(full)
        db_hh = bias_gradient(gates_TBG).to(full)
        gates_TBG[..., 2 * H :] = q_TBH  # from here on the gradients of the input side
        return gates_TBG, dh_BH + dpast_BH, dW_hh, db_hh, None, None


class LSTMSequence(torch.autograd.Function):
    """Run an LSTM layer; see `sequence.run_sequence`. Its state is (h_BH, c_BH), its gates are in the order i, f, g, o.

    The gates are computed in place of W_ih x_t + b, and their gradients in place of the gates. So the gradient can be
    computed only once.

    The equations are those of `models.neural.layers.cells.lstm_cell`. torch's own layer takes 1.3 to 1.5 times as long
    (`benchmarks/training/layers.py`).

    Backward, with the gates after their non-linearities, from the last t to the first:

        ∂h_t = ∂out_t + W_hhᵀ ∂a_{t+1}
        ∂c_t = ∂h_t ∘ o_t ∘ (1 − tanh² c_t) + ∂c_{t+1} ∘ f_{t+1}
        ∂a_t = (∂c_t ∘ g_t ∘ i_t(1 − i_t),  ∂c_t ∘ c_{t−1} ∘ f_t(1 − f_t),  ∂c_t ∘ i_t ∘ (1 − g_t²),
                ∂h_t ∘ tanh c_t ∘ o_t(1 − o_t))
        ∂W_hh = Σ_t ∂a_tᵀ h_{t−1}

    Products are in the requested number format, cell states and non-linearities in the format of the weights.
    """

    bias_of_past = False

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        gates_TBG: Tensor,
        h_BH: Tensor,
        c_BH: Tensor,
        W_hh: Tensor,
        dtype: torch.dtype,
        keep_BT: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return h_t of every position (T, B, H), and the last h and c."""
        T, B, _ = gates_TBG.shape
        H = W_hh.shape[1]
        W_hh_low = W_hh.to(dtype)
        c_TBH = W_hh.new_empty(T + 1, B, H)
        h_TBH = W_hh.new_empty(T + 1, B, H, dtype=dtype)
        h_TBH[0] = h_BH
        c_TBH[0] = c_BH
        past = product_with(W_hh_low, B)
        gates = view(gates_TBG)
        c = view(c_TBH)
        h = view(h_TBH)
        forget = rows_that_forget(keep_BT)
        forgotten = {}
        for t in range(T):
            if t in forget:
                forgotten[t] = c[t, forget[t]]  # a copy
                c[t, forget[t]] = 0
            lstm_forward(
                t,
                gates,
                view(past(read_before(h_TBH, t, forget))),
                c,
                h,
            )

        ctx.save_for_backward(h_TBH, c_TBH, gates_TBG, W_hh_low)
        ctx.full = W_hh.dtype
        ctx.forget = forget
        ctx.forgotten = forgotten
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
        full = format_once(ctx, "an LSTM")
        h_TBH, c_TBH, gates_TBG, W_hh = ctx.saved_tensors
        T, B = dout_TBH.shape[:2]
        back = product_with(W_hh.t(), B)
        dtype = W_hh.dtype
        dh_BH = dh_BH.to(dtype).contiguous()
        dc_BH = dc_BH.to(full, copy=True).contiguous()
        gates = view(gates_TBG)
        c = view(c_TBH)
        dout = view(dout_TBH.to(dtype).contiguous())
        dc = view(dc_BH)
        for t in range(T - 1, -1, -1):
            lstm_backward(
                t,
                gates,
                c,
                dout,
                view(dh_BH),
                dc,
            )
            dh_BH = back(gates_TBG[t])
            if t in ctx.forget:
                dh_BH[ctx.forget[t]] = 0
                dc[ctx.forget[t]] = 0
                c[t, ctx.forget[t]] = ctx.forgotten[t]  # restore c_{t−1}: step t − 1 needs it

        dW_hh = weight_gradient(gates_TBG, all_read_before(h_TBH, ctx.forget)).to(full)
        return gates_TBG, dh_BH.to(full), dc_BH, dW_hh, None, None
