"""Look-up of words and stars: rows and gradients are those of one-hot vectors times the embedding matrix."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from reviewlm.models.neural.architectures import RecurrentNetwork
from reviewlm.models.specs import ObjectiveSpec, RecurrentSpec

V, STAR = 60, 5


def network_of(stars: bool) -> RecurrentNetwork:
    torch.manual_seed(0)
    small = {"hidden": 8, "embedding": 6, "dropout": 0.0}
    spec = RecurrentSpec(**small, condition_on_stars=stars, objective=ObjectiveSpec(head=10))
    return RecurrentNetwork(spec, torch.arange(V) + 1).train()


def by_one_hot(ids: Tensor, weight: Tensor) -> Tensor:
    return F.one_hot(ids, V).to(weight.dtype) @ weight


def gradient(one_hot: bool, ids: Tensor, passes: int = 1) -> Tensor:
    network = network_of(False).double()
    weight = network.embedding.weight
    for _ in range(passes):
        rows = by_one_hot(ids, weight) if one_hot else network.inputs(ids, torch.zeros_like(ids))
        by_place = rows.tanh() * torch.arange(1, ids.shape[1] + 1)[:, None]
        (by_place.sum(1) @ weight.T).logsumexp(1).sum().backward()
    assert weight.grad is not None
    return weight.grad


@pytest.mark.parametrize("passes", [1, 3])
def test_rows_read_once_or_often_get_torchs_gradient_also_when_it_is_accumulated(
    passes: int,
) -> None:
    ids = torch.tensor([[1, 1, 4], [1, 10, 0]])
    torch.testing.assert_close(
        gradient(False, ids, passes), gradient(True, ids, passes), rtol=0, atol=1e-14
    )


@pytest.mark.parametrize("condition_on_stars", [True, False])
def test_equal_inputs_of_a_window_are_looked_up_once_and_give_the_training_of_all_positions(
    condition_on_stars: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = []
    ids, targets = torch.randint(9, 14, (4, 12)), torch.randint(9, V, (48,))
    ids[:, 0] = torch.tensor([STAR, STAR, STAR - 1, 9])

    def trained() -> list[Tensor | None]:
        network = network_of(condition_on_stars)
        network.embedding.register_forward_pre_hook(
            lambda _, given: looked_up.append(given[0].shape[-1])
        )
        features, _ = network(ids, network.start(4, "cpu"))
        network.output.loss(features.flatten(0, 1), targets, network.products)[0].backward()
        return [features.detach(), *(parameter.grad for parameter in network.parameters())]

    once = trained()
    monkeypatch.setattr(
        RecurrentNetwork,
        "_layer_inputs",
        lambda network, ids_BT, stars_BT, bf16: network.inputs(ids_BT, stars_BT),
    )
    for one, other in zip(once, trained(), strict=True):
        torch.testing.assert_close(one, other, rtol=0.02, atol=0.002)
    stars_so_far = torch.tensor([STAR, STAR, STAR - 1, 0])[:, None].expand(4, 12)
    pairs = {*zip(ids.flatten().tolist(), stars_so_far.flatten().tolist(), strict=True)}
    assert looked_up == [len(pairs) if condition_on_stars else len(ids.unique()), 12]
