"""The course's equations of gradients, each as an executable proof about the code that is used.

A test is named for its row in the list of what the course asks for; `test_course_cells.py` says what the letters of its
docstring mean.
"""

import numpy as np
import pytest
import torch

from course import bptt
from course.einsum import einsum_affine
from models.neural.layers.cells import (
    CELLS,
    matmul_affine,
)
from models.tokens.special import CONTEXT_IDS
from tests.course.small_networks import B, E, H, T, V, network_of, random


def test_D2_the_exponential_keeps_the_order_of_the_scores_and_makes_them_shares():
    """S 28–32: exp is positive and rises, so p is in (0, 1) and ranks the words as their scores W h + b do.

    That scores may all be shifted is in `test_output.py`.
    """
    output = network_of().output
    h = random(20, output.weight.shape[1], seed=3)
    possible = [word for word in range(V) if word not in CONTEXT_IDS]
    scores = (h @ output.weight.T + output.bias)[:, possible]
    p = output.logp(h)[:, possible].exp()
    assert ((p > 0) & (p < 1)).all()
    assert torch.equal(p.argsort(1), scores.argsort(1))
    assert (p.sort(1).values.diff(dim=1) > 0).all()


def test_D10_softmax_with_cross_entropy_has_the_gradient_p_minus_y():
    """G 48–50: ∂p_i/∂z_j = p_i (δ_ij − p_j), so ∂J/∂z = p − y; of the output layer that is trained, and of bptt's."""
    network = network_of()
    output, h, targets = network.output, random(5, H).requires_grad_(), torch.tensor([9, 12, 2, 9, 16])
    loss, _ = output.loss(h, targets, "float32")
    loss.backward()
    z = (h @ output.weight.T + output.bias).detach()
    z[:, [1, 3, 4, 5, 6, 7, 8]] = -torch.inf
    p = torch.softmax(z, 1)
    difference = p - torch.nn.functional.one_hot(targets, V)
    torch.testing.assert_close(output.bias.grad, difference.sum(0), atol=1e-5, rtol=0)
    torch.testing.assert_close(h.grad, difference @ output.weight.detach(), atol=1e-5, rtol=0)
    q = p[0].numpy()
    jacobian = np.array([[q[i] * ((i == j) - q[j]) for j in range(V)] for i in range(V)])
    np.testing.assert_allclose(bptt.softmax_jacobian(q), jacobian, atol=1e-15)
    np.testing.assert_allclose(
        bptt.cross_entropy_gradient(q, 9), jacobian.T @ (-np.eye(V)[9] / q.clip(1e-300)), atol=1e-12
    )


@pytest.mark.parametrize("kind", ["rnn", "lstm"])
def test_D11_einsum_form_of_a_step(kind):
    """G 46–47: the sum over e written as a contraction, a_bg = Σ_e W_ge x_be; equal to the matrix product."""
    cell = CELLS[kind]
    rows = cell.gates * H
    x, W, U, b, d = (
        random(B, E),
        random(rows, E, seed=1),
        random(rows, H, seed=2),
        random(rows, seed=3),
        random(rows, seed=4),
    )
    state = tuple(random(B, H, seed=5 + i) for i in range(cell.states))
    a_loop = torch.stack([sum(W[:, e] * x[s, e] for e in range(E)) + b for s in range(B)])
    torch.testing.assert_close(einsum_affine(x, W, b), a_loop, atol=1e-13, rtol=0)
    steps = [cell.step(affine(x, W, b), state, U, d, affine) for affine in (matmul_affine, einsum_affine)]
    torch.testing.assert_close(*steps, atol=1e-13, rtol=0)


def test_D12_and_X3_hand_derived_back_propagation_is_that_sum():
    """N 152–159, G 62: bptt's gradient of U against copies of U, one per step, differentiated by autograd."""
    rng = np.random.default_rng(1)
    shapes = {"C": (V, E), "W": (H, E), "U": (H, H), "b": (H,), "V": (V, H), "c": (V,)}
    model = bptt.Elman(**{name: rng.normal(0, 0.5, shape) for name, shape in shapes.items()})
    read, following = rng.integers(0, V, T), rng.integers(0, V, T)
    gradient, _ = bptt.backward(model, read, following, bptt.forward(model, read, following, np.zeros(H))[1])
    C, W, _, b, out, c = (torch.tensor(value) for value in vars(model).values())
    copies = [torch.tensor(model.U, requires_grad=True) for _ in range(T)]
    h, loss = torch.zeros(H).double(), 0.0
    for t in range(T):
        h = torch.tanh(W @ C[read[t]] + copies[t] @ h + b)
        loss = loss - torch.log_softmax(out @ h + c, 0)[following[t]]
    parts = torch.autograd.grad(loss, copies)
    np.testing.assert_allclose(gradient.U, sum(parts).numpy(), atol=1e-12)


def test_D26_the_worked_example_of_autograd_gives_27_and_4_and_a_half():
    """L 142–181: y = x + 2, z = 3 y², out = mean z; with x = 1 everywhere z = 27 and ∂out/∂x = 6 (x + 2) / 4 = 4.5."""
    x = torch.ones(2, 2, requires_grad=True)
    y = x + 2
    z = y * y * 3
    out = z.mean()
    out.backward()
    assert torch.equal(z, torch.full((2, 2), 27.0))
    assert out.item() == 27
    assert torch.equal(x.grad, torch.full((2, 2), 4.5))
