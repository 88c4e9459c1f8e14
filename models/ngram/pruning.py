"""Smaller models: n-grams are dropped by how often they occurred, or by how little the model would miss them.

A pruned back-off model stays a distribution. What is kept is closed: with an n-gram its context (its first words) and
its suffix (its last words) stay too, so that lookups and ARPA files of any toolkit find their way.

By count, as K. Heafield's `lmplz` does: an n-gram of order k goes if it occurred at most t_k times. Occurrences are
meant, not adjusted counts; thresholds do not fall with the order, which makes the rest closed by itself.

By relative entropy: `entropy_pruning.py`.

Where n-grams are taken out of a finished model, back-off weights are computed anew, so that every context still sums
to 1 (h' is h without its first word; listed: v such that `h v` is in the model):

    α(h) = (1 − Σ_{v listed} p(v|h)) / (1 − Σ_{v listed} p(v|h'))
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from ..base import ModelError
from .counts import NGramCounts
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
        context_M, word_M = tables.contexts(order)[kept_M], tables.words(order)[kept_M]
        below = kept[order - 2]
        if not (below[context_M].all() and below[suffix_M[kept_M]].all() and kept[0][word_M].all()):
            raise ModelError(f"an n-gram of order {order} is kept without its context or suffix", kind="input")
        keys.append(new_row[context_M] * len(ids) + new_V[word_M])
        new_row = np.cumsum(kept[order - 1], dtype=np.int64) - 1
    smaller = Tables.from_keys(
        keys,
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
    word_M = tables.words(order)
    if order == 2:
        return word_M.astype(np.int64)
    return tables.followers[order - 3].find(below[tables.contexts(order)], word_M)


def drop(tables: Tables, kept: Sequence[np.ndarray]) -> Tables:
    """Take out what is not kept and compute the back-off weights anew wherever something went; unigrams stay.

    Raises:
        ModelError: A kept n-gram has a context or suffix that is not kept, or not all unigrams are.
    """
    if not kept[0].all():
        raise ModelError("unigrams cannot be dropped from a finished model", kind="input")
    backoff = list(tables.backoff)
    for order, suffix_M in enumerate(links(tables), start=2):
        kept_M = kept[order - 1]
        context_M = tables.contexts(order)
        touched = np.zeros(len(tables.logp[order - 2]), bool)
        touched[context_M[~kept_M]] = True
        p_M = np.exp(tables.logp[order - 1][kept_M])
        p_below_M = np.exp(tables.logp[order - 2][suffix_M[kept_M]])
        left, left_below = unlisted(context_M[kept_M], p_M, p_below_M, len(touched))
        with np.errstate(divide="ignore", invalid="ignore"):
            anew = np.where(left_below > 0, np.log(left) - np.log(left_below), 0.0)
        backoff[order - 2] = np.where(touched, anew, backoff[order - 2])
    return keep(replace(tables, backoff=tuple(backoff)), kept)[0]


def links(tables: Tables) -> list[np.ndarray]:
    """Return the suffix rows of orders 2 … N."""
    found: list[np.ndarray] = []
    for order in range(2, tables.order + 1):
        found.append(suffixes(tables, order, found[-1] if found else np.zeros(0, np.int64)))
    return found


def unlisted(
    context_M: np.ndarray, p_M: np.ndarray, p_below_M: np.ndarray, contexts: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return, per context, the probability of all words that are not listed after it, and theirs after its suffix.

    A context without listed words has (1, 1). Rounding may leave 0 or less where everything is listed: that is 0.
    """
    left = 1.0 - np.bincount(context_M, weights=p_M, minlength=contexts)
    left_below = 1.0 - np.bincount(context_M, weights=p_below_M, minlength=contexts)
    return np.maximum(left, 0.0), np.maximum(left_below, 0.0)
