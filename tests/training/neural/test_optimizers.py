"""Every rule against torch.optim, against its equation by hand, through a checkpoint, and on a convex problem."""


import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from models.specs import TrainingSpec
from tests.examples import examples
from tests.training.neural.all_rules import ALL, BETAS, RATE, Parts, draws, go, options
from training.neural import optimizers as rules
from training.neural.checkpoint import Checkpoints, fill_optimizer, optimizer_tensors
from training.neural.optimizers import make_optimizer

SUBNORMAL = 1e-300
"""Below this, numbers have few digits."""
COUNTERPARTS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.05),
    "gd": lambda p: torch.optim.SGD(p, 0.05),
    "nt_asgd": lambda p: torch.optim.SGD(p, 0.05),
    "momentum": lambda p: torch.optim.SGD(p, 0.05, momentum=0.7),
    "nesterov": lambda p: torch.optim.SGD(p, 0.05, momentum=0.7, nesterov=True),
    "adagrad": lambda p: torch.optim.Adagrad(p, 0.1),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 0.02, alpha=0.7),
    "adadelta": lambda p: torch.optim.Adadelta(p, 1.0, rho=0.7),
    "adam": lambda p: torch.optim.Adam(p, 0.02, betas=BETAS),
    "adamw": lambda p: torch.optim.AdamW(p, 0.02, betas=BETAS, weight_decay=0.0),
}


@pytest.mark.parametrize("name", COUNTERPARTS)
@pytest.mark.parametrize("changing", [False, True], ids=["constant rate", "changing rate"])
def test_a_rule_takes_the_steps_of_its_counterpart_in_torch(name, changing):
    ours, theirs, some = Parts(), Parts(), draws(80)
    rates = list(np.linspace(1.0, 0.1, 80) * RATE.get(name, 0.05)) if changing else None
    path = go(ours, make_optimizer(ours, options(name)), some, rates)
    expected = go(theirs, COUNTERPARTS[name](theirs.parameters()), some, rates)
    torch.testing.assert_close(path, expected, rtol=1e-10, atol=1e-12)
    assert (path[-1] - path[0]).abs().min() > 0


def test_adam_without_bias_correction_is_torch_adam_with_the_correction_taken_out_of_rate_and_epsilon():
    ours, theirs, some = Parts(), Parts(), draws(60)
    path = go(ours, make_optimizer(ours, options("adam_simplified")), some)
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


def test_adamw_is_torchs_fused_one_with_the_decay_on_matrices_alone():
    rule = make_optimizer(Parts(), TrainingSpec())
    assert isinstance(rule, torch.optim.AdamW)
    assert rule.defaults["fused"]
    assert rule.defaults["betas"] == (0.9, 0.99)
    assert [group["weight_decay"] for group in rule.param_groups] == [0.01, 0.0]
    assert not rule._optimizer_step_pre_hooks


def test_momentum_as_some_lectures_print_it_climbs_and_as_it_is_meant_falls():
    """v ← γ v − η g followed by θ ← θ − v has one minus too many."""
    theta, v = 1.0, 0.0
    for _ in range(20):
        v = 0.9 * v - 0.1 * 2 * theta
        theta -= v
    assert theta**2 > 1
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
@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=6), st.floats(1e-12, 1e-1), st.booleans())
def test_epsilon_inside_the_root_makes_a_step_longer_within_the_documented_bound(gradients, eps, forgets):
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


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("cut", [0, 1, 11])
def test_a_rule_goes_on_from_a_checkpoint_bit_for_bit(name, cut, tmp_path):
    whole, first, second, some = Parts(), Parts(), Parts(seed=9), draws(25)
    training = options(name, l2=0.01, weight_decay=0.02)
    undisturbed = go(whole, make_optimizer(whole, training), some)
    rule = make_optimizer(first, training)
    if cut:
        go(first, rule, some[:cut])
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(optimizer_tensors(rule), {}, good=True)
    found = checkpoints.load()
    assert found is not None
    second.load_state_dict(first.state_dict())
    resumed = make_optimizer(second, training)
    fill_optimizer(resumed, found.tensors)
    assert torch.equal(go(second, resumed, some[cut:]), undisturbed[cut:])
