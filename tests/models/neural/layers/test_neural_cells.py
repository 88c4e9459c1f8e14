"""The cells written out: equal to torch.nn's in outputs and gradients, checked numerically, true to their equations."""

import math

import pytest
import torch
from torch import nn

from reviewlm.models.neural.layers.cells import ACTIVATIONS, CELLS, elman_cell, gru_cell, lstm_cell
from reviewlm.models.neural.layers.own_layer import OwnLayer

KINDS = [("rnn", "tanh"), ("rnn", "relu"), ("gru", "tanh"), ("lstm", "tanh")]
E, H, B, T = 5, 7, 3, 12


def fused_twin(
    kind,
    nonlinearity,
    dtype,
):
    options = {"nonlinearity": nonlinearity} if kind == "rnn" else {}
    return CELLS[kind].fused(
        E,
        H,
        batch_first=True,
        dtype=dtype,
        **options,
    )


def own_layer(
    kind,
    nonlinearity="tanh",
    dtype=torch.float64,
    **options,
):
    torch.manual_seed(1)
    return OwnLayer(
        kind,
        E,
        H,
        nonlinearity,
        **options,
    ).to(dtype)


def pair(
    kind,
    nonlinearity,
    dtype,
):
    own, fused = own_layer(kind, nonlinearity, dtype), fused_twin(kind, nonlinearity, dtype)
    fused.load_state_dict(own.state_dict())
    return own, fused


def random_state(kind, dtype):
    return tuple(torch.randn(B, H, dtype=dtype) for _ in range(CELLS[kind].states))


def for_torch(state):
    packed = tuple(tensor[None] for tensor in state)
    return packed if len(packed) == 2 else packed[0]


def from_torch(last):
    return tuple(tensor[0] for tensor in (last if isinstance(last, tuple) else (last,)))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize(("kind", "nonlinearity"), KINDS)
def test_a_layer_equals_torchs_to_the_gradients(
    kind,
    nonlinearity,
    dtype,
    tolerance,
):
    own, fused = pair(kind, nonlinearity, dtype)
    x, state = torch.randn(B, T, E, dtype=dtype), random_state(kind, dtype)
    weights = torch.randn(B, T, H, dtype=dtype) / (B * T)
    gradients, results = [], []
    for layer, run in ((own, lambda v, s: own(v, s)), (fused, lambda v, s: fused(v, for_torch(s)))):
        leaf, start = (
            x.clone().requires_grad_(),
            tuple(tensor.clone().requires_grad_() for tensor in state),
        )
        h, last = run(leaf, start)
        last = last if layer is own else from_torch(last)
        ((h * weights).sum() + sum(tensor.mean() for tensor in last)).backward()
        results.append((h, *last))
        parameters = [layer.get_parameter(name) for name in own.state_dict()]
        gradients.append([leaf.grad, *[tensor.grad for tensor in (*start, *parameters)]])
    for ours, theirs in zip(
        results[0] + tuple(gradients[0]), results[1] + tuple(gradients[1]), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("kind", CELLS)
def test_gradients_pass_the_numeric_check(kind):
    own = own_layer(kind)
    x = torch.randn(
        2,
        3,
        E,
        dtype=torch.float64,
        requires_grad=True,
    )
    state = tuple(
        torch.randn(2, H, dtype=torch.float64, requires_grad=True)
        for _ in range(CELLS[kind].states)
    )
    names = list(own.state_dict())

    def run(x, *rest):
        values = dict(zip(names, rest[len(state) :], strict=True))
        h, last = torch.func.functional_call(own, values, (x, rest[: len(state)]))
        return (h, *last)

    parameters = [p.detach().clone().requires_grad_() for p in own.parameters()]
    assert torch.autograd.gradcheck(run, (x, *state, *parameters), atol=1e-6)


def lstm_with_open_memory():
    """Gates held by their biases: input 0, forget 1 (σ(±200) is exactly 0 and 1 in float32); the rest at random."""
    torch.manual_seed(2)
    own = OwnLayer("lstm", E, H)
    with torch.no_grad():
        for name in ("weight_ih_l0", "weight_hh_l0"):
            own.get_parameter(name)[: 2 * H] = 0
        own.bias_hh_l0.zero_()
        own.bias_ih_l0[:H], own.bias_ih_l0[H : 2 * H] = -200.0, 200.0
    return own


def test_an_lstm_whose_memory_is_open_keeps_its_cell_state_exactly_for_a_thousand_steps():
    own = lstm_with_open_memory()
    fused = nn.LSTM(E, H, batch_first=True)
    fused.load_state_dict(own.state_dict())
    x, (h, c) = torch.randn(B, 1_000, E), (torch.randn(B, H), torch.randn(B, H))
    with torch.no_grad():
        outputs, (_, ours) = own(x, (h, c))
        _, (_, theirs) = fused(x, (h[None], c[None]))
    assert torch.equal(ours, c)
    assert torch.equal(theirs[0], c)
    assert outputs.std(1).min() > 0, "the output gate still reads: only the memory stands still"


def gru_with_gate(kind, z_bias):
    torch.manual_seed(3)
    own = OwnLayer(kind, E, H)
    with torch.no_grad():
        for name in ("weight_ih_l0", "weight_hh_l0", "bias_hh_l0"):
            own.get_parameter(name)[H : 2 * H] = 0
        own.bias_ih_l0[H : 2 * H] = z_bias
    return own


@pytest.mark.parametrize("kind", ["gru", "gru_cho"])
def test_gru_with_update_zero_keeps_its_state_exactly(kind):
    """u = 1 − z: torch's z is 1 where nothing is updated."""
    own, h = gru_with_gate(kind, 200.0), torch.randn(B, H)
    outputs, (last,) = own(torch.randn(B, 1_000, E), (h,))
    assert torch.equal(last, h)
    assert torch.equal(outputs, h[:, None].expand_as(outputs))


def cho_by_loops(
    weights,
    x_TE,
    h_H,
):
    """Cho et al. (2014), equations 5 to 8, one number at a time: no tensor, no matrix product."""
    W, U = weights["weight_ih_l0"].tolist(), weights["weight_hh_l0"].tolist()
    b, d = weights["bias_ih_l0"].tolist(), weights["bias_hh_l0"].tolist()
    h, outputs = h_H.tolist(), []
    for x in x_TE.tolist():

        def drive(
            row,
            past,
            x=x,
        ):
            return (
                b[row]
                + d[row]
                + sum(w * v for w, v in zip(W[row], x, strict=True))
                + sum(u * v for u, v in zip(U[row], past, strict=True))
            )

        r = [1 / (1 + math.exp(-drive(j, h))) for j in range(H)]
        z = [1 / (1 + math.exp(-drive(H + j, h))) for j in range(H)]
        reset = [r[k] * h[k] for k in range(H)]
        h = [z[j] * h[j] + (1 - z[j]) * math.tanh(drive(2 * H + j, reset)) for j in range(H)]
        outputs.append(h)
    return torch.tensor(outputs, dtype=torch.float64)


def test_chos_gru_equals_its_equations_looped_over_single_numbers():
    own = own_layer("gru_cho")
    x, (h,) = torch.randn(B, T, E, dtype=torch.float64), random_state("gru_cho", torch.float64)
    outputs, _ = own(x, (h,))
    for stream in range(B):
        expected = cho_by_loops(own.state_dict(), x[stream], h[stream])
        torch.testing.assert_close(outputs[stream], expected, atol=1e-12, rtol=1e-12)


def test_cells_follow_their_equations_in_plain_arithmetic():
    """One unit, one input, numbers that can be followed with a pocket calculator."""

    def sigma(v):
        return 1 / (1 + math.exp(-v))

    def column(*values):
        return torch.tensor(values, dtype=torch.float64)[:, None]

    h, c, W, b = 0.3, -0.5, [0.2, -0.4, 0.6, 0.1], [0.01, 0.02, 0.03, 0.04]
    a = [0.5, -0.3, 0.8, 0.9]
    args = column(*a).T, column(h), column(c), column(*W), column(*b)[:, 0]
    drive = [a[k] + W[k] * h + b[k] for k in range(4)]
    (elman,) = elman_cell(args[0][:, :1], (args[1],), args[3][:1], args[4][:1])
    assert elman.item() == pytest.approx(math.tanh(drive[0]), rel=1e-14)
    r, z = sigma(drive[0]), sigma(drive[1])
    n = math.tanh(a[2] + r * (W[2] * h + b[2]))
    (gru,) = gru_cell(args[0][:, :3], (args[1],), args[3][:3], args[4][:3])
    assert gru.item() == pytest.approx((1 - z) * n + z * h, rel=1e-14)
    cell = sigma(drive[1]) * c + sigma(drive[0]) * math.tanh(drive[2])
    lstm = lstm_cell(args[0], (args[1], args[2]), args[3], args[4])
    assert lstm[1].item() == pytest.approx(cell, rel=1e-14)
    assert lstm[0].item() == pytest.approx(sigma(drive[3]) * math.tanh(cell), rel=1e-14)


@pytest.mark.parametrize(
    ("name", "value", "derivative"),
    [
        ("tanh", math.tanh(0.7), 1 - math.tanh(0.7) ** 2),
        ("relu", 0.7, 1.0),
        ("sigmoid", 1 / (1 + math.exp(-0.7)), math.exp(-0.7) / (1 + math.exp(-0.7)) ** 2),
        ("arctan", math.atan(0.7), 1 / (1 + 0.49)),
    ],
)
def test_activations_are_the_functions_of_their_names(
    name,
    value,
    derivative,
):
    x = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    result = ACTIVATIONS[name](x)
    result.backward()
    assert result.item() == pytest.approx(value, rel=1e-12)
    assert x.grad.item() == pytest.approx(derivative, rel=1e-12)


@pytest.mark.parametrize("name", ["tanh", "relu", "sigmoid", "arctan"])
def test_an_own_layer_takes_every_activation(name):
    layer = OwnLayer("rnn", E, H, name)
    assert layer(torch.randn(B, 2, E), (torch.zeros(B, H),))[0].shape == (B, 2, H)
