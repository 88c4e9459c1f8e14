"""Say how near texts are to another: by query likelihood of its words, or by the cosine of a network's vectors.

Each text d is a small language model of its own words, smoothed with the model C of all texts (Dirichlet prior; Ponte
and Croft 1998; Zhai and Lafferty 2004, "A study of smoothing methods for language models applied to information
retrieval"). The nearer a text, the more probable it makes the query q than C does, in nats per word:

    p(w | d) = (c(w, d) + μ p(w | C)) / (|d| + μ)        score = Σ_w q_w log (p(w | d) / p(w | C)) / Σ_w q_w

q_w = ln(1 + c(w, q)), so that a word that a long query repeats does not outweigh its others; μ grows with the query.
Shapes: N texts, W words, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from reviewlm.core.errors import InputError

if TYPE_CHECKING:
    from reviewlm.models.neural.encoder import Encoder

Similarity = Callable[[str, Sequence[str]], np.ndarray]
"""Maps a query and N texts to how near they are to it (N,): the larger, the nearer."""
WORD = r"(?u)\b\w[\w']*"
PER_WORD = 25.0
"""μ for each word of a query (each q_w): few words need little smoothing, a whole review much."""


def query_likelihood(collection: Sequence[str]) -> Similarity:
    """Return how much more probable than all texts of a collection a text makes a query, in nats per word of the query.

    Only a text that has a word of the query can be above 0. Case does not matter.

    Args:
        collection: Texts that give p(w | C); words that none of them has count nothing.

    Raises:
        InputError: No text of the collection has a word.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    counter = CountVectorizer(token_pattern=WORD, dtype=np.float64)
    try:
        count_W = np.asarray(counter.fit_transform(collection).sum(0)).ravel()
    except ValueError as error:
        raise InputError("No review to search has a word", cause=str(error)) from error

    share_W = count_W / count_W.sum()

    def scores(query: str, texts: Sequence[str]) -> np.ndarray:
        query_1W = counter.transform([query]).log1p()
        counts_NW = counter.transform(texts).tocsc()
        total = float(query_1W.sum())
        words = query_1W.indices
        if not total:
            return np.zeros(len(texts))

        mu = PER_WORD * total
        gain_NQ = counts_NW[:, words].multiply(1 / (mu * share_W[words])).log1p()
        length_N = np.asarray(counts_NW.sum(1)).ravel()
        return np.asarray(gain_NQ @ query_1W.data / total + np.log(mu / (length_N + mu)))

    return scores


def model_cosine(encoder: Encoder) -> Similarity:
    """Return the cosine of the vectors of a language model's network."""
    return lambda query, texts: np.asarray(
        unit(encoder.encode(texts)) @ unit(encoder.encode([query]))[0]
    )


def unit(matrix_NF: np.ndarray) -> np.ndarray:
    """Return the vectors, scaled to length 1 (float32); a vector of zeros stays."""
    rows_NF = np.asarray(matrix_NF, np.float32)
    lengths_N1 = np.linalg.norm(rows_NF, axis=1, keepdims=True)
    return np.asarray(rows_NF / np.where(lengths_N1 > 0, lengths_N1, 1), np.float32)
