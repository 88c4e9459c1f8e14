"""Compute maximum likelihood as exact rational numbers: q(w | u, v) = c(u v w) / c(u v).

`training/ngram/smoothing/closed_form.py` has the same numbers as logarithms.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from models.base import ModelError
from models.ngram.lookup import NONE
from training.ngram.counting.counts import NGramCounts


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
