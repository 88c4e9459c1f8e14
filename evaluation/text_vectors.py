"""Give texts vectors whose products are cosines: tf-idf, or a language model's features.

tf-idf is scikit-learn's, with 1 + ln(count) and idf = ln((1 + D) / (1 + df)) + 1 over the D texts that are searched.
Shapes: N texts, F features, B texts of a block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from core.errors import InputError

if TYPE_CHECKING:
    from models.neural.encoder import Encoder

TextVectors = Callable[[Sequence[str]], Any]
"""Maps N texts to rows of length 1 or 0 (N, F), dense or sparse."""


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
