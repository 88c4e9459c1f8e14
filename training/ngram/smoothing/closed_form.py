"""Estimate n-gram models whose formulas need no held-out text: maximum likelihood and three corrections of it.

c(h w) is the count of a word after its context h, S(h) the sum of these counts, R(h) the number of different words
after h, h' the context without its first word, γ(h) the share of h that shorter contexts get.
"""

from __future__ import annotations

import numpy as np

from reviewlm.training.ngram.counting.counts import NGramCounts
from reviewlm.training.ngram.smoothing.by_context import Discounts, Estimate, order_discounts
from reviewlm.training.ngram.smoothing.interpolation import Level, build, raw_counts_of_counts

ALPHA = 0.4
"""Penalty of stupid back-off for each dropped word of context."""


def estimate_maximum_likelihood(counts: NGramCounts) -> Estimate:
    """Estimate maximum likelihood: probabilities as ratios of counts, q(w | u, v) = c(u v w) / c(u v).

        p(w | h)  =  c(h w) / S(h)         γ(h) = 0: nothing is left for words not seen after h

    Every smoothing method corrects this estimate: an unseen n-gram has probability 0, so a single one makes the
    perplexity of a text infinite. Such events are counted and reported (`validation/zero_probability_events`), never
    left out of the mean. After a context that was never seen, the ratio is 0 / 0. Then it uses the longest suffix of the
    context that was seen, so that there is a distribution after any context. `course/words/maximum_likelihood.py` has the same
    probabilities as exact rational numbers.

    Returns:
        log p of every counted n-gram; the back-off weights of continued contexts are log 0 = −inf.
    """
    return build(counts, maximum_likelihood)


def maximum_likelihood(level: Level, below_M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return own(w | h) = c(h w) / S(h) and γ(h) = 0."""
    return level.maximum_likelihood_M, np.zeros(len(level.total_C))


def estimate_witten_bell(counts: NGramCounts) -> Estimate:
    """Estimate Witten–Bell smoothing: a context that was followed by many different words gives more to new words.

        p(w | h)  =  (c(h w) + R(h) p(w | h')) / (S(h) + R(h))
        γ(h)      =  R(h) / (S(h) + R(h))

    Every first occurrence of a word after h was a new word at that time: R(h) of S(h) events. So R(h) / (S(h) + R(h))
    is the estimated probability that the next word is new too. The shorter context gives the probability of each new
    word. There are no parameters, and no fallback is needed.

    Sources: I. H. Witten and T. C. Bell (1991), "The zero-frequency problem: estimating the probabilities of novel
    events in adaptive text compression", IEEE Transactions on Information Theory 37 (method C); Chen and Goodman (1999)
    in the interpolated form that is used here.
    """
    return build(counts, witten_bell)


def witten_bell(level: Level, below_M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return own(w | h) = c / (S + R) and γ(h) = R / (S + R)."""
    events_C = np.maximum(level.total_C + level.followers_C, 1.0)
    return level.count_M / events_C[level.context_M], level.followers_C / events_C


def estimate_absolute(counts: NGramCounts) -> Estimate:
    """Estimate absolute discounting: subtract the same discount D from the count of every seen n-gram.

        p(w | h)  =  max(c(h w) − D, 0) / S(h)  +  γ(h) p(w | h')
        γ(h)      =  D R(h) / S(h)
        D         =  n1 / (n1 + 2 n2)

    n1 and n2 are the numbers of n-grams of the order that occurred once and twice. This D nearly maximises the
    leave-one-out probability of the training text. Kneser–Ney is the same method with other counts below the highest
    order.

    Source: H. Ney, U. Essen and R. Kneser (1994), "On structuring probabilistic dependences in stochastic language
    modelling", Computer Speech and Language 8; interpolated as in Chen and Goodman (1999).
    """
    estimates = [order_discount(counts, order) for order in range(1, counts.order + 1)]

    def absolute(level: Level, below_M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        discount = estimates[level.order - 1].values[1]
        own_M = np.maximum(level.count_M - discount, 0.0) / level.divisor_C[level.context_M]
        return own_M, discount * level.followers_C / level.divisor_C

    fallbacks = {
        order: "fixed_discount" for order, one in enumerate(estimates, start=1) if one.fallback
    }
    return build(counts, absolute, discounts=tuple(estimates), fallbacks=fallbacks)


def order_discount(counts: NGramCounts, order: int) -> Discounts:
    """Return D of one order, the same for every count: n1 / (n1 + 2 n2), or the first number of `by_context.FALLBACK`.

    If n1 or n2 is 0, D would be 0 (nothing for unseen words) or 1 (words seen once would get nothing).
    """
    n1, n2, n3, n4 = raw_counts_of_counts(counts, order, 4)
    return order_discounts((n1, n2, n3, n4), "kneser_ney")


def estimate_stupid_backoff(counts: NGramCounts) -> Estimate:
    """Estimate stupid back-off: relative frequencies with a fixed penalty for every dropped word of context.

        S(w | h)  =  c(h w) / S(h)   if c(h w) > 0,   otherwise   α S(w | h'),     α = 0.4
        S(w)      =  c(w) / S

    **Scores, not probabilities.** Seen words are not discounted, so the scores of a context sum to more than 1 (and a
    word that was never seen has score 0). So there are no nats and no perplexity: `NGramLM.score` and
    `NGramLM.distribution` raise an error. Scores can only rank words: `NGramLM.step` returns their logarithms, and
    `NGramLM.read` reads a text without scoring it.

    A context that was never seen has no penalty here, while the original multiplies by α. This factor is the same for
    every next word, so it does not change the ranking.

    Source: T. Brants, A. C. Popat, P. Xu, F. J. Och and J. Dean (2007), "Large language models in machine translation",
    EMNLP-CoNLL, section 4.

    Returns:
        log S of every counted n-gram and log α of every context, in the form of the smoothing methods.
    """

    def stupid_backoff(level: Level, below_M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # The recursion ends at the unigrams.
        gamma = 0.0 if level.order == 1 else ALPHA
        return level.maximum_likelihood_M, np.full(len(level.total_C), gamma)

    return build(counts, stupid_backoff, interpolated=False, facts={"alpha": ALPHA})
