"""Weigh the parts of a mixture: p(w | h)  =  Σ_i λ_i p_i(w | h),  λ_i ≥ 0,  Σ_i λ_i = 1.

EM finds fixed weights on held-out text (`training/mixture/em.py`). Shapes: T tokens, P parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


def mixed_nats(nats_TP: np.ndarray, log_weights_P: np.ndarray) -> np.ndarray:
    """Return −log Σ_i λ_i p_i of every token; (…,) nats, ∞ if all parts give probability 0.

    Args:
        nats_TP: −log p_i of each token, parts last.
        log_weights_P: log λ, the same for all tokens or one row per token.
    """
    joint_TP = log_weights_P - nats_TP
    highest_T = joint_TP.max(-1)
    # If all parts give probability 0, any finite shift works: the sum below is 0 and its logarithm −∞.
    shift_T = np.where(np.isneginf(highest_T), 0.0, highest_T)
    with np.errstate(divide="ignore"):
        nats_T: np.ndarray = -np.log(np.exp(joint_TP - shift_T[..., None]).sum(-1)) - shift_T
    return nats_T


def shares(nats_TP: np.ndarray, log_weights_P: np.ndarray) -> np.ndarray:
    """Return r_i of every token, the E-step above; the last axis sums to 1, or is 0 if all parts give probability 0."""
    nats_T = mixed_nats(nats_TP, log_weights_P)
    possible_T1 = np.isfinite(nats_T)[..., None]
    return np.where(possible_T1, np.exp(log_weights_P - nats_TP + np.where(possible_T1, nats_T[..., None], 0.0)), 0.0)


class Weighting(Protocol):
    """Source of the weights of a mixture; they sum to 1 and do not depend on the next word."""

    def before(self, ids_BT: np.ndarray, states: Sequence[Any]) -> np.ndarray:
        """Return log λ before each token (B, T, P), or an array that broadcasts to this shape.

        Args:
            ids_BT: The tokens to read.
            states: States of the parts before the first token.
        """
        ...

    def following(self, states: Sequence[Any]) -> np.ndarray:
        """Return log λ for the next token (B, P), or an array that broadcasts to this shape."""
        ...

    def facts(self) -> dict[str, Any]:
        """Return everything to save, as JSON values."""
        ...


@dataclass(frozen=True)
class Fixed:
    """A `Weighting` with the same weights λ (P,) in every context."""

    weights_P: np.ndarray

    @property
    def log_weights_P(self) -> np.ndarray:
        """The logarithms log λ (P,); −∞ for a part with weight 0."""
        with np.errstate(divide="ignore"):
            logarithms: np.ndarray = np.log(self.weights_P)
        return logarithms

    def before(self, ids_BT: np.ndarray, states: Sequence[Any]) -> np.ndarray:
        """Return log λ before each token; see `Weighting.before`."""
        return self.log_weights_P[None, None]

    def following(self, states: Sequence[Any]) -> np.ndarray:
        """Return log λ for the next token; see `Weighting.following`."""
        return self.log_weights_P[None]

    def facts(self) -> dict[str, Any]:
        """Return the weights as JSON values; see `Weighting.facts`."""
        return {"weights": self.weights_P.tolist()}
