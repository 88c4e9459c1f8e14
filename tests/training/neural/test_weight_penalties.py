"""L2 in the loss and decoupled weight decay through every update rule."""

import pytest
import torch
from torch import nn

from reviewlm.training.neural.optimizers import add_penalty_gradient, make_optimizer
from tests.training.neural.all_rules import ALL, RATE, Parts, draws, go, options


@pytest.mark.parametrize("name", ALL)
def test_l2_is_the_gradient_of_the_penalty_in_the_loss_through_the_rule(name):
    """λ ‖θ‖² of the matrix added to the loss, against the option."""
    told, written, some = Parts(), Parts(), draws(30)
    path = go(told, make_optimizer(told, options(name, l2=0.03)), some)
    loss = written.loss
    written.loss = lambda draw: loss(draw) + 0.03 * written.matrix.square().sum()
    expected = go(written, make_optimizer(written, options(name)), some)
    torch.testing.assert_close(path, expected, rtol=1e-10, atol=1e-12)


def test_the_increment_of_the_gradient_is_two_lambda_theta():
    theta, idle = nn.Parameter(torch.tensor([[1.0, -3.0]])), nn.Parameter(torch.ones(1, 1))
    theta.grad = torch.tensor([[0.5, 0.5]])
    add_penalty_gradient([theta, idle], 0.1)
    torch.testing.assert_close(theta.grad, torch.tensor([[0.7, -0.1]]))
    assert idle.grad is None


@pytest.mark.parametrize("name", ALL)
def test_a_decoupled_decay_shrinks_matrices_by_rate_times_decay_beside_the_rule(name):
    """With a gradient of 0 no rule moves, and what is left is the decay."""
    parts = Parts()
    before = parts.matrix.detach().clone()
    rule = make_optimizer(parts, options(name, weight_decay=0.1))
    for _ in range(3):
        for parameter in parts.parameters():
            parameter.grad = torch.zeros_like(parameter)
        rule.step()
    torch.testing.assert_close(
        parts.matrix.detach(), before * (1 - RATE.get(name, 0.05) * 0.1) ** 3
    )
    assert torch.equal(parts.vector, Parts().vector)
