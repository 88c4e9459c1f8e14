"""Compute maximum likelihood as exact rational numbers: q(w | u, v) = c(u v w) / c(u v).

`training/ngram/smoothing/closed_form.py` has the same numbers as logarithms.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from reviewlm.models.base import ModelError
from reviewlm.models.ngram.lookup import NONE
from reviewlm.training.ngram.counting.counts import NGramCounts


def row_of(counts: NGramCounts, ngram: Sequence[int]) -> int:
    """Return the row of one n-gram in the table of its order, NONE if it was never seen; 0 for the empty n-gram."""
    row = 0
    if len(ngram):
        row = int(ngram[0])

    for word, entry in zip(ngram[1:], counts.orders[1:], strict=False):
        if row != NONE and entry.followers is not None:
            row = int(entry.followers.find(np.array([row]), np.array([word]))[0])
    return row


def count_of(counts: NGramCounts, ngram: Sequence[int]) -> int:
    """Return c(g), the number of occurrences of one n-gram of at least one token; 0 if it was never seen.

    >>> from types import SimpleNamespace
    >>> from reviewlm.training.ngram.counting.counts import count_ngrams
    >>> text = SimpleNamespace(ids=np.array([1, 3, 4, 3, 4, 2]), offsets=np.array([0, 6]))
    >>> count_of(count_ngrams(text, order=2, vocabulary_size=5, given={1}), (3, 4))
    2
    """
    row = row_of(counts, ngram)
    if row == NONE:
        return 0
    return int(counts.orders[len(ngram) - 1].raw_M[row])


class MaximumLikelihood:
    """A Markov model of order N − 1 with unsmoothed probabilities."""

    def __init__(self, counts: NGramCounts) -> None:
        self.counts = counts
        self._totals = []
        for order in range(1, counts.order + 1):
            raw_M = counts.orders[order - 1].raw_M
            total_C = np.bincount(counts.context(order), weights=raw_M)
            self._totals.append(total_C.astype(np.int64))

    def probability(self, word: int, context: Sequence[int]) -> Fraction:
        """Return c(context word) / (number of times that any token followed the context).

        The context is cut to its last N − 1 tokens (Markov assumption).

        Raises:
            ModelError: The context was never seen, so the ratio is 0 / 0; kind "input".
        """
        window = tuple(context[max(0, len(context) - self.counts.order + 1) :])
        row = row_of(self.counts, window)
        totals = self._totals[len(window)]
        if row == NONE or row >= len(totals) or totals[row] == 0:
            raise ModelError(
                f"the context {window} was never seen: c(h w) / c(h) is 0 / 0", kind="input"
            )
        return Fraction(count_of(self.counts, (*window, word)), int(totals[row]))

    def sequence_probability(self, document: Sequence[int]) -> Fraction:
        """Return the product of the conditional probabilities of a document `[begin, w1 … wn, end]` (chain rule)."""
        product = Fraction(1)
        for place in range(1, len(document)):
            if product:
                product *= self.probability(document[place], document[:place])
        return product
