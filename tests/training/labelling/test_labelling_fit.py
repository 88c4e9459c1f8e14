"""What classifiers and taggers can learn, and how they are trained."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from reviewlm.models.neural.labelling.network import LabellingNetwork
from reviewlm.training.labelling.examples import LabelledSequences, measure
from reviewlm.training.labelling.labeller_fit import (
    LabellerState,
    LabellerStep,
    SequenceBatch,
    SequencePlan,
    asked_features,
)
from tests.marked_cases import long_but
from tests.training.labelling.made_labels import (
    SMALL,
    TAGS,
    TRAINING,
    V,
    fitted,
    next_word_tags,
    reviews,
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("labels", "bidirectional", "kind"),
    long_but(
        [(2, False, "lstm"), (3, True, "rnn"), (3, False, "gru")],
        [(3, True, "rnn"), (3, False, "gru")],
    ),
)
def test_a_classifier_learns_which_word_anywhere_decides(
    labels,
    bidirectional,
    kind,
):
    names = ("negative", "neutral", "positive")[:labels]
    spec = replace(
        SMALL,
        labels=names,
        bidirectional=bidirectional,
        kind=kind,
    )
    train, validation, test = (
        reviews(count, labels, seed) for count, seed in ((1_500, 1), (200, 2), (400, 3))
    )
    model, summary = fitted(spec, train, validation)
    assert summary["error_rate"] <= 0.02
    found = measure(model, test)
    assert found["error_rate"] <= 0.02
    assert found["error_rate"] == (model.answers(test.sequences) != test.targets).mean()


@pytest.mark.slow
def test_tags_that_need_the_future_are_learned_by_the_bidirectional_encoder_only():
    """The words are drawn independently, so who reads from the beginning can do no better than half."""
    train, validation, test = (
        next_word_tags(count, seed) for count, seed in ((1_500, 1), (200, 2), (400, 3))
    )
    both = measure(fitted(TAGS, train, validation).model, test)
    forwards = measure(fitted(replace(TAGS, bidirectional=False), train, validation).model, test)
    assert both["error_rate"] <= 0.01
    assert forwards["error_rate"] > 0.4
    assert forwards["cross_entropy"] > 0.68


def test_an_update_follows_the_mean_over_what_is_asked():
    """Two sequences of 1 and 8 answers: all 9 weigh the same, as a step of plain gradient descent shows."""
    training = replace(
        TRAINING,
        optimizer="sgd",
        learning_rate=0.5,
        weight_decay=0.0,
        clip=None,
        schedule="constant",
        warmup=0.0,
    )
    spec = replace(TAGS, bidirectional=False, training=training)
    data = LabelledSequences.of([[9, 10, 11], list(range(9, 17))], [[-1, 1, -1], [0, 1] * 4])
    torch.manual_seed(1)
    network = LabellingNetwork(spec, V, np.zeros(0, np.int64)).double()
    batch = data.sequences.batch(np.array([1, 0]))
    features, targets = asked_features(network, batch, data.of_rows(spec, batch.rows_B))
    assert targets.tolist() == [0, 1] * 4 + [1]
    torch.testing.assert_close(
        features[-1], network(torch.tensor([[9, 10, 11]]), torch.tensor([3]))[1]
    )
    weights = list(network.parameters())
    gradients = torch.autograd.grad(F.cross_entropy(network.head(features), targets), weights)
    expected = [
        weight.detach() - 0.5 * gradient
        for weight, gradient in zip(weights, gradients, strict=True)
    ]
    state = LabellerState(network, SequencePlan(data, training), None)
    LabellerStep(state, lambda figures: None, spec, data)(SequenceBatch(batch.rows_B, 0, 1))
    assert {group["lr"] for group in state.optimizer.param_groups} == {0.5}
    for weight, wanted in zip(weights, expected, strict=True):
        torch.testing.assert_close(weight.detach(), wanted)
