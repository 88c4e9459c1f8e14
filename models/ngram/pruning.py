"""Smaller models: n-grams are dropped by how often they occurred, or by how little the model would miss them.

A pruned back-off model stays a distribution. What is kept is closed: with an n-gram its context (its first words) and
its suffix (its last words) stay too, so that lookups and ARPA files of any toolkit find their way.

By count, as K. Heafield's `lmplz` does: an n-gram of order k goes if it occurred at most t_k times. Occurrences are
meant, not adjusted counts; thresholds do not fall with the order, which makes the rest closed by itself.

By relative entropy: A. Stolcke (1998), "Entropy-based pruning of backoff language models", DARPA Broadcast News
Workshop. Dropping `h w` alone changes the model's distribution after h from p to p', by (his equations 5 to 8)

    D(p ‖ p') = − p(h) { p(w|h) [log p(w|h') + log α'(h) − log p(w|h)]  +  [log α'(h) − log α(h)] U(h) }
    α'(h)     = (U(h) + p(w|h)) / (U(h') + p(w|h')),        U(·) = Σ p(v|·) over the v that are not listed after h

and its perplexity by the factor exp(D). All n-grams whose exp(D) − 1 is below the threshold go at once, then the
back-off weights are computed anew: α(h) = (1 − Σ_{v listed} p(v|h)) / (1 − Σ_{v listed} p(v|h')).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from ..base import ModelError
from .counts import NGramCounts
from .lookup import find
from .tables import Tables

UNK, END = 0, 2
"""Ids of `<unk>` and of the end of a document, in text lines and reviews alike."""


def thresholds(prune: Sequence[int], order: int) -> tuple[int, ...]:
    """Return one threshold per order, the last one repeated; none given means 0: everything stays.

    Raises:
        ModelError: A threshold is negative or smaller than one before it, or there are more of them than orders.
    """
    given = tuple(prune) or (0,)
    if len(given) > order or given[0] < 0 or any(above < below for below, above in pairwise(given)):
        raise ModelError(
            f"prune is {given}; it must be at most {order} thresholds, 0 or more, none below the one before it",
            kind="input",
        )
    return given + (given[-1],) * (order - len(given))


def kept_by_count(
    counts: NGramCounts, prune: Sequence[int], spared: Collection[int] = (UNK, END)
) -> tuple[np.ndarray, ...]:
    """Return, per order, which n-grams occurred more often than the order's threshold; (M,) bool each.

    Single ids that are given or *spared* always stay, and with a threshold of 0 everything does.
    """
    kept = []
    for order, threshold in enumerate(thresholds(prune, counts.order), start=1):
        raw_M = counts.orders[order - 1].raw_M
        kept.append(raw_M > threshold if threshold else np.ones(len(raw_M), bool))
    kept[0][[*spared, *counts.given]] = True
    return tuple(kept)


def keep(tables: Tables, kept: Sequence[np.ndarray]) -> tuple[Tables, np.ndarray]:
    """Take out what is not kept; probabilities and back-off weights stay as they are.

    Ids that are not kept disappear from the vocabulary, and the others close ranks in their order.

    Args:
        kept: Per order, (M,) bool.

    Returns:
        The smaller tables, and the old id of each new one.

    Raises:
        ModelError: A kept n-gram has a context, a suffix or a word that is not kept.
    """
    ids = np.flatnonzero(kept[0])
    new_V = np.cumsum(kept[0], dtype=np.int64) - 1
    keys, new_row, suffix_M = [], new_V, np.arange(tables.vocabulary_size)
    for order in range(2, tables.order + 1):
        suffix_M = suffixes(tables, order, suffix_M)
        kept_M = np.flatnonzero(kept[order - 1])
        context_M, word_M = np.divmod(tables.keys[order - 2][kept_M], tables.vocabulary_size)
        below = kept[order - 2]
        if not (below[context_M].all() and below[suffix_M[kept_M]].all() and kept[0][word_M].all()):
            raise ModelError(f"an n-gram of order {order} is kept without its context or suffix", kind="input")
        keys.append(new_row[context_M] * len(ids) + new_V[word_M])
        new_row = np.cumsum(kept[order - 1], dtype=np.int64) - 1
    smaller = Tables(
        keys=tuple(keys),
        logp=tuple(logp[mask] for logp, mask in zip(tables.logp, kept, strict=True)),
        backoff=tuple(backoff[mask] for backoff, mask in zip(tables.backoff, kept, strict=False)),
        vocabulary_size=len(ids),
        given=tuple(int(new_V[token]) for token in tables.given),
    )
    return smaller, ids


def suffixes(tables: Tables, order: int, below: np.ndarray) -> np.ndarray:
    """Return the row, at the order below, of each n-gram without its first word; (M,) int64, NONE where it is absent.

    Args:
        below: The same of the order below; at order 2 it is not looked at.
    """
    keys_M = tables.keys[order - 2]
    if order == 2:
        return keys_M % tables.vocabulary_size
    context_M, word_M = np.divmod(keys_M, tables.vocabulary_size)
    return find(tables.keys[order - 3], below[context_M] * tables.vocabulary_size + word_M)


def prune_by_entropy(
    tables: Tables,
    threshold: float,
    history: Sequence[np.ndarray] | None = None,
    begin: Mapping[int, float] | None = None,
) -> Tables:
    """Drop every n-gram of order 2 and up that raises the perplexity by less than the factor 1 + *threshold*.

    Args:
        tables: A normalised model (not stupid back-off).
        threshold: 1e-8 is gentle, 1e-6 strong; at 0 nothing changes.
        history: log p(h) of every n-gram as a context, per order 1 … N − 1. None computes it from the model by the
            chain rule, as in the paper. The lower orders of Kneser–Ney are no marginals, which makes that a poor
            guess (C. Chelba et al. 2010, "Study on interaction between entropy pruning and Kneser–Ney smoothing"):
            `observed_history` is better.
        begin: See `chain_history`.

    Raises:
        ModelError: The threshold is negative or not a number.
    """
    if not threshold >= 0:
        raise ModelError(f"the threshold is {threshold}; it must be 0 or more", kind="input")
    if threshold == 0 or tables.order == 1:
        return tables
    history = chain_history(tables, begin) if history is None else history
    kept = [np.ones(len(logp), bool) for logp in tables.logp]
    links = _links(tables)
    for order in range(2, tables.order + 1):
        change_M = perplexity_change(tables, order, links[order - 2], history[order - 2])
        kept[order - 1] = ~(change_M < threshold)
    for order in range(tables.order, 2, -1):
        kept_M = kept[order - 1]
        kept[order - 2][tables.keys[order - 2][kept_M] // tables.vocabulary_size] = True
        kept[order - 2][links[order - 2][kept_M]] = True
    return drop(tables, kept)


def perplexity_change(tables: Tables, order: int, suffix_M: np.ndarray, history: np.ndarray) -> np.ndarray:
    """Return exp(D(p ‖ p')) − 1 for dropping each n-gram of an order alone; (M,) float64.

    Args:
        suffix_M: Row of each suffix at the order below.
        history: log p(h) of every n-gram of the order below.
    """
    context_M = tables.keys[order - 2] // tables.vocabulary_size
    logp_M, below_M = tables.logp[order - 1], tables.logp[order - 2][suffix_M]
    p_M, p_below_M = np.exp(logp_M), np.exp(below_M)
    left, left_below = _unlisted(context_M, p_M, p_below_M, len(history))
    with np.errstate(divide="ignore", invalid="ignore"):  # log 0 and 0 · ∞ where a context lists everything
        alpha_M = np.log(left[context_M] + p_M) - np.log(left_below[context_M] + p_below_M)
        own_M = p_M * (below_M + alpha_M - logp_M)
        others_M = (alpha_M - tables.backoff[order - 2][context_M]) * left[context_M]
        others_M[left[context_M] == 0] = 0.0
        return np.expm1(-np.exp(history[context_M]) * (own_M + others_M))


def drop(tables: Tables, kept: Sequence[np.ndarray]) -> Tables:
    """Take out what is not kept and compute the back-off weights anew wherever something went; unigrams stay.

    Raises:
        ModelError: A kept n-gram has a context or suffix that is not kept, or not all unigrams are.
    """
    if not kept[0].all():
        raise ModelError("unigrams cannot be dropped from a finished model", kind="input")
    backoff = list(tables.backoff)
    for order, suffix_M in enumerate(_links(tables), start=2):
        kept_M = kept[order - 1]
        context_M = tables.keys[order - 2] // tables.vocabulary_size
        touched = np.zeros(len(tables.logp[order - 2]), bool)
        touched[context_M[~kept_M]] = True
        p_M = np.exp(tables.logp[order - 1][kept_M])
        p_below_M = np.exp(tables.logp[order - 2][suffix_M[kept_M]])
        left, left_below = _unlisted(context_M[kept_M], p_M, p_below_M, len(touched))
        with np.errstate(divide="ignore", invalid="ignore"):
            anew = np.where(left_below > 0, np.log(left) - np.log(left_below), 0.0)
        backoff[order - 2] = np.where(touched, anew, backoff[order - 2])
    return keep(replace(tables, backoff=tuple(backoff)), kept)[0]


def chain_history(tables: Tables, begin: Mapping[int, float] | None = None) -> list[np.ndarray]:
    """Return log p(h) of every n-gram as a context, per order 1 … N − 1: the product of the model's own predictions.

    Args:
        begin: Share of documents that begin with each given id. As often as documents end (p of their end), one begins;
            None shares that equally among the given ids that occur as contexts.
    """
    logs = [tables.logp[0].copy()]
    if begin is None and tables.order > 1:
        used = np.intersect1d(tables.given, tables.keys[0] // tables.vocabulary_size)
        begin = {int(token): 1 / len(used) for token in used}
    for token, share in (begin or {}).items():
        logs[0][token] = tables.logp[0][END] + np.log(share)
    for order in range(2, tables.order):
        logs.append(logs[-1][tables.keys[order - 2] // tables.vocabulary_size] + tables.logp[order - 1])
    return logs


def observed_history(counts: NGramCounts) -> list[np.ndarray]:
    """Return log (occurrences of h as a context / predicted tokens), per order 1 … N − 1, for tables of the counts."""
    tokens = max(int(counts.orders[0].raw_M.sum()), 1)
    logs = []
    for order in range(2, counts.order + 1):
        contexts = len(counts.orders[order - 2])
        followed = np.bincount(counts.context(order), weights=counts.orders[order - 1].raw_M, minlength=contexts)
        with np.errstate(divide="ignore"):
            logs.append(np.log(followed / tokens))
    return logs


def size_perplexity_curve(
    tables: Tables,
    cutoffs: Sequence[float],
    perplexity: Callable[[Tables], float],
    history: Sequence[np.ndarray] | None = None,
) -> Iterator[dict[str, float]]:
    """Yield one point per entropy threshold: `threshold`, `ngrams`, `ngrams/k` per order, `bytes`, `perplexity`.

    Args:
        perplexity: Measures a model on held-out text.
    """
    for threshold in cutoffs:
        pruned = prune_by_entropy(tables, threshold, history)
        sizes = {f"ngrams/{order}": float(len(logp)) for order, logp in enumerate(pruned.logp, start=1)}
        size = float(sum(array.nbytes for array in pruned.arrays().values()))
        total = sum(sizes.values())
        yield {"threshold": threshold, "ngrams": total, **sizes, "bytes": size, "perplexity": perplexity(pruned)}


def _links(tables: Tables) -> list[np.ndarray]:
    """Return the suffix rows of orders 2 … N."""
    links: list[np.ndarray] = []
    for order in range(2, tables.order + 1):
        links.append(suffixes(tables, order, links[-1] if links else np.zeros(0, np.int64)))
    return links


def _unlisted(
    context_M: np.ndarray, p_M: np.ndarray, p_below_M: np.ndarray, contexts: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return, per context, the probability of all words that are not listed after it, and theirs after its suffix.

    A context without listed words has (1, 1). Rounding may leave 0 or less where everything is listed: that is 0.
    """
    left = 1.0 - np.bincount(context_M, weights=p_M, minlength=contexts)
    left_below = 1.0 - np.bincount(context_M, weights=p_below_M, minlength=contexts)
    return np.maximum(left, 0.0), np.maximum(left_below, 0.0)
