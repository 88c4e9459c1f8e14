"""Count n-grams of reviews, learn which are features, and weight them by tf-idf.

    tf(f, d)    c, the count of the n-gram f in review d; with `sublinear` 1 + ln c
    idf(f)      ln((1 + D) / (1 + df(f))) + 1          df: the number of training reviews with f
    x_f         tf(f, d) idf(f), divided by the Euclidean norm of the review's vector

This is scikit-learn's `TfidfVectorizer` on the entries of a vocabulary, and the numbers are the same.

An n-gram of ids (i_1 … i_n) has the key i_1 V^{n−1} + … + i_n. Key and review are packed into one 64-bit number, and
one sort counts all n-grams of all reviews.
Shapes: D reviews, P tokens, M pairs of an n-gram and a review that has it, F features.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ...base import ModelError
from ...neural.labelling.rows import FeatureRows, Rows
from ..spec import LogisticSpec, TfidfSpec

BLOCK_TOKENS, BLOCK_REVIEWS = 1 << 22, 1 << 16
"""Most tokens and reviews that are counted at a time; with 16 bits per review, numpy sorts them by their digits."""
KEYS = 1 << 63


class PairCounts(NamedTuple):
    """Counts of pairs, sorted by key, then by review: keys_M, rows_M, counts_M (all int64)."""

    keys_M: np.ndarray
    rows_M: np.ndarray
    counts_M: np.ndarray


def count_pairs(texts: Rows, order: int, entries: int) -> PairCounts:
    """Count the n-grams of one order in each review.

    Args:
        texts: Reviews without special tokens.
        order: n, with V^n below 2^63.
        entries: V.
    """
    rows_P = np.repeat(np.arange(len(texts)), texts.lengths)
    ends = len(rows_P) - order + 1
    if ends <= 0:
        nothing: np.ndarray = np.zeros(0, np.int64)
        return PairCounts(nothing, nothing, nothing)
    ids_P, whole_P = texts.ids_P.astype(np.int64), rows_P[:ends] == rows_P[order - 1 :]
    keys_P = np.zeros(ends, np.int64)
    for place in range(order):
        keys_P = keys_P * entries + ids_P[place : place + ends]
    return count_keys(keys_P[whole_P], rows_P[:ends][whole_P], entries**order, len(texts))


def count_keys(keys_P: np.ndarray, rows_P: np.ndarray, keys: int, reviews: int) -> PairCounts:
    """Count the keys of each review.

    Args:
        keys_P: Whole numbers below *keys* (int64).
        rows_P: Number of the review of each, below *reviews*.
        keys: Number of possible keys.
        reviews: D.
    """
    distinct = None
    if keys * reviews >= KEYS:
        distinct, keys_P = np.unique(keys_P, return_inverse=True)
    packed_P = np.sort(keys_P * reviews + rows_P)
    starts = np.flatnonzero(np.diff(packed_P, prepend=-1))
    keys_M, rows_M = np.divmod(packed_P[starts], reviews)
    counts_M = np.diff(starts, append=len(packed_P))
    return PairCounts(keys_M if distinct is None else distinct[keys_M], rows_M, counts_M)


@dataclass(frozen=True)
class TfidfFeatures:
    """The features of a classifier, learnt from training reviews.

    Args:
        entries: V.
        orders: Lengths of the n-grams.
        keys: Sorted keys of the features of each order; features are numbered in this order, order after order.
        idf_F: idf of each feature.
        sublinear: Use 1 + ln(count) in place of the count.
    """

    entries: int
    orders: tuple[int, ...]
    keys: tuple[np.ndarray, ...]
    idf_F: np.ndarray
    sublinear: bool

    @classmethod
    def learn(cls, spec: LogisticSpec | TfidfSpec, texts: Rows, entries: int) -> TfidfFeatures:
        """Return the features of training reviews: the most frequent n-grams that are in enough reviews.

        Of equally frequent ones the shorter come first, then the lower keys.

        Raises:
            ModelError: kind "input": no n-gram is in enough reviews, or the orders are too long for the vocabulary.
        """
        _require_orders(spec.orders, entries)
        totals = [ngram_totals(texts, order, entries) for order in spec.orders]
        frequent = [reviews_U >= spec.min_reviews for _, reviews_U, _ in totals]
        total = np.concatenate([counts_U[kept_U] for (_, _, counts_U), kept_U in zip(totals, frequent, strict=True)])
        if not len(total):
            what = f"no n-gram of the orders {spec.orders} is in {spec.min_reviews} training reviews"
            raise ModelError(f"{what}: lower min_reviews, or train on more reviews", "input")
        chosen_U = np.zeros(len(total), bool)
        chosen_U[np.argsort(-total, kind="stable")[: spec.features]] = True
        keys, frequency, first = [], [], 0
        for (keys_U, reviews_U, _), kept_U in zip(totals, frequent, strict=True):
            last = first + int(kept_U.sum())
            keys.append(keys_U[kept_U][chosen_U[first:last]])
            frequency.append(reviews_U[kept_U][chosen_U[first:last]])
            first = last
        return cls(entries, spec.orders, tuple(keys), idf(np.concatenate(frequency), len(texts)), spec.sublinear)

    def __len__(self) -> int:
        return len(self.idf_F)

    def transform(self, texts: Rows) -> FeatureRows:
        """Return the tf-idf vector of each review; one without features has an empty row."""
        return joined([self._transform(block) for block in blocks_of(texts)])

    def _transform(self, texts: Rows) -> FeatureRows:
        parts, base = [], 0
        for order, keys_F in zip(self.orders, self.keys, strict=True):
            keys_M, rows_M, counts_M = count_pairs(texts, order, self.entries)
            if len(keys_F) and len(keys_M):
                place_M = np.minimum(np.searchsorted(keys_F, keys_M), len(keys_F) - 1)
                known_M = keys_F[place_M] == keys_M
                parts.append((rows_M[known_M], (base + place_M[known_M]).astype(np.int32), counts_M[known_M]))
            base += len(keys_F)
        return weighted_rows(parts, self.idf_F, self.sublinear, len(texts))

    def names(self, words: Sequence[str]) -> list[str]:
        """Return each feature's n-gram, with the name of each vocabulary entry given."""
        names = []
        for order, keys_F in zip(self.orders, self.keys, strict=True):
            places = [keys_F // self.entries**place % self.entries for place in reversed(range(order))]
            names += [" ".join(words[entry] for entry in row) for row in np.stack(places, axis=1).tolist()]
        return names

    def arrays(self) -> dict[str, np.ndarray]:
        """Return everything but the options, to be stored."""
        keys = {f"keys.{order}": keys_F for order, keys_F in zip(self.orders, self.keys, strict=True)}
        return {**keys, "idf": self.idf_F}

    @classmethod
    def from_arrays(
        cls, spec: LogisticSpec | TfidfSpec, entries: int, arrays: Mapping[str, np.ndarray]
    ) -> TfidfFeatures:
        """Rebuild the features from the result of `arrays`.

        Raises:
            ValueError: The arrays are not those of features of this spec.
        """
        keys = tuple(arrays[f"keys.{order}"] for order in spec.orders)
        if sum(map(len, keys)) != len(arrays["idf"]) or any((np.diff(keys_F) <= 0).any() for keys_F in keys):
            raise ValueError("the keys of the features are not sorted, or not as many as their weights")
        return cls(entries, spec.orders, keys, arrays["idf"], spec.sublinear)


def weighted_rows(
    parts: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], idf_F: np.ndarray, sublinear: bool, reviews: int
) -> FeatureRows:
    """Return tf · idf of counted features, each review's vector divided by its norm.

    Args:
        parts: Rows, numbers and counts of features, some at a time; one pair of row and feature is in one of them.
        idf_F: idf of each feature.
        sublinear: Use 1 + ln(count) in place of the count.
        reviews: D, at most `BLOCK_REVIEWS`.
    """
    if not parts:
        return FeatureRows(np.zeros(0, np.int32), np.zeros(reviews + 1, np.int64), np.zeros(0))
    rows_M, ids_M, counts_M = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    by_row = np.argsort(rows_M.astype(np.uint16), kind="stable")
    rows_M, ids_M, counts_M = rows_M[by_row], ids_M[by_row], counts_M[by_row].astype(np.float64)
    values_M = (1 + np.log(counts_M) if sublinear else counts_M) * idf_F[ids_M]
    norms = np.sqrt(np.bincount(rows_M, values_M * values_M, minlength=reviews))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(rows_M, minlength=reviews))])
    return FeatureRows(ids_M, offsets, values_M / norms[rows_M])


def idf(reviews_F: np.ndarray, reviews: int) -> np.ndarray:
    """Return ln((1 + D) / (1 + df)) + 1.

    Args:
        reviews_F: df, the number of training reviews with each feature.
        reviews: D.
    """
    weights_F: np.ndarray = np.log((1 + reviews) / (1 + reviews_F)) + 1
    return weights_F


def _require_orders(orders: tuple[int, ...], entries: int) -> None:
    longest = max(order for order in range(1, 64) if entries**order < KEYS)
    if orders[-1] > longest:
        what = f"orders are {orders}; a vocabulary of {entries:,} entries allows at most {longest}"
        raise ModelError(what, "input")


def joined(blocks: Sequence[FeatureRows]) -> FeatureRows:
    """Return the rows of all blocks, one after another."""
    offsets = np.concatenate([[0], np.cumsum(np.concatenate([block.lengths for block in blocks]))])
    ids_M, values_M = (np.concatenate([getattr(block, name) for block in blocks]) for name in ("ids_P", "values_P"))
    return FeatureRows(ids_M, offsets, values_M)


def blocks_of(texts: Rows) -> Iterator[Rows]:
    """Yield the reviews some at a time, one or more."""
    first = 0
    while first < len(texts):
        begin = int(texts.offsets[first])
        last = int(np.searchsorted(texts.offsets, begin + BLOCK_TOKENS, side="right")) - 1
        last = min(max(last, first + 1), first + BLOCK_REVIEWS, len(texts))
        offsets = texts.offsets[first : last + 1]
        yield Rows(np.asarray(texts.ids_P[begin : offsets[-1]]), offsets - begin)
        first = last


def ngram_totals(texts: Rows, order: int, entries: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return all n-grams of an order: sorted keys, number of reviews that have each, and number of occurrences."""
    parts = []
    for block in blocks_of(texts):
        keys_M, _, counts_M = count_pairs(block, order, entries)
        starts = np.flatnonzero(np.diff(keys_M, prepend=-1))
        sums = np.add.reduceat(counts_M, starts) if len(starts) else counts_M
        parts.append((keys_M[starts], np.diff(starts, append=len(keys_M)), sums))
    keys_U, reviews_U, counts_U = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    if len(parts) == 1:
        return keys_U, reviews_U, counts_U
    by_key = np.argsort(keys_U, kind="stable")
    starts = np.flatnonzero(np.diff(keys_U[by_key], prepend=-1))
    if not len(starts):
        return keys_U, reviews_U, counts_U
    return keys_U[by_key][starts], np.add.reduceat(reviews_U[by_key], starts), np.add.reduceat(counts_U[by_key], starts)
