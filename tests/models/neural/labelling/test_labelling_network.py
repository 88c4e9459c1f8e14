"""One trunk under two tasks: shapes, padding, gradients, and a start from a language model."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.base import ModelError
from models.neural.labelling.network import LabellingNetwork
from models.neural.labelling.spec import LabellingSpec
from models.neural.recurrent import RecurrentNetwork
from models.specs import ObjectiveSpec, RecurrentSpec, TrainingSpec
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


@pytest.mark.parametrize("bidirectional", [False, True])
def test_options_of_the_layers_reach_all_of_them(bidirectional):
    """An LSTM's forget gates at 3, and orthogonal matrices, whose rows have length 1 and stand at right angles."""
    made = network(forget_bias=3.0, recurrent_start="orthogonal", bidirectional=bidirectional)
    found = dict(made.trunk.encoder.named_parameters())
    matrices = [value for name, value in found.items() if "weight_hh" in name]
    assert len(matrices) == (4 if bidirectional else 2)
    for W in [gate for matrix in matrices for gate in matrix.detach().split(H)]:
        torch.testing.assert_close(W @ W.T, torch.eye(H, dtype=W.dtype), atol=1e-6, rtol=0)
    assert all((value[H : 2 * H] == 3).all() for name, value in found.items() if "bias_ih" in name)


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


@pytest.mark.parametrize("bidirectional", [False, True])
def test_bf16_rounds_in_training_only(bidirectional):
    """8 significant bits: near the features in float32, and not the same."""
    bf16, float32 = (
        network(bidirectional=bidirectional, training=TrainingSpec(precision=precision)).float()
        for precision in ("bf16", "float32")
    )
    ids, lengths = some_ids(), torch.from_numpy(LENGTHS)
    exact, rounded = float32.train()(ids, lengths), bf16.train()(ids, lengths)
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, exact)
    torch.testing.assert_close(rounded, exact, atol=0.01, rtol=0.01)
    torch.testing.assert_close(bf16.eval()(ids, lengths), exact, atol=1e-6, rtol=1e-6)


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


@pytest.mark.parametrize(
    ("ids", "lengths", "complaint"),
    [
        (torch.zeros(0, 3, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), r"ids are \(0, 3\)"),
        (torch.zeros(2, 0, dtype=torch.int64), torch.tensor([0, 0]), r"ids are \(2, 0\)"),
        (torch.zeros(3, dtype=torch.int64), torch.tensor([3]), r"ids are \(3,\)"),
        (torch.zeros(2, 3, dtype=torch.int64), torch.tensor([3]), "2 of them are needed, each between 1 and 3"),
        (torch.zeros(2, 3, dtype=torch.int64), torch.tensor([3, 0]), "each between 1 and 3"),
        (torch.zeros(2, 3, dtype=torch.int64), torch.tensor([4, 1]), "each between 1 and 3"),
    ],
)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_batches_of_no_sequences_and_impossible_lengths_are_refused(ids, lengths, complaint, bidirectional):
    with pytest.raises(ModelError, match=complaint):
        network(bidirectional=bidirectional)(ids, lengths)


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


def test_a_language_model_that_does_not_fit_is_refused():
    made = LabellingNetwork(SMALL, V, np.zeros(0, np.int64))
    with pytest.raises(ModelError, match="layers of the language model is"):
        made.trunk.take_over(language_model(hidden=20))
    with pytest.raises(ModelError, match="bidirectional must be false"):
        LabellingNetwork(replace(SMALL, bidirectional=True), V, np.zeros(0, np.int64)).trunk.take_over(language_model())
