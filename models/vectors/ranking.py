"""Train word vectors by ranking windows: the network of Collobert & Weston (2008).

A window is the 2W + 1 words around a word, padded where the review ends. The network joins their vectors and scores the
whole window:

    f(w_1 … w_n) = a · tanh(M [v_{w_1}; …; v_{w_n}] + b)

A corrupted window has another word in its centre, drawn in proportion to count^`noise_power` (0 draws uniformly, as the
paper does). The loss of a pair is max(0, 1 + f(corrupted) − f(real)). The score needs no normalising, so that no sum
over the vocabulary is computed. The ranking accuracy is the share of held-out pairs with f(real) > f(corrupted);
guessing gives 0.5. Frequent words are left out as centres only; they stay in the windows of others.

The update is SGD with sparse gradients for the vectors; the learning rate falls linearly, as in `training.py`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..base import JOURNAL, ModelError
from ..neural.labelling.losses import ranking
from ..streams import TokenStream
from .noise import noise_share
from .spec import EmbeddingSpec
from .training import LAST_RATE, Report, Selection, keep_probability, select

BATCH = 128
PAIRS = 20_000
"""Most held-out pairs that are ranked."""


class RankingNetwork(nn.Module):
    """Score windows of words; row N of the vectors is what lies beyond the review.

    Args:
        words: Number of words N.
        spec: Sizes, and the seed of the first weights.
    """

    def __init__(self, words: int, spec: EmbeddingSpec) -> None:
        super().__init__()
        self.vectors = nn.Embedding(words + 1, spec.dimensions, sparse=True)
        self.hidden = nn.Linear((2 * spec.window + 1) * spec.dimensions, spec.hidden)
        self.score = nn.Linear(spec.hidden, 1, bias=False)
        generator = torch.Generator().manual_seed(spec.seed)
        with torch.no_grad():
            self.vectors.weight.uniform_(-0.5, 0.5, generator=generator)
            for layer in (self.hidden, self.score):
                layer.weight.uniform_(-(layer.in_features**-0.5), layer.in_features**-0.5, generator=generator)
            self.hidden.bias.zero_()

    def forward(self, windows_BC: Tensor) -> Tensor:
        """Return the score of each window (B)."""
        scores_B1: Tensor = self.score(torch.tanh(self.hidden(self.vectors(windows_BC).flatten(1))))
        return scores_B1.squeeze(1)


@dataclass(frozen=True)
class CentredWords:
    """The words of a stream that have vectors, one after another.

    Attributes:
        words_T: Their rows.
        review_T: The number of the review of each.
        window: Words on each side of a centre.
        padding: Row that stands for what lies beyond the review.
    """

    words_T: np.ndarray
    review_T: np.ndarray
    window: int
    padding: int

    @classmethod
    def of(cls, stream: TokenStream, selection: Selection, window: int) -> CentredWords:
        """Return the words of a stream."""
        review_T = np.repeat(np.arange(len(stream), dtype=np.int32), np.diff(stream.offsets))
        words_T = selection.row_V[stream.ids]
        return cls(words_T[words_T >= 0], review_T[words_T >= 0], window, len(selection.ids_N))

    def windows(self, places_B: np.ndarray) -> np.ndarray:
        """Return the windows around these places (B, 2W + 1); the centre is column W."""
        near_BC = places_B[:, None] + np.arange(-self.window, self.window + 1)
        inside_BC = (near_BC >= 0) & (near_BC < len(self.words_T))
        near_BC = np.where(inside_BC, near_BC, 0)
        inside_BC &= self.review_T[near_BC] == self.review_T[places_B][:, None]
        return np.where(inside_BC, self.words_T[near_BC], self.padding).astype(np.int64)


def train_ranking(
    spec: EmbeddingSpec, stream: TokenStream, validation: TokenStream, report: Report = lambda done, total: None,
    work: Path | None = None,
) -> tuple[Selection, RankingNetwork, list[float]]:  # fmt: skip
    """Train vectors by ranking; return their words, the network, and the ranking accuracy before and after each epoch.

    Args:
        spec: Options; its kind is "ranking".
        stream: Training reviews.
        validation: Held-out reviews, for the accuracy.
        report: Called after each update with the tokens read so far, over all epochs, and their number in the end.
        work: Folder of the journal `metrics.jsonl`, with the accuracy of each epoch; None: none.

    Raises:
        ModelError: kind "input": see `training.select`; kind "diverged": a weight is not finite.
    """
    selection = select(stream, spec.min_count)
    network, rng = RankingNetwork(len(selection.ids_N), spec), np.random.default_rng(spec.seed)
    text, held = (CentredWords.of(each, selection, spec.window) for each in (stream, validation))
    keep_N = keep_probability(selection.counts_N, spec.subsample)
    noise_N = noise_share(selection.counts_N, spec.noise_power)
    reached = [ranking_accuracy(network, held, noise_N)]
    if work is not None:
        (work / JOURNAL).unlink(missing_ok=True)  # of a killed training, which begins again
    for epoch in range(spec.epochs):
        centres = rng.permutation(np.flatnonzero(rng.random(len(text.words_T)) < keep_N[text.words_T]))
        for begin in range(0, len(centres), BATCH):
            done = (epoch + begin / len(centres)) / spec.epochs
            real_BC = text.windows(centres[begin : begin + BATCH])
            update(network, real_BC, corrupted(real_BC, noise_N, rng), spec.first_rate * max(LAST_RATE, 1 - done))
            report(round(done * spec.epochs * len(stream.ids)), spec.epochs * len(stream.ids))
        if not all(bool(weight.isfinite().all()) for weight in network.parameters()):
            raise ModelError(f"a weight is not finite after epoch {epoch + 1}; lower the learning rate", "diverged")
        reached.append(ranking_accuracy(network, held, noise_N))
        if work is not None:
            with (work / JOURNAL).open("a", encoding="utf-8") as file:
                file.write(json.dumps({"epoch": epoch + 1, "validation/ranking_accuracy": reached[-1]}) + "\n")
    return selection, network, reached


def update(network: RankingNetwork, real_BC: np.ndarray, corrupted_BC: np.ndarray, rate: float) -> float:
    """Take one step of SGD on the summed loss of pairs of windows; return it."""
    both = network(torch.from_numpy(np.concatenate([real_BC, corrupted_BC])))
    loss = ranking(both[: len(real_BC)], both[len(real_BC) :]).sum()
    loss.backward()
    with torch.no_grad():
        for weight in network.parameters():
            if (slope := weight.grad) is not None:
                weight.add_(slope, alpha=-rate)  # a sparse gradient changes only the rows of the windows
                weight.grad = None
    return float(loss.detach())


def corrupted(windows_BC: np.ndarray, noise_N: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the windows with a noise word in the centre, which may be the word itself."""
    windows_BC = windows_BC.copy()
    draws_B = np.searchsorted(np.cumsum(noise_N), rng.random(len(windows_BC)), side="right")
    windows_BC[:, windows_BC.shape[1] // 2] = np.minimum(draws_B, len(noise_N) - 1)
    return windows_BC


@torch.no_grad()
def ranking_accuracy(network: RankingNetwork, held: CentredWords, noise_N: np.ndarray) -> float:
    """Return the share of held-out windows scored above their corrupted ones; equal scores count half."""
    rng = np.random.default_rng(1)
    places = rng.permutation(len(held.words_T))[:PAIRS]
    right, pairs = 0.0, 0
    for begin in range(0, len(places), BATCH):
        real_BC = held.windows(places[begin : begin + BATCH])
        other_BC = corrupted(real_BC, noise_N, rng)
        changed_B = (real_BC != other_BC).any(1)
        gap_B = network(torch.from_numpy(real_BC[changed_B])) - network(torch.from_numpy(other_BC[changed_B]))
        right += float((gap_B > 0).sum()) + 0.5 * float((gap_B == 0).sum())
        pairs += int(changed_B.sum())
    return right / pairs if pairs else 0.5
