"""The rule of each option is torch's, with a decay of its own, and goes on from a checkpoint."""

import pytest
import torch

from reviewlm.models.specs import TrainingSpec
from reviewlm.training.neural.checkpoint import Checkpoints, fill_optimizer, optimizer_tensors
from reviewlm.training.neural.optimizers import make_optimizer
from tests.training.neural.all_rules import ALL, BETAS, Parts, draws, go, options

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


@pytest.mark.parametrize("name", ALL)
def test_the_rule_of_an_option_takes_the_steps_of_torchs(name):
    ours, theirs, some = Parts(), Parts(), draws(30)
    path = go(ours, make_optimizer(ours, options(name)), some)
    torch.testing.assert_close(
        path, go(theirs, COUNTERPARTS[name](theirs.parameters()), some), rtol=1e-10, atol=1e-12
    )


def test_adamw_is_torchs_fused_one_with_the_decay_on_matrices_alone():
    rule = make_optimizer(Parts(), TrainingSpec())
    assert isinstance(rule, torch.optim.AdamW)
    assert rule.defaults["fused"]
    assert rule.defaults["betas"] == (0.9, 0.99)
    assert [group["weight_decay"] for group in rule.param_groups] == [0.01, 0.0]
    assert not rule._optimizer_step_pre_hooks


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("cut", [0, 1, 11])
def test_a_rule_goes_on_from_a_checkpoint_bit_for_bit(
    name,
    cut,
    tmp_path,
):
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
