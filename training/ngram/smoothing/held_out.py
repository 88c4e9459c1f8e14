"""Look up the training counts of held-out tokens, to tune parameters on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reviewlm.models.base import ModelError
from reviewlm.models.ngram.lookup import NONE, follow
from reviewlm.training.ngram.counting.counts import Documents, NGramCounts
from reviewlm.training.ngram.smoothing.by_context import contexts_in_blocks, continuations


@dataclass(frozen=True)
class HeldOutCounts:
    """One order's counts for each of T held-out tokens w; h are the order − 1 tokens before w.

    Args:
        count_T: c(h w) in training.
        total_T: S(h); 0 if nothing ever followed h, or if h would begin before the document.
        begun_T: Whether h was seen and begins at the document's begin.
    """

    count_T: np.ndarray
    total_T: np.ndarray
    begun_T: np.ndarray

    @property
    def seen_T(self) -> np.ndarray:
        """Mask of the tokens whose context was continued in training: S(h) > 0."""
        return self.total_T > 0

    @property
    def maximum_likelihood_T(self) -> np.ndarray:
        """The maximum-likelihood estimate c(h w) / S(h); 0 if h was never continued."""
        return self.count_T / np.maximum(self.total_T, 1.0)


def held_out_counts(counts: NGramCounts, documents: Documents) -> list[HeldOutCounts]:
    """Look up every predicted token of held-out documents; `held_out_counts(…)[k - 1]` is order k.

    Raises:
        ModelError: An id is outside the vocabulary.
    """
    ids_T = np.asarray(documents.ids).astype(np.int64)
    if len(ids_T) and not 0 <= int(ids_T.min()) <= int(ids_T.max()) < counts.vocabulary_size:
        span = f"{ids_T.min()} to {ids_T.max()}"
        raise ModelError(
            f"held-out ids from {span}; the vocabulary has {counts.vocabulary_size}", kind="input"
        )

    at_T = np.flatnonzero(~np.isin(ids_T, counts.given))
    raw_V = counts.orders[0].raw_M
    total_T = np.full(len(at_T), float(raw_V.sum()))
    begun_T = np.zeros(len(at_T), bool)
    by_order = [HeldOutCounts(raw_V[ids_T[at_T]], total_T, begun_T)]
    # No n-gram crosses a document, so all documents are looked up as one row. The row of a token's context is the row
    # of the n-gram that ends before the token; the first token has none.
    longer = [entry.followers for entry in counts.orders if entry.followers is not None]
    below_T: np.ndarray = ids_T
    for order, row_T in enumerate(follow(ids_T, longer), start=2):
        context_T = np.append(NONE, below_T[:-1])[at_T]
        count_T = _take(counts.orders[order - 1].raw_M, row_T[at_T])
        total_T = _take(count_contexts(counts, order), context_T)
        begun_T = _take(counts.orders[order - 2].begins_M, context_T)
        by_order.append(HeldOutCounts(count_T, total_T, begun_T))
        below_T = row_T

    return by_order


def count_contexts(counts: NGramCounts, order: int) -> np.ndarray:
    """Return S(h): how often each n-gram of the order below occurs as a context; float64."""
    entry = counts.orders[order - 1]
    assert entry.followers is not None  # order 2 and up
    total_C = np.zeros(len(counts.orders[order - 2]))
    for contexts in contexts_in_blocks(entry.followers):
        rows, context_P = continuations(entry.followers, contexts)
        number = contexts.stop - contexts.start
        total_C[contexts] = np.bincount(context_P, weights=entry.raw_M[rows], minlength=number)
        counts.allocator.release()
    return total_C


def _take(values_M: np.ndarray, row_T: np.ndarray) -> np.ndarray:
    """Return the values of the rows; 0 (False) for NONE."""
    if len(values_M) == 0:
        return np.zeros(len(row_T), values_M.dtype)
    return np.where(row_T != NONE, values_M[row_T], values_M.dtype.type(0))
