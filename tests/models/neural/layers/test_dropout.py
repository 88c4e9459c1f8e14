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


def features(
    network,
    ids,
    seed=None,
):
    if seed is not None:
        torch.manual_seed(seed)
    return network(ids, network.start(len(ids), "cpu"))[0]


EVERY_VARIANT = pytest.mark.parametrize(
    ("variant", "kind", "cells"), [(variant, *kind) for variant in VARIANTS for kind in KINDS]
)


@EVERY_VARIANT
def test_every_variant_acts_in_training(
    variant,
    kind,
    cells,
):
    network, ids = (
        make(
            kind,
            cells=cells,
            layers=2,
            **VARIANTS[variant],
        ),
        random_ids(B, T),
    )
    assert not torch.equal(features(network, ids), features(network, ids))


@EVERY_VARIANT
def test_every_variant_is_off_in_evaluation(
    variant,
    kind,
    cells,
):
    network, ids = (
        make(
            kind,
            cells=cells,
            layers=2,
            **VARIANTS[variant],
        ),
        random_ids(B, T),
    )
    features(network, ids).sum().backward()
    network.eval()
    plain = make(kind, cells=cells, layers=2).eval()
    assert torch.equal(features(network, ids), features(plain, ids))


@EVERY_VARIANT
def test_every_variant_draws_nothing_in_evaluation(
    variant,
    kind,
    cells,
):
    network, ids = (
        make(
            kind,
            cells=cells,
            layers=2,
            **VARIANTS[variant],
        ).eval(),
        random_ids(B, T),
    )
    random = torch.get_rng_state()
    assert torch.equal(features(network, ids), features(network, ids))
    assert torch.equal(torch.get_rng_state(), random)


@EVERY_VARIANT
def test_a_mask_is_no_part_of_a_checkpoint(
    variant,
    kind,
    cells,
):
    network, ids = (
        make(
            kind,
            cells=cells,
            layers=2,
            **VARIANTS[variant],
        ),
        random_ids(B, T),
    )
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    features(network, ids).sum().backward()
    features(network.eval(), ids)
    after = network.state_dict()
    assert {*after} == {*before}
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.items())


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
def test_fused_cells_get_the_masks_of_own_cells_from_the_same_seed(kind, variant):
    own, fused = (
        make(
            kind,
            cells=cells,
            layers=2,
            **VARIANTS[variant],
        ).double()
        for cells in ("reference", "fused")
    )
    own.load_state_dict(fused.state_dict())
    ids, gradients = random_ids(B, T), []
    for network in (own, fused):
        features(network, ids, seed=3).square().sum().backward()
        gradients.append([p.grad for p in network.parameters() if p.grad is not None])
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-10)


@pytest.fixture
def word_vectors():
    """The vectors of words that stand twice in each stream, with and without dropped words."""
    network = make(embedding_dropout=0.5, condition_on_stars=False)
    ids = torch.arange(9, V).repeat(B, 2)
    torch.manual_seed(4)
    return network.inputs(ids, torch.zeros_like(ids)), network.embedding(ids)


def test_a_dropped_word_is_dropped_wherever_it_stands(word_vectors):
    kept_BT = (word_vectors[0] != 0).any(-1)
    assert torch.equal(kept_BT, kept_BT[:1, : V - 9].repeat(B, 2))
    assert 0 < kept_BT.sum() < kept_BT.numel()


def test_words_that_are_not_dropped_are_scaled(word_vectors):
    x_BTE, whole_BTE = word_vectors
    kept_BT = (x_BTE != 0).any(-1)
    torch.testing.assert_close(x_BTE, whole_BTE * 2 * kept_BT[..., None])


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("variational", [False, True])
def test_dropout_keeps_the_asked_share(p, variational):
    torch.manual_seed(1)
    x = torch.ones(200, 10, 100)
    kept = (Dropout(p, variational)(x) > 0).float()
    draws = x.numel() if not variational else 200 * 100
    assert kept.mean().item() == pytest.approx(1 - p, abs=5 * math.sqrt(p * (1 - p) / draws))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("variational", [False, True])
def test_dropout_keeps_the_mean(p, variational):
    torch.manual_seed(1)
    dropped = Dropout(p, variational)(torch.ones(200, 10, 100))
    kept = (dropped > 0).float()
    torch.testing.assert_close(dropped, kept / (1 - p), rtol=1e-4, atol=0)


def test_variational_dropout_uses_one_mask_at_all_positions_of_a_stream():
    torch.manual_seed(1)
    locked = Dropout(0.5, True)(torch.ones(4, 30, 50))
    assert all(torch.equal(a, b) for a, b in pairwise(locked.unbind(1)))
    assert not torch.equal(locked[0], locked[1]), "streams have masks of their own"


def test_plain_dropout_uses_a_mask_for_each_position():
    torch.manual_seed(1)
    plain = Dropout(0.5, False)(torch.ones(4, 30, 50))
    assert not torch.equal(plain[:, 0], plain[:, 1])
