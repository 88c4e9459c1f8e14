"""Estimate Jelinek–Mercer smoothing: mix the relative frequencies of all orders, with weights tuned on held-out text.

    p(w | h)  =  λ c(h w) / S(h)  +  (1 − λ) p(w | h'),     γ(h) = 1 − λ

λ is one number per order (the original method pools contexts by their counts). The weights are found by expectation–
maximisation (EM). Think of every held-out token as drawn by going down from the longest context. At each context that
was seen, a coin with probability λ decides whether to stop and draw from it, or to go on. The two steps of EM are

    E   probability, given the token, that its draw came to an order, and that it stopped there (Bayes' rule)
    M   λ of an order = expected stops / expected arrivals

Every round raises the probability of the held-out text. For each order, one artificial stop and one artificial passage
are added. They keep 0 < λ < 1 also on the smallest text, so that words that were never seen get a share.

Sources: F. Jelinek and R. L. Mercer (1980), "Interpolated estimation of Markov source parameters from sparse data",
Pattern Recognition in Practice; P. F. Brown et al. (1992), "An estimate of an upper bound for the entropy of English",
Computational Linguistics 18 (recursive form); A. P. Dempster, N. M. Laird and D. B. Rubin (1977) for EM.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reviewlm.training.ngram.counting.counts import Documents, NGramCounts
from reviewlm.training.ngram.smoothing.by_context import Estimate
from reviewlm.training.ngram.smoothing.held_out import HeldOutCounts, held_out_counts
from reviewlm.training.ngram.smoothing.interpolation import Level, build

START_WEIGHT = 0.5
"""Weight before the first round, and the fallback of an order none of whose contexts is in the held-out text."""
ROUNDS = 500
"""Most rounds of EM."""
TOLERANCE = 1e-7
"""EM stops when all weights change by less."""


def estimate_jelinek_mercer(
    counts: NGramCounts,
    weights: Sequence[float] | None = None,
    held_out: Documents | None = None,
) -> Estimate:
    """Estimate p and back-off weight of every counted n-gram.

    Args:
        weights: λ of orders 1 … N, each above 0 and below 1; None tunes them on *held_out*.
        held_out: Text that is not part of the training text. An order none of whose contexts occurs in it takes
            λ = 0.5, as all orders do if it is None.
    """
    fallbacks: dict[int, str] = {}
    if weights is None:
        orders = []
        if held_out is not None:
            orders = held_out_counts(counts, held_out)

        weights = tune(orders, counts.predictable) or [START_WEIGHT] * counts.order
        seen_orders = {order for order, one in enumerate(orders, start=1) if one.seen_T.any()}
        fallbacks = {
            order: "equal_weights"
            for order in range(1, counts.order + 1)
            if order not in seen_orders
        }

    chosen = tuple(float(weight) for weight in weights)

    def jelinek_mercer(level: Level, below_M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        weight = chosen[level.order - 1]
        return weight * level.maximum_likelihood_M, np.full(len(level.total_C), 1.0 - weight)

    facts = {f"weight/{order}": weight for order, weight in enumerate(chosen, start=1)}
    return build(counts, jelinek_mercer, facts=facts, fallbacks=fallbacks)


def tune(orders: Sequence[HeldOutCounts], predictable: int) -> list[float]:
    """Return λ of each order by EM on held-out text; an order without evidence in this text gets `START_WEIGHT`."""
    ratio = [order.maximum_likelihood_T for order in orders]
    seen = [one.seen_T for one in orders]
    weights = [START_WEIGHT] * len(orders)
    for _ in range(ROUNDS):
        before = weights
        weights = _round(before, ratio, seen, predictable)
        if max((abs(a - b) for a, b in zip(before, weights, strict=True)), default=0.0) < TOLERANCE:
            break
    return weights


def _round(
    weights: Sequence[float],
    ratio: Sequence[np.ndarray],
    seen: Sequence[np.ndarray],
    predictable: int,
) -> list[float]:
    """Return the weights after one round of EM."""
    shares = []
    p = [np.full(len(ratio[0]), 1.0 / predictable)]
    for weight, ratio_T, seen_T in zip(weights, ratio, seen, strict=True):
        shares.append(weight * ratio_T)
        p.append(shares[-1] + np.where(seen_T, 1.0 - weight, 1.0) * p[-1])

    updated = list(weights)
    arrived_T = np.ones(len(ratio[0]))
    for order in range(len(weights), 0, -1):
        stopped_T = arrived_T * shares[order - 1] / p[order]
        arrivals = arrived_T[seen[order - 1]].sum()
        updated[order - 1] = float((stopped_T.sum() + 1.0) / (arrivals + 2.0))
        arrived_T = arrived_T - stopped_T

    return updated
