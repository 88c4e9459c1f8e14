"""Measure an n-gram model on a stream, scored as one long row: every document's begin resets the context."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from reviewlm.models.ngram.lm import NGramLM
from reviewlm.models.threads import map_in_order

CHUNK = 1 << 16
"""Number of tokens scored at a time: small enough for the processor's cache."""


@dataclass(frozen=True)
class Scores:
    """The scores of a text.

    Args:
        known_nats: −Σ log p over the known tokens.
        oov_nats: −Σ log p over the unknown words.
        tokens: Number of predicted tokens: words and ends of documents.
        oov: Number of unknown words.
        impossible: Number of tokens to which the model gave probability 0.
    """

    known_nats: float
    oov_nats: float
    tokens: int
    oov: int
    impossible: int

    @property
    def nats(self) -> float:
        """Total −Σ log p over all tokens."""
        return self.known_nats + self.oov_nats

    @property
    def perplexity(self) -> float:
        """Perplexity per token, unknown words included; NaN without any token."""
        return _perplexity(self.nats, self.tokens)

    @property
    def perplexity_without_oov(self) -> float:
        """Perplexity per known token; NaN without any."""
        return _perplexity(self.known_nats, self.tokens - self.oov)


def _perplexity(nats: float, tokens: int) -> float:
    if tokens:
        return float(np.exp(nats / tokens))
    return float("nan")


def total(
    ids_T: np.ndarray,
    pieces: Iterable[np.ndarray],
    given: Collection[int],
    unknown: int | None = None,
) -> Scores:
    """Add up the scores of a text, piece by piece.

    Args:
        pieces: Nats of its ids, in their order, 0 for given ids.
        given: Ids that are never predicted.
        unknown: Id of unknown words; None if there is none.
    """
    known_nats = 0.0
    oov_nats = 0.0
    oov = 0
    impossible = 0
    first = 0
    for nats_T in pieces:
        if unknown is not None:
            unknown_T = ids_T[first : first + len(nats_T)] == unknown
            oov += int(unknown_T.sum())
            oov_nats += float(nats_T[unknown_T].sum())
            impossible += int(np.isinf(nats_T[unknown_T]).sum())
            first += len(nats_T)
            nats_T = nats_T[~unknown_T]
        known_nats += float(nats_T.sum())
        impossible += int(np.isinf(nats_T).sum())

    tokens = len(ids_T) - sum(int((ids_T == token).sum()) for token in set(given))
    return Scores(
        known_nats,
        oov_nats,
        tokens,
        oov,
        impossible,
    )


def score_chunks(model: NGramLM, ids_T: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the nats of pieces, (at most `CHUNK`,) float64, several in parallel; each reads the N − 1 ids before it."""

    def score(first: int) -> np.ndarray:
        history_T = ids_T[max(0, first - model.order + 1) : first]
        window_1T = ids_T[None, first : first + CHUNK]
        state = model.read(history_T[None], model.start(1))
        return model.score(window_1T, state)[0][0]

    yield from map_in_order(score, range(0, len(ids_T), CHUNK))


def measure(
    model: NGramLM,
    ids_T: np.ndarray,
    given: Collection[int],
) -> dict[str, float]:
    """Return `tokens` (number of predicted tokens), mean `nats`, `perplexity`, and `zero_probability_events`.

    The last is the number of tokens to which the model gave probability 0. A single one makes nats and perplexity
    infinite, and infinity is returned: to leave such tokens out would reward a model for giving probability 0.
    Without tokens only the two counts are returned.
    """
    scores = total(ids_T, score_chunks(model, ids_T), given)
    values: dict[str, float] = {
        "tokens": scores.tokens,
        "zero_probability_events": scores.impossible,
    }
    if scores.tokens:
        return values | {"nats": scores.nats / scores.tokens, "perplexity": scores.perplexity}
    return values
