"""Huffman's tree and the softmax over it: codes, costs, sums to one."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from models.base import ModelError
from models.neural.lm import RecurrentLM
from models.neural.output import HierarchicalOutput, build_output
from models.neural.output.huffman import huffman_tree, tree_levels, tree_paths
from models.specs import ObjectiveSpec, RecurrentSpec
from models.tokens.special import CONTEXT_IDS
from tests.examples import examples
from tests.models.least_cost import least_cost
from tests.models.neural.fresh_gradients import gradcheck_loss

V, E, N = 30, 5, 24
PREDICTED = [i for i in range(V) if i not in CONTEXT_IDS]
COUNTS = np.random.default_rng(5).permutation(V) ** 2
COUNTS_OF_WORDS = st.lists(st.integers(0, 1_000), min_size=2, max_size=60)


def layer_of(counts=COUNTS, dtype=torch.float64, chunk=7, seed=1):
    torch.manual_seed(seed)
    rows = nn.Parameter(torch.randn(len(counts), E, dtype=dtype))
    layer = build_output(ObjectiveSpec("hierarchical", chunk=chunk), rows, counts)
    with torch.no_grad():
        layer.bias.normal_()
    return layer


def batch(seed=3):
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.normal(size=(N, E)), requires_grad=True), torch.tensor(rng.choice(PREDICTED, N))


def code_lengths(tree):
    return np.diff(tree_paths(tree).starts)


def test_the_text_book_tree():
    """Counts 1, 1, 2, 3: the ones are joined first, then with the two, then with the three."""
    tree = huffman_tree(np.array([1, 1, 2, 3]))
    assert code_lengths(tree).tolist() == [3, 3, 2, 1]
    assert tree_levels(tree) == [slice(0, 1), slice(1, 2), slice(2, 3)]
    assert tree.tolist() == [[4 + 1, 3], [4 + 2, 2], [0, 1]]  # from the root; the more frequent child first


@examples(60)
@given(COUNTS_OF_WORDS)
def test_no_prefix_code_is_shorter(counts):
    lengths = code_lengths(huffman_tree(np.array(counts)))
    assert sum(2.0**-lengths) == 1
    assert int((lengths * counts).sum()) == least_cost(counts)


@examples(60)
@given(COUNTS_OF_WORDS.filter(any))
def test_the_mean_code_length_is_between_the_entropy_and_one_more(counts):
    share = np.array(counts) / sum(counts)
    entropy = -sum(p * math.log2(p) for p in share if p)
    mean = float((code_lengths(huffman_tree(np.array(counts))) * share).sum())
    assert entropy - 1e-9 <= mean <= entropy + 1 + 1e-9


def test_a_word_of_a_zipfian_vocabulary_costs_its_logarithm():
    counts = (1e7 / np.arange(1, 20_001)).astype(int)
    lengths = code_lengths(huffman_tree(counts))
    assert (lengths * counts).sum() / counts.sum() < math.log2(len(counts))
    assert lengths.max() < 2 * math.log2(len(counts))


def test_equal_counts_make_a_balanced_tree_and_always_the_same():
    for words in (2, 3, 8, 21):
        lengths = code_lengths(huffman_tree(np.full(words, 4)))
        assert lengths.max() - lengths.min() <= 1
        assert np.array_equal(huffman_tree(np.full(words, 4)), huffman_tree(np.full(words, 4)))


def test_inner_nodes_stand_level_by_level_behind_their_parents():
    tree = huffman_tree(np.random.default_rng(0).integers(0, 99, 200))
    levels = tree_levels(tree)
    assert [level.start for level in levels[1:]] == [level.stop for level in levels[:-1]]
    assert levels[-1].stop == len(tree) == 199
    for above, below in pairwise(levels):
        inner = np.sort(tree[above][tree[above] >= 200] - 200)
        assert np.array_equal(inner, np.arange(below.start, below.stop))


def test_only_nodes_on_the_path_of_the_targets_get_a_gradient():
    layer, target = layer_of(), PREDICTED[11]
    features_NE, _ = batch()
    layer.loss(features_NE, torch.full((N,), target))[0].backward()
    paths, leaf = tree_paths(layer.tree.numpy()), PREDICTED.index(target)
    on_path = np.isin(np.arange(len(layer.weight)), paths.nodes[paths.starts[leaf] : paths.starts[leaf + 1]])
    assert on_path.sum() == int(layer.path_lengths(torch.tensor([target])))
    assert np.array_equal((layer.weight.grad != 0).any(1).numpy(), on_path)
    assert np.array_equal((layer.bias.grad != 0).numpy(), on_path)


@examples(25)
@given(st.lists(st.integers(0, 50), min_size=len(CONTEXT_IDS) + 3, max_size=40), st.integers(0, 1_000))
def test_the_probabilities_of_all_words_sum_to_one(counts, seed):
    layer = layer_of(np.array(counts), seed=seed)
    features_NE = torch.randn(4, E, dtype=torch.float64) * 5
    p_NV = layer.logp(features_NE).double().exp()
    torch.testing.assert_close(p_NV.sum(1), torch.ones(4, dtype=torch.float64), rtol=0, atol=1e-6)
    assert (p_NV[:, list(CONTEXT_IDS)] == 0).all()


def test_the_hand_written_gradient_is_that_of_differences():
    assert gradcheck_loss(layer_of(), *batch())


def test_huge_choices_stay_finite_and_exact():
    layer, (features_NE, targets_N) = layer_of(), batch()
    with torch.no_grad():
        layer.weight.mul_(1e4)
    loss, _ = layer.loss(features_NE, targets_N)
    rows_F, nodes_F, signs_F = layer._paths(targets_N)
    choices_F = signs_F * ((features_NE[rows_F] * layer.weight[nodes_F]).sum(1) + layer.bias[nodes_F])
    assert loss.item() == pytest.approx(float(choices_F.detach().clamp_max(0).neg().sum()), rel=1e-6)
    assert all(torch.isfinite(x).all() for x in torch.autograd.grad(loss, [features_NE, *layer.parameters()]))


def test_there_are_rows_for_inner_nodes_only_and_the_tree_is_in_the_state():
    layer = layer_of()
    assert {name: tuple(x.shape) for name, x in layer.state_dict().items()} == {
        "weight": (len(PREDICTED) - 1, E), "bias": (len(PREDICTED) - 1,), "tree": (len(PREDICTED) - 1, 2)
    }  # fmt: skip


def test_a_vocabulary_without_a_choice_is_refused():
    with pytest.raises(ModelError, match="1 entries can be predicted; a tree of choices needs two"):
        HierarchicalOutput(torch.zeros(2, E), torch.ones(2, dtype=torch.float64), 8)


def test_tied_rows_are_refused_since_choices_are_not_words():
    with pytest.raises(ValueError, match=r"tied is True; it must be false with the hierarchical output"):
        RecurrentSpec(objective=ObjectiveSpec("hierarchical"))
    network = RecurrentLM.build(
        RecurrentSpec(hidden=7, embedding=E, tied=False, objective=ObjectiveSpec("hierarchical")), torch.tensor(COUNTS)
    )
    assert network.output.weight.shape == (len(PREDICTED) - 1, 7)
