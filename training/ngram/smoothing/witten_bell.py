"""Estimate Witten–Bell smoothing: a context that was followed by many different words gives more to new words.

    p(w | h)  =  (c(h w) + R(h) p(w | h')) / (S(h) + R(h))
    γ(h)      =  R(h) / (S(h) + R(h))

Every first occurrence of a word after h was a new word at that time: R(h) of S(h) events. So R(h) / (S(h) + R(h)) is
the estimated probability that the next word is new too. The shorter context gives the probability of each new word.

Sources: I. H. Witten and T. C. Bell (1991), "The zero-frequency problem: estimating the probabilities of novel events
in adaptive text compression", IEEE Transactions on Information Theory 37 (method C); Chen and Goodman (1999) in the
interpolated form that is used here.
"""

from __future__ import annotations

import numpy as np

from training.ngram.counting.counts import NGramCounts
from training.ngram.smoothing.by_context import Estimate
from training.ngram.smoothing.interpolation import Level, build


def estimate(counts: NGramCounts) -> Estimate:
    """Estimate p and back-off weight of every counted n-gram. It has no parameters and needs no fallback."""
    return build(counts, witten_bell)


def witten_bell(level: Level, below_M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return own(w | h) = c / (S + R) and γ(h) = R / (S + R)."""
    events_C = np.maximum(level.total_C + level.followers_C, 1.0)
    return level.count_M / events_C[level.context_M], level.followers_C / events_C
