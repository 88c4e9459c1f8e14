"""Bigram models given by a table of log-probabilities, simple enough to be scored by hand."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import torch

from reviewlm.models.tokens.special import CONTEXT_IDS


@dataclass
class PreviousToken:
    """What a bigram model remembers."""

    ids_B: np.ndarray

    def take(self, rows):
        return PreviousToken(self.ids_B[list(rows)])


class BigramLM:
    """log p(next | previous) from a table; the first token of a stream follows token 0."""

    def __init__(self, logp_VV):
        self.logp_VV = logp_VV
        self.vocabulary_size = len(logp_VV)

    def start(self, batch):
        return PreviousToken(np.zeros(batch, np.int64))

    def step(self, ids_B, state):
        return torch.tensor(self.logp_VV[ids_B]), PreviousToken(np.asarray(ids_B))

    def score(self, ids_BT, state):
        before_BT = np.concatenate([state.ids_B[:, None], ids_BT[:, :-1]], axis=1)
        nats_BT = -self.logp_VV[before_BT, ids_BT]
        nats_BT[np.isin(ids_BT, list(CONTEXT_IDS))] = 0.0
        return nats_BT, PreviousToken(ids_BT[:, -1])


def random_table(size, seed=0):
    logits = np.random.default_rng(seed).normal(size=(size, size))
    logits[:, list(CONTEXT_IDS)] = -np.inf
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def uniform_table(size):
    logp = np.full((size, size), -np.log(size - len(CONTEXT_IDS)))
    logp[:, list(CONTEXT_IDS)] = -np.inf
    return logp


def bundle_of(vocabulary, logp_VV):
    return SimpleNamespace(
        vocabulary=vocabulary,
        model=BigramLM(logp_VV),
        spec=SimpleNamespace(kind="lstm"),
    )
