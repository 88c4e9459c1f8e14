"""Find the exponents of a log-linear mixture by Newton's method on held-out text.

    p(w | h)  =  Π_i p_i(w | h)^{a_i} / Z(h),        Z(h) = Σ_v Π_i p_i(v | h)^{a_i}

The exponents need not sum to 1. Z is a sum over the whole vocabulary: each token needs a whole distribution of each
part, while a linear mixture needs the probability of one word only. With l_i = log p_i, the mean nats of held-out
tokens

    f(a)  =  mean_t [ log Z(h_t) − Σ_i a_i l_i(w_t | h_t) ]
    ∂f/∂a_i          =  mean_t [ E l_i − l_i(w_t) ]                 expectation minus observation, as in any
    ∂²f/∂a_i ∂a_j    =  mean_t [ Cov(l_i, l_j) ]                    exponential family; E, Cov under the mixture

are convex in a (a covariance matrix is positive semi-definite). So Newton's steps, halved if they would increase f,
reach the minimum. There f is at most the value of any single part, which is a = (0 … 1 … 0).

Source: D. Klakow (1998), "Log-linear interpolation of language models", ICSLP.

Shapes: N positions, P parts, V vocabulary entries that can be predicted at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

STEPS, TOLERANCE = 50, 1e-13
"""Maximum number of Newton steps, and the expected gain (nats per token) below which they stop."""
HALVINGS = 30
POSITIONS = 64
"""Number of positions whose distributions are mixed at a time; changes the result only by rounding."""


class Slope(NamedTuple):
    """The value of f with its first two derivatives: (), (P,), (P, P)."""

    value: float
    gradient_P: np.ndarray
    curvature_PP: np.ndarray


def log_normaliser(logp_PNV: Tensor | Sequence[Tensor], exponents_P: np.ndarray) -> Tensor:
    """Return log Z of each position (N,). A word with probability 0 (−∞) in any part has probability 0 here too."""
    return torch.logsumexp(log_scores(logp_PNV, exponents_P), 1)


def log_scores(logp_PNV: Tensor | Sequence[Tensor], exponents_P: np.ndarray) -> Tensor:
    """Return Σ a_i log p_i of every word (N, V): the mixture's distribution up to Z. Memory: one such table."""
    scores_NV = logp_PNV[0] * float(exponents_P[0])
    for logp_NV, exponent in zip(logp_PNV[1:], exponents_P[1:], strict=True):
        scores_NV.add_(logp_NV, alpha=float(exponent))
    # 0 · −∞ is NaN and −∞ · (a < 0) is +∞; a word that is impossible in a part must stay impossible.
    for logp_NV in logp_PNV:
        scores_NV.masked_fill_(torch.isneginf(logp_NV), -torch.inf)
    return scores_NV


def slope(logp_PNV: Tensor, targets_N: Tensor, exponents_P: np.ndarray) -> Slope:
    """Return f, its gradient and its curvature at the given exponents.

    Args:
        logp_PNV: The parts' distributions, finite: without the ids that are never predicted.
        targets_N: The observed words, as columns of V.
        exponents_P: a.
    """
    parts, positions, _ = logp_PNV.shape
    value, gradient_P, curvature_PP = 0.0, np.zeros(parts), np.zeros((parts, parts))
    for first in range(0, positions, POSITIONS):
        some_PNV, target_N = logp_PNV[:, first : first + POSITIONS], targets_N[first : first + POSITIONS]
        scores_NV = log_scores(some_PNV, exponents_P)
        log_z_N = torch.logsumexp(scores_NV, 1)
        p_NV = torch.exp(scores_NV - log_z_N[:, None])
        seen_PN = some_PNV.gather(2, target_N[None, :, None].expand(parts, -1, 1))[..., 0]
        mean_PN = (some_PNV * p_NV).sum(2)
        centred_PNV = some_PNV - mean_PN[..., None]
        value += float(log_z_N.double().sum()) - float(exponents_P @ seen_PN.double().sum(1).numpy())
        gradient_P += (mean_PN - seen_PN).double().sum(1).numpy()
        curvature_PP += ((centred_PNV * p_NV).flatten(1) @ centred_PNV.flatten(1).T).double().numpy()
    return Slope(value / positions, gradient_P / positions, curvature_PP / positions)


def fit_exponents(logp_PNV: Tensor, targets_N: Tensor, start_P: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the exponents that make held-out words most probable, and the number of Newton steps.

    Args:
        logp_PNV, targets_N: See `slope`.
        start_P: First exponents.
    """
    exponents_P = np.asarray(start_P, np.float64)
    if not len(targets_N):
        return exponents_P, 0
    here = slope(logp_PNV, targets_N, exponents_P)
    for steps in range(STEPS):
        # A small multiple of the identity keeps the system solvable if two parts predict the same.
        damped_PP = here.curvature_PP + 1e-9 * (1 + np.trace(here.curvature_PP)) * np.eye(len(exponents_P))
        direction_P = -np.linalg.solve(damped_PP, here.gradient_P)
        expected = -float(here.gradient_P @ direction_P)
        if expected < TOLERANCE:
            return exponents_P, steps
        size = 1.0
        for _ in range(HALVINGS):
            there = slope(logp_PNV, targets_N, exponents_P + size * direction_P)
            if there.value <= here.value - 1e-4 * size * expected:
                break
            size /= 2
        else:
            return exponents_P, steps
        exponents_P, here = exponents_P + size * direction_P, there
    return exponents_P, STEPS
