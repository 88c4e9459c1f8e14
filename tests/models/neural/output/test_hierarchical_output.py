"""Huffman's tree and the softmax over it: codes, costs, sums to one."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from reviewlm.models.neural.output import build_output
from reviewlm.models.neural.output.hierarchical import huffman_tree, tree_paths
from reviewlm.models.specs import ObjectiveSpec
from reviewlm.models.tokens.special import CONTEXT_IDS
from tests.examples import examples
from tests.models.least_cost import least_cost
from tests.models.neural.fresh_gradients import gradcheck_loss

V, E, N = 30, 5, 24
PREDICTED = [i for i in range(V) if i not in CONTEXT_IDS]
COUNTS = np.random.default_rng(5).permutation(V) ** 2
COUNTS_OF_WORDS = st.lists(st.integers(0, 1_000), min_size=2, max_size=60)


def layer_of(
    counts=COUNTS,
    dtype=torch.float64,
    chunk=7,
    seed=1,
):
    torch.manual_seed(seed)
    rows = nn.Parameter(torch.randn(len(counts), E, dtype=dtype))
    layer = build_output(ObjectiveSpec("hierarchical", chunk=chunk), rows, counts)
    with torch.no_grad():
        layer.bias.normal_()
    return layer


def batch(seed=3):
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.normal(size=(N, E)), requires_grad=True), torch.tensor(
        rng.choice(PREDICTED, N)
    )


def code_lengths(tree):
    return np.diff(tree_paths(tree).starts)


@examples(60)
@given(COUNTS_OF_WORDS)
def test_no_prefix_code_is_shorter(counts):
    lengths = code_lengths(huffman_tree(np.array(counts)))
    assert sum(2.0**-lengths) == 1
    assert int((lengths * counts).sum()) == least_cost(counts)


@examples(25)
@given(
    st.lists(st.integers(0, 50), min_size=len(CONTEXT_IDS) + 3, max_size=40), st.integers(0, 1_000)
)
def test_the_probabilities_of_all_words_sum_to_one(counts, seed):
    layer = layer_of(np.array(counts), seed=seed)
    features_NE = torch.randn(4, E, dtype=torch.float64) * 5
    p_NV = layer.logp(features_NE).double().exp()
    torch.testing.assert_close(p_NV.sum(1), torch.ones(4, dtype=torch.float64), rtol=0, atol=1e-6)
    assert (p_NV[:, list(CONTEXT_IDS)] == 0).all()


def test_the_hand_written_gradient_is_that_of_differences():
    assert gradcheck_loss(layer_of(), *batch())
