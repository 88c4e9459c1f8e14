"""Estimate p of n-grams order by order, for all smoothing methods but Kneser–Ney (`kneser_ney.py`).

Notation of the literature, for an n-gram `g = h w` (context h, word w), h' = h without its first word:

    c(h w)    occurrences
    S(h)      sum over w of c(h w)
    R(h)      number of different words w with c(h w) > 0
    γ(h)      back-off weight: the factor of the shorter context's probability after h

Interpolated methods mix both contexts, back-off methods choose one:

    p(w | h)  =  own(w | h) + γ(h) p(w | h')                        interpolation
    p(w | h)  =  own(w | h) if c(h w) > 0, otherwise γ(h) p(w | h')  back-off

A word never seen after h has γ(h) p(w | h') in both, so both have the same result: log p of every n-gram that was seen
and log γ of every context. A context that was never seen has γ = 1, so it has no effect. Below the unigrams p is
uniform, 1 / V for each of the V predictable entries. The methods differ only in own and γ; see S. F. Chen and J.
Goodman (1999), "An empirical study of smoothing techniques for language modeling", Computer Speech and Language 13,
section 2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from reviewlm.training.ngram.counting.counts import NGramCounts, mask
from reviewlm.training.ngram.engine import Threads
from reviewlm.training.ngram.smoothing.by_context import (
    ContextBlock,
    Estimate,
    below_unigrams,
    estimate_order,
    numbers_of,
)


@dataclass(frozen=True)
class Level:
    """The raw counts of some C contexts of one order (at order 1 the empty one), and of the M n-grams after them.

    Args:
        order: Length of the n-grams.
        count_M: c(h w); at order 1 unseen ids are included, with 0.
        context_M: Index of the context h of each n-gram among the C contexts.
        total_C: S(h); 0 for a context that nothing follows.
        followers_C: R(h).
        begun_C: Whether the context begins with a begin token, so that no longer context exists.
    """

    order: int
    count_M: np.ndarray
    context_M: np.ndarray
    total_C: np.ndarray
    followers_C: np.ndarray
    begun_C: np.ndarray

    @classmethod
    def of(
        cls,
        counts: NGramCounts,
        order: int,
        block: ContextBlock,
    ) -> Level:
        """Sum up the counts of a block by context."""
        count_M = counts.orders[order - 1].raw_M[block.rows]
        if order == 1:
            begun_C = np.zeros(1, bool)
        else:
            begun_C = counts.orders[order - 2].begins_M[block.contexts]

        return cls(
            order,
            count_M,
            block.context_P,
            block.sums(count_M),
            block.sums(count_M > 0),
            begun_C,
        )

    @property
    def divisor_C(self) -> np.ndarray:
        """S(h), or 1 where S(h) is 0, to use as a divisor."""
        return np.maximum(self.total_C, 1.0)

    @property
    def maximum_likelihood_M(self) -> np.ndarray:
        """The maximum-likelihood estimate c(h w) / S(h)."""
        return self.count_M / self.divisor_C[self.context_M]


Method = Callable[[Level, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""A method: (level, p(w | h') of its n-grams) → own_M, gamma_C. Called for one block of contexts after another."""


def build(
    counts: NGramCounts,
    method: Method,
    interpolated: bool = True,
    **parameters: Any,
) -> Estimate:
    """Apply a method order by order, from the unigrams up, and block by block.

    Args:
        method: Returns own(w | h) and γ(h) of a block; its γ of contexts that nothing follows is ignored.
        interpolated: True: mix with the shorter context; False: choose one of the two.
        parameters: Further fields of the `Estimate`.
    """
    logp = []
    backoff = []
    p_below = below_unigrams(mask(counts.given, counts.vocabulary_size))
    for order in range(1, counts.order + 1):
        work = partial(
            _of_block,
            counts,
            order,
            method,
            interpolated,
        )
        logp_M, p_below, log_gamma = estimate_order(
            counts,
            order,
            p_below,
            work,
            Threads(1),
        )
        logp.append(logp_M)
        if order > 1:
            backoff.append(log_gamma)

    return Estimate(tuple(logp), tuple(backoff), **parameters)


def _of_block(
    counts: NGramCounts,
    order: int,
    method: Method,
    interpolated: bool,
    block: ContextBlock,
) -> tuple[np.ndarray, np.ndarray]:
    level = Level.of(counts, order, block)
    own_M, gamma_C = method(level, block.below_P)
    gamma_C = np.where(level.total_C > 0, gamma_C, 1.0)
    rest_M = gamma_C[level.context_M] * block.below_P
    if interpolated:
        return own_M + rest_M, gamma_C

    return np.where(level.count_M > 0, own_M, rest_M), gamma_C


def raw_counts_of_counts(
    counts: NGramCounts,
    order: int,
    highest: int,
) -> tuple[int, ...]:
    """Return n_1 … n_highest: the numbers of n-grams of an order that occurred once, twice, …"""
    return tuple(numbers_of(counts, counts.orders[order - 1].raw_M, highest)[1:-1].tolist())
