"""Attribute the log-probability of each word to the parts of a mixture.

A linear mixture draws a part with probability λ_i and then the word from it. Given the word, the probability that it
came from part i is the share of this part (Bayes' rule; the shares of a token sum to 1)

    r_i  =  λ_i p_i(w | h) / p(w | h),        and its contribution is   r_i log p(w | h)

so contributions sum to log p. In a log-linear mixture all parts act together, and there is no such probability. There

    log p(w | h)  =  Σ_i a_i log p_i(w | h)  −  log Z(h)

is already a sum: a part's contribution is its term, and the normaliser −log Z is a separate column.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .weights import mixed_nats, shares


@dataclass(frozen=True)
class Attribution:
    """The contributions of P parts to each token. log p = −nats = Σ_i contribution_i + normaliser.

    Args:
        names: Names of the parts.
        nats_BT: −log p; this and all other values are 0 for tokens that are never predicted.
        weights_BTP: λ_i (or the exponents a_i) at each token.
        part_nats_BTP: −log p_i.
        contribution_BTP: Contributions to log p in nats: r_i log p, or a_i log p_i.
        normaliser_BT: −log Z; 0 in a linear mixture.
        share_BTP: r_i; None for a log-linear mixture.
    """

    names: tuple[str, ...]
    nats_BT: np.ndarray
    weights_BTP: np.ndarray
    part_nats_BTP: np.ndarray
    contribution_BTP: np.ndarray
    normaliser_BT: np.ndarray
    share_BTP: np.ndarray | None


def attribution_of(
    names: Sequence[str], nats_BTP: np.ndarray, log_weights_BTP: np.ndarray, given_BT: np.ndarray
) -> Attribution:
    """Return the attribution of a linear mixture from its parts' −log p_i, log λ_i, and the mask of given tokens."""
    nats_BTP = np.where(given_BT[..., None], 0.0, nats_BTP)
    log_weights_BTP = np.broadcast_to(log_weights_BTP, nats_BTP.shape)
    nats_BT = np.where(given_BT, 0.0, mixed_nats(nats_BTP, log_weights_BTP))
    share_BTP = np.where(given_BT[..., None], 0.0, shares(nats_BTP, log_weights_BTP))
    with np.errstate(invalid="ignore"):
        contribution_BTP = np.where(share_BTP > 0, -share_BTP * nats_BT[..., None], 0.0)
    normaliser_BT = np.zeros(nats_BT.shape)
    weights_BTP = np.where(given_BT[..., None], 0.0, np.exp(log_weights_BTP))
    return Attribution(tuple(names), nats_BT, weights_BTP, nats_BTP, contribution_BTP, normaliser_BT, share_BTP)
