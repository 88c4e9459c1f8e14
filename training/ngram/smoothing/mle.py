"""Estimate maximum likelihood: probabilities as ratios of counts, q(w | u, v) = c(u v w) / c(u v).

    p(w | h)  =  c(h w) / S(h)         γ(h) = 0: nothing is left for words not seen after h

Every smoothing method corrects this estimate: an unseen n-gram has probability 0, so a single one makes the perplexity
of a text infinite. Such events are counted and reported (`validation/zero_probability_events`), never left out of the
mean. After a context that was never seen, the ratio is 0 / 0. Then `estimate` uses the longest suffix of the context
that was seen, so that there is a distribution after any context. `course/maximum_likelihood.py` has the same
probabilities as exact rational numbers.
"""

from __future__ import annotations

import numpy as np

from training.ngram.counting.counts import NGramCounts
from training.ngram.smoothing.by_context import Estimate
from training.ngram.smoothing.interpolation import Level, build


def estimate(counts: NGramCounts) -> Estimate:
    """Compute log p of every counted n-gram; back-off weights of continued contexts are log 0 = −inf."""
    return build(counts, maximum_likelihood)


def maximum_likelihood(level: Level, below_M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return own(w | h) = c(h w) / S(h) and γ(h) = 0."""
    return level.maximum_likelihood_M, np.zeros(len(level.total_C))
