"""Estimate Katz back-off with Good–Turing discounts: counts up to k (default 5) are reduced, larger ones are not.

    p(w | h)  =  d(c) c(h w) / S(h)   if c = c(h w) > 0,   otherwise   α(h) p(w | h')
    d(r)      =  (r* / r − A) / (1 − A)   for 1 <= r <= k,   1 for r > k
    r*        =  (r + 1) n_{r+1} / n_r,       A = (k + 1) n_{k+1} / n_1
    α(h)      =  β(h) / (1 − sum of p(w | h') over the w seen after h)
    β(h)      =  1 − sum of d(c) c(h w) / S(h) over the same w

n_r is the number of n-grams of the order that occurred r times. r* is the Good–Turing estimate: an n-gram that occurred
r times counts as r* occurrences, and all unseen n-grams together count as n_1. The d(r) keep this total and do not
change counts above k. α(h), the back-off weight, gives the discounted probability β to the words not seen after h, in
proportion to the shorter context. At order 1 the shorter context is the uniform distribution.

Cases in which the formulas fail, by name:

- "absolute_discount" (per order): with these counts of counts some d(r) is undefined, 0 or below, or above 1. Then
  d(r) = (r − D) / r for every r, with D = n1 / (n1 + 2 n2), or the fixed fallback if that fails too.
- "one more event" (per context): nothing was discounted because all counts of h are above k, but some words were not
  seen after h. Then S(h) + 1 replaces S(h), so these words get 1 / (S(h) + 1) (D. Paul's way, in the CMU and SRI
  toolkits).
- "covered" (per context): the shorter context gives almost nothing to the words not seen after h (α would exceed 100,
  or all words were seen). Then these words get p of the shorter context, α = 1, and the seen words share the rest in
  proportion to c(h w) / S(h).

Sources: S. M. Katz (1987), "Estimation of probabilities from sparse data for the language model component of a speech
recognizer", IEEE Transactions on Acoustics, Speech, and Signal Processing 35; I. J. Good (1953), "The population
frequencies of species and the estimation of population parameters", Biometrika 40.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reviewlm.training.ngram.counting.counts import NGramCounts
from reviewlm.training.ngram.smoothing.by_context import Estimate
from reviewlm.training.ngram.smoothing.closed_form import order_discount
from reviewlm.training.ngram.smoothing.interpolation import Level, build, raw_counts_of_counts

STEEPEST = 100.0
"""Largest α: above it 1 − Σ p(w | h') is a difference of nearly equal numbers and not exact enough."""


def estimate(counts: NGramCounts, cut: int = 5) -> Estimate:
    """Estimate p and back-off weight of every counted n-gram.

    Args:
        cut: k, the largest count that is discounted; at least 2, because d(1) = 0 for k = 1.
    """
    facts: dict[str, float] = {}
    fallbacks: dict[int, str] = {}
    tables: list[np.ndarray | None] = []
    for order in range(1, counts.order + 1):
        ratios = good_turing(raw_counts_of_counts(counts, order, cut + 1))
        tables.append(None if ratios is None else np.array([0.0, *ratios, 1.0]))
        if ratios is None:
            fallbacks[order] = "absolute_discount"
            facts[f"absolute_discount/{order}"] = order_discount(counts, order).values[1]
        else:
            facts |= {f"discount_ratio/{order}/{r}": d for r, d in enumerate(ratios, start=1)}

    def katz(level: Level, below_M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        table = tables[level.order - 1]
        if table is None:
            kept_M = np.maximum(level.count_M - facts[f"absolute_discount/{level.order}"], 0.0)
        else:
            kept_M = table[np.minimum(level.count_M, cut + 1)] * level.count_M
        return _back_off(level, kept_M, below_M, facts)

    return build(
        counts,
        katz,
        interpolated=False,
        facts=facts,
        fallbacks=fallbacks,
    )


def good_turing(n: Sequence[int]) -> list[float] | None:
    """Return d(1) … d(k) from n_1 … n_{k+1}; None if these do not determine discounts between 0 and 1.

    >>> [round(d, 4) for d in good_turing([100, 40, 20])]  # k = 2, A = 0.6, r* = 0.8 and 1.5
    [0.5, 0.375]
    """
    k = len(n) - 1
    if 0 in n[:k]:
        return None

    # Calculate in integers until the only division, so that a discount of exactly 0 or 1 is exactly that.
    below = n[0] - (k + 1) * n[k]
    if below <= 0:
        return None

    ratios = []
    for r in range(1, k + 1):
        numerator = (r + 1) * n[r] * n[0] - (k + 1) * n[k] * r * n[r - 1]
        ratios.append(numerator / (r * n[r - 1] * below))

    if all(0 < ratio <= 1 for ratio in ratios):
        return ratios
    return None


def _back_off(
    level: Level,
    kept_M: np.ndarray,
    below_M: np.ndarray,
    facts: dict[str, float],
) -> tuple[np.ndarray, np.ndarray]:
    """Return p(w | h) of the seen words, and α(h).

    Args:
        kept_M: d(c) c(h w).
        below_M: p(w | h').
        facts: Output: the number of contexts with the cases "one more event" and "covered" is added.
    """
    contexts = len(level.total_C)
    seen_M = level.count_M > 0
    taken_C = np.bincount(level.context_M, weights=level.count_M - kept_M, minlength=contexts)
    covered_C = np.bincount(
        level.context_M, weights=np.where(seen_M, below_M, 0.0), minlength=contexts
    )
    open_C = np.maximum(1.0 - covered_C, 0.0)
    one_more_C = (taken_C == 0) & (open_C > 0)
    events_C = level.divisor_C + one_more_C
    beta_C = (taken_C + one_more_C) / events_C
    full_C = beta_C >= STEEPEST * open_C
    used_C = level.total_C > 0
    for name, taken in (("one_more_event", one_more_C & ~full_C), ("covered", full_C)):
        fact = f"{name}/{level.order}"
        facts[fact] = facts.get(fact, 0.0) + float((taken & used_C).sum())

    shared_M = level.maximum_likelihood_M * (1.0 - open_C)[level.context_M]
    own_M = np.where(full_C[level.context_M], shared_M, kept_M / events_C[level.context_M])
    return own_M, np.divide(beta_C, open_C, out=np.ones(contexts), where=~full_C)
