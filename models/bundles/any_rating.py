"""Marginalise over the rating if it is unknown: p(text) = Σ share(k) p(text | k) over the training ratings.

A model reads a rating before the text. The token of an unknown rating says nothing to a model whose training reviews
all had one, so the text is read with each rating k of the training reviews, and p(text) = Σ share(k) · p(text | k). The
prediction of a token weighs each rating by its probability given the tokens before: Bayes' rule.

Shapes: B texts, R ratings, T tokens; the rows of the inner model are the R ratings of the first text, then of the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from ..base import ENTRIES, LanguageModel, ModelError, distributions, read_on, score_copies
from ..log_sums import log_sum_over
from ..mixture.weights import Attribution, average_ratings
from ..tokens.special import BOS, CONTEXT_IDS, STARS

IMPOSSIBLE = 1e6
"""Nats that a token of probability 0 counts in the comparison of ratings."""


@dataclass(frozen=True)
class AnyRatingState:
    """The state of B texts.

    Args:
        inner: State of the model that reads B · R streams.
        logp_BR: Log-probability of each rating given the tokens so far.
        begun: Whether `<bos>` was read.
        next_BRV: Log-probabilities of the next token under each rating; None if they were not computed, or follow from
            `inner` (`NeuralLM.next_logp`).
    """

    inner: Any
    logp_BR: np.ndarray
    begun: bool
    next_BRV: torch.Tensor | None = None

    def take(self, rows: Sequence[int]) -> AnyRatingState:
        """Return the chosen texts, in the order given; a row may be taken more than once."""
        rows = list(rows)
        ratings = self.logp_BR.shape[1]
        rows_NR = np.array(rows, np.int64)[:, None] * ratings + np.arange(ratings)
        inner = self.inner.take(rows_NR.ravel().tolist())
        following = None if self.next_BRV is None else self.next_BRV[rows]
        return AnyRatingState(inner, self.logp_BR[rows], self.begun, following)

    @classmethod
    def join(cls, states: Sequence[AnyRatingState]) -> AnyRatingState:
        """Return one state of all texts.

        Raises:
            ModelError: kind "input": some of them have begun, but not all.
        """
        if len({state.begun for state in states}) > 1:
            raise ModelError("texts that have begun cannot be joined with others", "input")

        inner = type(states[0].inner).join([state.inner for state in states])
        rows = [state.next_BRV for state in states if state.next_BRV is not None]
        following = None
        if len(rows) == len(states):
            following = torch.cat(rows)

        return cls(
            inner, np.concatenate([state.logp_BR for state in states]), states[0].begun, following
        )

    def nats_of(self, ids_B: np.ndarray) -> np.ndarray | None:
        """Return −log p of the next tokens under each rating (B · R, 1), if it is known without the model."""
        if self.next_BRV is None:
            return None
        ids_B11 = torch.as_tensor(ids_B, dtype=torch.int64, device=self.next_BRV.device)[
            :, None, None
        ]
        logp_BR1 = self.next_BRV.gather(2, ids_B11.expand(*self.next_BRV.shape[:2], 1))
        return -logp_BR1.reshape(-1, 1).double().cpu().numpy()


class AnyRating:
    """Language model of streams `<bos> w1 … wn <eos>` without a rating, made of a model of streams with one.

    Args:
        model: Reads streams `<bos> <stars_k> w1 …`.
        ratings: The ratings k.
        shares_R: Their shares, which sum to 1.
    """

    def __init__(
        self,
        model: LanguageModel,
        ratings: Sequence[int],
        shares_R: np.ndarray,
    ) -> None:
        self._model = model
        self._ratings = list(ratings)
        self._shares_R = shares_R
        self.vocabulary_size = model.vocabulary_size

    def start(self, batch: int) -> AnyRatingState:
        """Return the state of *batch* texts before their `<bos>`."""
        logp_BR = np.tile(np.log(self._shares_R), (batch, 1))
        return AnyRatingState(self._model.start(batch * len(self._ratings)), logp_BR, begun=False)

    def step(self, ids_B: np.ndarray, state: AnyRatingState) -> tuple[torch.Tensor, AnyRatingState]:
        """Read one token of each text; see `LanguageModel.step`."""
        ids_B1 = np.asarray(ids_B)[:, None]
        state = self._read(ids_B1, state) if state.begun else self._begin(ids_B)
        logp_BRV = self._next(state)
        weights_BR = torch.as_tensor(state.logp_BR, dtype=logp_BRV.dtype, device=logp_BRV.device)
        return log_sum_over(logp_BRV, weights_BR), state

    def advance(self, ids_BT: np.ndarray, state: AnyRatingState) -> AnyRatingState:
        """Read T tokens of each text without scoring them; the same to the bit as T steps."""
        first = 0
        if not state.begun and ids_BT.shape[1]:
            state = self._begin(ids_BT[:, 0])
            first = 1

        width = max(1, ENTRIES // (self.vocabulary_size * max(1, state.logp_BR.size)))
        for begin in range(first, ids_BT.shape[1], width):
            state = self._read(ids_BT[:, begin : begin + width], state)

        return state

    def _read(self, ids_BT: np.ndarray, state: AnyRatingState) -> AnyRatingState:
        """Read T tokens of each text that has begun, T at least 1; weigh its ratings by what each says of the tokens."""
        rows_NT = np.repeat(ids_BT, len(self._ratings), axis=0)
        if self._scores_steps:
            nats_NT, inner = self._model.score_steps(rows_NT, state.inner)  # type: ignore[attr-defined]
            return AnyRatingState(inner, _logp_after(nats_NT, state.logp_BR), begun=True)

        nats_N1 = state.nats_of(ids_BT[:, 0])
        if nats_N1 is None:
            nats_N1 = self._model.score(rows_NT[:, :1], state.inner)[0]

        logp_NTV, inner = distributions(self._model, rows_NT, state.inner)
        targets_NT1 = torch.as_tensor(rows_NT[:, 1:, None], device=logp_NTV.device)
        logp_NT = logp_NTV[:, :-1].gather(2, targets_NT1)[:, :, 0]
        nats_NT = np.concatenate([nats_N1, -logp_NT.double().cpu().numpy()], 1)
        logp_BR = _logp_after(nats_NT, state.logp_BR)
        next_BRV = logp_NTV[:, -1].view(*logp_BR.shape, -1)
        if ids_BT.shape[1] > 1:
            next_BRV = next_BRV.clone()  # a view would keep the distributions of all T tokens
        return AnyRatingState(inner, logp_BR, begun=True, next_BRV=next_BRV)

    def _begin(self, ids_B: np.ndarray) -> AnyRatingState:
        """Read the `<bos>` of each text as `_read` does; computed once, for all texts begin with it."""
        if (ids_B != BOS).any():
            raise ModelError("a text without a rating must begin with <bos>", "input")

        return self._begun.take([0] * len(ids_B))

    @cached_property
    def _begun(self) -> AnyRatingState:
        """The state of one text after its `<bos>` and its rating."""
        ratings = len(self._ratings)
        bos_R1 = np.full((ratings, 1), BOS, np.int64)
        inner = read_on(self._model, bos_R1, self._model.start(ratings))
        logp_RV, inner = self._model.step(self._stars(1), inner)
        following = None if self._scores_steps else logp_RV[None]
        return AnyRatingState(inner, np.log(self._shares_R)[None], begun=True, next_BRV=following)

    @property
    def _scores_steps(self) -> bool:
        """Whether the inner model needs no distributions to score the tokens of steps."""
        return getattr(self._model, "scores_steps", False)

    def _next(self, state: AnyRatingState) -> torch.Tensor:
        """Return log p of every next token under each rating (B, R, V).

        Raises:
            ModelError: kind "input": the last token was not read by `step` or `advance`.
        """
        if state.next_BRV is not None:
            return state.next_BRV
        if not self._scores_steps:
            raise ModelError("the distributions under each rating are not known", "input")

        logp_NV: torch.Tensor = self._model.next_logp(state.inner)  # type: ignore[attr-defined]
        return logp_NV.view(*state.logp_BR.shape, -1)

    def score(self, ids_BT: np.ndarray, state: AnyRatingState) -> tuple[np.ndarray, AnyRatingState]:
        """Read T tokens of each text; see `LanguageModel.score`."""
        nats_BT = np.zeros(ids_BT.shape)
        first = 0
        if not state.begun and ids_BT.shape[1]:
            state = self._begin(ids_BT[:, 0])
            first = 1

        if ids_BT.shape[1] > first:
            nats_NT, inner = score_copies(
                self._model, ids_BT[:, first:], len(self._ratings), state.inner
            )
            nats_BT[:, first:], logp_BR = self._weigh(nats_NT, state.logp_BR)
            state = AnyRatingState(inner, logp_BR, begun=True)

        return nats_BT, state

    def likeliest(self, state: AnyRatingState) -> tuple[torch.Tensor, Any]:
        """Go on with each text in its most probable rating alone, for a fraction of the work.

        Returns:
            logp_BV of the next token in this rating, and the state of the inner model there.

        Raises:
            ModelError: kind "input": the last token was not read by `step` or `advance`.
        """
        logp_BRV = self._next(state)
        best_B = state.logp_BR.argmax(1)
        rows_B = np.arange(len(best_B))
        inner = state.inner.take((rows_B * len(self._ratings) + best_B).tolist())
        return logp_BRV[torch.from_numpy(rows_B), torch.from_numpy(best_B)], inner

    def save(self, folder: Any) -> None:
        """Refuse: the inner model is what is saved."""
        raise ModelError(
            "a model that is averaged over ratings is not saved; save the model itself", "input"
        )

    def _stars(self, batch: int) -> np.ndarray:
        return np.tile([STARS[rating] for rating in self._ratings], batch)

    def _weigh(self, nats_NT: np.ndarray, logp_BR: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return nats_BT of the average, which sum to −log of the average probability, and log p(rating) after them."""
        nats_BRT = nats_NT.reshape(*logp_BR.shape, -1)
        logp_BRT = _logp_of_ratings(nats_BRT, logp_BR)
        nats_BT = -np.logaddexp.reduce(logp_BRT[:, :, :-1] - nats_BRT, axis=1)
        return nats_BT, logp_BRT[:, :, -1]


class AnyRatingMixture(AnyRating):
    """`AnyRating` of a model that has parts, with their attribution."""

    def attribute(
        self, ids_BT: np.ndarray, state: AnyRatingState
    ) -> tuple[Attribution, AnyRatingState]:
        """Score tokens and return the contribution of each part to each; see `average_ratings`."""
        rows_NT = np.repeat(ids_BT, len(self._ratings), axis=0)
        first = not state.begun and ids_BT.shape[1] > 0
        if first:
            self._begin(ids_BT[:, 0])
            rows_NT = np.insert(rows_NT, 1, self._stars(len(ids_BT)), axis=1)

        inner_attribution, inner = self._model.attribute(rows_NT, state.inner)  # type: ignore[attr-defined]
        if first:
            inner_attribution = inner_attribution.without(1)

        logp_BRT = _logp_of_ratings(
            inner_attribution.nats_BT.reshape(*state.logp_BR.shape, -1), state.logp_BR
        )
        given_BT = np.isin(ids_BT, sorted(CONTEXT_IDS))
        after = AnyRatingState(inner, logp_BRT[:, :, -1], state.begun or first)
        return average_ratings(inner_attribution, logp_BRT[:, :, :-1], given_BT), after


def _logp_after(nats_NT: np.ndarray, logp_BR: np.ndarray) -> np.ndarray:
    """Return log p(rating) after T tokens (B, R); one by one, so that the result does not depend on T."""
    for nats_N in nats_NT.T:
        logp_BR = _logp_of_ratings(nats_N.reshape(*logp_BR.shape, 1), logp_BR)[:, :, 1]
    return logp_BR


def _logp_of_ratings(nats_BRT: np.ndarray, logp_BR: np.ndarray) -> np.ndarray:
    """Return log p(rating) before each of T tokens and after the last one (B, R, T + 1)."""
    # Finite also after a token that none allows.
    read_BRT = np.cumsum(np.minimum(nats_BRT, IMPOSSIBLE), axis=2)
    before_BR1 = np.zeros((*logp_BR.shape, 1))
    logp_BRT = logp_BR[:, :, None] - np.concatenate([before_BR1, read_BRT], 2)
    logp_BRT -= np.logaddexp.reduce(logp_BRT, axis=1, keepdims=True)
    return logp_BRT
