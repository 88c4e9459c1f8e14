"""Suggest the most probable next whole words, for word and subword vocabularies."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from math import exp
from typing import Any, NamedTuple

import numpy as np
import torch

from .base import LanguageModel, ModelError
from .bundles.bundle import Bundle
from .tokens.vocabulary import Vocabulary, page

WIDTH = 16
"""Word beginnings that the model extends in one batch."""
ROUNDS = 48
"""Maximum number of search steps; words not found by then are part of `rest`."""
FAN = 64
"""Continuations that are kept per beginning."""
OPENERS = "([{“‘«"


@dataclass(frozen=True)
class Suggestions:
    """Next words with their probabilities, most probable first, and the remaining probability."""

    words: list[tuple[str, float]]
    rest: float


def suggest(bundle: Bundle, prompt: str, k: int = 5, stars: int | None = None) -> Suggestions:
    """Return the k most probable next words of a review that begins with *prompt*.

    Probabilities and `rest` sum to 1; punctuation, line breaks, the end of the review and unknown words count as rest.
    With a word vocabulary, the probabilities are the model's own. With a subword vocabulary, a word's probability is a
    lower bound: the sum over the token sequences of the word that a best-first search found, each followed by a token
    that does not continue the word. Without a rating, they are the average over the ratings of the training reviews,
    weighted by how frequent each is and how well it explains the prompt.

    Args:
        prompt: The text so far; a space at its end makes no difference.
        k: Maximum number of words.
        stars: Rating of the review; 0: a review without one; None: any.

    Raises:
        ModelError: kind "input": k is below 1, or the rating is not valid.
    """
    model, prefix = bundle.reader(stars)
    if not isinstance(k, int) or k < 1:
        raise ModelError(f"k is {k!r}; it must be a whole number of at least 1", "input")
    vocabulary = bundle.vocabulary
    clean = page(vocabulary, prompt)
    ids = np.array([[*prefix, *vocabulary.encode(clean)]], np.int64)
    state = model.score(ids[:, :-1], model.start(1))[1]
    logp_BV, state = model.step(ids[:, -1], state)
    if vocabulary.lossless:
        begun = not clean or clean[-1] == "\n" or clean[-1] in OPENERS
        found = _Search(model, vocabulary, k).run(_probabilities(logp_BV)[0], state, begun)
    else:
        found = _whole_words(vocabulary, _probabilities(logp_BV)[0], prompt, k)
    best = heapq.nsmallest(k, found.items(), key=lambda item: (-item[1], item[0]))
    return Suggestions(best, max(0.0, 1.0 - sum(probability for _, probability in best)))


def _probabilities(logp_BV: torch.Tensor) -> np.ndarray:
    return torch.softmax(logp_BV.double(), 1).cpu().numpy()


def _whole_words(vocabulary: Vocabulary, p_V: np.ndarray, prompt: str, k: int) -> dict[str, float]:
    """Return displayed word → probability; entries that look the same in text are one word."""
    found: defaultdict[str, float] = defaultdict(float)
    candidates = np.flatnonzero(vocabulary.word_start_V)
    ranked = candidates[np.argsort(-p_V[candidates], kind="stable")]
    for token in ranked[: 2 * k]:
        found[vocabulary.decode([token], prompt).strip()] += float(p_V[token])
    return found


class _Beginning(NamedTuple):
    """A beginning of a word, and the state of the model before its last token."""

    cost: float
    """−log of its probability: the heap gives the most probable first."""
    number: int
    ids: tuple[int, ...]
    begun: bool
    state: Any
    row: int


@dataclass
class _Search:
    """Best-first search over token sequences that spell one word.

    A sequence begins with the space that separates it from the prompt. Then follow entries that are parts of words.
    The word ends where the model continues with any other entry.
    """

    model: LanguageModel
    vocabulary: Vocabulary
    k: int
    words: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    heap: list[_Beginning] = field(default_factory=list)
    numbers: Any = field(default_factory=count)

    def run(self, p_V: np.ndarray, state: Any, begun: bool) -> dict[str, float]:
        """Return each word found → its probability, given the distribution after the prompt."""
        self._push(0.0, (), p_V, state, 0, begun)
        for _ in range(ROUNDS):
            best = [heapq.heappop(self.heap) for _ in range(min(WIDTH, len(self.heap)))]
            # A word cannot be more probable than its beginning.
            if not best or exp(-best[0].cost) <= self._kth():
                break
            self._expand(best)
        return self.words

    def _kth(self) -> float:
        best = heapq.nlargest(self.k, self.words.values())
        return best[-1] if len(best) == self.k else 0.0

    def _expand(self, best: Sequence[_Beginning]) -> None:
        vocabulary = self.vocabulary
        states = [node.state.take([node.row]) for node in best]
        last = np.array([node.ids[-1] for node in best], np.int64)
        logp_BV, state = self.model.step(last, type(states[0]).join(states))
        for row, (node, p_V) in enumerate(zip(best, _probabilities(logp_BV), strict=True)):
            if node.begun:
                word = vocabulary.decode(node.ids).strip()
                if any(char.isalnum() for char in word):
                    self.words[word] += exp(-node.cost) * float(p_V[~vocabulary.word_part_V].sum())
            self._push(node.cost, node.ids, p_V, state, row, begun=True)

    def _push(
        self, cost: float, ids: tuple[int, ...], p_V: np.ndarray, state: Any, row: int, begun: bool
    ) -> None:
        """Put the continuations of a beginning on the heap; *begun*: the space before the word is already written."""
        vocabulary = self.vocabulary
        mask = vocabulary.word_part_V if begun else vocabulary.word_start_V | vocabulary.space_V
        tokens = np.flatnonzero(mask & (p_V > 0))
        for token in tokens[np.argsort(-p_V[tokens], kind="stable")][:FAN]:
            child = cost - float(np.log(p_V[token]))
            if exp(-child) > self._kth():
                started = begun or not vocabulary.space_V[token]
                heapq.heappush(
                    self.heap, _Beginning(child, next(self.numbers), (*ids, int(token)), started, state, row)
                )
