"""Compute gating features from an n-gram model's longest known context: how far to trust it for the next word.

The features are read from the model's tables, for the longest context h that ends here and was continued in training:

    length        its number of tokens, 0 … N − 1
    back-off      log γ(h): the back-off weight, for the words that never followed h
    followers     log(1 + number of different words that followed h)

Longer contexts and a small γ are in favour of the n-gram model, many followers in favour of models that generalise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from ..ngram.lm import NGramLM, NGramState
from ..ngram.lookup import NONE, apart, follow
from .parts import Part

LEAST_BACKOFF = -20.0
"""Smallest log γ used as a feature. Maximum likelihood leaves 0 to other words (log 0 = −∞), and rounding hardly more;
no weight can be tuned on −∞."""


@dataclass(frozen=True)
class Matched:
    """The longest known context at each place: its length, log γ, and number of followers; all of the same shape."""

    length: np.ndarray
    backoff: np.ndarray
    followers: np.ndarray

    def features(self, order: int) -> np.ndarray:
        """Return the features (…, N + 1): one-hot length without 0, log γ, log(1 + followers)."""
        one_hot = self.length[..., None] == np.arange(1, order)
        backoff = np.maximum(self.backoff, LEAST_BACKOFF)
        rest = [backoff[..., None], np.log1p(self.followers)[..., None]]
        return np.concatenate([one_hot.astype(np.float64), *rest], -1)


def matched_before(model: NGramLM, ids_BT: np.ndarray, state: NGramState) -> Matched:
    """Return the longest known context before each of T tokens; it does not depend on the token itself."""
    return _matched(model, np.concatenate([state.context_BK, np.asarray(ids_BT, np.int64)], 1), ids_BT.shape[1])


def matched_after(model: NGramLM, state: NGramState) -> Matched:
    """Return the longest known context before the next token, (B,)."""
    shape = len(state.context_BK)
    matched = Matched(np.zeros(shape, np.int64), np.zeros(shape), np.zeros(shape))
    _note(matched, model, enumerate(model.contexts(state), start=1))
    return matched


def _matched(model: NGramLM, ids_BL: np.ndarray, last: int) -> Matched:
    shape = len(ids_BL), last
    matched = Matched(np.zeros(shape, np.int64), np.zeros(shape), np.zeros(shape))
    if model.order == 1:
        return matched
    apart_BL = apart(ids_BL)
    rows = (row_T.reshape(apart_BL.shape) for row_T in follow(apart_BL.ravel(), model.tables.followers[:-1]))
    # The context of a position ends at the position before it.
    contexts = (row_BL[:, -last - 1 : -1].ravel() for row_BL in chain([apart_BL], rows))
    _note(matched, model, enumerate(contexts, start=1))
    return matched


def _note(matched: Matched, model: NGramLM, contexts: Iterable[tuple[int, np.ndarray]]) -> None:
    """Write every context that was continued into *matched*, shortest first, so that the longest remains."""
    length_N, backoff_N, followers_N = (a.reshape(-1) for a in (matched.length, matched.backoff, matched.followers))
    for length, context_N in contexts:
        at = np.flatnonzero(context_N != NONE)
        context_Q = context_N[at].astype(np.int64)
        number_Q = model.tables.followers[length - 1].span(context_Q)[1]
        continued_Q = number_Q > 0
        at, context_Q = at[continued_Q], context_Q[continued_Q]
        length_N[at] = length
        backoff_N[at] = model.tables.backoff[length - 1][context_Q]
        followers_N[at] = number_Q[continued_Q]


def ngram_models(parts: Sequence[Part]) -> list[NGramLM]:
    """Return the n-gram models among the parts and inside them, at any depth, in order."""
    models: list[NGramLM] = []
    for part in parts:
        model = part.model
        models += [model] if isinstance(model, NGramLM) else ngram_models(getattr(model, "parts", ()))
    return models


def ngram_states(parts: Sequence[Part], states: Sequence[Any]) -> list[NGramState]:
    """Return the states of `ngram_models`, in the same order; states are nested as the models are."""
    inner_states: list[NGramState] = []
    for part, state in zip(parts, states, strict=True):
        if isinstance(part.model, NGramLM):
            inner_states.append(state)
        elif inner := getattr(part.model, "parts", ()):
            inner_states += ngram_states(inner, state.parts)
    return inner_states
