"""Reviews packed one after another, each from a fresh state: a batch gives what each review alone gives."""

import pytest
import torch

from reviewlm.models.neural.architectures import RecurrentNetwork
from reviewlm.models.neural.network import detach
from reviewlm.models.specs import ObjectiveSpec, RecurrentSpec, TrainingSpec
from reviewlm.models.tokens.special import BOS, EOS, STARS

V = 30
KINDS = {
    "rnn": {"kind": "rnn"},
    "relu": {"kind": "rnn", "nonlinearity": "relu"},
    "gru": {"kind": "gru"},
    "gru-cho": {
        "kind": "gru",
        "form": "cho",
        "cells": "reference",
    },
    "lstm": {"kind": "lstm"},
    "lstm-own": {"kind": "lstm", "cells": "reference"},
    "lstm-normed": {
        "kind": "lstm",
        "cells": "reference",
        "layer_norm": True,
    },
    "lstm-not-reminded": {"kind": "lstm", "condition_on_stars": False},
}


def make(name, stateful=False, **training):
    torch.manual_seed(1)
    spec = RecurrentSpec(
        hidden=6,
        embedding=5,
        layers=2,
        dropout=0.0,
        objective=ObjectiveSpec("softmax"),
        training=TrainingSpec(
            precision="float32",
            stateful=stateful,
            **training,
        ),
        **KINDS[name],
    )
    network = RecurrentNetwork(spec, torch.ones(V)).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.5)
    return network


def review(
    length,
    star,
    seed,
):
    words = torch.randint(9, V, (length,), generator=torch.Generator().manual_seed(seed))
    return torch.cat([torch.tensor([BOS, star]), words, torch.tensor([EOS])])


LANES = [
    [
        review(3, STARS[1], 1),
        review(0, STARS[5], 2),
        review(7, STARS[0], 3),
        review(4, STARS[2], 4),
    ],
    [review(12, STARS[3], 5), review(8, STARS[4], 6)],
]
"""Two streams of 26 tokens; the rating of the third review of the first is not known."""
PACKED = torch.stack([torch.cat(lane) for lane in LANES])


def gradients(network, features):
    torch.manual_seed(9)
    loss = (features * torch.randn(features.shape, dtype=features.dtype)).sum()
    leaves = [
        parameter
        for name, parameter in network.named_parameters()
        if not name.startswith("output.")
    ]
    return torch.autograd.grad(loss, leaves)


def read_packed_and_alone(network):
    """Return the features of the packed reviews, read in one batch and each review by itself."""
    packed, _ = network(PACKED, network.start(2, "cpu"))
    rows = []
    for lane in LANES:
        features = [network(review[None], network.start(1, "cpu"))[0] for review in lane]
        rows.append(torch.cat(features, 1))
    return packed, torch.cat(rows)


@pytest.mark.parametrize("name", KINDS)
def test_packed_reviews_give_the_features_of_each_review_alone(name):
    packed, alone = read_packed_and_alone(make(name))
    torch.testing.assert_close(packed, alone, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("name", KINDS)
def test_packed_reviews_give_the_gradients_of_each_review_alone(name):
    network = make(name)
    packed, alone = read_packed_and_alone(network)
    for ours, theirs in zip(gradients(network, packed), gradients(network, alone), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("name", KINDS)
def test_windows_cut_anywhere_give_what_the_whole_stream_gives(name):
    network = make(name)
    whole, last = network(PACKED, network.start(2, "cpu"))
    state, parts = network.start(2, "cpu"), []
    for window in PACKED.split([2, 4, 1, 3, 6, 10], 1):
        features, state = network(window, detach(state))
        parts.append(features)
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-12, rtol=1e-12)
    for ours, theirs in zip(state, last, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-12)
