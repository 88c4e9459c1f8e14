"""The LSTM layer that trains: equal to torch's and to the written-out cells, forward and backward."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from models.neural.cells import CELLS, unroll
from models.neural.layers import make_layer, run_layer
from models.neural.lstm_sequence import lstm_sequence

B, T, E, H = 3, 11, 5, 7


def window(dtype: torch.dtype, seed: int = 0) -> tuple[nn.LSTM, list[Tensor], tuple[Tensor, ...]]:
    torch.manual_seed(seed)
    layer = nn.LSTM(E, H, batch_first=True).to(dtype)
    inputs = [torch.randn(*shape, dtype=dtype, requires_grad=True) for shape in ((B, T, E), (B, H), (B, H))]
    weights = (layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0, layer.bias_hh_l0)
    return layer, inputs, weights


def some_scalar(h_BTH: Tensor, h_BH: Tensor, c_BH: Tensor) -> Tensor:
    weight = torch.arange(h_BTH.numel(), dtype=h_BTH.dtype).view_as(h_BTH).sin()
    return (h_BTH * weight).sum() + (h_BH * c_BH.exp()).sum()


def test_outputs_and_all_gradients_equal_torchs_layer_in_float64() -> None:
    layer, (x, h, c), weights = window(torch.float64)
    theirs, (their_h, their_c) = layer(x, (h[None], c[None]))
    ours, (our_h, our_c) = lstm_sequence(x, (h, c), weights, torch.float64)
    wanted = torch.autograd.grad(some_scalar(theirs, their_h[0], their_c[0]), (x, h, c, *weights))
    found = torch.autograd.grad(some_scalar(ours, our_h, our_c), (x, h, c, *weights))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_forgetting_inside_a_window_equals_the_equations_in_float64() -> None:
    _, (x, h, c), weights = window(torch.float64)
    keep_BT = torch.ones(B, T, dtype=torch.bool)
    keep_BT[0, 4] = keep_BT[2, 0] = keep_BT[1, T - 1] = keep_BT[0, 5] = False
    named = dict(zip(("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"), weights, strict=True))
    theirs, (their_h, their_c) = unroll(CELLS["lstm"], named, x, (h, c), keep_BT)
    ours, (our_h, our_c) = lstm_sequence(x, (h, c), weights, torch.float64, keep_BT)
    wanted = torch.autograd.grad(some_scalar(theirs, their_h, their_c), (x, h, c, *weights))
    found = torch.autograd.grad(some_scalar(ours, our_h, our_c), (x, h, c, *weights))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    assert not found[1][2].any(), "what stream 2 forgets at the first position has no gradient"


def test_two_windows_with_the_carried_state_equal_one() -> None:
    _, (x, h, c), weights = window(torch.float64)
    whole, (last_h, last_c) = lstm_sequence(x, (h, c), weights, torch.float64)
    first, state = lstm_sequence(x[:, :4], (h, c), weights, torch.float64)
    second, (our_h, our_c) = lstm_sequence(x[:, 4:], state, weights, torch.float64)
    for ours, theirs in ((torch.cat([first, second], 1), whole), (our_h, last_h), (our_c, last_c)):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_lower_formats_stay_near_float64(dtype: torch.dtype, error: float) -> None:
    _, (x, h, c), weights = window(torch.float64)
    exact, _ = lstm_sequence(x, (h, c), weights, torch.float64)
    wanted = torch.autograd.grad((exact * exact).sum(), (x, h, c, *weights))
    low = [tensor.detach().float().requires_grad_() for tensor in (x, h, c, *weights)]
    ours, _ = lstm_sequence(low[0], (low[1], low[2]), (low[3], low[4], low[5], low[6]), dtype)
    found = torch.autograd.grad((ours.float() * ours.float()).sum(), low)
    assert ours.dtype == dtype
    for one, other in zip((ours, *found), (exact, *wanted), strict=True):
        assert float((one.detach().double() - other.detach()).norm() / other.detach().norm()) < error


def test_saturated_gates_and_huge_inputs_stay_finite() -> None:
    _, (x, h, c), weights = window(torch.float32)
    big = (x.detach() * 1e4).requires_grad_()
    ours, (_, cell) = lstm_sequence(big, (h, c), weights, torch.bfloat16)
    (gradient,) = torch.autograd.grad(ours.float().sum(), big)
    assert bool(torch.isfinite(ours).all() and torch.isfinite(cell).all() and torch.isfinite(gradient).all())
    assert float(ours.abs().max()) <= 1.0


def test_a_second_gradient_of_the_same_window_is_refused() -> None:
    _, (x, h, c), weights = window(torch.float32)
    loss = lstm_sequence(x, (h, c), weights, torch.float32)[0].sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="taken before"):
        loss.backward()


def test_a_fused_layer_that_trains_in_bf16_on_the_processor_is_this_one() -> None:
    layer = make_layer("lstm", E, H, "fused").train()
    weights = dict(layer.named_parameters())
    x, state = torch.randn(B, T, E), (torch.zeros(B, H), torch.zeros(B, H))
    with torch.autocast("cpu", torch.bfloat16):
        h_BTH, _ = run_layer(layer, weights, x, state)
        layer.eval()
        unlike, _ = run_layer(layer, weights, x, state)
    assert "LSTMSequence" in h_BTH.grad_fn.next_functions[0][0].name()  # type: ignore[union-attr]
    assert "LSTMSequence" not in unlike.grad_fn.next_functions[0][0].name()  # type: ignore[union-attr]
