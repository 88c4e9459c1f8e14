"""Look up the training counts of held-out tokens, to tune parameters on them.

Estimate add-k smoothing (Lidstone; k = 1 is Laplace's): add k to the count of every word in every context.

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

Estimate Jelinek–Mercer smoothing: mix the relative frequencies of all orders, with weights tuned on held-out text.

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
from dataclasses import dataclass

import numpy as np

from reviewlm.models.base import ModelError
from reviewlm.models.ngram.lookup import NONE, follow
from reviewlm.training.ngram.counting.counts import Documents, NGramCounts
from reviewlm.training.ngram.smoothing.by_context import Estimate, contexts_in_blocks, continuations
from reviewlm.training.ngram.smoothing.interpolation import Level, build


@dataclass(frozen=True)
class HeldOutCounts:
    """One order's counts for each of T held-out tokens w; h are the order − 1 tokens before w.

    Args:
        count_T: c(h w) in training.
        total_T: S(h); 0 if nothing ever followed h, or if h would begin before the document.
        begun_T: Whether h was seen and begins at the document's begin.
    """

    count_T: np.ndarray
    total_T: np.ndarray
    begun_T: np.ndarray

    @property
    def seen_T(self) -> np.ndarray:
        """Mask of the tokens whose context was continued in training: S(h) > 0."""
        return self.total_T > 0

    @property
    def maximum_likelihood_T(self) -> np.ndarray:
        """The maximum-likelihood estimate c(h w) / S(h); 0 if h was never continued."""
        return self.count_T / np.maximum(self.total_T, 1.0)


def evidence(counts: NGramCounts, documents: Documents) -> list[HeldOutCounts]:
    """Look up every predicted token of held-out documents; `evidence(…)[k - 1]` is order k.

    Raises:
        ModelError: An id is outside the vocabulary.
    """
    ids_T = np.asarray(documents.ids).astype(np.int64)
    if len(ids_T) and not 0 <= int(ids_T.min()) <= int(ids_T.max()) < counts.vocabulary_size:
        span = f"{ids_T.min()} to {ids_T.max()}"
        raise ModelError(
            f"held-out ids from {span}; the vocabulary has {counts.vocabulary_size}", kind="input"
        )
    at_T = np.flatnonzero(~np.isin(ids_T, counts.given))
    raw_V = counts.orders[0].raw_M
    by_order = [
        HeldOutCounts(
            raw_V[ids_T[at_T]], np.full(len(at_T), float(raw_V.sum())), np.zeros(len(at_T), bool)
        )
    ]
    # No n-gram crosses a document, so all documents are looked up as one row. The row of a token's context is the row
    # of the n-gram that ends before the token; the first token has none.
    longer = [entry.followers for entry in counts.orders if entry.followers is not None]
    below_T: np.ndarray = ids_T
    for order, row_T in enumerate(follow(ids_T, longer), start=2):
        context_T = np.append(NONE, below_T[:-1])[at_T]
        by_order.append(
            HeldOutCounts(
                _taken(counts.orders[order - 1].raw_M, row_T[at_T]),
                _taken(continued(counts, order), context_T),
                _taken(counts.orders[order - 2].begins_M, context_T),
            )
        )
        below_T = row_T
    return by_order


def continued(counts: NGramCounts, order: int) -> np.ndarray:
    """Return S(h): how often each n-gram of the order below occurs as a context; float64."""
    entry = counts.orders[order - 1]
    assert entry.followers is not None  # order 2 and up
    total_C = np.zeros(len(counts.orders[order - 2]))
    for contexts in contexts_in_blocks(entry.followers):
        rows, context_P = continuations(entry.followers, contexts)
        number = contexts.stop - contexts.start
        total_C[contexts] = np.bincount(context_P, weights=entry.raw_M[rows], minlength=number)
        counts.allocator.release()
    return total_C


def _taken(values_M: np.ndarray, row_T: np.ndarray) -> np.ndarray:
    """Return the values of the rows; 0 (False) for NONE."""
    if len(values_M) == 0:
        return np.zeros(len(row_T), values_M.dtype)
    return np.where(row_T != NONE, values_M[row_T], values_M.dtype.type(0))


LAPLACE = 1.0
GRID = tuple(float(f"{digit}e{power}") for power in range(-6, 2) for digit in (1, 2, 5))
"""Values of k to try on held-out text."""


def estimate_add_k(
    counts: NGramCounts, k: float | None = None, held_out: Documents | None = None
) -> Estimate:
    """Estimate p and back-off weight of every counted n-gram.

    Args:
        k: Added count of every word, above 0; None takes the value of `GRID` that makes *held_out* most probable.
        held_out: Held-out text; without held-out tokens the fallback is k = 1 (Laplace).
    """
    fallbacks = {}
    if k is None:
        k = best_k(counts, held_out) if held_out is not None else None
    if k is None:
        k, fallbacks = LAPLACE, {order: "laplace" for order in range(1, counts.order + 1)}
    imagined = k * counts.predictable

    def add_k(level: Level, below_M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        events_C = level.total_C + imagined
        window_C = level.begun_C | (level.order == counts.order)
        own_M = np.where(window_C[level.context_M], level.count_M / events_C[level.context_M], 0.0)
        return own_M, np.where(window_C, imagined / events_C, 1.0)

    return build(counts, add_k, facts={"k": k}, fallbacks=fallbacks)


def best_k(counts: NGramCounts, held_out: Documents) -> float | None:
    """Return the k of `GRID` with the lowest perplexity of the held-out text; None if it has no token."""
    count_T, total_T = _windows(evidence(counts, held_out))
    if len(count_T) == 0:
        return None
    nats = [-np.log((count_T + k) / (total_T + k * counts.predictable)).sum() for k in GRID]
    return GRID[int(np.argmin(nats))]


def _windows(orders: list[HeldOutCounts]) -> tuple[np.ndarray, np.ndarray]:
    """Return c(h w) and S(h) of each token, where h is its whole window."""
    count_T, total_T = orders[-1].count_T, orders[-1].total_T
    for shorter in orders[:-1]:
        count_T = np.where(shorter.begun_T, shorter.count_T, count_T)
        total_T = np.where(shorter.begun_T, shorter.total_T, total_T)
    return count_T, total_T


START = 0.5
"""Weight before the first round, and the fallback of an order none of whose contexts is in the held-out text."""
ROUNDS, TOLERANCE = 500, 1e-7
"""EM stops after `ROUNDS` rounds, or when all weights change by less than `TOLERANCE`."""


def estimate_jelinek_mercer(
    counts: NGramCounts, weights: Sequence[float] | None = None, held_out: Documents | None = None
) -> Estimate:
    """Estimate p and back-off weight of every counted n-gram.

    Args:
        weights: λ of orders 1 … N, each above 0 and below 1; None tunes them on *held_out*.
        held_out: Text that is not part of the training text. An order none of whose contexts occurs in it takes
            λ = 0.5, as all orders do if it is None.
    """
    fallbacks: dict[int, str] = {}
    if weights is None:
        orders = evidence(counts, held_out) if held_out is not None else []
        weights = tune(orders, counts.predictable) or [START] * counts.order
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
    """Return λ of each order by EM on held-out text; an order without evidence in this text gets `START`."""
    ratio = [one.maximum_likelihood_T for one in orders]
    seen = [one.seen_T for one in orders]
    weights = [START] * len(orders)
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
    shares, p = [], [np.full(len(ratio[0]), 1.0 / predictable)]
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
