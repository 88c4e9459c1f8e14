"""Every rule against torch.optim, against its equation by hand, and on a convex problem."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from reviewlm.course.optimization import rules
from tests.examples import examples
from tests.training.neural.all_rules import BETAS, RATE, Parts, draws, go

SUBNORMAL = 1e-300
"""Below this, numbers have few digits."""
RULES = {
    "sgd": (lambda p: rules.SGD(p, 0.05), lambda p: torch.optim.SGD(p, 0.05)),
    "momentum": (
        lambda p: rules.Momentum(p, 0.05, momentum=0.7),
        lambda p: torch.optim.SGD(p, 0.05, momentum=0.7),
    ),
    "nesterov": (
        lambda p: rules.Nesterov(p, 0.05, momentum=0.7),
        lambda p: torch.optim.SGD(p, 0.05, momentum=0.7, nesterov=True),
    ),
    "adagrad": (lambda p: rules.AdaGrad(p, 0.1), lambda p: torch.optim.Adagrad(p, 0.1)),
    "rmsprop": (
        lambda p: rules.RMSprop(p, 0.02, decay=0.7),
        lambda p: torch.optim.RMSprop(p, 0.02, alpha=0.7),
    ),
    "adadelta": (
        lambda p: rules.AdaDelta(p, 1.0, decay=0.7),
        lambda p: torch.optim.Adadelta(p, 1.0, rho=0.7),
    ),
    "adam": (
        lambda p: rules.Adam(p, 0.02, beta1=BETAS[0], beta2=BETAS[1]),
        lambda p: torch.optim.Adam(p, 0.02, betas=BETAS),
    ),
}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("changing", [False, True], ids=["constant rate", "changing rate"])
def test_a_rule_takes_the_steps_of_its_counterpart_in_torch(name, changing):
    ours, theirs, some = Parts(), Parts(), draws(80)
    rates = list(np.linspace(1.0, 0.1, 80) * RATE.get(name, 0.05)) if changing else None
    rule, counterpart = RULES[name]
    path = go(ours, rule(ours.parameters()), some, rates)
    expected = go(theirs, counterpart(theirs.parameters()), some, rates)
    torch.testing.assert_close(path, expected, rtol=1e-10, atol=1e-12)
    assert (path[-1] - path[0]).abs().min() > 0


def test_adam_without_bias_correction_is_torch_adam_with_the_correction_taken_out():
    ours, theirs, some = Parts(), Parts(), draws(60)
    path = go(
        ours, rules.AdamSimplified(ours.parameters(), 0.02, beta1=BETAS[0], beta2=BETAS[1]), some
    )
    reference = torch.optim.Adam(theirs.parameters(), betas=BETAS)
    expected = []
    for t, draw in enumerate(some, start=1):
        shares = 1 - BETAS[0] ** t, (1 - BETAS[1] ** t) ** 0.5
        reference.param_groups[0]["lr"] = 0.02 * shares[0] / shares[1]
        reference.param_groups[0]["eps"] = 1e-8 / shares[1]
        expected.append(go(theirs, reference, draw[None])[0])
    torch.testing.assert_close(path, torch.stack(expected), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.9, 0.99), (0.5, 0.9)])
def test_the_first_step_without_bias_correction_is_longer_by_the_shares_of_the_new_gradient(betas):
    steps = []
    for kind in (rules.Adam, rules.AdamSimplified):
        theta = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        theta.grad = torch.tensor([3.0], dtype=torch.float64)
        kind([theta], 0.1, beta1=betas[0], beta2=betas[1]).step()
        steps.append(theta.item())
    assert steps[0] == pytest.approx(-0.1)
    assert steps[1] / steps[0] == pytest.approx((1 - betas[0]) / (1 - betas[1]) ** 0.5)


def test_momentum_as_some_lectures_print_it_climbs():
    """v ← γ v − η g followed by θ ← θ − v has one minus too many."""
    theta, v = 1.0, 0.0
    for _ in range(20):
        v = 0.9 * v - 0.1 * 2 * theta
        theta -= v
    assert theta**2 > 1


def test_momentum_as_it_is_meant_falls():
    weight = nn.Parameter(torch.ones(1, dtype=torch.float64))
    rule = rules.Momentum([weight], 0.1, momentum=0.9)
    meant, v = 1.0, 0.0
    for _ in range(80):
        weight.grad = 2 * weight.detach()
        rule.step()
        v = 0.9 * v + 0.1 * 2 * meant
        meant -= v
    assert weight.item() == pytest.approx(meant)
    assert weight.item() ** 2 < 0.01


@examples(60)
@given(
    st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=6), st.floats(1e-12, 1e-1), st.booleans()
)
def test_epsilon_inside_the_root_makes_a_step_longer_within_the_documented_bound(
    gradients,
    eps,
    forgets,
):
    """AdaGrad and RMSprop, one weight, the papers' form √(v + ε²) beside the one here, √v + ε."""
    theta = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    rule = rules.RMSprop([theta], 1.0, eps=eps) if forgets else rules.AdaGrad([theta], 1.0, eps=eps)
    v = 0.0
    for g in gradients:
        before = theta.item()
        theta.grad = torch.tensor([g], dtype=torch.float64)
        rule.step()
        v = 0.9 * v + 0.1 * g * g if forgets else v + g * g
        outside, inside = g / (v**0.5 + eps), g / (v + eps**2) ** 0.5
        assert before - theta.item() == pytest.approx(outside, rel=1e-9, abs=1e-12)
        most = min(2**0.5, 1 + eps / v**0.5) if v else 1.0
        assert abs(outside) <= abs(inside) * (1 + 1e-12) + SUBNORMAL
        assert abs(inside) <= abs(outside) * most * (1 + 1e-12) + SUBNORMAL
