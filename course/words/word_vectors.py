"""Word vectors, written out: skip-gram with negative sampling or a Huffman tree, and the ranking of windows.

v are input vectors, the word vectors; u are output vectors. A word w is predicted from h, the vector of a word c of its
window (skip-gram) or the mean over the window (CBOW). Each method maximises a score of words beside their neighbours:

    negative sampling      log σ(u_w · h) + Σ_k log σ(−u_{n_k} · h)               Mikolov et al. 2013             (1)
    hierarchical softmax   log p(w | h) = Σ_j log σ(s_j u_j · h)                  Morin & Bengio 2005             (2)
    ranking                −max(0, 1 + f(corrupted) − f(real))                    Collobert & Weston 2008         (3)

In (1) the noise words n_k are drawn in proportion to count^0.75. It is not the noise-contrastive estimation that it
comes from (Gutmann & Hyvärinen 2010): the noise probabilities are no part of it, so its scores are no probabilities.

In (2) the N words are the leaves of a binary tree with N − 1 inner nodes, each with a vector u_j. On the way from the
root to w, s_j is −1 where the path takes the second child, else 1. Since σ(x) + σ(−x) = 1, the probabilities of all
words sum to 1, and a word costs as many products as its path has nodes. Huffman's tree (1952) makes the expected number
smallest: between the entropy of the words in bits and 1 more.

(1) and (2) are sums of log σ(s u · h), whose gradients are s σ(−s u · h) h for u and s σ(−s u · h) u for h.

In (3) f(w_1 … w_n) = a · tanh(M [v_{w_1}; …; v_{w_n}] + b) scores a whole window, and a corrupted window has another
word in its centre. A score needs no normalising, so that nothing is summed over the vocabulary.

    python -m reviewlm.course.words.word_vectors --method tree           # or negative, ranking; --text reviews.txt

The product fits vectors with gensim (`training/vectors/vector_fit.py`), which does the same a hundred times faster.
Shapes: N words, D dimensions, M output vectors (some of them, or all), T windows in all, B of a batch, C words of a
window.
"""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from reviewlm.course.inputs import program, review_table

WINDOW = 3
NEGATIVES = 5
POWER = 0.75


def log_sigmoid(x: np.ndarray) -> np.ndarray:
    """Return log σ(x), also for large |x|."""
    return np.asarray(-np.logaddexp(0.0, -x))


def prediction_loss(
    h_D: np.ndarray,
    u_MD: np.ndarray,
    signs_M: np.ndarray,
) -> tuple[float, np.ndarray, np.ndarray]:
    """Return Σ_m log σ(s_m u_m · h), and its gradients for h (D) and u (M, D): equations (1) and (2).

    Args:
        u_MD: (1): the output vectors of the word and its noise words; (2): those of the nodes on its path.
        signs_M: (1): 1 for the word and −1 for noise words; (2): s_j.
    """
    x_M = signs_M * (u_MD @ h_D)
    slope_M = signs_M * np.exp(log_sigmoid(-x_M))
    return float(log_sigmoid(x_M).sum()), slope_M @ u_MD, slope_M[:, None] * h_D


def noise_share(counts_N: np.ndarray, power: float = POWER) -> np.ndarray:
    """Return count^power of each word, divided by the sum (N): with less than 1, rare words are drawn more often."""
    weight_N = np.asarray(counts_N, np.float64) ** power
    return np.asarray(weight_N / weight_N.sum())


class HuffmanTree(NamedTuple):
    """For each of N words the inner nodes on its path (0 to N − 2; the root is N − 2), and s_j at each."""

    nodes: list[np.ndarray]
    signs: list[np.ndarray]


def huffman_tree(counts: Sequence[int]) -> HuffmanTree:
    """Return the tree: join the two rarest again and again; of equal counts the one made first is joined first."""
    size = len(counts)
    above = np.zeros(2 * size - 1, np.int64)
    sign = np.ones(2 * size - 1)
    waiting = [(int(count), word) for word, count in enumerate(counts)]
    heapq.heapify(waiting)
    for made in range(size, 2 * size - 1):
        first_count, first = heapq.heappop(waiting)
        second_count, second = heapq.heappop(waiting)
        above[[first, second]] = made
        sign[first] = -1.0
        heapq.heappush(waiting, (first_count + second_count, made))

    tree = HuffmanTree([], [])
    for word in range(size):
        # From the leaf up; the nodes and signs are then listed from the root down.
        path = [word]
        while path[-1] != 2 * size - 2:
            path.append(int(above[path[-1]]))
        below = path[-2::-1]  # without the root, from the top
        tree.nodes.append(above[below] - size)
        tree.signs.append(sign[below])

    return tree


class RankingNetwork(nn.Module):
    """f of equation (3); row N of the vectors stands for what lies beyond the review."""

    def __init__(
        self,
        words: int,
        dimensions: int,
        window: int = WINDOW,
        hidden: int = 30,
    ) -> None:
        super().__init__()
        self.vectors = nn.Embedding(words + 1, dimensions)
        self.hidden = nn.Linear((2 * window + 1) * dimensions, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)

    def forward(self, windows_BC: Tensor) -> Tensor:
        """Return the score of each window (B)."""
        scores_B1: Tensor = self.score(torch.tanh(self.hidden(self.vectors(windows_BC).flatten(1))))
        return scores_B1.squeeze(1)


def ranking_loss(real_B: Tensor, corrupted_B: Tensor) -> Tensor:
    """Return max(0, 1 + f(corrupted) − f(real)) of each pair of windows (B)."""
    return (1.0 + corrupted_B - real_B).clamp(min=0.0)


def windows(
    texts: Sequence[Sequence[int]], window: int = WINDOW
) -> Iterator[tuple[int, list[int]]]:
    """Yield each word with the words around it; no window crosses the end of a review."""
    for text in texts:
        for place, word in enumerate(text):
            yield (
                word,
                [*text[max(0, place - window) : place], *text[place + 1 : place + window + 1]],
            )


def skip_gram(
    texts: Sequence[Sequence[int]],
    counts: Sequence[int],
    tree: bool,
    dimensions: int = 30,
    epochs: int = 5,
    rate: float = 0.05,
    seed: int = 1,
) -> tuple[np.ndarray, list[float]]:
    """Return the vectors (N, D), and the mean of (1) or (2) in each epoch.

    Args:
        texts: Words as numbers.
        tree: Hierarchical softmax; else negative sampling.
    """
    draw = np.random.default_rng(seed)
    paths = huffman_tree(counts)
    size = len(counts)
    v_ND = (draw.random((size, dimensions)) - 0.5) / dimensions
    u_MD = np.zeros((size, dimensions))
    share_N = noise_share(np.asarray(counts))
    reached: list[float] = []
    for epoch in range(epochs):
        gained = 0.0
        pairs = 0
        step = rate * (1 - epoch / epochs)
        for word, around in windows(texts):
            rows = paths.nodes[word]
            signs = paths.signs[word]
            if not tree:
                noise = draw.choice(size, NEGATIVES, p=share_N)
                # A noise word that is w itself is left out.
                rows = np.array([word, *noise[noise != word]])
                signs = np.array([1.0] + [-1.0] * (len(rows) - 1))
            for near in around:
                value, slope_D, slope_MD = prediction_loss(v_ND[near], u_MD[rows], signs)
                v_ND[near] += step * slope_D
                np.add.at(u_MD, rows, step * slope_MD)
                gained += value
                pairs += 1
        reached.append(gained / max(pairs, 1))

    return v_ND, reached


def rank_vectors(
    texts: Sequence[Sequence[int]],
    counts: Sequence[int],
    dimensions: int = 30,
    epochs: int = 5,
    rate: float = 0.01,
    seed: int = 1,
) -> tuple[np.ndarray, list[float]]:
    """Return the vectors (N, D), and the share of windows scored above their corrupted ones in each epoch."""
    torch.manual_seed(seed)
    size = len(counts)
    share = torch.from_numpy(noise_share(np.asarray(counts)))
    network = RankingNetwork(size, dimensions)
    reached: list[float] = []
    beyond = [size] * WINDOW
    padded = [[*beyond, *text, *beyond] for text in texts]
    spans = []
    for text in padded:
        for place in range(len(text) - 2 * WINDOW):
            spans.append(text[place : place + 2 * WINDOW + 1])

    real_TC = torch.tensor(spans)
    optimizer = torch.optim.Adam(network.parameters(), rate)
    for _ in range(epochs):
        right = 0
        for part in torch.randperm(len(real_TC)).split(128):
            real_BC = real_TC[part]
            other_BC = real_BC.clone()
            other_BC[:, WINDOW] = torch.multinomial(share, len(part), replacement=True)
            real_B = network(real_BC)
            other_B = network(other_BC)
            optimizer.zero_grad()
            ranking_loss(real_B, other_B).mean().backward()
            optimizer.step()
            right += int((real_B > other_B).sum())
        reached.append(right / len(real_TC))

    return network.vectors.weight.detach().numpy()[:-1], reached


def nearest(
    v_ND: np.ndarray,
    word: int,
    count: int = 5,
) -> list[int]:
    """Return the words with the largest cosine to one, without itself."""
    unit_ND = v_ND / np.linalg.norm(v_ND, axis=1, keepdims=True)
    return [
        other
        for other in np.argsort(-(unit_ND @ unit_ND[word]), kind="stable").tolist()
        if other != word
    ][:count]


def main() -> None:
    """Fit vectors of frequent words of some reviews, and show the words nearest to some of them."""
    options = program(
        __doc__,
        reviews=400,
        method="negative",
        words=300,
        epochs=3,
    ).parse_args()
    reviews = review_table(options.text, options.reviews, options.seed)["text"]
    texts = [re.findall(r"\w+(?:'\w+)?", review.lower()) for review in reviews]
    frequent = Counter(word for text in texts for word in text).most_common(options.words)
    number = {word: rank for rank, (word, _) in enumerate(frequent)}
    known = []
    for text in texts:
        known.append([number[word] for word in text if word in number])

    counts = [n for _, n in frequent]
    if options.method == "ranking":
        v_ND, reached = rank_vectors(known, counts, epochs=options.epochs, seed=options.seed)
    else:
        v_ND, reached = skip_gram(
            known,
            counts,
            options.method == "tree",
            epochs=options.epochs,
            seed=options.seed,
        )

    print(f"{options.method}, by epoch: {' '.join(f'{value:.3f}' for value in reached)}")
    for word, _ in frequent[20:200:15]:
        print(f"{word:<12} {' '.join(frequent[other][0] for other in nearest(v_ND, number[word]))}")


if __name__ == "__main__":
    main()
