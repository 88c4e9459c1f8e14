"""Word vectors written out: gradients, the Huffman tree, noise words, the ranking loss, and what each method learns."""

import heapq

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy

from course.word_vectors import (
    HuffmanTree,
    huffman_tree,
    nearest,
    predicted,
    ranked,
    skip_gram,
)

counts_of_words = st.lists(st.integers(1, 1_000), min_size=2, max_size=30)


class Predicted(torch.autograd.Function):
    """The sum of log σ(s u · h) with the program's gradients."""

    @staticmethod
    def forward(ctx, h, u, signs):
        value, *slopes = predicted(h.numpy(), u.numpy(), signs.numpy())
        ctx.slopes = [torch.from_numpy(slope) for slope in slopes]
        return torch.tensor(value, dtype=torch.float64)

    @staticmethod
    def backward(ctx, out):
        return out * ctx.slopes[0], out * ctx.slopes[1], None


def test_the_objective_is_that_of_the_papers_and_its_gradients_pass_gradcheck():
    torch.manual_seed(3)
    h, u = (torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((7,), (4, 7)))
    signs = torch.tensor([1.0, -1, -1, -1], dtype=torch.float64)
    assert torch.autograd.gradcheck(Predicted.apply, (h, u, signs))
    expected = sum(torch.nn.functional.logsigmoid(s * (row @ h)) for s, row in zip(signs, u, strict=True))
    assert Predicted.apply(h, u, signs).item() == pytest.approx(expected.item(), abs=1e-12)


@given(counts_of_words, st.integers(0, 99))
def test_the_probabilities_of_all_words_sum_to_one(counts, seed):
    draw, tree = np.random.default_rng(seed), huffman_tree(counts)
    h, u = draw.normal(size=3), draw.normal(size=(len(counts), 3))
    total = sum(np.exp(predicted(h, u[nodes], signs)[0]) for nodes, signs in zip(*tree, strict=True))
    assert total == pytest.approx(1, abs=1e-9)


@given(counts_of_words)
def test_the_expected_code_length_is_the_smallest_possible(counts):
    lengths = np.array([len(nodes) for nodes in huffman_tree(counts).nodes])
    waiting, least = list(counts), 0
    heapq.heapify(waiting)
    while len(waiting) > 1:
        joined = heapq.heappop(waiting) + heapq.heappop(waiting)
        least += joined
        heapq.heappush(waiting, joined)
    assert lengths @ counts == least
    bits = entropy(counts, base=2)
    assert bits - 1e-9 <= least / sum(counts) < bits + 1


def test_the_tree_of_four_words_by_hand():
    tree = huffman_tree([1, 1, 2, 4])
    expected = HuffmanTree([[2, 1, 0], [2, 1, 0], [2, 1], [2]], [[-1, -1, -1], [-1, -1, 1], [-1, 1], [1]])
    lengths = [[len(path) for path in paths] for paths in tree]
    assert lengths == [[3, 3, 2, 1]] * 2
    assert [path.tolist() for path in tree.nodes] == expected.nodes
    assert [abs(sign).tolist() for sign in tree.signs] == [[1.0] * n for n in (3, 3, 2, 1)]
    codes = {tuple(sign.tolist()) for sign in tree.signs}
    assert len(codes) == 4, "every word has another path"


@pytest.mark.slow
@pytest.mark.parametrize("method", ["negative", "tree", "ranking"])
def test_words_of_one_meaning_come_near_each_other_and_the_objective_rises(method):
    """Words 2m and 2m + 1 are written for meaning m by a coin; a meaning follows one of two others."""
    draw, texts = np.random.default_rng(4), []
    for _ in range(60):
        meaning, text = int(draw.integers(8)), []
        for _ in range(20):
            text.append(2 * meaning + int(draw.integers(2)))
            meaning = (3 * meaning + int(draw.integers(2))) % 8
        texts.append(text)
    counts = np.bincount(np.concatenate(texts), minlength=16)
    fit = ranked(texts, counts, epochs=40) if method == "ranking" else skip_gram(texts, counts, method == "tree")
    v_ND, reached = fit
    assert np.mean([nearest(v_ND, word, 1) == [word ^ 1] for word in range(16)]) >= 0.7
    assert reached[-1] > reached[0]
