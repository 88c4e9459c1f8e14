"""Estimate add-k smoothing (Lidstone; k = 1 is Laplace's): add k to the count of every word in every context.

    p(w | h)  =  (c(h w) + k) / (S(h) + k V)

h is the whole window of N − 1 words, or all words since the document's begin if there are fewer; shorter contexts are
not used. A window that was never seen gives 1 / V. Written as a mixture with the uniform distribution,

    p(w | h)  =  c(h w) / (S(h) + k V)  +  γ(h) / V,     γ(h) = k V / (S(h) + k V)

it has the form of the other methods. N-grams and contexts between the unigrams and the window have no effect
(p = 1 / V, γ = 1), so words that never followed a window get the uniform p. This is a method for teaching: if S(h) is
small, the k V added words outweigh the text, and if k is small enough to avoid this, most windows are unseen.

Sources: G. J. Lidstone (1920), "Note on the general case of the Bayes–Laplace formula for inductive or a posteriori
probabilities", Transactions of the Faculty of Actuaries 8; on its weakness: W. A. Gale and K. W. Church (1994),
"What's wrong with adding one?".
"""

from __future__ import annotations

import numpy as np

from reviewlm.training.ngram.counting.counts import Documents, NGramCounts
from reviewlm.training.ngram.smoothing.by_context import Estimate
from reviewlm.training.ngram.smoothing.held_out import HeldOutCounts, held_out_counts
from reviewlm.training.ngram.smoothing.interpolation import Level, build

LAPLACE = 1.0
GRID = tuple(float(f"{digit}e{power}") for power in range(-6, 2) for digit in (1, 2, 5))
"""Values of k to try on held-out text."""


def estimate_add_k(
    counts: NGramCounts,
    k: float | None = None,
    held_out: Documents | None = None,
) -> Estimate:
    """Estimate p and back-off weight of every counted n-gram.

    Args:
        k: Added count of every word, above 0; None takes the value of `GRID` that makes *held_out* most probable.
        held_out: Held-out text; without held-out tokens the fallback is k = 1 (Laplace).
    """
    fallbacks = {}
    if k is None and held_out is not None:
        k = best_k(counts, held_out)

    if k is None:
        k = LAPLACE
        fallbacks = {order: "laplace" for order in range(1, counts.order + 1)}

    imagined = k * counts.predictable

    def add_k(level: Level, below_M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        events_C = level.total_C + imagined
        window_C = level.begun_C | (level.order == counts.order)
        own_M = np.where(window_C[level.context_M], level.count_M / events_C[level.context_M], 0.0)
        return own_M, np.where(window_C, imagined / events_C, 1.0)

    return build(counts, add_k, facts={"k": k}, fallbacks=fallbacks)


def best_k(counts: NGramCounts, held_out: Documents) -> float | None:
    """Return the k of `GRID` with the lowest perplexity of the held-out text; None if it has no token."""
    count_T, total_T = _windows(held_out_counts(counts, held_out))
    if len(count_T) == 0:
        return None
    nats = [-np.log((count_T + k) / (total_T + k * counts.predictable)).sum() for k in GRID]
    return GRID[int(np.argmin(nats))]


def _windows(orders: list[HeldOutCounts]) -> tuple[np.ndarray, np.ndarray]:
    """Return c(h w) and S(h) of each token, where h is its whole window."""
    count_T = orders[-1].count_T
    total_T = orders[-1].total_T
    for shorter in orders[:-1]:
        count_T = np.where(shorter.begun_T, shorter.count_T, count_T)
        total_T = np.where(shorter.begun_T, shorter.total_T, total_T)
    return count_T, total_T
