"""Dropout: off in evaluation, the asked share, one mask or many; of words, features and recurrent weights."""

import math
from itertools import pairwise

import pytest
import torch

from reviewlm.models.neural.architectures import RecurrentNetwork
from reviewlm.models.neural.layers.dropout import Dropout
from reviewlm.models.specs import ObjectiveSpec, RecurrentSpec, TrainingSpec

V, B, T = 40, 3, 14
FLOAT32 = TrainingSpec(precision="float32")
KINDS = [(kind, cells) for kind in ("rnn", "gru", "lstm") for cells in ("reference", "fused")]
VARIANTS = {
    "plain": {"dropout": 0.5},
    "locked": {"dropout": 0.5, "variational": True},
    "words": {"embedding_dropout": 0.5},
    "input": {"input_dropout": 0.5},
    "output": {"output_dropout": 0.5},
    "weights": {"weight_drop": 0.5},
}


def make(kind="lstm", **options):
    defaults = {
        "hidden": 12,
        "embedding": 8,
        "dropout": 0.0,
        "objective": ObjectiveSpec(head=8),
        "training": FLOAT32,
    }
    torch.manual_seed(1)
    return RecurrentNetwork(RecurrentSpec(kind=kind, **(defaults | options)), torch.arange(V))


def random_ids(*shape):
    return torch.randint(9, V, shape)


def features(network, ids, seed=None):
    if seed is not None:
        torch.manual_seed(seed)
    return network(ids, network.start(len(ids), "cpu"))[0]


@pytest.mark.parametrize(("kind", "cells"), KINDS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_acts_in_training_and_leaves_no_trace_in_evaluation(variant, kind, cells):
    network = make(kind, cells=cells, layers=2, **VARIANTS[variant])
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    ids = random_ids(B, T)
    assert not torch.equal(features(network, ids), features(network, ids))
    features(network, ids).sum().backward()
    network.eval()
    random = torch.get_rng_state()
    first, second = features(network, ids), features(network, ids)
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), random), "nothing is drawn in evaluation"
    plain = make(kind, cells=cells, layers=2).eval()
    assert torch.equal(first, features(plain, ids))
    assert {*network.state_dict()} == {*before}, "a mask is no part of a checkpoint"
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
def test_fused_and_own_cells_get_the_same_masks_from_the_same_seed(kind, variant):
    own, fused = (
        make(kind, cells=cells, layers=2, **VARIANTS[variant]).double()
        for cells in ("reference", "fused")
    )
    own.load_state_dict(fused.state_dict())
    ids, gradients = random_ids(B, T), []
    for network in (own, fused):
        features(network, ids, seed=3).square().sum().backward()
        gradients.append([p.grad for p in network.parameters() if p.grad is not None])
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-10)


def test_a_dropped_word_is_dropped_wherever_it_stands_and_the_others_are_scaled():
    network = make(embedding_dropout=0.5, condition_on_stars=False)
    ids = torch.arange(9, V).repeat(B, 2)  # every word twice in every stream
    torch.manual_seed(4)
    x_BTE = network.inputs(ids, torch.zeros_like(ids))
    whole_BTE = network.embedding(ids)
    kept_BT = (x_BTE != 0).any(-1)
    assert torch.equal(kept_BT, kept_BT[:1, : V - 9].repeat(B, 2))
    assert 0 < kept_BT.sum() < kept_BT.numel()
    torch.testing.assert_close(x_BTE, whole_BTE * 2 * kept_BT[..., None])


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("variational", [False, True])
def test_dropout_keeps_the_asked_share_and_the_mean(p, variational):
    torch.manual_seed(1)
    x = torch.ones(200, 10, 100)
    dropped = Dropout(p, variational)(x)
    kept = (dropped > 0).float()
    draws = x.numel() if not variational else 200 * 100
    assert kept.mean().item() == pytest.approx(1 - p, abs=5 * math.sqrt(p * (1 - p) / draws))
    torch.testing.assert_close(dropped, kept / (1 - p), rtol=1e-4, atol=0)


def test_variational_dropout_uses_one_mask_at_all_positions_and_plain_dropout_does_not():
    torch.manual_seed(1)
    x = torch.ones(4, 30, 50)
    locked, plain = Dropout(0.5, True)(x), Dropout(0.5, False)(x)
    assert all(torch.equal(a, b) for a, b in pairwise(locked.unbind(1)))
    assert not torch.equal(locked[0], locked[1]), "streams have masks of their own"
    assert not torch.equal(plain[:, 0], plain[:, 1])
