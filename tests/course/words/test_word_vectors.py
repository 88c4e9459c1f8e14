"""Word vectors written out: gradients, the Huffman tree, noise words, the ranking loss, and what each method learns."""

from __future__ import annotations

import heapq
import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy

from reviewlm.course.networks.sentence_cnn import SentenceCNN
from reviewlm.course.words.word_laws import (
    PRIOR_TOKENS,
    contrasts,
    growth,
    power_law,
    spaced_numbers,
    unknown_shares,
)
from reviewlm.course.words.word_vectors import (
    huffman_tree,
    nearest,
    prediction_loss,
    rank_vectors,
    skip_gram,
)

counts_of_words = st.lists(st.integers(1, 1_000), min_size=2, max_size=30)


class Predicted(torch.autograd.Function):
    """The sum of log σ(s u · h) with the program's gradients."""

    @staticmethod
    def forward(
        ctx,
        h,
        u,
        signs,
    ):
        value, *slopes = prediction_loss(h.numpy(), u.numpy(), signs.numpy())
        ctx.slopes = [torch.from_numpy(slope) for slope in slopes]
        return torch.tensor(value, dtype=torch.float64)

    @staticmethod
    def backward(ctx, out):
        return out * ctx.slopes[0], out * ctx.slopes[1], None


@pytest.fixture
def sampled_word():
    """Hidden features, the vectors of a word and of three noise words, and the signs of their labels."""
    torch.manual_seed(3)
    h, u = (
        torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((7,), (4, 7))
    )
    return h, u, torch.tensor([1.0, -1, -1, -1], dtype=torch.float64)


def test_the_objective_is_that_of_the_papers(sampled_word):
    h, u, signs = sampled_word
    expected = sum(
        torch.nn.functional.logsigmoid(s * (row @ h)) for s, row in zip(signs, u, strict=True)
    )
    assert Predicted.apply(h, u, signs).item() == pytest.approx(expected.item(), abs=1e-12)


def test_the_gradients_of_the_objective_pass_gradcheck(sampled_word):
    assert torch.autograd.gradcheck(Predicted.apply, sampled_word)


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


@pytest.mark.slow
@pytest.mark.parametrize("method", ["negative", "tree", "ranking"])
def test_words_of_one_meaning_come_near_each_other(method):
    """Words 2m and 2m + 1 are written for meaning m by a coin; a meaning follows one of two others."""
    draw, texts = np.random.default_rng(4), []
    for _ in range(60):
        meaning, text = int(draw.integers(8)), []
        for _ in range(20):
            text.append(2 * meaning + int(draw.integers(2)))
            meaning = (3 * meaning + int(draw.integers(2))) % 8
        texts.append(text)
    counts = np.bincount(np.concatenate(texts), minlength=16)
    fit = (
        rank_vectors(texts, counts, epochs=40)
        if method == "ranking"
        else skip_gram(texts, counts, method == "tree")
    )
    v_ND, reached = fit
    assert np.mean([nearest(v_ND, word, 1) == [word ^ 1] for word in range(16)]) >= 0.7
    assert reached[-1] > reached[0]


# --- The convolutional network of Kim 2014, against its formula

V, E = 40, 5
LENGTHS = torch.tensor([3, 9, 1, 6])


@pytest.mark.parametrize("width", [2, 3, 4, 5])
def test_a_convolution_is_a_layer_on_the_concatenated_words_of_each_window(width: int) -> None:
    """h_t = relu(W (x_t, …, x_{t+k−1}) + b), windows inside the sequence; a short sequence has one, filled with 0."""
    torch.manual_seed(1)
    network = SentenceCNN(V, E, (width,), 3).double()
    ids = torch.randint(9, V, (4, 9))
    weight, bias = network.convolutions[0].weight, network.convolutions[0].bias
    W = weight.transpose(1, 2).flatten(1)  # type: ignore[union-attr, operator]  # as a matrix on joined embeddings
    found = network(ids, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        x = network.embedding.weight[ids[row, :length]]
        x = torch.cat([x, x.new_zeros(max(0, width - length), E)])
        windows = torch.stack([x[t : t + width].flatten() for t in range(len(x) - width + 1)])
        h = torch.relu(windows @ W.T + bias)
        torch.testing.assert_close(
            found[row], torch.cat([h.amax(0), h.mean(0)]), rtol=1e-12, atol=1e-12
        )


# --- Laws and contrasts of words: closed forms, and a contrast written out by hand


def test_the_fit_of_a_power_law_is_the_law_in_its_range() -> None:
    points = [(rank, int(1e7 / rank)) for rank in spaced_numbers(20_000)]
    assert power_law([(1, 3), *points], 10, 10_000) == (
        pytest.approx(1e7, rel=0.01),
        pytest.approx(-1, abs=1e-3),
    )
    assert power_law(points[:2], 1) is None


def test_the_growth_of_a_text_counts_different_words() -> None:
    assert growth(["a", "b", "a", "c", "a", "a", "d", "b", "a", "e"])[-1] == (10, 5)
    assert growth(["a", "a", "b"])[:2] == [(1, 1), (2, 1)]


def test_unknown_words_are_those_beyond_the_most_frequent() -> None:
    train, held_out = Counter("aaabbc"), Counter("aabcdd")
    assert unknown_shares(train, held_out, [1, 2, 3, 4]) == [
        (1, pytest.approx(4 / 6)),
        (2, 0.5),
        (3, pytest.approx(1 / 3)),
    ]


def test_a_contrast_is_monroes_log_odds_ratio_with_a_dirichlet_prior() -> None:
    one, five, prior = (
        {
            "good": 10,
            "bad": 80,
            "the": 500,
            "!": 9,
            "rare": 0,
            "x": 4_401,
        },
        {
            "good": 90,
            "bad": 5,
            "the": 510,
            "!": 80,
            "rare": 3,
            "x": 5_312,
        },
        {
            "good": 130,
            "bad": 100,
            "the": 1_700,
            "!": 100,
            "rare": 3,
            "x": 17_967,
        },
    )
    by_hand = {}
    for word in ("good", "bad", "the", "x"):
        a = PRIOR_TOKENS * prior[word] / 20_000
        odds = [
            math.log((y + a) / (n + PRIOR_TOKENS - y - a))
            for y, n in ((one[word], 5_000), (five[word], 6_000))
        ]
        by_hand[word] = (odds[1] - odds[0]) / math.sqrt(1 / (five[word] + a) + 1 / (one[word] + a))
    scores = contrasts(Counter(one), Counter(five), Counter(prior))
    assert scores == pytest.approx(by_hand)
    assert next(iter(scores)) == "bad"
    assert next(reversed(scores)) == "good"
