"""Layer normalisation in the cells, against the paper's formulas written with torch.nn.functional.layer_norm."""

import pytest
import torch
from torch.nn import functional as F

from reviewlm.models.neural.layers.own_layer import NormedLayer
from tests.marked_cases import slow_but

E, H, B, T = 4, 6, 3, 9
CELLS = ["rnn", "gru", "gru_cho", "lstm"]


def make(cell, **options):
    """With gains, shifts and biases that are not at their initial values, so that each is seen."""
    torch.manual_seed(2)
    layer = NormedLayer(cell, E, H, **options).double()
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if "weight" not in name:
                parameter.add_(torch.randn_like(parameter) * 0.5)
    return layer


def inputs(cell):
    states = 2 if cell == "lstm" else 1
    generator = torch.Generator().manual_seed(3)
    tensors = [
        torch.randn(B, *shape, dtype=torch.float64, generator=generator)
        for shape in [(T, E), *[(H,)] * states]
    ]
    return tensors[0], tuple(tensors[1:])


def LN(
    v,
    gain,
    shift,
):
    return F.layer_norm(
        v,
        v.shape[-1:],
        gain,
        shift,
        1e-5,
    )


def reference(
    layer,
    x,
    state,
):
    """The formulas of the module's docstring, position by position."""
    W, U, b, d = (
        layer.get_parameter(name)
        for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    )
    outputs, two = [], 2 * H
    for x_t in x.unbind(1):
        h = state[0]
        if layer.cell.gates == 1:
            h = torch.relu(LN(x_t @ W.T + b + h @ U.T + d, layer.gain_l0, layer.shift_l0))
            state = (h,)
        elif layer.cell.gates == 4:
            gates = LN(x_t @ W.T, layer.gain_ih_l0, b) + LN(h @ U.T, layer.gain_hh_l0, d)
            i, f, g, o = gates.chunk(4, -1)
            c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(LN(c, layer.gain_l0, layer.shift_l0))
            state = h, c
        else:
            gain_x, gain_h = layer.gain_ih_l0, layer.gain_hh_l0
            gates = LN(x_t @ W[:two].T, gain_x[:two], b[:two]) + LN(
                h @ U[:two].T, gain_h[:two], d[:two]
            )
            r, z = torch.sigmoid(gates).chunk(2, -1)
            new = LN(x_t @ W[two:].T, gain_x[two:], b[two:])
            if layer.cell.fused is None:
                n = torch.tanh(new + LN((r * h) @ U[two:].T, gain_h[two:], d[two:]))
            else:
                n = torch.tanh(new + r * LN(h @ U[two:].T, gain_h[two:], d[two:]))
            h = (1 - z) * n + z * h
            state = (h,)
        outputs.append(h)
    return torch.stack(outputs, 1), state


@pytest.mark.parametrize("cell", CELLS)
def test_a_layer_follows_the_formulas(cell):
    layer = make(cell, nonlinearity="relu")
    x, state = inputs(cell)
    h, last = layer(x, state)
    expected, after = reference(layer, x, state)
    for ours, theirs in zip((h, *last), (expected, *after), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("cell", slow_but(CELLS, {"rnn"}))
def test_gradients_pass_the_numeric_check(cell):
    layer = make(cell)
    x, state = inputs(cell)
    names = [name for name, _ in layer.named_parameters()]

    def run(x, *values):
        h, last = torch.func.functional_call(
            layer, dict(zip(names, values, strict=True)), (x, state)
        )
        return (h, *last)

    leaves = [
        x[:, :3].clone().requires_grad_(),
        *[p.detach().clone().requires_grad_() for p in layer.parameters()],
    ]
    assert torch.autograd.gradcheck(run, leaves, atol=1e-6)
