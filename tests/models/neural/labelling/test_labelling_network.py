"""One trunk under two tasks: shapes, padding, gradients, and a start from a language model."""


import numpy as np
import pytest
import torch

from models.neural.labelling.network import LabellingNetwork
from models.neural.labelling.spec import LabellingSpec
from models.neural.recurrent import RecurrentNetwork
from models.specs import ObjectiveSpec, RecurrentSpec
from tests.models.neural.labelling.made_labels import TRAINING, V

H, E = 6, 5
LENGTHS = np.array([3, 9, 1, 6])


def network(**options):
    torch.manual_seed(1)
    usual = {"hidden": H, "embedding": E, "layers": 2, "dropout": 0.0, "training": TRAINING}
    spec = LabellingSpec(**usual | options)
    made = LabellingNetwork(spec, V, np.zeros(0, np.float64 if spec.numbers else np.int64))
    return made.double()


def some_ids():
    return torch.randint(9, V, (4, 9), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("cells", ["reference", "fused"])
@pytest.mark.parametrize("task", ["classification", "tagging"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_padding_never_changes_a_result_or_a_gradient(task, bidirectional, cells):
    options = {"task": task, "bidirectional": bidirectional, "cells": cells}
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
    alone = [padded(ids[i : i + 1, :length], torch.tensor([length])) for i, length in enumerate(LENGTHS.tolist())]
    torch.testing.assert_close(torch.cat(alone), found, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("loss", ["cross_entropy", "hinge", "hinge_sum", "squared_error"])
@pytest.mark.parametrize(("task", "bidirectional"), [("classification", False), ("tagging", True)])
def test_gradients_of_the_whole_network_equal_numeric_differences(loss, task, bidirectional):
    labels = () if loss == "squared_error" else ("a", "b", "c")
    about = {"loss": loss, "labels": labels, "task": task, "bidirectional": bidirectional}
    made = network(kind="gru", cells="reference", layers=1, **about)
    torch.nn.init.normal_(made.trunk.embedding.weight)
    torch.nn.init.normal_(made.head.linear.weight)
    ids, lengths = some_ids()[:2, :4], torch.tensor([4, 2])
    rows = 6 if task == "tagging" else 2
    targets = torch.arange(rows).double() if made.head.linear.out_features == 1 else torch.arange(rows) % 3
    names, weights = zip(*made.named_parameters(), strict=True)

    def loss_of(*values):
        features = torch.func.functional_call(made, dict(zip(names, values, strict=True)), (ids, lengths))
        head = {name: value for name, value in zip(names, values, strict=True) if name.startswith("head.")}
        weight, bias = head["head.linear.weight"], head["head.linear.bias"]
        return made.head.loss(features @ weight.T + bias, targets)

    assert torch.autograd.gradcheck(loss_of, weights, fast_mode=True)


def language_model(**options):
    torch.manual_seed(7)
    shape = {"kind": "gru", "hidden": 24, "embedding": 16, "tied": False, "objective": ObjectiveSpec("softmax")}
    return RecurrentNetwork(RecurrentSpec(**shape | options), torch.ones(V))
