"""Look-up of words and stars: rows and gradients are those of one-hot vectors times the embedding matrix."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from reviewlm.models.neural.architectures import RecurrentNetwork
from reviewlm.models.specs import ObjectiveSpec, RecurrentSpec

V, STAR = 60, 5


def network_of(stars: bool) -> RecurrentNetwork:
    torch.manual_seed(0)
    small = {
        "hidden": 8,
        "embedding": 6,
        "dropout": 0.0,
    }
    spec = RecurrentSpec(
        **small,
        condition_on_stars=stars,
        objective=ObjectiveSpec(head=10),
    )
    return RecurrentNetwork(spec, torch.arange(V) + 1).train()


def by_one_hot(ids: Tensor, weight: Tensor) -> Tensor:
    return F.one_hot(ids, V).to(weight.dtype) @ weight


def gradient(
    one_hot: bool,
    ids: Tensor,
    passes: int = 1,
) -> Tensor:
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


class Trainings(NamedTuple):
    """Features and gradients of one update, with inputs looked up once or at each position, and the number of look-ups."""

    once: list[Tensor | None]
    at_each_position: list[Tensor | None]
    looked_up: list[int]


def trainings(
    ids: Tensor,
    condition_on_stars: bool,
    patch: pytest.MonkeyPatch,
) -> Trainings:
    """Make one update from the same weights, as the network looks up inputs and as without sharing them."""
    looked_up: list[int] = []
    targets = torch.randint(9, V, (ids.numel(),))

    def update() -> list[Tensor | None]:
        network = network_of(condition_on_stars)
        network.embedding.register_forward_pre_hook(
            lambda _, given: looked_up.append(given[0].shape[-1])
        )
        features, _ = network(ids, network.start(len(ids), "cpu"))
        network.output.loss(features.flatten(0, 1), targets, network.products)[0].backward()
        return [features.detach(), *(parameter.grad for parameter in network.parameters())]

    once = update()
    patch.setattr(
        RecurrentNetwork,
        "_layer_inputs",
        lambda network, ids_BT, stars_BT, bf16: network.inputs(ids_BT, stars_BT),
    )
    return Trainings(once, update(), looked_up)


@pytest.fixture
def ids() -> Tensor:
    """Make a window of 4 streams and 12 positions, with few words and marks of stars at its start."""
    ids = torch.randint(9, 14, (4, 12))
    ids[:, 0] = torch.tensor([STAR, STAR, STAR - 1, 9])
    return ids


@pytest.mark.parametrize("condition_on_stars", [True, False])
def test_looking_up_equal_inputs_once_trains_like_looking_up_all_positions(
    ids: Tensor,
    condition_on_stars: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = trainings(ids, condition_on_stars, monkeypatch)

    for one, other in zip(made.once, made.at_each_position, strict=True):
        torch.testing.assert_close(one, other, rtol=0.02, atol=0.002)


def test_equal_words_of_a_window_are_looked_up_once(
    ids: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = trainings(ids, False, monkeypatch)

    assert made.looked_up == [len(ids.unique()), 12]


def test_equal_pairs_of_word_with_stars_are_looked_up_once(
    ids: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    stars_so_far = torch.tensor([STAR, STAR, STAR - 1, 0])[:, None].expand(4, 12)
    pairs = {*zip(ids.flatten().tolist(), stars_so_far.flatten().tolist(), strict=True)}

    made = trainings(ids, True, monkeypatch)

    assert made.looked_up == [len(pairs), 12]
