"""Estimate maximum likelihood: probabilities as ratios of counts, q(w | u, v) = c(u v w) / c(u v).

    p(w | h)  =  c(h w) / S(h)         γ(h) = 0: nothing is left for words not seen after h

Every smoothing method corrects this estimate: an unseen n-gram has probability 0, so a single one makes the perplexity
of a text infinite. Such events are counted and reported (`validation/zero_probability_events`), never left out of the
mean. After a context that was never seen, the ratio is 0 / 0. Then `estimate` uses the longest suffix of the context
that was seen, so that there is a distribution after any context; `MaximumLikelihood` raises an error.

`MaximumLikelihood` is exact (rational numbers) and simple, for teaching and for tests. `estimate` gives the same
numbers as logarithms, in the form of the other methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from ...base import ModelError
from ..counting.counts import NGramCounts
from ..lookup import NONE
from .interpolation import Level, SmoothedEstimate, build


def estimate(counts: NGramCounts) -> SmoothedEstimate:
    """Compute log p of every counted n-gram; back-off weights of continued contexts are log 0 = −inf."""
    logp, backoff = build(counts, maximum_likelihood)
    return SmoothedEstimate(tuple(logp), tuple(backoff), ())


def maximum_likelihood(level: Level, below_M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return own(w | h) = c(h w) / S(h) and γ(h) = 0."""
    return level.maximum_likelihood_M, np.zeros(len(level.total_C))


class MaximumLikelihood:
    """A Markov model of order N − 1 with unsmoothed probabilities."""

    def __init__(self, counts: NGramCounts) -> None:
        self.counts = counts
        self._totals = [
            np.bincount(counts.context(order), weights=counts.orders[order - 1].raw_M).astype(np.int64)
            for order in range(1, counts.order + 1)
        ]

    def probability(self, word: int, context: Sequence[int]) -> Fraction:
        """Return c(context word) / (number of times that any token followed the context).

        The context is cut to its last N − 1 tokens (Markov assumption).

        Raises:
            ModelError: The context was never seen, so the ratio is 0 / 0; kind "input".
        """
        window = tuple(context[max(0, len(context) - self.counts.order + 1) :])
        row = self.counts.row(window)
        totals = self._totals[len(window)]
        if row == NONE or row >= len(totals) or totals[row] == 0:
            raise ModelError(f"the context {window} was never seen: c(h w) / c(h) is 0 / 0", kind="input")
        return Fraction(self.counts.count((*window, word)), int(totals[row]))

    def sequence_probability(self, document: Sequence[int]) -> Fraction:
        """Return the product of the conditional probabilities of a document `[begin, w1 … wn, end]` (chain rule)."""
        product = Fraction(1)
        for place in range(1, len(document)):
            if product:
                product *= self.probability(document[place], document[:place])
        return product
