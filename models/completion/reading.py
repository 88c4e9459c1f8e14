"""Read token sequences, each from the longest beginning that was read before, with equal lengths in one batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from ..base import LanguageModel, read_on

Ids = tuple[int, ...]
Read = Callable[[list[int], LanguageModel], tuple[torch.Tensor, Any]]
"""Function that returns a model's distribution (1, V) after a prefix, special tokens included, and the state there."""
NEAR = 16
"""A prefix is stepped from a known one that is shorter by fewer tokens than this; otherwise it is read whole."""


class PrefixReading:
    """The distribution of the token after a prefix, and the state of the model there.

    Args:
        p_V: Probabilities (float64).
        state: State of the batch in which it was read.
        row: Its row there.
    """

    def __init__(self, p_V: np.ndarray, state: Any, row: int) -> None:
        self.p_V, self.state, self.row = p_V, state, row
        self._sums: dict[int, np.ndarray] = {}

    def sums(self, ids_E: np.ndarray) -> np.ndarray:
        """Return the cumulative probabilities of some entries (E + 1,), from 0 on; computed once for each array."""
        if id(ids_E) not in self._sums:
            self._sums[id(ids_E)] = np.concatenate([[0.0], np.cumsum(self.p_V[ids_E])])
        return self._sums[id(ids_E)]


class PrefixReader:
    """Reader that keeps all that it has read.

    Args:
        model: Any model.
        read: Reads one prefix; a server passes its cache of states. Default: from the start state.
    """

    def __init__(self, model: LanguageModel, read: Read | None = None) -> None:
        self._model, self._read = model, read or from_start
        self._known: dict[Ids, PrefixReading] = {}

    def __call__(self, prefixes: Sequence[Ids]) -> list[PrefixReading]:
        """Return the readings of some prefixes; one step is made for all whose beginnings are known."""
        new = [ids for ids in dict.fromkeys(prefixes) if ids not in self._known]
        for ids in new:
            if any(ids[:-short] in self._known for short in range(2, NEAR)) and ids[:-1] not in self._known:
                self([ids[:-1]])
        longer = [ids for ids in new if ids[:-1] in self._known]
        for ids in new:
            if ids[:-1] not in self._known:
                self._keep([ids], *self._read(list(ids), self._model))
        if longer:
            self._step(longer)
        return [self._known[ids] for ids in prefixes]

    def _step(self, longer: Sequence[Ids]) -> None:
        """Read the last token of each prefix; the states of a batch that was read before are taken out together."""
        batches: dict[int, list[Ids]] = {}
        for ids in longer:
            batches.setdefault(id(self._known[ids[:-1]].state), []).append(ids)
        before = [[self._known[ids[:-1]] for ids in batch] for batch in batches.values()]
        states = [readings[0].state.take([reading.row for reading in readings]) for readings in before]
        ordered = [ids for batch in batches.values() for ids in batch]
        last = np.array([ids[-1] for ids in ordered], np.int64)
        self._keep(ordered, *self._model.step(last, type(states[0]).join(states)))

    def _keep(self, prefixes: Sequence[Ids], logp_BV: torch.Tensor, state: Any) -> None:
        p_BV = torch.softmax(logp_BV.double(), 1).cpu().numpy()
        for row, ids in enumerate(prefixes):
            self._known[ids] = PrefixReading(p_BV[row], state, row)


def from_start(ids: list[int], model: LanguageModel) -> tuple[torch.Tensor, Any]:
    """Read a prefix from the start state."""
    ids_1T = np.array([ids], np.int64)
    return model.step(ids_1T[:, -1], read_on(model, ids_1T[:, :-1], model.start(1)))
