"""Measure how often the nearest review, by another user, is of the same business and has the same stars.

The business stands for the topic. A review's own user is left out, because users repeat themselves: their words would
be found, not the topic. The rate is a mean over the queries: reviews with stars whose business has a review by another
user, so that 1 can be reached. Reviews of one business resemble each other, so the bootstrap draws businesses.

"chance" is exact: the mean share of a query's candidates that are of its business, or have its stars.
Shapes: N reviews, Q queries, B queries of a block.

Give texts vectors whose products are cosines: tf-idf, a language model's features, or the mean of word vectors.

tf-idf is scikit-learn's, with 1 + ln(count) and idf = ln((1 + D) / (1 + df)) + 1 over the D texts that are searched.
Shapes: N texts, F features, B texts of a block.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from core.errors import InputError
from evaluation.statistics.bootstrap import Bootstrap, Interval
from evaluation.statistics.groups import united
from models.tokens.word_pieces import cut, folded

if TYPE_CHECKING:
    from models.neural.encoder import Encoder

Cosines = Callable[[np.ndarray], np.ndarray]
"""Function from the numbers of some reviews (B) to their cosines to all reviews (B, N)."""
BLOCK = 512
"""Queries whose cosines are in memory at a time."""
CHANCE = "chance"
QUERIES = "queries"
MATCHES = BUSINESS, STARS = "business_id", "stars"
DRAWS = 2_000

TextVectors = Callable[[Sequence[str]], Any]
"""Maps N texts to rows of length 1 or 0 (N, F), dense or sparse."""


def same_topic_rates(
    reviews: pl.DataFrame, ways: Mapping[str, Cosines], baseline: str = CHANCE, confidence: float = 0.95, seed: int = 1
) -> list[dict[str, Any]]:
    """Return a row for chance and for each way to compare texts.

    Args:
        reviews: `user_id`, `business_id`, `stars`; null and "" are unknown. An unknown user is a user of their own.
        ways: Cosines by the name of the way.
        baseline: Name of the row that the others are compared with.
        seed: Seed of the bootstrap.

    Returns:
        Each row has `vectors` (the name), `queries`, and for each of `MATCHES` the rate with its ends (`_lo`, `_hi`)
        and, but for the baseline, the difference to it with its ends (`_gain`, `_gain_lo`, `_gain_hi`).

    Raises:
        InputError: No review can be a query.
    """
    business_N, stars_N = (_numbers(reviews[name]) for name in MATCHES)
    user_N = _distinct(reviews["user_id"])
    others_N = len(reviews) - _count(user_N)
    same_N = {name: _of_others(keys_N, user_N) for name, keys_N in ((BUSINESS, business_N), (STARS, stars_N))}
    rows_Q = np.flatnonzero((stars_N >= 0) & (same_N[BUSINESS] > 0))
    if not len(rows_Q):
        raise InputError(
            "No review has stars and a business with a review by another user",
            where="--measure",
            remedy="reviews with business_id and user_id are needed: --input FILES, or another --split",
        )
    columns: dict[Any, np.ndarray] = {
        (CHANCE, what): counts_N[rows_Q] / others_N[rows_Q] for what, counts_N in same_N.items()
    }
    for name, cosines in ways.items():
        best_Q = nearest_of_others(cosines, rows_Q, user_N)
        for what, keys_N in ((BUSINESS, business_N), (STARS, stars_N)):
            columns[name, what] = keys_N[best_Q] == keys_N[rows_Q]
    columns[QUERIES] = np.ones(len(rows_Q))
    boot = Bootstrap(
        columns.items(), confidence=confidence, resamples=DRAWS, seed=seed,
        groups=united(pl.Series(business_N[rows_Q])).to_numpy(),
    )  # fmt: skip
    return [_row(boot, name, baseline, len(rows_Q)) for name in (CHANCE, *ways)]


def whole_businesses(business: pl.Series, most: int, seed: int = 1) -> np.ndarray:
    """Return the numbers of at most *most* reviews, in order: those of businesses drawn at random; the last one is cut.

    So a query has all its right answers among the candidates. Of reviews drawn one by one it would have the fewer, the
    more reviews there are.

    Args:
        business: Business of each review; null and "" are unknown, and then each is drawn by itself.
        most: Number of reviews to draw.
    """
    business_N = _distinct(business)
    place = np.random.default_rng(seed).permutation(int(business_N.max(initial=0)) + 1)
    return np.sort(np.argsort(place[business_N], kind="stable")[:most])


def nearest_of_others(cosines: Cosines, rows_Q: np.ndarray, user_N: np.ndarray) -> np.ndarray:
    """Return the number of the nearest review of each query, of those by other users; of equal ones the first (Q)."""
    best_Q = np.zeros(len(rows_Q), np.int64)
    for first in range(0, len(rows_Q), BLOCK):
        rows_B = rows_Q[first : first + BLOCK]
        best_Q[first : first + BLOCK] = np.where(user_N[rows_B, None] == user_N, -np.inf, cosines(rows_B)).argmax(1)
    return best_Q


def _row(boot: Bootstrap, name: str, baseline: str, queries: int) -> dict[str, Any]:
    row: dict[str, Any] = {"vectors": name, "queries": queries}
    for what in MATCHES:
        row |= _figures(what, boot.interval(lambda sums: sums[name, what] / sums[QUERIES]))  # noqa: B023
        if name != baseline:
            gain = boot.interval(lambda sums: (sums[name, what] - sums[baseline, what]) / sums[QUERIES])  # noqa: B023
            row |= _figures(f"{what}_gain", gain)
    return row


def _figures(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.estimate, f"{name}_lo": interval.low, f"{name}_hi": interval.high}


def _numbers(keys: pl.Series) -> np.ndarray:
    """Return a number from 0 for each different key; -1 for an unknown one: null, "" and 0 stars."""
    present = keys.is_not_null() & (keys != ("" if keys.dtype == pl.String else 0))
    return keys.to_frame("key").select(
        pl.when(present).then(pl.col("key")).rank("dense").cast(pl.Int64).fill_null(0) - 1
    ).to_series().to_numpy()  # fmt: skip


def _distinct(keys: pl.Series) -> np.ndarray:
    """Return a number from 0 for each key; every unknown key has a different one."""
    number_N = _numbers(keys)
    return np.where(number_N >= 0, number_N, len(number_N) + np.arange(len(number_N)))


def _count(numbers_N: np.ndarray) -> np.ndarray:
    """Return how many reviews have the number of each review."""
    _, inverse_N, counts = np.unique(numbers_N, return_inverse=True, return_counts=True)
    return np.asarray(counts[inverse_N])


def _of_others(keys_N: np.ndarray, user_N: np.ndarray) -> np.ndarray:
    """Return how many reviews by other users have the key of each review; 0 for an unknown key."""
    pairs_N = keys_N * (int(user_N.max()) + 1) + user_N
    return np.where(keys_N >= 0, _count(keys_N) - _count(pairs_N), 0)


def tfidf_vectors(texts: Sequence[str]) -> TextVectors:
    """Return tf-idf vectors of words in lower case, with the document frequencies of *texts*.

    Raises:
        InputError: No text has a word.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    try:
        fitted = TfidfVectorizer(sublinear_tf=True, dtype=np.float32).fit(texts)
    except ValueError as error:
        raise InputError("No review to search has a word", cause=str(error)) from error
    return fitted.transform  # type: ignore[no-any-return]


def model_vectors(encoder: Encoder) -> TextVectors:
    """Return the vectors of a language model's network."""
    return lambda texts: unit(encoder.encode(texts))


def mean_word_vectors(texts: Sequence[str], read: Callable[[Collection[str]], Any]) -> TextVectors:
    """Return mean word vectors; words without a vector are left out.

    Args:
        texts: All texts that will be given: only the vectors of their words are read.
        read: Returns the vectors of some words, as gensim's `KeyedVectors`.
    """
    vectors = read(set(_words(texts).explode().drop_nulls()))

    def of(some: Sequence[str]) -> np.ndarray:
        means_NF = np.zeros((len(some), vectors.vector_size), np.float32)
        for row, words in enumerate(_words(some)):
            if rows := [vectors.key_to_index[word] for word in words if word in vectors.key_to_index]:
                means_NF[row] = vectors.vectors[rows].mean(0)
        return unit(means_NF)

    return of


def cosines_to(vectors_NF: Any) -> Callable[[Any], np.ndarray]:
    """Return a function from other rows of the same kind (B, F) to their cosines to *vectors_NF* (B, N)."""
    from scipy.sparse import issparse

    if not issparse(vectors_NF):
        return lambda rows_BF: np.asarray(rows_BF @ vectors_NF.T)
    transposed_FN = vectors_NF.T.tocsr()
    return lambda rows_BF: np.asarray((rows_BF @ transposed_FN).toarray())


def unit(matrix_NF: np.ndarray) -> np.ndarray:
    """Return the vectors, scaled to length 1 (float32); a vector of zeros stays."""
    rows_NF = np.asarray(matrix_NF, np.float32)
    lengths_N1 = np.linalg.norm(rows_NF, axis=1, keepdims=True)
    return np.asarray(rows_NF / np.where(lengths_N1 > 0, lengths_N1, 1), np.float32)


def _words(texts: Sequence[str]) -> pl.Series:
    return cut(folded(pl.Series(texts, dtype=pl.String), True))
