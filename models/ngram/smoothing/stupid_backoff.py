"""Stupid back-off: relative frequencies, and a fixed penalty for every word of context that must be dropped.

    S(w | h)  =  c(h w) / S(h)   if c(h w) > 0,   otherwise   α S(w | h'),     α = 0.4
    S(w)      =  c(w) / S

**Scores, not probabilities.** Nothing is taken from what was seen to pay for what was not, so the scores of a context
sum to more than 1 (and a word that was never seen scores 0). There is therefore no perplexity of it, and no number of
nats: `NGramLM.score` and `NGramLM.distribution` refuse. What scores can do is rank: `NGramLM.step` returns their
logarithms, `NGramLM.read` moves the state along a text without scoring it.

A context that was never seen costs nothing here, where the original takes α: that factor is the same for every next
word, so it changes no rank.

Source: T. Brants, A. C. Popat, P. Xu, F. J. Och and J. Dean (2007), "Large language models in machine translation",
EMNLP-CoNLL, section 4.
"""

from __future__ import annotations

import numpy as np

from ...base import ModelError
from ..counting.counts import NGramCounts
from .interpolation import Level, SmoothedEstimate, build

ALPHA = 0.4


def estimate(counts: NGramCounts, alpha: float = ALPHA) -> SmoothedEstimate:
    """Compute log S of every counted n-gram and log α of every context, in the form of the other methods.

    Raises:
        ModelError: α is not above 0 and at most 1.
    """
    if not 0 < alpha <= 1:
        raise ModelError(f"alpha is {alpha}; it must be above 0 and at most 1", kind="input")

    def stupid_backoff(level: Level, below_M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # The recursion ends at the unigrams: nothing is below them.
        gamma = 0.0 if level.order == 1 else alpha
        return level.maximum_likelihood_M, np.full(len(level.total_C), gamma)

    logp, backoff = build(counts, stupid_backoff, interpolated=False)
    return SmoothedEstimate(tuple(logp), tuple(backoff), (), {"alpha": alpha})
