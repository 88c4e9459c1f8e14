"""What an n-gram model knows of a context before the next word is seen: how far it may be trusted there.

Read off the tables, for the longest context h of the model that ends here and that was continued in training:

    length        its number of tokens, 0 … N − 1
    back-off      log γ(h): how much of the model's belief is left to words that never followed h
    followers     log(1 + number of different words that followed h)

Longer contexts and a small γ speak for the n-gram model, many followers for whatever generalises.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from ..ngram.lm import NGramLM, NGramState
from ..ngram.lookup import NONE, apart, follow
from .parts import Part

LEAST_BACKOFF = -20.0
"""Lowest log γ that is told apart: maximum likelihood leaves nothing to other words (log 0), and mere rounding not much
more; no weight can be tuned on −∞."""
FEW = 8
"""Streams up to which they are looked up one by one, which spares the overhead of arrays."""


@dataclass(frozen=True)
class Matched:
    """The longest context known at each place: its length, log γ, and number of followers; all of one shape."""

    length: np.ndarray
    backoff: np.ndarray
    followers: np.ndarray

    def features(self, order: int) -> np.ndarray:
        """Return numbers for a gate (…, N + 1): one-hot length without 0, log γ, log(1 + followers)."""
        one_hot = self.length[..., None] == np.arange(1, order)
        backoff = np.maximum(self.backoff, LEAST_BACKOFF)
        rest = [backoff[..., None], np.log1p(self.followers)[..., None]]
        return np.concatenate([one_hot.astype(np.float64), *rest], -1)


def matched_before(model: NGramLM, ids_BT: np.ndarray, state: NGramState) -> Matched:
    """Return what is known before each of T tokens; the token itself has no say."""
    return _matched(model, np.concatenate([state.context_BK, np.asarray(ids_BT, np.int64)], 1), ids_BT.shape[1])


def matched_after(model: NGramLM, state: NGramState) -> Matched:
    """Return what is known before the token that comes next, (B,)."""
    if len(state.context_BK) <= FEW:
        rows = [_longest(model, context_K) for context_K in state.context_BK.tolist()]
        length_B, backoff_B, followers_B = (np.array(column) for column in zip(*rows, strict=True))
        return Matched(length_B, backoff_B, followers_B)
    # What stands in the place of the next token does not matter: only contexts that end before it are looked at.
    ids_BL = np.concatenate([state.context_BK, np.zeros((len(state.context_BK), 1), np.int64)], 1)
    found = _matched(model, ids_BL, 1)
    return Matched(found.length[:, 0], found.backoff[:, 0], found.followers[:, 0])


def _matched(model: NGramLM, ids_BL: np.ndarray, last: int) -> Matched:
    shape = len(ids_BL), last
    found = Matched(np.zeros(shape, np.int64), np.zeros(shape), np.zeros(shape))
    if model.order == 1:
        return found
    followers, apart_BL = model.tables.followers, apart(ids_BL)
    rows = (row_T.reshape(apart_BL.shape) for row_T in follow(apart_BL.ravel(), followers[:-1]))
    levels = zip(chain([apart_BL], rows), followers, model.tables.backoff, strict=True)
    for length, (row_BL, continued, backoff_C) in enumerate(levels, start=1):
        # The context of a position ends at the one before it.
        context_N = row_BL[:, -last - 1 : -1].ravel()
        at = np.flatnonzero(context_N != NONE)
        context_Q = context_N[at].astype(np.int64)
        number_Q = continued.span(context_Q)[1]
        at, context_Q, number_Q = at[number_Q > 0], context_Q[number_Q > 0], number_Q[number_Q > 0]
        found.length.ravel()[at] = length
        found.backoff.ravel()[at] = backoff_C[context_Q]
        found.followers.ravel()[at] = number_Q
    return found


def _longest(model: NGramLM, context_K: list[int]) -> tuple[int, float, int]:
    """Return length, log γ and number of followers of the longest context known of one stream."""
    orders, found = model.tables.followers, (0, 0.0, 0)
    for length in range(1, model.order):
        row = context_K[-length]
        for order, word in zip(orders, context_K[len(context_K) - length + 1 :], strict=False):
            if row == NONE:
                break
            first, last = order.first_C[row : row + 2].tolist()
            words = order.word_M[first:last]
            at = int(words.searchsorted(words.dtype.type(word)))
            row = first + at if at < last - first and words[at] == word else NONE
        if row == NONE:  # nor was any longer context seen, whose end this is
            break
        first, last = orders[length - 1].first_C[row : row + 2].tolist()
        if last > first:
            found = length, float(model.tables.backoff[length - 1][row]), last - first
    return found


def ngram_models(parts: Sequence[Part]) -> list[NGramLM]:
    """Return the n-gram models among the parts, and among the parts of these, at any depth, in order."""
    found: list[NGramLM] = []
    for part in parts:
        model = part.model
        found += [model] if isinstance(model, NGramLM) else ngram_models(getattr(model, "parts", ()))
    return found


def ngram_states(parts: Sequence[Part], states: Sequence[Any]) -> list[NGramState]:
    """Return their states, in the same order: states are nested as the models are."""
    found: list[NGramState] = []
    for part, state in zip(parts, states, strict=True):
        if isinstance(part.model, NGramLM):
            found.append(state)
        elif inner := getattr(part.model, "parts", ()):
            found += ngram_states(inner, state.parts)
    return found
