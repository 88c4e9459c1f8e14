"""Compute the whole distribution before each token of some texts (`score` gives one token's probability only).

A model that can predict several positions at a time has a method `predictions` (`in_bulk`). Any other model is stepped
token by token. Both ways are exact and give the same numbers up to rounding. A text that has ended leaves the batch,
because a step costs the same for it as for a text that continues.

`FirstEntries` are for drawing the next token: a two-level softmax gives the probabilities of its frequent entries
without those of the rare ones, and most tokens that are drawn are frequent.

Shapes: N requested positions, C first entries, M rows; for the other letters see `models/base.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast, runtime_checkable

import numpy as np

from .base import LanguageModel, ModelError

if TYPE_CHECKING:  # n-gram models do not need torch, and it takes seconds to import
    from torch import Tensor

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


class FirstEntries(NamedTuple):
    """The first entries of the distributions of the next token of B streams, and a way to the whole ones.

    Args:
        logp_BC: log p of the ids 0 to C − 1, in nats; with the other entries, p sums to 1.
        whole: From rows (M) to log p of every entry (M, V), as `step` returns it.
    """

    logp_BC: Tensor
    whole: Callable[[np.ndarray], Tensor]


class StepsFirst(Protocol):
    """A model that gives the first entries alone, in less time than the whole distribution."""

    first_entries: int
    """C; 0: this model does not."""

    def step_first(self, ids_B: np.ndarray, state: Any) -> tuple[FirstEntries, Any]:
        """Read one token of each stream as `step` does."""
        ...


def gives_probabilities(model: LanguageModel) -> bool:
    """Return whether a model's `step` gives log-probabilities; scores of stupid back-off do not sum to 1."""
    return getattr(model, "normalised", True)


def first_step(model: LanguageModel) -> Callable[[np.ndarray, Any], tuple[FirstEntries, Any]] | None:
    """Return a model's `step_first`; None if it does not give the first entries alone."""
    return cast(StepsFirst, model).step_first if getattr(model, "first_entries", 0) else None


def stepped_first(model: LanguageModel, ids_B: np.ndarray, state: Any) -> tuple[FirstEntries, Any]:
    """Step any model; one that does not give the first entries alone gives all of them."""
    if (step := first_step(model)) is not None:
        return step(ids_B, state)
    logp_BV, after = model.step(ids_B, state)
    return FirstEntries(logp_BV, lambda rows_M: logp_BV[rows_M]), after


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
