"""One trunk under two tasks: shapes, padding, gradients, and a start from a language model."""


import numpy as np
import pytest
import torch

from models.neural.labelling.network import LabellingNetwork
from models.neural.labelling.spec import LabellingSpec
from models.neural.recurrent import RecurrentNetwork
from models.specs import ObjectiveSpec, RecurrentSpec
from tests.models.neural.labelling.made_labels import QUICK, SMALL, TRAINING, V, reviews
from training.labelling.fit import fit

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


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
def test_one_trunk_gives_a_classifier_one_row_a_sequence_and_a_tagger_one_a_position(kind, bidirectional):
    """The same weights; a sequence's row is what each direction says at its end."""
    labels, ids, lengths = ("a", "b", "c"), some_ids(), torch.from_numpy(LENGTHS)
    options = {"kind": kind, "bidirectional": bidirectional, "labels": labels}
    classifier, tagger = network(**options), network(task="tagging", **options)
    assert classifier.state_dict().keys() == tagger.state_dict().keys()
    width = H * (2 if bidirectional else 1)
    summary, positions = classifier(ids, lengths), tagger(ids, lengths)
    assert summary.shape == (4, width)
    assert positions.shape == (LENGTHS.sum(), width)
    assert classifier.head(summary).shape == (4, 3)
    assert tagger.head(positions).shape == (LENGTHS.sum(), 3)
    ends = LENGTHS.cumsum()
    assert torch.equal(summary[:, :H], positions[ends - 1, :H])
    if bidirectional:
        assert torch.equal(summary[:, H:], positions[ends - LENGTHS, H:])


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


@pytest.mark.parametrize("bidirectional", [False, True])
def test_dropout_acts_on_what_enters_the_first_layer_and_the_head_in_training_only(bidirectional):
    made, entered = network(dropout=0.5, bidirectional=bidirectional, task="tagging"), []
    made.trunk.encoder.register_forward_pre_hook(lambda module, given: entered.append(given[0]))
    ids, lengths = some_ids().repeat(50, 1), torch.from_numpy(LENGTHS).repeat(50)
    features, inside = made.train()(ids, lengths), torch.arange(9) < lengths[:, None]
    for dropped in (features, entered[0][inside]):
        assert (dropped == 0).double().mean().item() == pytest.approx(0.5, abs=0.03)
    assert not torch.equal(made(ids, lengths), features)
    still = made.eval()(ids, lengths)
    assert torch.equal(still, network(bidirectional=bidirectional, task="tagging").eval()(ids, lengths))


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


def test_a_classifier_may_start_from_a_language_models_embedding_and_layers():
    trained = language_model()
    made = LabellingNetwork(SMALL, V, np.zeros(0, np.int64)).eval()
    made.trunk.take_over(trained)
    ids = some_ids()
    features, _ = trained.eval()(ids, trained.start(4, "cpu"))
    lengths = torch.from_numpy(LENGTHS)
    expected = features[torch.arange(4), lengths - 1]
    torch.testing.assert_close(made(ids, lengths), expected)
    made.trunk.embedding.weight.data.zero_()
    assert trained.embedding.weight.any()
    data = reviews(60, 2, 1)
    fresh, started = (fit(QUICK, V, data, data, start=start).model for start in (None, trained))
    assert not np.array_equal(fresh.scores(data.sequences), started.scores(data.sequences))
