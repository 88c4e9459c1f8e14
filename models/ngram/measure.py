"""Measuring a language model on a stream, scored as one long row: every document's begin resets the context."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np

from ..base import LanguageModel

CHUNK = 1 << 16
"""Tokens scored at a time: what is computed on them stays in the processor's cache."""


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
    tokens = int((~np.isin(ids_T, sorted(given))).sum())
    nats, impossible = 0.0, 0
    for nats_T in score_chunks(model, ids_T):
        nats += float(nats_T.sum())
        impossible += int(np.isinf(nats_T).sum())
    found: dict[str, float] = {"tokens": tokens, "zero_probability_events": impossible}
    return found | {"nats": nats / tokens, "perplexity": float(np.exp(nats / tokens))} if tokens else found
