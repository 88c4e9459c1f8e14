"""Estimate one order of a model in blocks of whole contexts, since the estimate of a context needs no other context.

So blocks run in parallel. Counts and results may be in temporary files (`counting/memory.py`): then memory only holds p
of the order below, if it fits, and the current blocks.

The result of every smoothing method (`Estimate`) and the discounts from counts of counts, which several methods use,
are here too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np

from reviewlm.models.atomic_files import let_go
from reviewlm.models.ngram.lookup import Followers
from reviewlm.training.ngram.counting.counts import NGramCounts
from reviewlm.training.ngram.counting.memory import ranges_in_memory
from reviewlm.training.ngram.engine import ShardEngine

NGRAMS = 1 << 18
"""Number of n-grams in a block: small enough for the processor's cache."""
FALLBACK = (0.5, 1.0, 1.5)


class ContextBlock(NamedTuple):
    """Some neighbouring contexts h, and the P n-grams h w that continue them.

    Args:
        contexts: Rows of the contexts at the order below; the one empty context at order 1.
        rows: Rows of the n-grams.
        context_P: Index of each n-gram's context in the block.
        below_P: p(w | h') of each n-gram.
    """

    contexts: slice
    rows: slice
    context_P: np.ndarray
    below_P: np.ndarray

    def sums(self, weight_P: np.ndarray) -> np.ndarray:
        """Return the sum of a weight over the n-grams of each context; (C,) float64."""
        contexts = self.contexts.stop - self.contexts.start
        return np.bincount(self.context_P, weights=weight_P, minlength=contexts)


Work = Callable[[ContextBlock], tuple[np.ndarray, np.ndarray]]
"""A method for a block: returns p of its n-grams and γ of its contexts."""


def estimate_order(
    counts: NGramCounts,
    order: int,
    p_below: np.ndarray,
    work: Work,
    engine: ShardEngine,
    precision: str = "double",
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Estimate an order block by block.

    Args:
        p_below: p of every n-gram of the order below; at order 1, p of every id below the unigrams.
        work: The method: a function of a module, with its data bound to it (`functools.partial`).
        engine: Executor of the blocks.
        precision: Precision of the result; within a block everything is float64.

    Returns:
        log p of every n-gram; p of every n-gram, for the order above (empty at the highest order); log γ of every
        context, that is of every n-gram of the order below.
    """
    entry = counts.orders[order - 1]
    kind = np.float32 if precision == "single" else np.float64
    followers = entry.followers
    contexts = 1
    if entry.followers is not None:
        contexts = len(p_below)

    logp_M = counts.allocator.empty(len(entry), kind)
    log_gamma = counts.allocator.empty(contexts, kind)
    p_M = counts.allocator.empty(len(entry) if order < counts.order else 0, kind)
    below_M = _in_memory(counts, p_below)
    if followers is None:
        edges = np.array([0, 1])
    else:
        edges = context_blocks(followers.first_C, NGRAMS)

    def place(number: int, estimates: tuple[np.ndarray, np.ndarray]) -> None:
        part = slice(int(edges[number]), int(edges[number + 1]))
        if followers is None:
            rows = slice(None)
        else:
            rows = slice(*followers.first_C[[part.start, part.stop]].tolist())

        p_P, gamma_C = estimates
        if len(p_M):
            p_M[rows] = p_P

        with np.errstate(divide="ignore"):
            logp_M[rows] = np.minimum(np.log(p_P), 0.0)
            log_gamma[part] = np.log(gamma_C)

        counts.allocator.release()

    step = partial(
        _of_shard,
        followers,
        entry.suffix_M,
        below_M,
        edges,
        work,
    )
    engine.each(step, place, len(edges) - 1)
    return logp_M, p_M, log_gamma


def _of_shard(
    followers: Followers | None,
    suffix_M: np.ndarray,
    p_below: np.ndarray,
    edges: np.ndarray,
    work: Work,
    number: int,
) -> tuple[np.ndarray, np.ndarray]:
    part = slice(int(edges[number]), int(edges[number + 1]))
    if followers is None:
        return work(
            ContextBlock(part, slice(0, len(p_below)), np.zeros(len(p_below), np.int64), p_below)
        )
    rows, context_P = continuations(followers, part)
    below_P = p_below.take(suffix_M[rows]).astype(np.float64, copy=False)
    return work(ContextBlock(part, rows, context_P, below_P))


def _in_memory(counts: NGramCounts, p_below: np.ndarray) -> np.ndarray:
    """Return p of the order below, read from its file into memory if it fits: it is looked up in any order."""
    allocator = counts.allocator
    if (
        allocator.folder is None
        or len(ranges_in_memory(len(p_below), p_below.itemsize, allocator.limit)) > 1
    ):
        return p_below

    copy = np.empty_like(p_below)
    for part in pieces(copy):
        copy[part] = p_below[part]
        allocator.release()

    return copy


def continuations(followers: Followers, contexts: slice) -> tuple[slice, np.ndarray]:
    """Return the rows of the n-grams that continue neighbouring contexts, and the index of each one's context."""
    first_C = followers.first_C[contexts.start : contexts.stop + 1]
    numbers = np.diff(first_C).astype(np.int64)
    rows = slice(int(first_C[0]), int(first_C[-1]))
    return rows, np.repeat(np.arange(len(numbers)), numbers)


def context_blocks(first_C: np.ndarray, most: int) -> np.ndarray:
    """Cut contexts into blocks of at most *most* contexts and *most* n-grams (more if a single context has more).

    Args:
        most: Maximum size of a block.

    Returns:
        First context of every block, and the number of contexts; (blocks + 1,).
    """
    edges = [0]
    contexts = len(first_C) - 1
    while edges[-1] < contexts:
        room = int(first_C[edges[-1]]) + most
        near_C = first_C[: edges[-1] + most + 1]
        last = int(np.searchsorted(near_C, np.array(room, first_C.dtype), side="right")) - 1
        edges.append(max(last, edges[-1] + 1))
        let_go(first_C)

    return np.array(edges)


def contexts_in_blocks(followers: Followers) -> Iterator[slice]:
    """Yield ranges of neighbouring contexts with about `NGRAMS` n-grams each."""
    edges = context_blocks(followers.first_C, NGRAMS).tolist()
    yield from map(slice, edges[:-1], edges[1:])


def pieces(rows: Sized) -> Iterator[slice]:
    """Yield slices of at most `NGRAMS` rows."""
    for first in range(0, len(rows), NGRAMS):
        yield slice(first, min(first + NGRAMS, len(rows)))


def below_unigrams(
    given_V: np.ndarray,
    kept_V: np.ndarray | None = None,
    padded: int = 0,
) -> np.ndarray:
    """Return the distribution below the unigrams, (V,): uniform over the predictable ids that stay."""
    listed_V = ~given_V
    if kept_V is not None:
        listed_V &= kept_V

    return np.where(listed_V, 1.0 / max(int(listed_V.sum()), padded), 0.0)


def numbers_of(
    counts: NGramCounts,
    count_M: np.ndarray,
    highest: int,
) -> np.ndarray:
    """Return how many n-grams have the count 0, 1, … *highest*, and how many a higher one."""
    n = np.zeros(highest + 2, np.int64)
    for part in pieces(count_M):
        n += np.bincount(np.minimum(count_M[part], highest + 1), minlength=highest + 2)
        counts.allocator.release()
    return n


@dataclass(frozen=True)
class Discounts:
    """The discounts of one order.

    Args:
        values: D(0) = 0, D1, D2, D3+ in units of a count.
        counts_of_counts: n1, n2, n3, n4.
        fallback: Whether the fallback was used, because the counts of counts did not determine the discounts.
    """

    values: tuple[float, float, float, float]
    counts_of_counts: tuple[int, int, int, int]
    fallback: bool = False


@dataclass(frozen=True)
class Estimate:
    """Natural logs, one entry per n-gram of each order, with the method's parameters.

    Args:
        logp: log p of orders 1 … N; −inf for given ids.
        backoff: log γ of orders 1 … N − 1.
        discounts: Discounts per order, for methods that have them.
        facts: Other parameters by name, e.g. "weight/2" (of order 2).
        fallbacks: Order → name of the fallback, if the counts did not determine the method's own parameters.
    """

    logp: tuple[np.ndarray, ...]
    backoff: tuple[np.ndarray, ...]
    discounts: tuple[Discounts, ...] = ()
    facts: Mapping[str, float] = field(default_factory=dict)
    fallbacks: Mapping[int, str] = field(default_factory=dict)


def order_discounts(
    n: tuple[int, int, int, int],
    smoothing: str,
    fallback: Sequence[float] = FALLBACK,
    kenlm_exact: bool = False,
) -> Discounts:
    """Return the discounts that the counts of counts n1 … n4 determine, or the fallback if they do not.

    Modified (Chen and Goodman 1999, equation 26): Y = n1 / (n1 + 2 n2), Dj = j − (j + 1) Y n(j+1) / nj for
    j = 1, 2, 3+. Plain (Ney et al. 1994): D = Y for every count. A discount of 0 or below would leave nothing for
    unseen words; a discount above j would make a probability negative. Both count as not determined.

    Args:
        n: n1, n2, n3, n4.
        smoothing: "modified_kneser_ney" or "kneser_ney".
        fallback: D1, D2, D3+ (plain Kneser–Ney takes D1).
        kenlm_exact: Accept modified discounts of exactly 0, as `lmplz` does, which refuses only negative ones. If all
            followers of a context have a count with discount 0, then γ = 0, and words not seen after this context have
            probability 0. Whether a discount is negative is computed in float32, as in `lmplz`.
    """
    if smoothing == "modified_kneser_ney":
        values = _modified_discounts(n, kenlm_exact)
    else:
        values = _plain(n)

    if values is not None:
        return Discounts((0.0, *values), n)
    d1, d2, d3 = fallback if smoothing == "modified_kneser_ney" else (fallback[0],) * 3
    return Discounts((0.0, d1, d2, d3), n, fallback=True)


def _plain(n: tuple[int, int, int, int]) -> tuple[float, float, float] | None:
    if n[0] == 0 or n[1] == 0:
        return None
    y = n[0] / (n[0] + 2 * n[1])
    return y, y, y


def _modified_discounts(
    n: tuple[int, int, int, int], kenlm_exact: bool
) -> tuple[float, float, float] | None:
    if 0 in n[:3]:
        return None

    # Calculate in integers until the only division, so that a discount of exactly 0 is exactly 0.
    below = n[0] + 2 * n[1]
    exact = []
    for j in (1, 2, 3):
        numerator = j * below * n[j - 1] - (j + 1) * n[0] * n[j]
        exact.append(numerator / (below * n[j - 1]))

    d1, d2, d3 = exact
    if kenlm_exact:
        if _lmplz_takes(n):
            return max(d1, 0.0), max(d2, 0.0), max(d3, 0.0)
        return None

    if 0 < d1 <= 1 and 0 < d2 <= 2 and 0 < d3 <= 3:
        return d1, d2, d3
    return None


def _lmplz_takes(n: tuple[int, int, int, int]) -> bool:
    """Return whether no discount is negative, with the rounding of `lmplz` (adjust_counts.cc)."""
    n_j = np.array([0, *n], np.float32)
    y = n_j[1] / np.float32(n[0] + 2 * n[1])
    amounts = []
    for j in (1, 2, 3):
        taken = np.float32(j + 1) * y * n_j[j + 1] / n_j[j]
        amounts.append(np.float32(j) - taken)

    return all(amount >= 0 for amount in amounts)
