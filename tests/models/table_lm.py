"""A bigram table behind the contract of models/base.py: small enough to compute every expected number by hand."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from reviewlm.models.options import options
from reviewlm.models.specs import TrainingSpec
from reviewlm.models.tokens.special import CONTEXT_IDS
from reviewlm.training.context import FitResult


@options
class TableSpec:
    kind: str = "table"
    name: str = "table"
    vocabulary: str = "word"
    training: TrainingSpec = field(default_factory=TrainingSpec)


@dataclass(frozen=True)
class TableState:
    last_B: np.ndarray

    def take(self, rows):
        return TableState(self.last_B[list(rows)])

    @classmethod
    def join(cls, states):
        return cls(np.concatenate([state.last_B for state in states]))


class TableLM:
    """p(next | last) = table[last, next]; the last row is the distribution before the first token."""

    def __init__(self, p_VV: np.ndarray) -> None:
        self.vocabulary_size = p_VV.shape[1]
        self.p_VV = p_VV

    @classmethod
    def random(
        cls,
        size: int,
        seed: int = 0,
        sharpness: float = 1.0,
    ) -> TableLM:
        weights = np.exp(sharpness * np.random.default_rng(seed).normal(size=(size + 1, size)))
        return cls.normalised(weights)

    @classmethod
    def normalised(cls, weights: np.ndarray) -> TableLM:
        weights = weights.copy()
        weights[:, sorted(CONTEXT_IDS)] = 0
        return cls(weights / weights.sum(1, keepdims=True))

    @classmethod
    def fit(
        cls,
        spec,
        vocabulary,
        train,
        validation,
        context,
    ):
        weights = (
            np.random.default_rng(spec.training.seed).random((vocabulary.size + 1, vocabulary.size))
            * 0.01
        )
        np.add.at(weights, (train.ids[:-1], train.ids[1:]), 1)
        return FitResult(cls.normalised(weights), {"parameters": float(weights.size)})

    @classmethod
    def load(
        cls,
        folder,
        spec,
        vocabulary,
        device,
    ):
        return cls(np.load(folder / "table.npy"))

    def save(self, folder):
        np.save(folder / "table.npy", self.p_VV)

    def start(self, batch):
        return TableState(np.full(batch, -1))

    def step(self, ids_B, state):
        return torch.as_tensor(self.p_VV[ids_B]).float().log(), TableState(np.asarray(ids_B))

    def score(self, ids_BT, state):
        before = np.concatenate([state.last_B[:, None], ids_BT[:, :-1]], 1)
        given = np.isin(ids_BT, sorted(CONTEXT_IDS))
        with np.errstate(divide="ignore"):
            nats = -np.log(np.where(given, 1.0, self.p_VV[before, ids_BT]))
        return nats, TableState(ids_BT[:, -1] if ids_BT.shape[1] else state.last_B)


class HistoryLM(TableLM):
    """p(next | everything before): a table row chosen by a running sum over all tokens read."""

    def _next(self, last_B, ids_B):
        return (31 * last_B + 7 * np.asarray(ids_B) + 5) % len(self.p_VV)

    def start(self, batch):
        return TableState(np.zeros(batch, np.int64))

    def step(self, ids_B, state):
        rows = self._next(state.last_B, ids_B)
        return torch.as_tensor(self.p_VV[rows]).float().log(), TableState(rows)

    def score(self, ids_BT, state):
        nats_BT = np.zeros(ids_BT.shape)
        for t, ids_B in enumerate(np.asarray(ids_BT).T):
            scored = ~np.isin(ids_B, sorted(CONTEXT_IDS))
            nats_BT[scored, t] = -np.log(self.p_VV[state.last_B[scored], ids_B[scored]])
            state = TableState(self._next(state.last_B, ids_B))
        return nats_BT, state
