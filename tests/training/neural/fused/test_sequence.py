"""The layers that train on the processor: equal to torch's and to the written-out cells, forward and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reviewlm.models.neural.layers.cells import CELLS
from reviewlm.models.neural.layers.own_layer import unroll
from reviewlm.models.neural.layers.recurrent_layers import (
    PARAMETERS,
    RepeatedInputs,
    make_layer,
    run_layer,
)
from reviewlm.models.neural.network import NetworkState
from reviewlm.training.neural.fused.chosen_layers import sequences, train_with_own_layers

B, T, E, H = 3, 11, 5, 37
"""H is no multiple of the processor's vectors: both their loop and the rest behind it run."""
SEQUENCES = sequences()
KINDS = tuple(SEQUENCES)


def fused(kind: str) -> nn.RNNBase:
    name, _, nonlinearity = kind.lower().partition("_")
    layer = make_layer(
        name,
        E,
        H,
        "fused",
        nonlinearity or "tanh",
    )
    assert isinstance(layer, nn.RNNBase)
    assert layer.mode == kind
    return layer


def window(
    kind: str,
    dtype: torch.dtype,
    seed: int = 0,
) -> tuple[nn.RNNBase, Tensor, NetworkState, list[Tensor]]:
    """Return a layer of torch, inputs, a state, and the layer's weights."""
    torch.manual_seed(seed)
    layer = fused(kind).to(dtype)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.add_(0.02 * torch.randn_like(weight))  # no bias at 0, no matrix the identity
    x = torch.randn(
        B,
        T,
        E,
        dtype=dtype,
        requires_grad=True,
    )
    states = CELLS[kind.lower().partition("_")[0]].states
    state = tuple(torch.randn(B, H, dtype=dtype, requires_grad=True) for _ in range(states))
    return layer, x, state, [getattr(layer, name) for name in PARAMETERS]


def some_scalar(h_BTH: Tensor, state: NetworkState) -> Tensor:
    weight = torch.arange(h_BTH.numel(), dtype=h_BTH.dtype).view_as(h_BTH).sin()
    return (h_BTH * weight).sum() + (state[0] * state[-1].sin()).sum()


def assert_equal(
    ours: tuple[Tensor, NetworkState],
    theirs: tuple[Tensor, NetworkState],
    leaves: Sequence[Tensor],
) -> tuple[Tensor, ...]:
    """Compare outputs, last states and the gradients of *leaves*; return our gradients."""
    found = torch.autograd.grad(some_scalar(*ours), leaves)
    wanted = torch.autograd.grad(some_scalar(*theirs), leaves)
    for one, other in zip(
        (ours[0], *ours[1], *found), (theirs[0], *theirs[1], *wanted), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_equals_torchs_in_float64_to_the_gradients(kind: str) -> None:
    layer, x, state, weights = window(kind, torch.float64)
    packed = tuple(tensor[None] for tensor in state)
    h_BTH, last = layer(x, packed if kind == "LSTM" else packed[0])
    theirs = h_BTH, tuple(tensor[0] for tensor in (last if kind == "LSTM" else (last,)))
    ours = SEQUENCES[kind](x, state, weights, torch.float64)
    assert_equal(ours, theirs, (x, *state, *weights))


@pytest.mark.parametrize("kind", KINDS)
def test_forgetting_inside_a_window_equals_the_equations_in_float64(kind: str) -> None:
    _, x, state, weights = window(kind, torch.float64)
    keep_BT = torch.ones(B, T, dtype=torch.bool)
    keep_BT[0, 4] = keep_BT[2, 0] = keep_BT[1, T - 1] = keep_BT[0, 5] = False
    name = kind.lower().partition("_")[0]
    options: dict[str, Any] = {"f": torch.relu} if kind == "RNN_RELU" else {}
    theirs = unroll(
        CELLS[name],
        dict(zip(PARAMETERS, weights, strict=True)),
        x,
        state,
        keep_BT,
        **options,
    )
    ours = SEQUENCES[kind](
        x,
        state,
        weights,
        torch.float64,
        keep_BT,
    )
    gradients = assert_equal(ours, theirs, (x, *state, *weights))
    for of_state in gradients[1 : 1 + len(state)]:
        assert not of_state[2].any(), "what stream 2 forgets at the first position has no gradient"
        assert of_state[:2].any(), "what the others remember has one"


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_without_repetitions_equal_those_of_every_position_in_float64(kind: str) -> None:
    _, _, state, weights = window(kind, torch.float64)
    x_UE = torch.randn(5, E, dtype=torch.float64, requires_grad=True)
    inputs = RepeatedInputs(x_UE, rows_BT=torch.randint(0, 4, (B, T)))  # the last one is never read
    ours = SEQUENCES[kind](inputs, state, weights, torch.float64)
    theirs = SEQUENCES[kind](x_UE[inputs.rows_BT], state, weights, torch.float64)
    gradient_UE, *_ = assert_equal(ours, theirs, (x_UE, *state, *weights))
    assert gradient_UE.any(1).tolist() == [True] * 4 + [False]


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
@pytest.mark.parametrize("kind", KINDS)
def test_lower_formats_stay_near_float64(
    kind: str,
    dtype: torch.dtype,
    error: float,
) -> None:
    _, x, state, weights = window(kind, torch.float64)
    leaves = x, *state, *weights
    exact, _ = SEQUENCES[kind](x, state, weights, torch.float64)
    wanted = torch.autograd.grad((exact * exact).sum(), leaves)
    low = [tensor.detach().float().requires_grad_() for tensor in leaves]
    ours, _ = SEQUENCES[kind](low[0], tuple(low[1:-4]), low[-4:], dtype)
    found = torch.autograd.grad((ours.float() * ours.float()).sum(), low)
    assert ours.dtype == dtype
    for one, other in zip((ours, *found), (exact, *wanted), strict=True):
        assert (
            float((one.detach().double() - other.detach()).norm() / other.detach().norm()) < error
        )


@pytest.mark.parametrize("bf16", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_a_fused_layer_that_trains_on_the_processor_is_this_one(kind: str, bf16: bool) -> None:
    layer = fused(kind).train()
    train_with_own_layers(layer)
    weights = dict(layer.named_parameters())
    x, state = torch.randn(B, T, E), (torch.zeros(B, H),) * (2 if kind == "LSTM" else 1)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        h_BTH, _ = run_layer(layer, weights, x, state)
    layer.eval()
    unlike, _ = run_layer(layer, weights, x, state)
    ours = "SequenceBackward" in h_BTH.grad_fn.next_functions[0][0].name()  # type: ignore[union-attr]
    assert ours == (bf16 or kind != "LSTM"), "torch's LSTM in float32 is oneDNN's"
    assert "SequenceBackward" not in unlike.grad_fn.next_functions[0][0].name()  # type: ignore[union-attr]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("special", [float("nan"), float("inf"), float("-inf")], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_finite_passes_a_step_as_in_the_equations(
    kind: str,
    special: float,
    dtype: torch.dtype,
) -> None:
    """In the gates and in the gradient of a unit, at the first and last place of the vectors and in the rest."""
    _, x, state, weights = window(kind, torch.float64 if dtype == torch.float64 else torch.float32)
    x, (W_ih, W_hh, b_ih, b_hh) = x[:, :1].detach(), (weight.detach() for weight in weights)
    options: dict[str, Any] = {"f": torch.relu} if kind == "RNN_RELU" else {}

    def ours(bias: Tensor) -> Tensor:
        return SEQUENCES[kind](x, state, [W_ih, W_hh, bias, b_hh], dtype)[0]

    def theirs(bias: Tensor) -> Tensor:
        named = dict(zip(PARAMETERS, (W_ih, W_hh, bias, b_hh), strict=True))
        return unroll(
            CELLS[kind.lower().partition("_")[0]],
            named,
            x,
            state,
            **options,
        )[0]

    def finite_gradient(
        h_BTH: Tensor,
        bias: Tensor,
        unit: int,
    ) -> Tensor:
        of_h = torch.ones_like(h_BTH)
        of_h[:, :, unit % H] = special
        return torch.autograd.grad(h_BTH, bias, of_h)[0].isfinite()

    for unit in (0, H // 2, H - 1, *range(H + H // 2, len(b_ih), H)):
        bias = b_ih.clone().requires_grad_()
        assert torch.equal(*(finite_gradient(run(bias), bias, unit) for run in (ours, theirs))), (
            unit
        )
        changed = b_ih.index_fill(0, torch.tensor([unit]), special)
        for kind_of in (torch.isnan, torch.isposinf, torch.isneginf):
            assert torch.equal(kind_of(ours(changed)), kind_of(theirs(changed))), unit
