"""Find the weights of a mixture by expectation–maximisation (EM) on held-out text.

    p(w | h)  =  Σ_i λ_i p_i(w | h),        λ_i ≥ 0,  Σ_i λ_i = 1

Think of every held-out token as drawn in two steps: first a part with probability λ_i, then the word from that part.
The two steps of EM are

    E   r_i(t)  =  λ_i p_i(w_t | h_t) / Σ_j λ_j p_j(w_t | h_t)      the part's share of the token (Bayes' rule)
    M   λ_i     =  mean of r_i(t) over all tokens

No round lowers the likelihood of the held-out text (Dempster, Laird and Rubin 1977). The log-likelihood is a concave
function of λ, so EM converges to its maximum if all start weights are above 0.

Sources: F. Jelinek and R. L. Mercer (1980), "Interpolated estimation of Markov source parameters from sparse data",
Pattern Recognition in Practice; A. P. Dempster, N. M. Laird and D. B. Rubin (1977), "Maximum likelihood from incomplete
data via the EM algorithm", Journal of the Royal Statistical Society B 39.

Shapes: T held-out tokens, P parts.
"""

from __future__ import annotations

import numpy as np

ROUNDS, TOLERANCE = 1000, 1e-9
"""EM stops after `ROUNDS` rounds, or when no weight changes by `TOLERANCE` or more."""


def em(nats_TP: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the weights λ that make held-out tokens most probable, and the number of rounds.

    `ROUNDS` rounds mean that EM has not converged. No other weights are better, also not weight 1 for a single part: on
    this text the mixture is at least as good as each of its parts. Tokens with probability 0 in all parts are ignored.
    Without any other token the weights are equal.

    Args:
        nats_TP: −log p_i(w_t | h_t), ∞ allowed.
    """
    parts = nats_TP.shape[1]
    weights_P = np.full(parts, 1.0 / parts)
    lowest_T = nats_TP.min(1)
    possible_T = np.isfinite(lowest_T)
    if not possible_T.any():
        return weights_P, 0
    # Relative to the best part, so that nothing underflows; a factor per token does not change its shares.
    p_TP = np.exp(lowest_T[possible_T, None] - nats_TP[possible_T])
    rounds = 0
    moved = np.inf
    while rounds < ROUNDS and moved >= TOLERANCE:
        before_P, weights_P = weights_P, em_round(p_TP, weights_P)
        rounds, moved = rounds + 1, np.abs(weights_P - before_P).max()
    return _at_least_as_good_as_each(p_TP, weights_P), rounds


def em_round(p_TP: np.ndarray, weights_P: np.ndarray) -> np.ndarray:
    """Return λ after one round; *p_TP* may have any factor per token."""
    joint_TP = p_TP * weights_P
    weights_P = (joint_TP / joint_TP.sum(1, keepdims=True)).mean(0)
    return weights_P / weights_P.sum()


def _at_least_as_good_as_each(p_TP: np.ndarray, weights_P: np.ndarray) -> np.ndarray:
    """Return weight 1 for one part if that is better, because EM is slow if the maximum is such a corner."""
    corners = [weights_P, *np.eye(len(weights_P))]
    with np.errstate(divide="ignore"):
        likelihood = [float(np.log(p_TP @ corner_P).sum()) for corner_P in corners]
    return corners[int(np.argmax(likelihood))]
