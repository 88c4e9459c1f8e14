"""Recurrent networks: layers, tying, dropout, initial values, own and fused, number formats."""

import math

import pytest
import torch
from torch import nn

from models.neural.layers.recurrent_layers import run_layer
from models.neural.network import detach
from models.neural.recurrent import RecurrentNetwork
from models.specs import ObjectiveSpec, RecurrentSpec, TrainingSpec
from models.tokens.special import BOS, STARS

KINDS = ["rnn", "gru", "lstm"]
FLOAT32 = TrainingSpec(precision="float32")
V, B, T = 40, 3, 14


def counts(size=V):
    """Zipf-like counts; given ids are never predicted."""
    result = torch.tensor([1000 // (rank + 1) for rank in range(size)])
    result[[1, 3, 4, 5, 6, 7, 8]] = 0
    return result


def make(kind="lstm", seed=1, size=V, **options):
    defaults = {"hidden": 12, "embedding": 8, "dropout": 0.0, "objective": ObjectiveSpec(head=8), "training": FLOAT32}
    torch.manual_seed(seed)
    return RecurrentNetwork(RecurrentSpec(kind=kind, **(defaults | options)), counts(size))


def random_ids(*shape):
    return torch.randint(9, V, shape)


def weights_of(layer):
    return dict(layer.named_parameters())


@pytest.mark.parametrize("cells", ["reference", "fused"])
@pytest.mark.parametrize("kind", KINDS)
def test_chunks_with_carried_state_give_the_features_of_one_go(kind, cells):
    network = make(kind, layers=2, cells=cells).eval()
    ids = random_ids(B, T)
    whole, last = network(ids, network.start(B, "cpu"))
    state, parts = network.start(B, "cpu"), []
    for chunk in ids.split([1, 5, 1, 7], 1):
        features, state = network(chunk, detach(state))
        parts.append(features)
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-6, rtol=1e-5)
    for ours, theirs in zip(state, last, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("kind", "nonlinearity"), [*[(kind, "tanh") for kind in KINDS], ("rnn", "relu")])
def test_weights_trained_fused_load_into_own_cells_and_give_the_same_numbers(kind, nonlinearity):
    fused = make(kind, layers=2, cells="fused", nonlinearity=nonlinearity)
    own = make(kind, seed=2, layers=2, cells="reference", nonlinearity=nonlinearity)
    own.load_state_dict(fused.state_dict())
    ids, targets, losses = random_ids(B, T), random_ids(B * T), []
    for network in (fused, own):
        features, _ = network(ids, network.start(B, "cpu"))
        loss, scored = network.output.loss(features.flatten(0, 1), targets, "float32")
        (loss / scored).backward()
        losses.append(loss)
    torch.testing.assert_close(*losses)
    for (name, ours), theirs in zip(own.named_parameters(), fused.parameters(), strict=True):
        assert torch.allclose(ours.grad, theirs.grad, atol=1e-6, rtol=1e-4), name


@pytest.mark.parametrize("cells", ["reference", "fused"])
@pytest.mark.parametrize("kind", KINDS)
def test_many_layers_equal_torchs_many_layers(kind, cells):
    """Layer i feeds layer i + 1: the stack is torch.nn's layer with num_layers = 3."""
    network = make(kind, layers=3, cells=cells, hidden=8)
    reference = getattr(nn, kind.upper())(8, 8, 3, batch_first=True)
    reference.load_state_dict(
        {
            f"{name.split('.')[2].removesuffix('0')}{name.split('.')[1]}": value
            for name, value in network.state_dict().items()
            if name.startswith("layers.")
        }
    )
    ids = random_ids(B, T)
    expected, _ = reference(network.embedding(ids))
    features, _ = network(ids, network.start(B, "cpu"))
    torch.testing.assert_close(features, expected, atol=1e-6, rtol=1e-5)


def test_tied_output_shares_one_storage_and_saves_its_parameters():
    sizes = {"hidden": 8, "embedding": 8, "objective": ObjectiveSpec(output="softmax")}
    tied, untied = make(tied=True, **sizes), make(tied=False, **sizes)
    number = [sum(p.numel() for p in network.parameters()) for network in (tied, untied)]
    assert tied.output.weight.data_ptr() == tied.embedding.weight.data_ptr()
    assert tied.output.weight is tied.embedding.weight
    assert untied.output.weight.data_ptr() != untied.embedding.weight.data_ptr()
    assert number[1] - number[0] == V * 8


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tied", [True, False])
def test_initial_loss_is_log_V_before_the_unigram_bias_and_the_unigram_entropy_with_it(kind, tied):
    size = 500
    network = make(kind, size=size, hidden=32, embedding=24, tied=tied, objective=ObjectiveSpec(output="softmax"))
    p = counts(size) + 0.5
    p[[1, 3, 4, 5, 6, 7, 8]] = 0
    p = p / p.sum()
    targets = torch.multinomial(p, 4_000, replacement=True)
    features, _ = network(torch.multinomial(p, 4_000, replacement=True).view(8, -1), network.start(8, "cpu"))
    cross_entropy = -p[targets].log().mean().item()
    with_bias = network.output.nats(features.flatten(0, 1).detach(), targets).mean().item()
    nn.init.zeros_(network.output.bias)
    without = network.output.nats(features.flatten(0, 1).detach(), targets).mean().item()
    assert with_bias == pytest.approx(cross_entropy, rel=0.05)
    assert without == pytest.approx(math.log(size - 7), rel=0.05)


@pytest.mark.parametrize("cells", ["reference", "fused"])
def test_relu_network_starts_from_the_identity(cells):
    layer = make("rnn", nonlinearity="relu", cells=cells).layers[0]
    assert torch.equal(layer.weight_hh_l0, torch.eye(12))
    assert not layer.bias_ih_l0.any()
    assert not layer.bias_hh_l0.any()
    positive = torch.rand(B, 12)
    with torch.no_grad():
        layer.weight_ih_l0.zero_()
    assert torch.equal(run_layer(layer, weights_of(layer), torch.randn(B, 5, 8), (positive,))[1][0], positive)


@pytest.mark.parametrize("kind", KINDS)
def test_reset_puts_chosen_streams_back_to_their_start_and_leaves_the_others(kind):
    network = make(kind, layers=2)
    ids = random_ids(B, T)
    ids[:, 0] = STARS[2]
    _, state = network(ids, network.start(B, "cpu"))
    changed = network.reset(state, torch.tensor([True, False, True]))
    for before, after in zip(state, changed, strict=True):
        assert torch.equal(after[:, [0, 2]], before[:, [0, 2]])
        assert not after[:, 1].any()
        assert before[:, 1].any()


def test_the_star_token_read_last_is_added_to_every_input_of_its_review():
    """C[w] + C[s], equation by equation: a network without the reminder that is given the sums says the same.

    Where a stream goes on from review to review, `<bos>` is still read with the star token of the review before it.
    """
    network, plain = make("gru"), make("gru", condition_on_stars=False)
    plain.load_state_dict(network.state_dict())
    ids = torch.tensor([[BOS, STARS[1], 20, 21, 2, BOS, STARS[4], 30, 31, 32]])
    star = torch.tensor([[0, 4, 4, 4, 4, 4, 7, 7, 7, 7]])
    rows = network.embedding.weight
    sums_BTE = rows[ids] + rows[star] * (star > 0)[..., None]
    h_BTH, _ = run_layer(plain.layers[0], weights_of(plain.layers[0]), sums_BTE, (torch.zeros(1, 12),))
    features, _ = network(ids, network.start(1, "cpu"))
    torch.testing.assert_close(features, plain.project(h_BTH))


def test_gradients_of_the_whole_network_pass_the_numeric_check():
    network = make("lstm", layers=2, hidden=4, embedding=3, cells="reference").double()
    ids = random_ids(2, 3)
    names = [name for name, _ in network.named_parameters() if not name.startswith("output.")]

    def run(*values):
        given = dict(zip(names, values, strict=True))
        features, state = torch.func.functional_call(network, given, (ids, network.start(2, "cpu")))
        return (features, *state)

    leaves = [network.get_parameter(name).detach().clone().requires_grad_() for name in names]
    assert torch.autograd.gradcheck(run, leaves, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        *[{"kind": kind} for kind in KINDS],
        {"kind": "gru", "cells": "reference", "form": "cho"},
        {"kind": "lstm", "cells": "reference", "layer_norm": True},
    ],
    ids=[*KINDS, "gru-cho", "lstm-normed"],
)
def test_bf16_holds_in_training_only_and_stays_close(options):
    network = make(hidden=32, embedding=24, training=TrainingSpec(precision="bf16"), **options)
    exact = make(hidden=32, embedding=24, training=FLOAT32, **options)
    ids = random_ids(B, T)
    rough, state = network(ids, network.start(B, "cpu"))
    sharp, _ = exact(ids, exact.start(B, "cpu"))
    assert rough.dtype == torch.float32
    assert {tensor.dtype for tensor in state} == {torch.float32, torch.int64}, "memory, and the star token"
    assert not torch.equal(rough, sharp)
    # Normalising a vector of small sums makes their rounding as large as it makes them.
    assert (rough - sharp).abs().max() < (0.1 if options.get("layer_norm") else 0.02) * sharp.abs().max()
    rough.sum().backward()
    assert all(p.grad is None or p.grad.dtype == torch.float32 for p in network.parameters())
    network.eval(), exact.eval()
    assert torch.equal(network(ids, network.start(B, "cpu"))[0], exact(ids, exact.start(B, "cpu"))[0])


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"bidirectional": True}, "sees the words"),
        ({"layer_norm": True}, "cells = 'reference'"),
        ({"kind": "rnn", "nonlinearity": "sigmoid"}, "cells = 'reference'"),
        ({"kind": "gru", "form": "cho"}, "cells = 'reference'"),
        ({"kind": "lstm", "form": "cho", "cells": "reference"}, "a GRU"),
        ({"kind": "lstm", "nonlinearity": "relu"}, "have no choice"),
        ({"kind": "gru", "nonlinearity": "arctan", "cells": "reference"}, "have no choice"),
        ({"kind": "gru", "forget_bias": 3.0}, "no other has that gate"),
        ({"kind": "lstm", "forget_bias": float("nan")}, "finite"),
    ],
)
def test_options_that_no_network_can_have_are_refused_with_the_reason(options, reason):
    with pytest.raises(ValueError, match=reason):
        RecurrentSpec(**options)
