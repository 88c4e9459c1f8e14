"""Read reviews whose rating is not known: the average of a model over the ratings of its training reviews.

A model reads a rating before the text. The token of an unknown rating says nothing to a model whose training reviews
all had one, so the text is read with each rating k of the training reviews, and p(text) = Σ share(k) · p(text | k). The
prediction of a token weighs each rating by its probability given the tokens before: Bayes' rule.

Shapes: B texts, R ratings, T tokens; the rows of the inner model are the R ratings of the first text, then of the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..base import LanguageModel, ModelError
from ..tokens.vocabulary import BOS, STARS

IMPOSSIBLE = 1e6
"""Nats that a token of probability 0 counts in the comparison of ratings."""


@dataclass(frozen=True)
class AnyRatingState:
    """The state of B texts.

    Args:
        inner: State of the model that reads B · R streams.
        logp_BR: Log-probability of each rating given the tokens so far.
        begun: Whether `<bos>` was read.
    """

    inner: Any
    logp_BR: np.ndarray
    begun: bool

    def take(self, rows: Sequence[int]) -> AnyRatingState:
        """Return the chosen texts, in the order given; a row may be taken more than once."""
        ratings = range(self.logp_BR.shape[1])
        inner = self.inner.take([row * len(ratings) + rating for row in rows for rating in ratings])
        return AnyRatingState(inner, self.logp_BR[list(rows)], self.begun)

    @classmethod
    def join(cls, states: Sequence[AnyRatingState]) -> AnyRatingState:
        """Return one state of all texts; all of them have begun, or none."""
        inner = type(states[0].inner).join([state.inner for state in states])
        return cls(inner, np.concatenate([state.logp_BR for state in states]), states[0].begun)


class AnyRating:
    """Language model of streams `<bos> w1 … wn <eos>` without a rating, made of a model of streams with one.

    Args:
        model: Reads streams `<bos> <stars_k> w1 …`.
        ratings: The ratings k.
        shares_R: Their shares, which sum to 1.
    """

    def __init__(self, model: LanguageModel, ratings: Sequence[int], shares_R: np.ndarray) -> None:
        self._model, self._ratings, self._shares_R = model, list(ratings), shares_R
        self.vocabulary_size = model.vocabulary_size

    def start(self, batch: int) -> AnyRatingState:
        """Return the state of *batch* texts before their `<bos>`."""
        logp_BR = np.tile(np.log(self._shares_R), (batch, 1))
        return AnyRatingState(self._model.start(batch * len(self._ratings)), logp_BR, False)

    def step(self, ids_B: np.ndarray, state: AnyRatingState) -> tuple[torch.Tensor, AnyRatingState]:
        """Read one token of each text; see `LanguageModel.step`."""
        if state.begun:
            rows_N = np.repeat(ids_B, len(self._ratings))
            after_BR = self._weighed(self._model.score(rows_N[:, None], state.inner)[0], state.logp_BR)[1]
        else:
            rows_N, state, after_BR = self._stars(len(ids_B)), self._read_bos(ids_B, state), state.logp_BR
        logp_NV, inner = self._model.step(rows_N, state.inner)
        weights_BR1 = torch.as_tensor(after_BR, device=logp_NV.device)[:, :, None]
        logp_BV = (weights_BR1 + logp_NV.double().view(*after_BR.shape, -1)).logsumexp(1)
        return logp_BV.float(), AnyRatingState(inner, after_BR, True)

    def score(self, ids_BT: np.ndarray, state: AnyRatingState) -> tuple[np.ndarray, AnyRatingState]:
        """Read T tokens of each text; see `LanguageModel.score`."""
        nats_BT, first = np.zeros(ids_BT.shape), 0
        if not state.begun and ids_BT.shape[1]:
            state, first = self._read_bos(ids_BT[:, 0], state), 1
            inner = self._model.score(self._stars(len(ids_BT))[:, None], state.inner)[1]
            state = AnyRatingState(inner, state.logp_BR, True)
        if ids_BT.shape[1] > first:
            rows_NT = np.repeat(ids_BT[:, first:], len(self._ratings), axis=0)
            nats_NT, inner = self._model.score(rows_NT, state.inner)
            nats_BT[:, first:], logp_BR = self._weighed(nats_NT, state.logp_BR)
            state = AnyRatingState(inner, logp_BR, True)
        return nats_BT, state

    def save(self, folder: Any) -> None:
        """Refuse: the inner model is what is saved."""
        raise ModelError("a model that is averaged over ratings is not saved; save the model itself", "input")

    def _stars(self, batch: int) -> np.ndarray:
        return np.tile([STARS[rating] for rating in self._ratings], batch)

    def _read_bos(self, ids_B: np.ndarray, state: AnyRatingState) -> AnyRatingState:
        if (ids_B != BOS).any():
            raise ModelError("a text without a rating must begin with <bos>", "input")
        bos_N1 = np.full((len(ids_B) * len(self._ratings), 1), BOS, np.int64)
        return AnyRatingState(self._model.score(bos_N1, state.inner)[1], state.logp_BR, False)

    def _weighed(self, nats_NT: np.ndarray, logp_BR: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return nats_BT of the average, which sum to −log of the average probability, and log p(rating) after them."""
        nats_BRT = nats_NT.reshape(*logp_BR.shape, -1)
        read_BRT = np.cumsum(np.minimum(nats_BRT, IMPOSSIBLE), axis=2)  # finite also after a token that none allows
        logp_BRT = logp_BR[:, :, None] - np.pad(read_BRT, ((0, 0), (0, 0), (1, 0)))
        logp_BRT -= np.logaddexp.reduce(logp_BRT, axis=1, keepdims=True)
        return -np.logaddexp.reduce(logp_BRT[:, :, :-1] - nats_BRT, axis=1), logp_BRT[:, :, -1]
