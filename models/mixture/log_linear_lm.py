"""Implement the log-linear mixture as a language model.

Every token needs a whole distribution of every part; see `mixture/log_linear.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..tokens.vocabulary import CONTEXT_IDS
from .attribution import Attribution
from .lm import MixtureLM, MixtureState
from .log_linear import log_normaliser, log_scores
from .parts import Part

ENTRIES = 1 << 22
"""Maximum number of entries of one part's distributions, over all streams, at a time while texts are scored."""


class LogLinearMixture(MixtureLM):
    """The log-linear mixture p = Π p_i^{a_i} / Z.

    Only Z needs whole distributions. The state holds the log Z of the next token, so that texts can be cut anywhere.
    Before the first token no part has a distribution. If the first token must be predicted, Z is summed from the scores
    of all words, one by one.

    Args:
        parts: See `MixtureLM`.
        exponents_P: a.
    """

    def __init__(self, parts: Sequence[Part], exponents_P: np.ndarray) -> None:
        super().__init__(parts)
        self.exponents_P = np.asarray(exponents_P, np.float64)
        self._first_log_z: float | None = None
        self._given = sorted(CONTEXT_IDS)

    def start(self, batch: int) -> MixtureState:
        """Return the state of *batch* streams before their first token; its log Z is not known (NaN)."""
        return MixtureState(super().start(batch).parts, np.full(batch, np.nan))

    def step(self, ids_B: np.ndarray, state: MixtureState) -> tuple[torch.Tensor, MixtureState]:
        """Read one token of each stream; see `LanguageModel.step`. Cost: the parts' steps plus O(V)."""
        distributions, states = self._stepped(ids_B, state)
        mixed_BV = log_scores(distributions, self.exponents_P)
        log_z_B = torch.logsumexp(mixed_BV, 1)
        mixed_BV -= log_z_B[:, None]
        return mixed_BV, MixtureState(states, log_z_B.double().cpu().numpy())

    def advance(self, ids_BT: np.ndarray, state: MixtureState) -> MixtureState:
        """Read T tokens of each stream without scoring them; the last one by a step, which finds log Z."""
        return self.step(ids_BT[:, -1], super().advance(ids_BT[:, :-1], state))[1] if ids_BT.shape[1] else state

    def score(self, ids_BT: np.ndarray, state: MixtureState) -> tuple[np.ndarray, MixtureState]:
        """Read T tokens of each stream; see `LanguageModel.score`. Cost: the parts' scores plus T steps."""
        found, after = self.attribute(ids_BT, state)
        return found.nats_BT, after

    def attribute(self, ids_BT: np.ndarray, state: MixtureState) -> tuple[Attribution, MixtureState]:
        """Score tokens and return the contribution of each part to each; see `mixture/attribution.py`."""
        ids_BT = np.asarray(ids_BT, np.int64)
        given_BT = np.isin(ids_BT, self._given)
        log_z_BT, after = self._normalisers(ids_BT, state, given_BT)
        part_nats_BTP, _ = self._read(ids_BT, state)
        contribution_BTP = np.where(given_BT[..., None], 0.0, -self.exponents_P * part_nats_BTP)
        normaliser_BT = np.where(given_BT, 0.0, -log_z_BT)
        nats_BT = -(contribution_BTP.sum(-1) + normaliser_BT)
        weights_BTP = np.where(given_BT[..., None], 0.0, self.exponents_P)
        found = Attribution(self.names, nats_BT, weights_BTP, part_nats_BTP, contribution_BTP, normaliser_BT, None)
        return found, after

    def _normalisers(
        self, ids_BT: np.ndarray, state: MixtureState, given_BT: np.ndarray
    ) -> tuple[np.ndarray, MixtureState]:
        """Return log Z before each token (B, T), and the state after them; a few streams at a time."""
        rows = max(1, ENTRIES // self.vocabulary_size)
        log_z_BT, states = np.zeros(ids_BT.shape), []
        for first in range(0, len(ids_BT), rows):
            some = range(first, min(first + rows, len(ids_BT)))
            own, ids_RT = state.take(some), ids_BT[first : some.stop]
            for t in range(ids_BT.shape[1]):
                log_z_R = own.log_z_B
                assert log_z_R is not None
                first_R = np.isnan(log_z_R) & ~given_BT[first : some.stop, t]
                before = self._before_the_first() if first_R.any() else 0.0
                log_z_BT[first : some.stop, t] = np.where(first_R, before, log_z_R)
                own = self.step(ids_RT[:, t], own)[1]
            states.append(own)
        return log_z_BT, MixtureState.join(states or [state])

    def _before_the_first(self) -> float:
        """Return log Z of the first token of a stream."""
        if self._first_log_z is None:
            words = np.array([token for token in range(self.vocabulary_size) if token not in CONTEXT_IDS])
            nats_VP, _ = self._read(words[:, None], self.start(len(words)))
            logp_PNV = torch.from_numpy(-nats_VP[:, 0].T[:, None].copy())
            self._first_log_z = float(log_normaliser(logp_PNV, self.exponents_P)[0])
        return self._first_log_z

    def facts(self) -> dict[str, Any]:
        """Return the exponents as JSON values."""
        return {"exponents": self.exponents_P.tolist()}

    @classmethod
    def from_facts(cls, parts: Sequence[Part], facts: dict[str, Any]) -> LogLinearMixture:
        """Return the mixture that `facts` describes."""
        return cls(parts, np.array(facts["exponents"]))
