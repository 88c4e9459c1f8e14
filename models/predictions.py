"""Compute the whole distribution before each token of some texts (`score` gives one token's probability only).

A model that can predict several positions at a time has a method `predictions` (`in_bulk`). Any other model is stepped
token by token. Both ways are exact and give the same numbers up to rounding. A text that has ended leaves the batch,
because a step costs the same for it as for a text that continues.

Shapes: N requested positions; for the other letters see `models/base.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import numpy as np

from .base import LanguageModel, ModelError

ENTRIES = 1 << 20
"""Approximate number of entries per yielded array: 4 MiB, which fits a processor's cache. Bounds memory."""


class Predictions(NamedTuple):
    """The distributions at N positions.

    Args:
        text_N: Row of the text in the ids.
        position_N: Position in this text.
        logp_NV: log p of every entry before that position was read, in nats (float32); −inf for given ids.
    """

    text_N: np.ndarray
    position_N: np.ndarray
    logp_NV: np.ndarray


@runtime_checkable
class PredictsInBulk(Protocol):
    """A model that predicts many positions at once, without single steps; ask `in_bulk`, which knows mixtures too."""

    def predictions(self, ids_BT: np.ndarray, wanted_BT: np.ndarray) -> Iterator[Predictions]:
        """Yield the distributions as the function `predictions` does; the arguments are already checked."""
        ...


def in_bulk(model: LanguageModel) -> bool:
    """Return whether a model predicts many positions at once; a mixture does if its parts can."""
    return isinstance(model, PredictsInBulk) and getattr(model, "in_bulk", True)


def predictions(model: LanguageModel, ids_BT: np.ndarray, wanted_BT: np.ndarray) -> Iterator[Predictions]:
    """Yield the distributions at the requested positions, each once, in any order.

    Args:
        model: The model; it reads every text from its start state.
        ids_BT: Whole texts from their first token on, padded at their ends.
        wanted_BT: The requested positions (bool). Tokens after the last requested one of a text are not read.

    Raises:
        ModelError: kind "input": the shapes differ, or a first position is requested (no token is before it).
    """
    ids_BT, wanted_BT = np.asarray(ids_BT, np.int64), np.asarray(wanted_BT, bool)
    if ids_BT.shape != wanted_BT.shape or ids_BT.ndim != 2:
        raise ModelError(f"ids of shape {ids_BT.shape}, and {wanted_BT.shape} says which are wanted", "input")
    if wanted_BT[:, :1].any():
        raise ModelError("the first token of a text is given: nothing has been read that could predict it", "input")
    if not wanted_BT.any():
        return iter(())
    if in_bulk(model):
        return cast(PredictsInBulk, model).predictions(ids_BT, wanted_BT)
    return _step_by_step(model, ids_BT, wanted_BT)


def _step_by_step(model: LanguageModel, ids_BT: np.ndarray, wanted_BT: np.ndarray) -> Iterator[Predictions]:
    last_B = np.where(wanted_BT.any(1), wanted_BT.shape[1] - 1 - np.argmax(wanted_BT[:, ::-1], axis=1), 0)
    # Longest first, so that the texts that continue are always the first rows of the state.
    order_B = np.argsort(-last_B, kind="stable")
    order_B = order_B[last_B[order_B] > 0]
    state: Any = model.start(len(order_B))
    for t in range(1, int(last_B.max()) + 1):
        going = int((last_B[order_B] >= t).sum())
        if going < len(order_B):
            order_B, state = order_B[:going], state.take(range(going))
        logp_BV, state = model.step(ids_BT[order_B, t - 1], state)
        asked_N = np.flatnonzero(wanted_BT[order_B, t])
        if len(asked_N):
            logp_NV = logp_BV.float().cpu().numpy()
            yield Predictions(order_B[asked_N], np.full(len(asked_N), t), logp_NV[asked_N])
