"""All update rules with their options, and parameters to update."""

from typing import get_args

import torch
from torch import nn

from reviewlm.models.neural.spec import Optimizer
from reviewlm.models.options import as_written, without_inapplicable
from reviewlm.models.specs import TrainingSpec

ALL = get_args(Optimizer)
RATE = {
    "adagrad": 0.1,
    "rmsprop": 0.02,
    "adadelta": 1.0,
    "adam": 0.02,
    "adamw": 0.02,
}
BETAS = (0.8, 0.95)


def options(name, **changes):
    defaults = {
        "weight_decay": 0.0,
        "momentum": 0.7,
        "beta1": BETAS[0],
        "beta2": BETAS[1],
    }
    chosen = {"learning_rate": RATE.get(name, 0.05)} | defaults | changes
    with as_written():  # of these constants a rule takes those it has
        return without_inapplicable(TrainingSpec(optimizer=name, **chosen))


class Parts(nn.Module):
    """A matrix, a vector and a bias that has no part in the loss, in float64."""

    def __init__(self, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.matrix = nn.Parameter(torch.randn(4, 3, generator=generator, dtype=torch.float64))
        self.vector = nn.Parameter(torch.randn(5, generator=generator, dtype=torch.float64))
        self.idle = nn.Parameter(torch.ones(2, dtype=torch.float64))

    def loss(self, draw):
        """Neither convex nor smooth enough to be easy; *draw* (13 numbers) makes every step's loss another one."""
        curved = (self.matrix * draw[:12].view(4, 3) + draw[12]).tanh().square().sum()
        return (
            curved
            + (self.vector - draw[:5]).abs().pow(1.5).sum()
            + (self.matrix[0] @ self.vector[:3]).square()
        )


def draws(steps, seed=7):
    return torch.randn(
        steps, 13, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def go(
    parts,
    rule,
    some,
    rates=None,
):
    """Take a step for each draw; return the weights after each."""
    path = []
    for number, draw in enumerate(some):
        for group in rule.param_groups if rates else ():
            group["lr"] = rates[number]
        rule.zero_grad()
        parts.loss(draw).backward()
        rule.step()
        path.append(torch.cat([parts.matrix.detach().flatten(), parts.vector.detach()]))
    assert torch.equal(parts.idle, torch.ones(2))
    return torch.stack(path)
