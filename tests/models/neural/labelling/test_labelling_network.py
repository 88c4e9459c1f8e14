"""One trunk under two tasks: padding, gradients, the summary of a sequence, and where the head starts."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from reviewlm.models.classification.spec import RecurrentClassifierSpec
from reviewlm.models.neural.labelling.network import LabellingNetwork
from reviewlm.models.neural.labelling.spec import TaggingSpec
from tests.training.labelling.made_labels import TRAINING, V

H, E = 6, 5
LENGTHS = np.array([3, 9, 1, 6])


def network(**options):
    torch.manual_seed(1)
    usual = {
        "labels": ("a", "b", "c"),
        "hidden": H,
        "embedding": E,
        "layers": 2,
        "dropout": 0.0,
        "training": TRAINING,
    }
    make = TaggingSpec if options.pop("task", "") == "tagging" else RecurrentClassifierSpec
    return LabellingNetwork(make(**usual | options), V, np.zeros(0, np.int64)).double()


def some_ids():
    return torch.randint(9, V, (4, 9), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("cells", ["reference", "fused"])
@pytest.mark.parametrize("task", ["classification", "tagging"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_padding_never_changes_a_result_or_a_gradient(
    task,
    bidirectional,
    cells,
):
    options = {
        "task": task,
        "bidirectional": bidirectional,
        "cells": cells,
    }
    lengths, ids = torch.from_numpy(LENGTHS), some_ids()
    padded = network(**options)
    found = padded(ids, lengths)
    found.square().sum().backward()
    other = network(**options)
    padding = torch.arange(9) >= lengths[:, None]
    junk = ids.masked_fill(padding, 10**6)  # no entry of any vocabulary: nobody may look there
    more = torch.cat([junk, junk[:, :3]], 1)
    same = other(more, lengths)
    same.square().sum().backward()
    torch.testing.assert_close(same, found, rtol=1e-12, atol=1e-12)
    for one, two in zip(padded.parameters(), other.parameters(), strict=True):
        if one.grad is not None:
            torch.testing.assert_close(two.grad, one.grad, rtol=1e-10, atol=1e-12)
    alone = [
        padded(ids[i : i + 1, :length], torch.tensor([length]))
        for i, length in enumerate(LENGTHS.tolist())
    ]
    torch.testing.assert_close(torch.cat(alone), found, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("task", "bidirectional"), [("classification", False), ("tagging", True)])
def test_gradients_of_the_whole_network_equal_numeric_differences(task, bidirectional):
    made = network(
        kind="gru",
        cells="reference",
        layers=1,
        task=task,
        bidirectional=bidirectional,
    )
    torch.nn.init.normal_(made.embedding.weight)
    torch.nn.init.normal_(made.head.weight)
    ids, lengths = some_ids()[:2, :4], torch.tensor([4, 2])
    targets = torch.arange(6 if task == "tagging" else 2) % 3
    names, weights = zip(*made.named_parameters(), strict=True)

    def loss_of(*values):
        by_name = dict(zip(names, values, strict=True))
        features = torch.func.functional_call(made, by_name, (ids, lengths))
        return F.cross_entropy(features @ by_name["head.weight"].T + by_name["head.bias"], targets)

    assert torch.autograd.gradcheck(loss_of, weights, fast_mode=True)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_summary_is_that_of_torchs_layer(bidirectional):
    """The last state of each direction, then the maximum and the mean over the real positions."""
    reference = torch.nn.LSTM(E, H, batch_first=True, bidirectional=bidirectional).double()
    made = network(layers=1, bidirectional=bidirectional).eval()
    torch.nn.init.normal_(made.embedding.weight)
    for layer, suffix in zip(
        [*made.encoder.layers, *made.encoder.backwards], ("", "_reverse"), strict=False
    ):
        for name, parameter in layer.named_parameters():
            parameter.data.copy_(getattr(reference, name + suffix))
    found = made(some_ids(), torch.from_numpy(LENGTHS))
    for row, length in enumerate(LENGTHS.tolist()):
        h, (last, _) = reference(made.embedding.weight[some_ids()[row, :length]][None])
        torch.testing.assert_close(
            found[row], torch.cat([last[:, 0].flatten(), h[0].amax(0), h[0].mean(0)])
        )


def test_a_head_starts_at_the_share_of_each_label():
    """Counts 6, 3, 0 with 0.5 added: 6.5, 3.5 and 0.5 of 10.5."""
    spec = RecurrentClassifierSpec(
        labels=("a", "b", "c"),
        hidden=H,
        embedding=E,
        training=TRAINING,
    )
    made = LabellingNetwork(spec, V, np.repeat([0, 1], [6, 3]))
    torch.testing.assert_close(
        torch.softmax(made.head.bias, 0), torch.tensor([6.5, 3.5, 0.5]) / 10.5
    )
