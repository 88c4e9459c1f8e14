"""Hand-written back-propagation through time against autograd and against finite differences."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.course.networks import bptt
from tests.examples import examples

N, E, H, T = 11, 4, 6, 8


def make_model(rng, scale=0.7):
    shapes = {
        "C": (N, E),
        "W": (H, E),
        "U": (H, H),
        "b": (H,),
        "V": (N, H),
        "c": (N,),
    }
    return bptt.Elman(**{name: rng.normal(0, scale, shape) for name, shape in shapes.items()})


def autograd_of(
    model,
    words,
    targets,
    h0,
):
    """The same model in torch, its own cell and loss, differentiated by autograd."""
    leaves = {name: torch.tensor(value, requires_grad=True) for name, value in vars(model).items()}
    start = torch.tensor(h0, requires_grad=True)
    cell = torch.nn.RNN(E, H, dtype=torch.float64)
    parameters = {
        "weight_ih_l0": leaves["W"],
        "weight_hh_l0": leaves["U"],
        "bias_ih_l0": leaves["b"],
        "bias_hh_l0": torch.zeros(H, dtype=torch.float64),
    }
    outputs, _ = torch.func.functional_call(
        cell,
        parameters,
        (torch.nn.functional.embedding(torch.tensor(words), leaves["C"]), start[None]),
    )
    logits = outputs @ leaves["V"].T + leaves["c"]
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(targets), reduction="sum")
    loss.backward()
    return (
        loss.item(),
        {name: leaf.grad.numpy() for name, leaf in leaves.items()},
        start.grad.numpy(),
    )


@examples(25)
@given(st.integers(0, 2**32 - 1))
def test_gradients_through_eight_steps_equal_autograd(seed):
    rng = np.random.default_rng(seed)
    model, h0 = make_model(rng), rng.normal(size=H)
    words, targets = rng.integers(0, N, T), rng.integers(0, N, T)
    loss, memory = bptt.forward(model, words, targets, h0)
    gradients, start = bptt.backward(model, words, targets, memory)
    expected_loss, expected, expected_start = autograd_of(model, words, targets, h0)
    assert loss == pytest.approx(expected_loss, rel=1e-12)
    for name, value in vars(gradients).items():
        np.testing.assert_allclose(
            value,
            expected[name],
            rtol=1e-10,
            atol=1e-12,
            err_msg=name,
        )
    np.testing.assert_allclose(start, expected_start, rtol=1e-10, atol=1e-12)


def test_gradient_equals_finite_differences_of_the_loss():
    rng = np.random.default_rng(3)
    model, h0 = make_model(rng), rng.normal(size=H)
    words, targets = rng.integers(0, N, T), rng.integers(0, N, T)
    gradients, _ = bptt.backward(model, words, targets, bptt.forward(model, words, targets, h0)[1])
    for name, parameter in vars(model).items():
        for index in list(np.ndindex(parameter.shape))[::7]:
            kept, losses = parameter[index], []
            for step in (1e-6, -1e-6):
                parameter[index] = kept + step
                losses.append(bptt.forward(model, words, targets, h0)[0])
            parameter[index] = kept
            assert getattr(gradients, name)[index] == pytest.approx(
                (losses[0] - losses[1]) / 2e-6, abs=1e-6
            )


@pytest.fixture
def scores_N():
    return np.random.default_rng(5).normal(size=N)


def test_the_softmax_jacobian_is_that_of_autograd(scores_N):
    logits = torch.tensor(scores_N, requires_grad=True)
    jacobian = torch.autograd.functional.jacobian(
        lambda value: torch.softmax(value, 0), logits
    ).numpy()
    np.testing.assert_allclose(bptt.softmax_jacobian(bptt.softmax(scores_N)), jacobian, atol=1e-14)


def test_the_softmax_gradient_follows_from_the_jacobian(scores_N):
    p = bptt.softmax(scores_N)
    for y in range(N):
        by_chain_rule = bptt.softmax_jacobian(p).T @ (-np.eye(N)[y] / p)
        np.testing.assert_allclose(bptt.cross_entropy_gradient(p, y), by_chain_rule, atol=1e-13)


def test_the_softmax_gradient_is_p_minus_y(scores_N):
    p = bptt.softmax(scores_N)
    for y in range(N):
        np.testing.assert_allclose(bptt.cross_entropy_gradient(p, y), p - np.eye(N)[y], atol=0)


def test_softmax_survives_huge_logits():
    np.testing.assert_allclose(bptt.softmax(np.array([1e4, 0.0, -1e4])), [1, 0, 0], atol=0)
