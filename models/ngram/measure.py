"""Measuring a language model on a stream, scored as one long row: every document's begin resets the context."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from ..base import LanguageModel

CHUNK = 1 << 16
"""Tokens scored at a time: what is computed on them stays in the processor's cache."""


@dataclass(frozen=True)
class Scores:
    """What a text costs.

    Args:
        known_nats: −Σ log p over the known tokens.
        oov_nats: The same over the unknown words.
        tokens: All that are predicted: words and ends of documents.
        oov: Unknown words.
        impossible: Tokens to which the model gave probability 0.
    """

    known_nats: float
    oov_nats: float
    tokens: int
    oov: int
    impossible: int

    @property
    def nats(self) -> float:
        """−Σ log p over all tokens."""
        return self.known_nats + self.oov_nats

    @property
    def perplexity(self) -> float:
        """Per token, unknown words included; NaN without any token."""
        return _perplexity(self.nats, self.tokens)

    @property
    def perplexity_without_oov(self) -> float:
        """Per known token; NaN without any."""
        return _perplexity(self.known_nats, self.tokens - self.oov)


def _perplexity(nats: float, tokens: int) -> float:
    return float(np.exp(nats / tokens)) if tokens else float("nan")


def total(
    ids_T: np.ndarray, pieces: Iterable[np.ndarray], given: Collection[int], unknown: int | None = None
) -> Scores:
    """Add up what a text costs, piece by piece.

    Args:
        ids_T: The text.
        pieces: Nats of its ids, in their order, 0 where an id is given.
        given: Ids that are never predicted.
        unknown: Id of unknown words; None where there is none.
    """
    known_nats, oov_nats, oov, impossible, first = 0.0, 0.0, 0, 0, 0
    for nats_T in pieces:
        if unknown is not None:
            unknown_T = ids_T[first : first + len(nats_T)] == unknown
            oov, oov_nats = oov + int(unknown_T.sum()), oov_nats + float(nats_T[unknown_T].sum())
            impossible += int(np.isinf(nats_T[unknown_T]).sum())
            first, nats_T = first + len(nats_T), nats_T[~unknown_T]
        known_nats += float(nats_T.sum())
        impossible += int(np.isinf(nats_T).sum())
    tokens = len(ids_T) - sum(int((ids_T == token).sum()) for token in set(given))
    return Scores(known_nats, oov_nats, tokens, oov, impossible)


def score_chunks(model: LanguageModel, ids_T: np.ndarray, chunk: int = CHUNK) -> Iterator[np.ndarray]:
    """Score one long row of ids piece by piece; yields nats, (at most *chunk*,) float64 each."""
    state = model.start(1)
    for first in range(0, len(ids_T), chunk):
        nats_1T, state = model.score(np.asarray(ids_T[first : first + chunk])[None], state)
        yield nats_1T[0]


def measure(model: LanguageModel, ids_T: np.ndarray, given: Collection[int]) -> dict[str, float]:
    """Return `tokens` (those that are predicted), mean `nats`, `perplexity`, and `zero_probability_events`.

    The last is the number of tokens to which the model gave probability 0. One is enough to make nats and perplexity
    infinite, and so they are returned: leaving such tokens out would reward a model for calling them impossible.
    Without tokens there are only the two counts.
    """
    scores = total(ids_T, score_chunks(model, ids_T), given)
    found: dict[str, float] = {"tokens": scores.tokens, "zero_probability_events": scores.impossible}
    return found | {"nats": scores.nats / scores.tokens, "perplexity": scores.perplexity} if scores.tokens else found
