"""Prune n-gram models by relative entropy: drop the n-grams that change the perplexity least.

A. Stolcke (1998), "Entropy-based pruning of backoff language models", DARPA Broadcast News Workshop. Dropping only
`h w` changes the model's distribution after h from p to p', by (his equations 5 to 8)

    D(p ‖ p') = − p(h) { p(w|h) [log p(w|h') + log α'(h) − log p(w|h)]  +  [log α'(h) − log α(h)] U(h) }
    α'(h)     = (U(h) + p(w|h)) / (U(h') + p(w|h')),        U(·) = Σ p(v|·) over the v that are not listed after h

and its perplexity by the factor exp(D). All n-grams whose exp(D) − 1 is below the threshold are dropped at once, except
contexts and suffixes of kept n-grams. Then the back-off weights are computed again (`prune.drop`). This works on the
tables of any normalised model, from any method or file.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.base import ModelError
from models.ngram.tables import Tables
from training.ngram.counting.counts import NGramCounts
from training.ngram.pruning.prune import drop, links, unlisted


def prune_by_entropy(tables: Tables, threshold: float, history: Sequence[np.ndarray]) -> Tables:
    """Drop every n-gram of order 2 and up that raises the perplexity by less than the factor 1 + *threshold*.

    Args:
        tables: A normalised model (not stupid back-off).
        threshold: 1e-8 drops few n-grams, 1e-6 many; at 0 nothing changes.
        history: log p(h) of every n-gram as a context, per order 1 … N − 1, as observed (`observed_history`). The paper
            multiplies the model's own predictions instead (chain rule). With Kneser–Ney this is a poor estimate,
            because its lower orders are not marginals (C. Chelba et al. 2010, "Study on interaction between entropy
            pruning and Kneser–Ney smoothing"). Example: a model of order 4 of short review sentences has 715,000
            n-grams and perplexity 46.96; 180,000 n-grams chosen by the observed p(h) give 49.7, 250,000 chosen by the
            chain rule give 51.6.

    Raises:
        ModelError: The threshold is negative or not a number; kind "input".
    """
    if not threshold >= 0:
        raise ModelError(f"the threshold is {threshold}; it must be 0 or more", kind="input")
    if threshold == 0 or tables.order == 1:
        return tables
    masks = [np.ones(len(logp), bool) for logp in tables.logp]
    suffix = links(tables)
    for order in range(2, tables.order + 1):
        change_M = perplexity_change(tables, order, suffix[order - 2], history[order - 2])
        masks[order - 1] = ~(change_M < threshold)
    for order in range(tables.order, 2, -1):
        kept_M = masks[order - 1]
        masks[order - 2][tables.contexts(order)[kept_M]] = True
        masks[order - 2][suffix[order - 2][kept_M]] = True
    return drop(tables, masks, suffix)


def perplexity_change(tables: Tables, order: int, suffix_M: np.ndarray, history: np.ndarray) -> np.ndarray:
    """Return exp(D(p ‖ p')) − 1 for dropping each single n-gram of an order; (M,) float64.

    Args:
        tables: A normalised model.
        suffix_M: Row of each suffix at the order below.
        history: log p(h) of every n-gram of the order below.
    """
    context_M = tables.contexts(order)
    logp_M, below_M = tables.logp[order - 1], tables.logp[order - 2][suffix_M]
    p_M, p_below_M = np.exp(logp_M), np.exp(below_M)
    left, left_below = unlisted(context_M, p_M, p_below_M, len(history))
    with np.errstate(divide="ignore", invalid="ignore"):  # log 0 and 0 · ∞ if all words are listed after a context
        alpha_M = np.log(left[context_M] + p_M) - np.log(left_below[context_M] + p_below_M)
        own_M = p_M * (below_M + alpha_M - logp_M)
        others_M = (alpha_M - tables.backoff[order - 2][context_M]) * left[context_M]
        others_M[left[context_M] == 0] = 0.0
        return np.expm1(-np.exp(history[context_M]) * (own_M + others_M))


def observed_history(counts: NGramCounts) -> list[np.ndarray]:
    """Return log (occurrences of h as a context / predicted tokens), per order 1 … N − 1."""
    tokens = max(int(counts.orders[0].raw_M.sum()), 1)
    logs = []
    for order in range(2, counts.order + 1):
        contexts = len(counts.orders[order - 2])
        followed = np.bincount(counts.context(order), weights=counts.orders[order - 1].raw_M, minlength=contexts)
        with np.errstate(divide="ignore"):
            logs.append(np.log(followed / tokens))
    return logs
