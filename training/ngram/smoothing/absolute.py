"""Estimate absolute discounting: subtract the same discount D from the count of every seen n-gram.

    p(w | h)  =  max(c(h w) − D, 0) / S(h)  +  γ(h) p(w | h')
    γ(h)      =  D R(h) / S(h)
    D         =  n1 / (n1 + 2 n2)

n1 and n2 are the numbers of n-grams of the order that occurred once and twice. This D nearly maximises the
leave-one-out probability of the training text. Kneser–Ney is the same method with other counts below the highest order.

Source: H. Ney, U. Essen and R. Kneser (1994), "On structuring probabilistic dependences in stochastic language
modelling", Computer Speech and Language 8; interpolated as in Chen and Goodman (1999).
"""

from __future__ import annotations

import numpy as np

from training.ngram.counting.counts import NGramCounts
from training.ngram.smoothing.by_context import Discounts, Estimate, order_discounts
from training.ngram.smoothing.interpolation import Level, build, raw_counts_of_counts


def estimate(counts: NGramCounts) -> Estimate:
    """Estimate p and back-off weight of every counted n-gram."""
    estimates = [order_discount(counts, order) for order in range(1, counts.order + 1)]

    def absolute(level: Level, below_M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        discount = estimates[level.order - 1].values[1]
        own_M = np.maximum(level.count_M - discount, 0.0) / level.divisor_C[level.context_M]
        return own_M, discount * level.followers_C / level.divisor_C

    fallbacks = {order: "fixed_discount" for order, one in enumerate(estimates, start=1) if one.fallback}
    return build(counts, absolute, discounts=tuple(estimates), fallbacks=fallbacks)


def order_discount(counts: NGramCounts, order: int) -> Discounts:
    """Return D of one order, the same for every count: n1 / (n1 + 2 n2), or the first number of `FALLBACK`.

    If n1 or n2 is 0, D would be 0 (nothing for unseen words) or 1 (words seen once would get nothing).
    """
    n1, n2, n3, n4 = raw_counts_of_counts(counts, order, 4)
    return order_discounts((n1, n2, n3, n4), "kneser_ney")
