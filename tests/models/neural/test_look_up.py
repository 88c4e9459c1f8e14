"""Look-up whose gradient joins the output's in place: the same gradient as torch's embedding gives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.neural.look_up import look_up
from models.neural.recurrent import RecurrentNetwork
from models.specs import ObjectiveSpec, RecurrentSpec, TrainingSpec


def gradient(by_torch: bool, ids: Tensor, passes: int = 1) -> Tensor:
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(11, 3, dtype=torch.float64))
    for _ in range(passes):
        rows = F.embedding(ids, weight) if by_torch else look_up(ids, weight)
        (rows.tanh().sum(1) @ weight.T).logsumexp(1).sum().backward()
    assert weight.grad is not None
    return weight.grad


@pytest.mark.parametrize("passes", [1, 3])
def test_rows_read_once_or_often_get_torchs_gradient_also_when_it_is_accumulated(passes: int) -> None:
    ids = torch.tensor([[1, 1, 4], [1, 10, 0]])
    torch.testing.assert_close(gradient(False, ids, passes), gradient(True, ids, passes), rtol=0, atol=1e-14)


def test_without_any_other_use_of_the_weight_the_gradient_is_that_of_the_rows() -> None:
    weight = nn.Parameter(torch.ones(4, 2))
    look_up(torch.tensor([[3, 3]]), weight).sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [[0, 0], [0, 0], [0, 0], [2, 2]]


@pytest.mark.parametrize("remind", [True, False])
def test_a_tied_network_that_trains_in_bf16_gets_the_gradients_of_torchs_look_up(remind: bool) -> None:
    torch.manual_seed(0)
    spec = RecurrentSpec(hidden=8, embedding=6, dropout=0.0, remind=remind, objective=ObjectiveSpec(head=10))
    network = RecurrentNetwork(spec, torch.arange(60) + 1).train()
    ids, targets = torch.randint(9, 60, (4, 12)), torch.randint(9, 60, (48,))
    ids[:, 0] = 5
    found = {}
    for fast in (True, False):
        network._adds_rows = lambda fast=fast: fast  # type: ignore[method-assign,misc]
        network.zero_grad()
        features, _ = network(ids, network.start(4, "cpu"))
        network.output.loss(features.flatten(0, 1), targets, "bf16")[0].backward()
        found[fast] = [parameter.grad for parameter in network.parameters()]
    for ours, theirs in zip(found[True], found[False], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


def test_the_exact_formats_and_untied_outputs_use_torchs_look_up() -> None:
    counts = torch.arange(60) + 1
    exact = RecurrentSpec(hidden=8, embedding=6, training=TrainingSpec(precision="float32"))
    untied = RecurrentSpec(hidden=8, embedding=6, tied=False)
    assert not RecurrentNetwork(exact, counts).train()._adds_rows()
    assert not RecurrentNetwork(untied, counts).train()._adds_rows()
    assert not RecurrentNetwork(RecurrentSpec(hidden=8, embedding=6), counts).train().double()._adds_rows()
    assert RecurrentNetwork(RecurrentSpec(hidden=8, embedding=6), counts).train()._adds_rows()
    assert not RecurrentNetwork(RecurrentSpec(hidden=8, embedding=6), counts).eval()._adds_rows()
