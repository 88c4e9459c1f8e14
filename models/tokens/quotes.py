"""Compute the cost in nats of the style of quotes, straight or curly.

Quotes of one text mostly have one style, so their model is a Pólya urn (Eggenberger and Pólya 1923) that starts from
the shares of the training text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from math import lgamma

import numpy as np
import polars as pl

QUOTES = {"'": ("'", "’", "‘"), '"': ('"', "“", "”")}
SMOOTHING = 0.5


def quote_nats(texts: pl.Series, weights: Mapping[str, Sequence[float]]) -> np.ndarray:
    """Return −log of the urns' probability of the styles of all quotes of each text, in order (D,).

    Args:
        texts: D texts.
        weights: Weights of the urn of each quote, see `urns`.
    """
    nats_D = np.zeros(len(texts))
    counts = pl.select(_counts(texts))
    for quote, forms in QUOTES.items():
        counts_DK = counts.select(forms).to_numpy()
        some = np.flatnonzero(counts_DK.sum(1))
        distinct_CK, which = np.unique(counts_DK[some], axis=0, return_inverse=True)
        nats_D[some] += np.array([_urn_nats(row_K, weights[quote]) for row_K in distinct_CK])[which.ravel()]
    return nats_D


def quote_nats_of_one(text: str, weights: Mapping[str, Sequence[float]]) -> float:
    """Return what `quote_nats` does, for one text without polars."""
    counts = {quote: [text.count(form) for form in forms] for quote, forms in QUOTES.items()}
    return sum((_urn_nats(counts_K, weights[quote]) for quote, counts_K in counts.items() if any(counts_K)), 0.0)


def quote_shares(text: str, weights: Mapping[str, Sequence[float]]) -> dict[str, dict[str, float]]:
    """Return the probability of each form of a quote after a text, by the straight quote: that of its urn."""
    shares_of_quotes = {}
    for quote, forms in QUOTES.items():
        counts = [weight + text.count(form) for weight, form in zip(weights[quote], forms, strict=True)]
        shares_of_quotes[quote] = {form: count / sum(counts) for form, count in zip(forms, counts, strict=True)}
    return shares_of_quotes


def urns(texts: pl.Series) -> dict[str, list[float]]:
    """Return the weights of the urn of each quote, one for each form: shares of the training texts."""
    sums = pl.select(count.sum() for count in _counts(texts)).row(0, named=True)
    urns_of_quotes = {}
    for quote, forms in QUOTES.items():
        counts = np.array([sums[form] or 0 for form in forms], np.float64)
        urns_of_quotes[quote] = rounded((counts + SMOOTHING) / (counts + SMOOTHING).sum()).clip(1e-6).tolist()
    return urns_of_quotes


def rounded(nats: np.ndarray) -> np.ndarray:
    """Round the nats, so that the stored text is the same on every machine."""
    return np.round(nats, 6)


def _counts(texts: pl.Series) -> list[pl.Expr]:
    every = chain(*QUOTES.values())
    return [pl.lit(texts).str.count_matches(form, literal=True).alias(form) for form in every]


def _urn_nats(counts_K: Sequence[int], weights_K: Sequence[float]) -> float:
    """Return −log of the urn's probability of these counts in one given order."""
    whole = sum(weights_K)
    nats = lgamma(whole + float(sum(counts_K))) - lgamma(whole)
    return nats - sum(lgamma(w + float(n)) - lgamma(w) for n, w in zip(counts_K, weights_K, strict=True))
