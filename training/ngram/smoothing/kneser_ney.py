"""Estimate interpolated Kneser–Ney smoothing, plain and modified.

Notation of the literature, for an n-gram `g = h w` (context h, word w), h' = h without its first word:

    c(g)      occurrences
    a(g)      adjusted count: c(g) at the highest order or where g begins a document, otherwise the number of
              different words seen before g ("continuation count")
    n_j       number of n-grams of an order with a(g) = j ("counts of counts")
    D(a)      discount of an n-gram with adjusted count a
    S(h)      sum over w of a(h w)

    p(w | h)  = (a(h w) − D(a(h w))) / S(h)  +  γ(h) p(w | h')
    γ(h)      = (sum over w of D(a(h w))) / S(h)          the discounted probability, so that everything sums to 1
    p(w)      = (a(w) − D(a(w))) / S  +  γ / V            V predictable entries, `<unk>` and `<eos>` included

Without interpolation of the unigrams, as in SRILM, p(<unk>) = γ, and the other unigrams get no share of γ.

If rare n-grams are dropped (`pruning.kept_by_count`), counts, discounts and S(h) are still those of the whole text. The
probability of the dropped n-grams goes to the shorter context:

    γ(h)      = (sum of D(a(h w)) over kept w  +  sum of a(h w) over dropped w) / S(h)

Sources: R. Kneser and H. Ney (1995), "Improved backing-off for m-gram language modeling" (continuation counts);
H. Ney, U. Essen and R. Kneser (1994) (the discount n1 / (n1 + 2 n2)); S. F. Chen and J. Goodman (1999), "An empirical
study of smoothing techniques for language modeling", Computer Speech and Language 13 (interpolation, three discounts,
equation 26); K. Heafield et al. (2013), "Scalable modified Kneser–Ney language model estimation" (adjusted counts
with sentence begins, uniform distribution below the unigrams). The results agree with their program `lmplz`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

import numpy as np

from reviewlm.models.ngram.lookup import NONE
from reviewlm.training.ngram.counting.counts import NGramCounts, mask
from reviewlm.training.ngram.counting.memory import ranges_in_memory
from reviewlm.training.ngram.engine import ShardEngine, Threads
from reviewlm.training.ngram.smoothing.by_context import (
    FALLBACK,
    ContextBlock,
    Discounts,
    Estimate,
    below_unigrams,
    estimate_order,
    numbers_of,
    order_discounts,
    pieces,
)

logger = logging.getLogger(__name__)

UNK = 0
"""Id of `<unk>`, both in text lines and in reviews."""


def estimate(
    counts: NGramCounts,
    smoothing: str = "modified_kneser_ney",
    kenlm_exact: bool = True,
    fallback: Sequence[float] = FALLBACK,
    masks: Sequence[np.ndarray] | None = None,
    padded_vocabulary: int = 0,
    precision: str = "double",
    engine: ShardEngine | None = None,
    spend: bool = False,
) -> Estimate:
    """Estimate p and back-off weight of every counted n-gram, in float64.

    It never fails because of too little data. An order whose counts of counts do not determine its discounts takes
    *fallback*, with a warning; an order without any n-gram is empty; without any token p is uniform.

    Args:
        smoothing: "modified_kneser_ney" (three discounts per order) or "kneser_ney" (one).
        kenlm_exact: Handle counts of counts and discounts of 0 as `lmplz` does, see `counts_of_counts` and
            `by_context.order_discounts`: with a small text an unseen word may then have probability 0.
        fallback: D1, D2, D3+ (plain Kneser–Ney takes D1), with 0 < Dj <= j.
        masks: Per order, which n-grams will stay (M,) bool; contexts and suffixes of kept n-grams must be kept. The
            estimate still has one entry per counted n-gram, but only the entries of kept n-grams are valid:
            `pruning.keep` removes the others. None keeps all.
        padded_vocabulary: V below the unigrams, if greater than the number of predictable entries. It makes
            perplexities of models with different vocabularies comparable: each unknown word is one of the V
            (`--vocab_pad` of `lmplz`). The listed entries then sum to less than 1.
        precision: "double" or "single": precision of the logarithms, and of p for the next order. All sums are float64.
        engine: Executor of the blocks of contexts; None for threads of this process.
        spend: Give up the counts of each order once it is estimated (`OrderCounts.give_up`).

    Raises:
        ModelError: The engine failed.
    """
    logp = []
    backoff = []
    discounts = []
    given_V = mask(counts.given, counts.vocabulary_size)
    p_below = below_unigrams(given_V, masks[0] if masks else None, padded_vocabulary)
    for order in range(1, counts.order + 1):
        adjusted_M = adjusted_counts(counts, order)
        kept_M = masks[order - 1] if masks else None
        n = counts_of_counts(counts, order, adjusted_M, kenlm_exact)
        discount = order_discounts(n, smoothing, fallback, kenlm_exact)
        work = partial(
            _of_block,
            adjusted_M=adjusted_M,
            discounts=discount,
            kept_M=kept_M,
        )
        logp_M, p_below, log_gamma = estimate_order(
            counts,
            order,
            p_below,
            work,
            engine or Threads(),
            precision,
        )
        logp.append(logp_M)
        if order > 1:
            backoff.append(log_gamma)
        discounts.append(discount)
        if spend:
            counts.orders[order - 1].give_up()

    return Estimate(
        tuple(logp), tuple(backoff), tuple(discounts), fallbacks=name_fallbacks(discounts)
    )


def name_fallbacks(discounts: Sequence[Discounts]) -> dict[int, str]:
    """Return the name of the fallback of each order whose discounts are not determined, and warn of them.

    Args:
        discounts: Of the orders 1 … N.
    """
    fallbacks = [order for order, one in enumerate(discounts, start=1) if one.fallback]
    # A vocabulary with a least count has no word seen once, so a fallback is no surprise in unigrams.
    surprise = len(discounts) > 1 or discounts[0].counts_of_counts[0]
    if fallbacks and surprise:
        logger.warning(
            "too little text to estimate the discounts of order%s %s: %s are used instead. This is fine for a "
            "trial; otherwise train on more text",
            "s" if len(fallbacks) > 1 else "",
            ", ".join(map(str, fallbacks)),
            discounts[fallbacks[0] - 1].values[1:],
        )

    return dict.fromkeys(fallbacks, "fixed_discounts")


def _of_block(
    block: ContextBlock,
    adjusted_M: np.ndarray,
    discounts: Discounts,
    kept_M: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    kept_P = None if kept_M is None else kept_M[block.rows]
    return interpolate(block, adjusted_M[block.rows], discounts, kept_P)


def adjusted_counts(counts: NGramCounts, order: int) -> np.ndarray:
    """Return a(g) of every n-gram of an order, (M,) integers: Kneser and Ney (1995); Heafield et al. (2013).

    >>> from types import SimpleNamespace
    >>> from reviewlm.training.ngram.counting.counts import count_ngrams
    >>> twice = SimpleNamespace(ids=np.array([1, 3, 4, 2, 1, 3, 4, 2]), offsets=np.array([0, 4, 8]))
    >>> adjusted_counts(count_ngrams(twice, 2, 5, {1}), 1).tolist()  # each word follows one other word only
    [0, 0, 1, 1, 1]
    """
    entry = counts.orders[order - 1]
    if order == counts.order:
        return entry.raw_M
    adjusted_M = counts.allocator.growing(np.int32)
    for rows in ranges_in_memory(len(entry), adjusted_M.kind.itemsize, counts.allocator.limit):
        adjusted_M.append(_adjusted_counts(counts, order, rows))
    return adjusted_M.finish()


def _adjusted_counts(
    counts: NGramCounts,
    order: int,
    rows: slice,
) -> np.ndarray:
    """Return a(g) of neighbouring n-grams of an order below the highest."""
    entry = counts.orders[order - 1]
    suffix_M = counts.orders[order].suffix_M
    adjusted_P = np.zeros(rows.stop - rows.start, np.int32)
    for part in pieces(suffix_M):
        suffix_B = suffix_M[part]
        if len(adjusted_P) < len(entry):
            suffix_B = suffix_B[(suffix_B >= rows.start) & (suffix_B < rows.stop)] - rows.start
        np.add.at(adjusted_P, suffix_B.astype(np.intp), np.ones(len(suffix_B), np.int32))
        counts.allocator.release()

    for part in pieces(adjusted_P):
        here = slice(rows.start + part.start, rows.start + part.stop)
        np.copyto(adjusted_P[part], entry.raw_M[here], where=entry.begins_M[here])
        counts.allocator.release()

    return adjusted_P


def counts_of_counts(
    counts: NGramCounts,
    order: int,
    adjusted_M: np.ndarray,
    kenlm_exact: bool = True,
) -> tuple[int, int, int, int]:
    """Return n1, n2, n3, n4 of an order.

    With *kenlm_exact*, the n-gram that `lmplz` has not finished when its sorted stream ends (at most one per order
    below the highest) counts with its raw count, as in `lmplz`. p itself always uses a(g).
    """
    n = numbers_of(counts, adjusted_M, 4)
    if kenlm_exact and order < counts.order and (row := counts.open_rows[order - 1]) != NONE:
        n[min(int(adjusted_M[row]), 5)] -= 1
        n[min(int(counts.orders[order - 1].raw_M[row]), 5)] += 1
    return int(n[1]), int(n[2]), int(n[3]), int(n[4])


def interpolate(
    block: ContextBlock,
    adjusted_P: np.ndarray,
    discounts: Discounts,
    kept_P: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Estimate the n-grams of some neighbouring contexts, by the first two equations of this module.

    Args:
        adjusted_P: a(g).
        discounts: Discounts of the order.
        kept_P: Which n-grams stay; None for all.

    Returns:
        p of each n-gram, and γ of each context (1 where nothing follows).
    """
    discount_P = np.asarray(discounts.values).take(adjusted_P, mode="clip")
    taken_P = discount_P
    if kept_P is not None:
        taken_P = np.where(kept_P, discount_P, adjusted_P)

    total = block.sums(adjusted_P)
    taken = block.sums(taken_P)
    used = total > 0
    gamma = np.divide(taken, total, out=np.ones(len(total)), where=used)
    total[~used] = 1.0
    below_P = gamma.take(block.context_P) * block.below_P
    p_P = np.subtract(adjusted_P, discount_P, out=discount_P)
    p_P /= total.take(block.context_P)
    p_P += below_P
    return p_P, gamma
