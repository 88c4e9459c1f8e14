"""Output layers at their beginning: levels and biases that follow from counts, and what a saved one brings back."""


import pytest
import torch
from torch import nn

from models.neural.output import build_output
from tests.models.neural.output.small_layers import MIXED, OBJECTIVES, PREDICTED, SORTED, E, V


@pytest.mark.parametrize("counts", [SORTED, MIXED], ids=["sorted", "mixed"])
def test_training_starts_from_the_unigram_model(kind, counts):
    """With features of 0 the prediction is the add-one-half unigram model, whatever the levels."""
    layer = build_output(OBJECTIVES[kind], nn.Parameter(torch.randn(V, E)), counts)
    p_V = layer.logp(torch.zeros(1, E))[0].exp()
    expected = torch.tensor((counts[PREDICTED] + 0.5) / (counts[PREDICTED] + 0.5).sum())
    torch.testing.assert_close(p_V[PREDICTED].double(), expected, rtol=1e-5, atol=1e-7)
