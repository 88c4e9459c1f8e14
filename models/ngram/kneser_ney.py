"""Interpolated Kneser–Ney smoothing, plain and modified.

Notation of the literature, for an n-gram `g = h w` (context h, word w), h' = h without its first word:

    c(g)      occurrences
    a(g)      adjusted count: c(g) at the highest order or where g begins a document, otherwise the number of
              different words seen before g ("continuation count")
    n_j       number of n-grams of an order with a(g) = j ("counts of counts")
    D(a)      discount of an n-gram with adjusted count a
    S(h)      sum over w of a(h w)

    p(w | h)  = (a(h w) − D(a(h w))) / S(h)  +  γ(h) p(w | h')
    γ(h)      = (sum over w of D(a(h w))) / S(h)          what the discounts took, so that everything sums to 1
    p(w)      = (a(w) − D(a(w))) / S  +  γ / V            V predictable entries, `<unk>` and `<eos>` included

Where rare n-grams are dropped (`pruning.kept_by_count`), counts, discounts and S(h) stay those of the whole text, and
what the dropped ones leave goes to the shorter context:

    γ(h)      = (sum of D(a(h w)) over kept w  +  sum of a(h w) over dropped w) / S(h)

Sources: R. Kneser and H. Ney (1995), "Improved backing-off for m-gram language modeling" (continuation counts);
H. Ney, U. Essen and R. Kneser (1994) (the discount n1 / (n1 + 2 n2)); S. F. Chen and J. Goodman (1999), "An empirical
study of smoothing techniques for language modeling", Computer Speech and Language 13 (interpolation, three discounts,
equation 26); K. Heafield et al. (2013), "Scalable modified Kneser–Ney language model estimation" (adjusted counts
with sentence begins, uniform distribution below the unigrams), whose program `lmplz` this agrees with.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..base import ModelError
from . import blocks
from .blocks import context_blocks, in_parallel
from .counts import NGramCounts, OrderCounts
from .lookup import NONE
from .threads import THREADS

logger = logging.getLogger(__name__)

FALLBACK = (0.5, 1.0, 1.5)
SMOOTHINGS = ("modified_kneser_ney", "kneser_ney")


@dataclass(frozen=True)
class Discounts:
    """The discounts of one order.

    Args:
        values: D(0) = 0, D1, D2, D3+ in units of a count.
        counts_of_counts: n1, n2, n3, n4.
        fallback: The counts of counts did not determine them; the given fallback was taken.
    """

    values: tuple[float, float, float, float]
    counts_of_counts: tuple[int, int, int, int]
    fallback: bool = False


@dataclass(frozen=True)
class Estimate:
    """Natural logs, one entry per n-gram of each order: `logp[k - 1]`, and back-off weights log γ: `backoff[k - 1]`.

    There is one order of back-off weights less than of probabilities. Given ids have log p = −inf.
    """

    logp: tuple[np.ndarray, ...]
    backoff: tuple[np.ndarray, ...]
    discounts: tuple[Discounts, ...]


def estimate(
    counts: NGramCounts,
    smoothing: str = "modified_kneser_ney",
    kenlm_exact: bool = True,
    fallback: Sequence[float] = FALLBACK,
    kept: Sequence[np.ndarray] | None = None,
    padded_vocabulary: int = 0,
    precision: str = "double",
    threads: int | None = None,
) -> Estimate:
    """Estimate p and back-off weight of every counted n-gram, in float64.

    Never fails for want of data: an order whose counts of counts do not determine its discounts takes *fallback* (and
    a warning says so), an order without a single n-gram is empty, and without any token p is uniform.

    Args:
        smoothing: "modified_kneser_ney" (three discounts per order) or "kneser_ney" (one).
        kenlm_exact: Take the counts of counts as `lmplz` does, see `counts_of_counts`.
        fallback: D1, D2, D3+ (plain Kneser–Ney takes D1), with 0 < Dj <= j.
        kept: Per order, which n-grams will stay (M,) bool; contexts and suffixes of kept ones must be kept. The
            estimate still has one entry per counted n-gram, of which only those of kept ones mean something:
            `pruning.keep` takes the others out. None keeps all.
        padded_vocabulary: V below the unigrams, if greater than the number of predictable entries: perplexities of
            models with different vocabularies become comparable, each unknown word being one of the V (`--vocab_pad`
            of `lmplz`). The listed entries then sum to less than 1.
        precision: "double" or "single": what the logs are rounded to in the end. All sums are of float64.
        threads: How many to use; None for `threads.THREADS`.

    Raises:
        ModelError: Unknown smoothing, or a fallback out of range.
    """
    if smoothing not in SMOOTHINGS:
        raise ModelError(f"smoothing is {smoothing!r}; it must be one of {', '.join(SMOOTHINGS)}", kind="input")
    if len(fallback) != 3 or not all(0 < value <= j for j, value in enumerate(fallback, start=1)):
        raise ModelError(f"fallback is {tuple(fallback)}; it must be D1, D2, D3+ with 0 < Dj <= j", kind="input")
    kind, threads = (np.float32 if precision == "single" else np.float64), threads or THREADS
    logp, backoff, discounts = [], [], []
    p_below = _uniform(counts, kept[0] if kept else None, padded_vocabulary)
    for order in range(1, counts.order + 1):
        adjusted_M = adjusted_counts(counts, order)
        found = order_discounts(counts_of_counts(counts, order, adjusted_M, kenlm_exact), smoothing, fallback)
        if found.fallback:
            logger.warning(
                "order %d: counts of counts %s do not determine the discounts; taking %s",
                order, found.counts_of_counts, found.values[1:],
            )
        level = Level(counts.orders[order - 1], adjusted_M, found, p_below, kept[order - 1] if kept else None)
        logp_M, p_below, log_gamma = _interpolated(level, counts, order < counts.order, kind, threads)
        logp.append(logp_M)
        if order > 1:
            backoff.append(log_gamma)
        discounts.append(found)
    return Estimate(tuple(logp), tuple(backoff), tuple(discounts))


def adjusted_counts(counts: NGramCounts, order: int) -> np.ndarray:
    """Return a(g) of every n-gram of an order, (M,) integers: Kneser and Ney (1995); Heafield et al. (2013).

    >>> from types import SimpleNamespace
    >>> from models.ngram.counts import count_ngrams
    >>> twice = SimpleNamespace(ids=np.array([1, 3, 4, 2, 1, 3, 4, 2]), offsets=np.array([0, 4, 8]))
    >>> adjusted_counts(count_ngrams(twice, 2, 5, {1}), 1).tolist()  # each word follows one other word only
    [0, 0, 1, 1, 1]
    """
    entry = counts.orders[order - 1]
    if order == counts.order:
        return entry.raw_M
    adjusted_M, suffix_M = np.zeros(len(entry), np.int32), counts.orders[order].suffix_M
    for first in range(0, len(suffix_M), blocks.NGRAMS):
        suffix_B = suffix_M[first : first + blocks.NGRAMS].astype(np.intp)
        np.add.at(adjusted_M, suffix_B, np.ones(len(suffix_B), np.int32))
    counts.shelf.release()
    np.copyto(adjusted_M, entry.raw_M, where=entry.begins_M)
    return adjusted_M


def counts_of_counts(
    counts: NGramCounts, order: int, adjusted_M: np.ndarray, kenlm_exact: bool = True
) -> tuple[int, int, int, int]:
    """Return n1, n2, n3, n4 of an order.

    With *kenlm_exact*, the n-gram that `lmplz` has still open when its sorted stream ends (at most one per order
    below the highest) enters with its raw count, as it does there; p itself always uses a(g).
    """
    n = np.zeros(6, np.int64)
    for first in range(0, len(adjusted_M), blocks.NGRAMS):
        n += np.bincount(np.minimum(adjusted_M[first : first + blocks.NGRAMS], 5), minlength=6)
    entry = counts.orders[order - 1]
    if kenlm_exact and order < counts.order and entry.open_row != NONE:
        n[min(int(adjusted_M[entry.open_row]), 5)] -= 1
        n[min(int(entry.raw_M[entry.open_row]), 5)] += 1
    return int(n[1]), int(n[2]), int(n[3]), int(n[4])


def order_discounts(n: tuple[int, int, int, int], smoothing: str, fallback: Sequence[float] = FALLBACK) -> Discounts:
    """Return the discounts that the counts of counts n1 … n4 determine, or the fallback where they do not.

    Modified (Chen and Goodman 1999, equation 26): Y = n1 / (n1 + 2 n2), Dj = j − (j + 1) Y n(j+1) / nj for
    j = 1, 2, 3+. Plain (Ney et al. 1994): D = Y for every count. A discount of 0 or below would leave nothing for
    unseen words, one above j would make a probability negative; both count as not determined. (At exactly 0 `lmplz`
    goes on, and may give an unseen word probability 0.)
    """
    values = _modified(n) if smoothing == "modified_kneser_ney" else _plain(n)
    if values is not None:
        return Discounts((0.0, *values), n)
    d1, d2, d3 = fallback if smoothing == "modified_kneser_ney" else (fallback[0],) * 3
    return Discounts((0.0, d1, d2, d3), n, fallback=True)


def _plain(n: tuple[int, int, int, int]) -> tuple[float, float, float] | None:
    if n[0] == 0 or n[1] == 0:
        return None
    y = n[0] / (n[0] + 2 * n[1])
    return y, y, y


def _modified(n: tuple[int, int, int, int]) -> tuple[float, float, float] | None:
    if 0 in n[:3]:
        return None
    # In integers up to the one division, so that a discount of exactly 0 is seen as such.
    below = n[0] + 2 * n[1]
    d1, d2, d3 = ((j * below * n[j - 1] - (j + 1) * n[0] * n[j]) / (below * n[j - 1]) for j in (1, 2, 3))
    return (d1, d2, d3) if 0 < d1 <= 1 and 0 < d2 <= 2 and 0 < d3 <= 3 else None


def _uniform(counts: NGramCounts, kept_V: np.ndarray | None, padded: int) -> np.ndarray:
    """Return the distribution below the unigrams, (V,): equal over the predictable ids that are kept."""
    listed_V = np.ones(counts.vocabulary_size, bool) if kept_V is None else kept_V.copy()
    listed_V[list(counts.given)] = False
    return np.where(listed_V, 1.0 / max(int(listed_V.sum()), padded), 0.0)


class Level(NamedTuple):
    """What the estimate of one order is made from; a block of rows of one is one too.

    Args:
        entry: The counts.
        adjusted_M: a(g).
        discounts: D.
        p_below: p of every n-gram of the order below; at order 1, of every id.
        kept_M: Which n-grams stay; None for all.
    """

    entry: OrderCounts
    adjusted_M: np.ndarray
    discounts: Discounts
    p_below: np.ndarray
    kept_M: np.ndarray | None


def _interpolated(
    level: Level, counts: NGramCounts, with_p: bool, kind: type, threads: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Estimate an order in blocks that hold whole contexts; blocks know nothing of each other.

    Returns:
        log p of every n-gram; p where *with_p* says so (for the order above); log γ of every context (of every n-gram
        of the order below).
    """
    rows, followers = len(level.entry), level.entry.followers
    contexts = 1 if followers is None else len(level.p_below)
    logp_M, log_gamma = counts.shelf.empty(rows, kind), counts.shelf.empty(contexts, kind)
    p_M = np.empty(rows if with_p else 0)
    edges = np.array([0, contexts]) if followers is None else context_blocks(followers.first_C, blocks.NGRAMS)

    def work(block: int) -> None:
        part = slice(int(edges[block]), int(edges[block + 1]))
        first_C = np.array([0, rows]) if followers is None else followers.first_C[part.start : part.stop + 1]
        span = slice(int(first_C[0]), int(first_C[-1]))
        p_P, gamma_C = interpolate(level, span, np.diff(first_C).astype(np.int64))
        if with_p:
            p_M[span] = p_P
        with np.errstate(divide="ignore"):
            logp_M[span] = np.minimum(np.log(p_P, out=p_P), 0.0)
            log_gamma[part] = np.log(gamma_C)
        counts.shelf.release()

    in_parallel(work, len(edges) - 1, threads)
    return logp_M, p_M, log_gamma


def interpolate(level: Level, span: slice, followers_C: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Estimate the n-grams of some neighbouring contexts, by the first two equations of this module.

    Args:
        span: Their rows.
        followers_C: How many of these each context has; (C,).

    Returns:
        p of each n-gram, and γ of each context (1 where nothing follows).
    """
    contexts = len(followers_C)
    context_P = np.repeat(np.arange(contexts), followers_C)
    adjusted_P = level.adjusted_M[span]
    discount_P = np.asarray(level.discounts.values).take(adjusted_P, mode="clip")
    total = np.bincount(context_P, weights=adjusted_P, minlength=contexts)
    taken_P = discount_P if level.kept_M is None else np.where(level.kept_M[span], discount_P, adjusted_P)
    taken = np.bincount(context_P, weights=taken_P, minlength=contexts)
    used = total > 0
    gamma = np.divide(taken, total, out=np.ones(contexts), where=used)
    total[~used] = 1.0
    suffix_M = level.entry.suffix_M
    below_P = level.p_below[span] if level.entry.followers is None else level.p_below.take(suffix_M[span])
    below_P = gamma.take(context_P) * below_P
    p_P = np.subtract(adjusted_P, discount_P, out=discount_P)
    p_P /= total.take(context_P)
    p_P += below_P
    return p_P, gamma
