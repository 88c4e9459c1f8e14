"""The whole distribution before each token of some texts, where `score` gives the probability of one token only.

A model that can say more than one position at a time has a method `predictions`; every other model is asked step by
step. Both are exact and say the same to rounding. A text that has ended leaves the batch: to step on with it would cost
as much as with one that goes on.

N positions that are asked for; the rest of the shape legend is that of `models/base.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from .base import LanguageModel, ModelError

ENTRIES = 1 << 20
"""Entries of distributions handed over at a time, about: 4 MiB, which a processor's cache may hold. Bounds memory."""


class Predictions(NamedTuple):
    """What a model expects at N positions.

    Args:
        text_N: Which text, a row of the ids.
        position_N: Which position of it.
        logp_NV: log p of every entry before that position was read, in nats (float32); −inf for given ids.
    """

    text_N: np.ndarray
    position_N: np.ndarray
    logp_NV: np.ndarray


@runtime_checkable
class PredictsInBulk(Protocol):
    """A model that need not be stepped through a text."""

    def predictions(self, ids_BT: np.ndarray, wanted_BT: np.ndarray) -> Iterator[Predictions]:
        """See `predictions`; the arguments are valid."""
        ...


def predictions(model: LanguageModel, ids_BT: np.ndarray, wanted_BT: np.ndarray) -> Iterator[Predictions]:
    """Yield the distributions at the positions that are wanted, each once, in any order.

    Args:
        model: Reads every text from its fresh state.
        ids_BT: Whole texts from their begin on, padded at their ends.
        wanted_BT: The positions asked for (bool). What stands behind a text's last one is not read.

    Raises:
        ModelError: kind "input": the shapes differ, or a first position is wanted, before which nothing has been read.
    """
    ids_BT, wanted_BT = np.asarray(ids_BT, np.int64), np.asarray(wanted_BT, bool)
    if ids_BT.shape != wanted_BT.shape or ids_BT.ndim != 2:
        raise ModelError(f"ids of shape {ids_BT.shape}, and {wanted_BT.shape} says which are wanted", "input")
    if wanted_BT[:, :1].any():
        raise ModelError("the first token of a text is given: nothing has been read that could predict it", "input")
    if not wanted_BT.any():
        return iter(())
    return (model.predictions if isinstance(model, PredictsInBulk) else _Steps(model).predictions)(ids_BT, wanted_BT)


class _Steps:
    """Any model, asked after every token."""

    def __init__(self, model: LanguageModel) -> None:
        self.model = model

    def predictions(self, ids_BT: np.ndarray, wanted_BT: np.ndarray) -> Iterator[Predictions]:
        """See `predictions`."""
        last_B = np.where(wanted_BT.any(1), wanted_BT.shape[1] - 1 - np.argmax(wanted_BT[:, ::-1], axis=1), 0)
        # Longest first, so that those that go on are always the first rows of the state.
        order_B = np.argsort(-last_B, kind="stable")
        order_B = order_B[last_B[order_B] > 0]
        state: Any = self.model.start(len(order_B))
        for t in range(1, int(last_B.max()) + 1):
            going = int((last_B[order_B] >= t).sum())
            if going < len(order_B):
                order_B, state = order_B[:going], state.take(range(going))
            logp_BV, state = self.model.step(ids_BT[order_B, t - 1], state)
            asked_N = np.flatnonzero(wanted_BT[order_B, t])
            if len(asked_N):
                logp_NV = logp_BV.float().cpu().numpy()
                yield Predictions(order_B[asked_N], np.full(len(asked_N), t), logp_NV[asked_N])
