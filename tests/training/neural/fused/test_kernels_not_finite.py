"""NaN and infinity pass through every kernel, forward and back, at each place of its vectors and of the rest.

The known answers are torch's own element-wise operators in float64 and their gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.marked_cases import long_but
from training.neural.fused import kernels
from training.neural.fused.kernels import view

H = 37
"""No multiple of a vector. There is a row for each unit, in which that unit alone is not finite."""
SPECIALS = (float("nan"), float("inf"), float("-inf"))
DTYPES = (torch.float64, torch.float32, torch.bfloat16)
Inputs = dict[str, Tensor]
Step = Callable[[Inputs], dict[str, Tensor]]


def lstm(of: Inputs) -> dict[str, Tensor]:
    i, f, g, o = (of["a"] + of["past"]).chunk(4, -1)
    c = f.sigmoid() * of["c"] + i.sigmoid() * g.tanh()
    return {"c": c, "h": o.sigmoid() * c.tanh()}


def gru(of: Inputs) -> dict[str, Tensor]:
    (a_r, a_z, a_n), (p_r, p_z, p_n) = of["a"].chunk(3, -1), of["past"].chunk(3, -1)
    z, n = (a_z + p_z).sigmoid(), (a_n + (a_r + p_r).sigmoid() * p_n).tanh()
    return {"h": (1 - z) * n + z * of["h"]}


def elman(of: Inputs, relu: bool) -> dict[str, Tensor]:
    a = of["a"] + of["past"]
    return {"h": a.relu() if relu else a.tanh()}


STEPS: dict[str, tuple[Step, int, tuple[str, ...]]] = {
    "lstm": (lstm, 4, ("c",)), "gru": (gru, 3, ("h",)),
    "tanh": (partial(elman, relu=False), 1, ()), "relu": (partial(elman, relu=True), 1, ()),
}  # fmt: skip
"""By kernel: its equations, its gates, the states that it reads element by element."""


def inputs_of(kind: str, dtype: torch.dtype) -> Inputs:
    """Return moderate inputs that *dtype* holds exactly, in float64."""
    _, gates, states = STEPS[kind]
    generator = torch.Generator().manual_seed(1)

    def some(width: int) -> Tensor:
        return torch.randn(H, width, generator=generator).to(dtype).double()

    return {"a": some(gates * H), "past": some(gates * H)} | {state: some(H) for state in states}


def with_specials(tensor: Tensor, special: float, gate: int = 0) -> Tensor:
    """Return a copy that is *special* in row b at unit b of a gate."""
    changed = tensor.clone()
    changed[:, gate * H : (gate + 1) * H].fill_diagonal_(special)
    return changed


def take_step(kind: str, of: Inputs, dtype: torch.dtype) -> tuple[dict[str, Tensor], dict[str, np.ndarray]]:
    """Return what the kernel hands out, and the arrays that the way back needs."""
    state_dtype = torch.float64 if dtype == torch.float64 else torch.float32
    h, past, a = torch.zeros(2, H, H, dtype=dtype), of["past"].to(dtype), of["a"].to(dtype)[None].clone()
    if kind == "lstm":
        c = torch.stack([of["c"], torch.zeros(H, H, dtype=torch.float64)]).to(state_dtype)
        kernels.lstm_forward(0, view(a), view(past), view(c), view(h))
        return {"c": c[1], "h": h[1]}, {"gates": view(a), "c": view(c)}
    if kind == "gru":
        state, q = of["h"].to(state_dtype).clone(), torch.empty(1, H, H, dtype=dtype)
        h[0] = of["h"].to(dtype)
        kernels.gru_forward(0, view(a), view(past), view(q), view(state), view(h))
        return {"h": h[1]}, {"gates": view(a), "q": view(q), "h": view(h)}
    kernels.elman_forward(0, kind == "relu", view(a), view(past), view(h))
    return {"h": h[1]}, {"h": view(h)}


def take_step_back(
    kind: str, kept: dict[str, np.ndarray], gradients: dict[str, Tensor], dtype: torch.dtype
) -> dict[str, Tensor]:
    """Return the gradients of what came from the input ("a") and, of an LSTM, of the cell state."""
    state_dtype = torch.float64 if dtype == torch.float64 else torch.float32
    dout, zero = view(gradients["h"].to(dtype)[None]), torch.zeros(H, H, dtype=dtype)
    if kind == "lstm":
        dc = gradients["c"].to(state_dtype).clone()
        kernels.lstm_backward(0, kept["gates"], kept["c"], dout, view(zero), view(dc))
        return {"a": read(kept["gates"][0], dtype), "c": dc}
    if kind == "gru":
        dh = torch.zeros(H, H, dtype=state_dtype)
        kernels.gru_backward(0, kept["gates"], kept["q"], kept["h"], dout, view(zero), view(dh))
        rz, n = read(kept["gates"][0], dtype)[:, : 2 * H], read(kept["q"][0], dtype)
        return {"a": torch.cat([rz, n], 1), "h": dh}
    da = torch.empty(1, H, H, dtype=dtype)
    kernels.elman_backward(0, kind == "relu", kept["h"], dout, view(zero), view(da))
    return {"a": da[0]}


def read(array: np.ndarray, dtype: torch.dtype) -> Tensor:
    tensor = torch.from_numpy(array)
    return tensor.view(torch.bfloat16) if dtype == torch.bfloat16 else tensor


def assert_same_places(found: Tensor, wanted: Tensor, *kinds: Callable[[Tensor], Tensor]) -> None:
    for kind_of in kinds:
        assert torch.equal(kind_of(found.double()), kind_of(wanted)), kind_of.__name__


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("special", SPECIALS, ids=str)
@pytest.mark.parametrize("kind", long_but(STEPS, {"lstm"}))
def test_what_is_not_finite_goes_forward_as_in_the_equations(kind: str, special: float, dtype: torch.dtype) -> None:
    equations, gates, states = STEPS[kind]
    for name, gate in [("a", gate) for gate in range(gates)] + [(state, 0) for state in states]:
        of = inputs_of(kind, dtype)
        of[name] = with_specials(of[name], special, gate)
        found, _ = take_step(kind, of, dtype)
        for output, wanted in equations(of).items():
            assert_same_places(found[output], wanted, torch.isnan, torch.isposinf, torch.isneginf)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("special", SPECIALS, ids=str)
@pytest.mark.parametrize("kind", long_but(STEPS, {"lstm"}))
def test_a_gradient_that_is_not_finite_goes_back_as_in_the_equations(
    kind: str, special: float, dtype: torch.dtype
) -> None:
    of = inputs_of(kind, dtype)
    equations, _, states = STEPS[kind]
    for name in ("h", "c") if kind == "lstm" else ("h",):
        leaves = {key: value.clone().requires_grad_() for key, value in of.items()}
        outputs = equations(leaves)
        gradients = {key: torch.ones(H, H, dtype=torch.float64) for key in outputs}
        gradients[name] = with_specials(gradients[name], special)
        asked = [leaves[key] for key in ("a", *states)]
        wanted = dict(zip(("a", *states), _gradients(outputs, asked, gradients), strict=True))
        found = take_step_back(kind, take_step(kind, of, dtype)[1], gradients, dtype)
        for key, tensor in found.items():
            assert_same_places(tensor, wanted[key], torch.isfinite)  # inf − inf depends on how a sum is written


def _gradients(outputs: dict[str, Tensor], leaves: Sequence[Tensor], of_outputs: dict[str, Tensor]) -> Sequence[Tensor]:
    return torch.autograd.grad(list(outputs.values()), list(leaves), [of_outputs[key] for key in outputs])
