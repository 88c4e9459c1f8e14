"""Output layers at their beginning: levels and biases that follow from counts, and what a saved one brings back."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from models.neural.output import build_output
from models.tokens.special import EOS, UNK
from tests.models.neural.output.small_layers import HEAD, MIXED, OBJECTIVES, PREDICTED, SORTED, E, V, batch, layer_of


@pytest.mark.parametrize("counts", [SORTED, MIXED], ids=["sorted", "mixed"])
def test_training_starts_from_the_unigram_model(kind, counts):
    """With features of 0 the prediction is the add-one-half unigram model, whatever the levels."""
    layer = build_output(OBJECTIVES[kind], nn.Parameter(torch.randn(V, E)), counts)
    p_V = layer.logp(torch.zeros(1, E))[0].exp()
    expected = torch.tensor((counts[PREDICTED] + 0.5) / (counts[PREDICTED] + 0.5).sum())
    torch.testing.assert_close(p_V[PREDICTED].double(), expected, rtol=1e-5, atol=1e-7)


def test_the_head_holds_the_special_and_the_most_frequent_predicted_entries():
    layer = layer_of("two_level, mixed")
    head = layer.order_P[:HEAD].tolist()
    words = [i for i in head if i not in (UNK, EOS)]
    assert len(words) == HEAD - 2
    assert min(MIXED[words]) > max(MIXED[i] for i in PREDICTED if i not in head)
    assert sorted(layer.order_P.tolist()) == PREDICTED


def test_a_saved_layer_comes_back_with_its_own_order(kind):
    layer, (features_NE, targets_N) = layer_of(kind), batch()
    objective = replace(OBJECTIVES[kind], chunk=8)
    other = build_output(objective, nn.Parameter(torch.zeros(V, E)), np.arange(V)[::-1].copy())
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other.nats(features_NE, targets_N), layer.nats(features_NE, targets_N))
    assert torch.equal(other.logp(features_NE), layer.logp(features_NE))
