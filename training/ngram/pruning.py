"""Prune n-gram models: drop n-grams by count or by words, and remove dropped n-grams from tables.

A pruned back-off model is still a distribution. If an n-gram is kept, its context (without the last word) and its
suffix (without the first word) are kept too, because lookups and ARPA files of any toolkit need them. N-grams are
dropped by count (`kept_by_count`), by documents, by words, or by relative entropy (`prune_by_entropy`).

Notation: h' is h without its first word; a word v is listed after h if `h v` is in the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from reviewlm.models.base import ModelError
from reviewlm.models.ngram.lookup import Followers, row_type, word_type
from reviewlm.models.ngram.tables import Tables
from reviewlm.training.ngram.counting.counts import NGramCounts
from reviewlm.training.ngram.counting.memory import IN_MEMORY, ArrayAllocator
from reviewlm.training.ngram.smoothing.by_context import contexts_in_blocks, continuations, pieces
from reviewlm.training.ngram.smoothing.kneser_ney import UNK

END = 2
"""Id of the end of a document, both in text lines and in reviews."""


def thresholds(prune: Sequence[int], order: int) -> tuple[int, ...]:
    """Return one threshold per order, the last one repeated; without any threshold all are 0 and everything stays.

    Raises:
        ModelError: A threshold is negative or smaller than one before it, or there are more thresholds than orders;
            kind "input".
    """
    given = tuple(prune) or (0,)
    if len(given) > order or given[0] < 0 or any(above < below for below, above in pairwise(given)):
        raise ModelError(
            f"prune is {given}; it must be at most {order} thresholds, 0 or more, none below the one before it",
            kind="input",
        )
    return given + (given[-1],) * (order - len(given))


def kept_by_count(counts: NGramCounts, prune: Sequence[int]) -> tuple[np.ndarray, ...]:
    """Return, per order, which n-grams occurred more often than the order's threshold; (M,) bool each.

    This is the rule of K. Heafield's `lmplz`: raw occurrences are used, not adjusted counts. Thresholds do not fall with
    the order, so contexts and suffixes of kept n-grams are always kept.

    Unigrams that are given, `<unk>` and the end always stay. With a threshold of 0 everything stays.
    """
    masks = []
    for order, threshold in enumerate(thresholds(prune, counts.order), start=1):
        raw_M = counts.orders[order - 1].raw_M
        kept_M = counts.allocator.empty(len(raw_M), bool)
        for part in pieces(raw_M):
            kept_M[part] = raw_M[part] > threshold if threshold else True
            counts.allocator.release()
        masks.append(kept_M)

    masks[0][[UNK, END, *counts.given]] = True
    return tuple(masks)


def kept_by_documents(counts: NGramCounts) -> tuple[np.ndarray, ...]:
    """Return, per order, which n-grams occur in enough documents; (M,) bool each. All unigrams stay.

    An n-gram of two or more tokens is dropped if fewer than `min_documents` documents have it. A document that has an
    n-gram has its context and suffix too.
    """
    every_V = np.ones(counts.vocabulary_size, bool)
    return tuple(
        every_V if entry.widespread_M is None else entry.widespread_M for entry in counts.orders
    )


def kept_by_words(counts: NGramCounts, allowed_V: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return, per order, which n-grams have only allowed words (`--limit_vocab_file` of `lmplz`); (M,) bool each.

    *allowed_V*: by id, whether the word is on the list. Given ids, `<unk>` and the end are always allowed.
    """
    allowed_V = allowed_V.copy()
    allowed_V[[UNK, END, *counts.given]] = True
    masks = [allowed_V]
    for entry in counts.orders[1:]:
        assert entry.followers is not None  # order 2 and up
        kept_M = counts.allocator.empty(len(entry), bool)
        for contexts in contexts_in_blocks(entry.followers):
            span, context_P = continuations(entry.followers, contexts)
            kept_M[span] = masks[-1][contexts].take(context_P) & allowed_V.take(
                entry.followers.word_M[span]
            )
            counts.allocator.release()
        masks.append(kept_M)

    return tuple(masks)


def keep(
    tables: Tables,
    masks: Sequence[np.ndarray],
    allocator: ArrayAllocator = IN_MEMORY,
) -> tuple[Tables, np.ndarray]:
    """Remove the n-grams that are not kept; probabilities and back-off weights do not change.

    Ids that are not kept are removed from the vocabulary, and the other ids are renumbered in the same order.

    Args:
        masks: Per order, (M,) bool; contexts, suffixes and words of kept n-grams are kept.
        allocator: Allocator of the smaller tables.

    Returns:
        The smaller tables, and the old id of each new id.
    """
    ids = np.flatnonzero(masks[0])
    new_V = np.cumsum(masks[0], dtype=np.int64) - 1
    orders = zip(tables.followers, masks[:-1], masks[1:], strict=True)
    followers = tuple(_fewer(*each, new_V, len(ids), allocator) for each in orders)
    logp = tuple(_take(*each, allocator) for each in zip(tables.logp, masks, strict=True))
    # The highest order has no back-off weights.
    backoff = tuple(_take(*each, allocator) for each in zip(tables.backoff, masks, strict=False))
    given = tuple(int(new_V[token]) for token in tables.given)
    smaller = Tables(
        followers,
        logp,
        backoff,
        vocabulary_size=len(ids),
        given=given,
    )
    return smaller, ids


def _fewer(
    followers: Followers,
    below: np.ndarray,
    kept_M: np.ndarray,
    new_V: np.ndarray,
    words: int,
    allocator: ArrayAllocator,
) -> Followers:
    """Remove contexts (not *below*) and n-grams that are not kept, by blocks."""
    rows = int(np.count_nonzero(kept_M))
    word_M = allocator.empty(rows, word_type(words))
    first_C = allocator.empty(int(np.count_nonzero(below)) + 1, row_type(rows))
    row = context = 0
    for contexts in contexts_in_blocks(followers):
        span, context_P = continuations(followers, contexts)
        kept_P = kept_M[span]
        below_C = below[contexts]
        before_C = np.cumsum(
            np.bincount(context_P, weights=kept_P, minlength=len(below_C)).astype(np.int64)
        )
        first_B = row + np.append(0, before_C[:-1])[below_C]
        first_C[context : context + len(first_B)] = first_B
        words_B = new_V.take(followers.word_M[span][kept_P])
        word_M[row : row + len(words_B)] = words_B
        row += len(words_B)
        context += len(first_B)
        allocator.release()

    first_C[-1] = rows
    return Followers(word_M, first_C)


def _take(
    values_M: np.ndarray,
    kept_M: np.ndarray,
    allocator: ArrayAllocator,
) -> np.ndarray:
    taken = allocator.empty(int(np.count_nonzero(kept_M)), values_M.dtype)
    at = 0
    for part in pieces(values_M):
        values_B = values_M[part][kept_M[part]]
        taken[at : at + len(values_B)] = values_B
        at += len(values_B)
        allocator.release()
    return taken


def drop(
    tables: Tables,
    masks: Sequence[np.ndarray],
    suffix: Sequence[np.ndarray],
    allocator: ArrayAllocator = IN_MEMORY,
) -> Tables:
    """Remove the n-grams that are not kept and compute the changed back-off weights again; unigrams must stay.

    With these weights every context still sums to 1:

        α(h) = (1 − Σ_{v listed} p(v|h)) / (1 − Σ_{v listed} p(v|h'))

    Args:
        masks: As for `keep`; all unigrams are kept.
        suffix: Suffix rows of orders 2 … N, see `links`.
    """
    backoff = []
    for order, suffix_M in enumerate(suffix, start=2):
        backoff.append(
            allocator.empty(len(tables.backoff[order - 2]), tables.backoff[order - 2].dtype)
        )
        for contexts in contexts_in_blocks(tables.followers[order - 2]):
            backoff[-1][contexts] = _weights(
                tables,
                order,
                contexts,
                suffix_M,
                masks[order - 1],
            )
            allocator.release()

    return keep(replace(tables, backoff=tuple(backoff)), masks, allocator)[0]


def _weights(
    tables: Tables,
    order: int,
    contexts: slice,
    suffix_M: np.ndarray,
    kept_M: np.ndarray,
) -> np.ndarray:
    """Return the back-off weights of neighbouring contexts, computed again where an n-gram is removed."""
    span, context_P = continuations(tables.followers[order - 2], contexts)
    kept_P = kept_M[span]
    backoff_C = tables.backoff[order - 2][contexts]
    touched_C = np.bincount(context_P, weights=~kept_P, minlength=len(backoff_C)) > 0
    p_P = np.exp(tables.logp[order - 1][span][kept_P])
    p_below_P = np.exp(tables.logp[order - 2].take(suffix_M[span][kept_P]))
    left, left_below = compute_unlisted(context_P[kept_P], p_P, p_below_P, len(backoff_C))
    with np.errstate(divide="ignore", invalid="ignore"):
        anew_C = np.where(left_below > 0, np.log(left) - np.log(left_below), 0.0)

    return np.where(touched_C, anew_C, backoff_C)


def links(tables: Tables) -> list[np.ndarray]:
    """Return the row, at the order below, of each n-gram of orders 2 … N without its first word; (M,), NONE: absent."""
    suffixes = [
        tables.words(order).astype(np.int64) for order in range(2, min(tables.order, 2) + 1)
    ]
    for order in range(3, tables.order + 1):
        context_suffix_M = suffixes[-1][tables.contexts(order)]
        followers = tables.followers[order - 3]
        suffixes.append(followers.find(context_suffix_M, tables.words(order)))

    return suffixes


def compute_unlisted(
    context_M: np.ndarray,
    p_M: np.ndarray,
    p_below_M: np.ndarray,
    contexts: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return, per context, the total probability of all words not listed after it, and their total after its suffix.

    A context without listed words has (1, 1). If all words are listed, rounding may give less than 0; this becomes 0.
    """
    left = 1.0 - np.bincount(context_M, weights=p_M, minlength=contexts)
    left_below = 1.0 - np.bincount(context_M, weights=p_below_M, minlength=contexts)
    return np.maximum(left, 0.0), np.maximum(left_below, 0.0)


def prune_by_entropy(
    tables: Tables,
    threshold: float,
    history: Sequence[np.ndarray],
) -> Tables:
    """Drop every n-gram of order 2 and up that raises the perplexity by less than the factor 1 + *threshold*.

    All n-grams whose `perplexity_change` is below the threshold are dropped at once, except contexts and suffixes of
    kept n-grams. Then the back-off weights are computed again (`drop`). Source: A. Stolcke (1998), "Entropy-based
    pruning of backoff language models", DARPA Broadcast News Workshop.

    Args:
        tables: A normalised model (not stupid back-off).
        threshold: 1e-8 drops few n-grams, 1e-6 many; at 0 nothing changes.
        history: log p(h) of every n-gram as a context, per order 1 … N − 1, as observed (`observed_history`). The paper
            multiplies the model's own predictions instead (chain rule). With Kneser–Ney this is a poor estimate,
            because its lower orders are not marginals (C. Chelba et al. 2010, "Study on interaction between entropy
            pruning and Kneser–Ney smoothing"). Example: a model of order 4 of short review sentences has 715,000
            n-grams and perplexity 46.96; 180,000 n-grams chosen by the observed p(h) give 49.7, 250,000 chosen by the
            chain rule give 51.6.
    """
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


def perplexity_change(
    tables: Tables,
    order: int,
    suffix_M: np.ndarray,
    history: np.ndarray,
) -> np.ndarray:
    """Return exp(D(p ‖ p')) − 1 for dropping each single n-gram of an order; (M,) float64.

    Dropping only `h w` changes the model's distribution after h from p to p', by (Stolcke's equations 5 to 8)

        D(p ‖ p') = − p(h) { p(w|h) [log p(w|h') + log α'(h) − log p(w|h)]  +  [log α'(h) − log α(h)] U(h) }
        α'(h)     = (U(h) + p(w|h)) / (U(h') + p(w|h')),        U(·) = Σ p(v|·) over the v not listed after h

    and its perplexity by the factor exp(D).

    Args:
        tables: A normalised model.
        suffix_M: Row of each suffix at the order below.
        history: log p(h) of every n-gram of the order below.
    """
    context_M = tables.contexts(order)
    logp_M = tables.logp[order - 1]
    below_M = tables.logp[order - 2][suffix_M]
    p_M = np.exp(logp_M)
    p_below_M = np.exp(below_M)
    left, left_below = compute_unlisted(context_M, p_M, p_below_M, len(history))
    # log 0 and 0 · ∞ occur if all words are listed after a context.
    with np.errstate(divide="ignore", invalid="ignore"):
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
        followed = np.bincount(
            counts.context(order), weights=counts.orders[order - 1].raw_M, minlength=contexts
        )
        with np.errstate(divide="ignore"):
            logs.append(np.log(followed / tokens))

    return logs
