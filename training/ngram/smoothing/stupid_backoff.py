"""Estimate stupid back-off: relative frequencies with a fixed penalty for every dropped word of context.

    S(w | h)  =  c(h w) / S(h)   if c(h w) > 0,   otherwise   α S(w | h'),     α = 0.4
    S(w)      =  c(w) / S

**Scores, not probabilities.** Seen words are not discounted, so the scores of a context sum to more than 1 (and a word
that was never seen has score 0). So there are no nats and no perplexity: `NGramLM.score` and `NGramLM.distribution`
raise an error. Scores can only rank words: `NGramLM.step` returns their logarithms, and `NGramLM.read` reads a text
without scoring it.

A context that was never seen has no penalty here, while the original multiplies by α. This factor is the same for every
next word, so it does not change the ranking.

Source: T. Brants, A. C. Popat, P. Xu, F. J. Och and J. Dean (2007), "Large language models in machine translation",
EMNLP-CoNLL, section 4.
"""

from __future__ import annotations

import numpy as np

from training.ngram.counting.counts import NGramCounts
from training.ngram.smoothing.by_context import Estimate
from training.ngram.smoothing.interpolation import Level, build

ALPHA = 0.4


def estimate(counts: NGramCounts) -> Estimate:
    """Compute log S of every counted n-gram and log α of every context, in the form of the other methods."""

    def stupid_backoff(level: Level, below_M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # The recursion ends at the unigrams.
        gamma = 0.0 if level.order == 1 else ALPHA
        return level.maximum_likelihood_M, np.full(len(level.total_C), gamma)

    return build(counts, stupid_backoff, interpolated=False, facts={"alpha": ALPHA})
