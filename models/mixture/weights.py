"""Weigh the parts of a mixture, p(w | h) = Σ_i λ_i p_i(w | h), and attribute each log-probability to the parts.

EM finds fixed weights on held-out text (`training/mixture/tuning.py`). Shapes: T tokens, P parts.

**Attribution** of the log-probability of each word to the parts. A mixture draws a part with probability λ_i and then
the word from it. Given the word, the probability that it came from part i is the share of this part (Bayes' rule; the
shares of a token sum to 1)

    r_i  =  λ_i p_i(w | h) / p(w | h),        and its contribution is   r_i log p(w | h)

so contributions sum to log p.

A text without a rating is read with each rating k of the training reviews (`bundles/any_rating.py`):
p(w | h) = Σ_k π_k p(w | h, k), where π_k = p(k | h) is the rating's probability given the text before. The mixture now
draws a rating, then a part, then the word. The share of a part is again its probability given the word, summed over the
ratings:

    r_i  =  Σ_k π_k λ_i(k) p_i(w | h, k) / p(w | h)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

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
        sum_T = np.exp(joint_TP - shift_T[..., None]).sum(-1)
        nats_T: np.ndarray = -np.log(sum_T) - shift_T

    return nats_T


def shares(nats_TP: np.ndarray, log_weights_P: np.ndarray) -> np.ndarray:
    """Return r_i of every token, the E-step above; the last axis sums to 1, or is 0 if all parts give probability 0."""
    nats_T = mixed_nats(nats_TP, log_weights_P)
    possible_T1 = np.isfinite(nats_T)[..., None]
    return np.where(
        possible_T1,
        np.exp(log_weights_P - nats_TP + np.where(possible_T1, nats_T[..., None], 0.0)),
        0.0,
    )


@dataclass(frozen=True)
class Fixed:
    """Weights λ (P,) that are equal in every context."""

    weights_P: np.ndarray

    @property
    def log_weights_P(self) -> np.ndarray:
        """The logarithms log λ (P,); −∞ for a part with weight 0."""
        with np.errstate(divide="ignore"):
            logarithms: np.ndarray = np.log(self.weights_P)
        return logarithms

    def before(self, ids_BT: np.ndarray, states: Sequence[Any]) -> np.ndarray:
        """Return log λ before each token (B, T, P), or an array that broadcasts to this shape.

        Args:
            ids_BT: The tokens to read.
            states: States of the parts before the first token.
        """
        return self.log_weights_P[None, None]

    def following(self, states: Sequence[Any]) -> np.ndarray:
        """Return log λ for the next token (B, P), or an array that broadcasts to this shape."""
        return self.log_weights_P[None]

    def facts(self) -> dict[str, Any]:
        """Return everything to save, as JSON values."""
        return {"weights": self.weights_P.tolist()}


@dataclass(frozen=True)
class Attribution:
    """The contributions of P parts to each token. log p = −nats = Σ_i contribution_i.

    Args:
        names: Names of the parts.
        nats_BT: −log p; this and all other values are 0 for tokens that are never predicted.
        weights_BTP: λ_i at each token.
        part_nats_BTP: −log p_i.
        contribution_BTP: Contributions to log p in nats: r_i log p.
        share_BTP: r_i.
    """

    names: tuple[str, ...]
    nats_BT: np.ndarray
    weights_BTP: np.ndarray
    part_nats_BTP: np.ndarray
    contribution_BTP: np.ndarray
    share_BTP: np.ndarray

    def without(self, position: int) -> Attribution:
        """Return the attribution without the token at one position."""
        arrays = {
            field.name: getattr(self, field.name) for field in fields(self) if field.name != "names"
        }
        return replace(
            self, **{name: np.delete(array, position, 1) for name, array in arrays.items()}
        )


def attribution_of(
    names: Sequence[str],
    nats_BTP: np.ndarray,
    log_weights_BTP: np.ndarray,
    given_BT: np.ndarray,
) -> Attribution:
    """Return the attribution of a mixture from its parts' −log p_i, log λ_i, and the mask of given tokens."""
    nats_BTP = np.where(given_BT[..., None], 0.0, nats_BTP)
    log_weights_BTP = np.broadcast_to(log_weights_BTP, nats_BTP.shape)
    nats_BT = np.where(given_BT, 0.0, mixed_nats(nats_BTP, log_weights_BTP))
    share_BTP = np.where(given_BT[..., None], 0.0, shares(nats_BTP, log_weights_BTP))
    with np.errstate(invalid="ignore"):
        contribution_BTP = np.where(share_BTP > 0, -share_BTP * nats_BT[..., None], 0.0)
    weights_BTP = np.where(given_BT[..., None], 0.0, np.exp(log_weights_BTP))
    return Attribution(
        tuple(names),
        nats_BT,
        weights_BTP,
        nats_BTP,
        contribution_BTP,
        share_BTP,
    )


def average_ratings(
    attribution: Attribution,
    logp_BRT: np.ndarray,
    given_BT: np.ndarray,
) -> Attribution:
    """Return the attribution of B texts that were read with each of R ratings.

    Args:
        attribution: Of the B · R streams: the R ratings of the first text, then of the next.
        logp_BRT: log π_k, the ratings' log-probabilities before each token.
        given_BT: Which tokens are given.
    """
    shape_BRTP = *logp_BRT.shape, len(attribution.names)
    part_nats_NTP = attribution.part_nats_BTP
    weights_NTP = attribution.weights_BTP
    nats_BRTP = part_nats_NTP.reshape(shape_BRTP)
    weights_BRTP = weights_NTP.reshape(shape_BRTP)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_joint_BRTP = logp_BRT[..., None] + np.log(weights_BRTP)  # log of π λ
        log_weights_BTP = np.logaddexp.reduce(log_joint_BRTP, axis=1)
        nats_BTP = log_weights_BTP - np.logaddexp.reduce(log_joint_BRTP - nats_BRTP, axis=1)

    nats_BTP = np.where(np.isneginf(log_weights_BTP), np.inf, nats_BTP)  # a part of weight 0
    return attribution_of(attribution.names, nats_BTP, log_weights_BTP, given_BT)
