"""Build tables from listed n-grams: sort them, link them, and add n-grams that a toolkit left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from models.ngram.lookup import NONE, find
from models.ngram.tables import Tables


@dataclass
class Entries:
    """The n-grams of one order in the order of their file.

    Args:
        ids_MK: Token ids, (M, order).
        logp_M: log p in nats; NaN marks virtual entries, whose probability is computed from shorter n-grams.
        backoff_M: Logarithm of the back-off weight, in nats.
        positive: Number of entries with log p above 0.
    """

    ids_MK: np.ndarray
    logp_M: np.ndarray
    backoff_M: np.ndarray
    positive: int = 0

    @classmethod
    def join(cls, parts: Sequence[Entries], order: int) -> Entries:
        """Join the parts of one order."""
        if not parts:
            return cls(np.zeros((0, order), np.int32), np.zeros(0), np.zeros(0))
        return cls(
            np.concatenate([part.ids_MK for part in parts]),
            np.concatenate([part.logp_M for part in parts]),
            np.concatenate([part.backoff_M for part in parts]),
            sum(part.positive for part in parts),
        )

    def with_virtual(self, ids_MK: np.ndarray) -> Entries:
        """Return the entries with added n-grams that are not listed but needed as context or suffix of longer ones."""
        ids_MK = np.unique(ids_MK, axis=0)
        added = Entries(ids_MK, np.full(len(ids_MK), np.nan), np.zeros(len(ids_MK)))
        return Entries.join([self, added], ids_MK.shape[1])


@dataclass
class _Linked:
    keys_M: np.ndarray
    from_M: np.ndarray
    suffix_M: np.ndarray


def tables_of(
    orders: Sequence[Entries], vocabulary_size: int, given: Sequence[int], twice: Callable[[int, int], object]
) -> Tables:
    """Return the tables of listed n-grams; the unigrams are in the order of their ids.

    Args:
        orders: The entries of orders 1 … N.
        vocabulary_size: V.
        given: Ids that are never predicted.
        twice: Function called with order and row of an n-gram that is listed twice; must raise.
    """
    listed, linked = list(orders), [_Linked(*(np.arange(vocabulary_size),) * 3)]
    while len(linked) < len(listed):
        order = len(linked) + 1
        keys = [entry.keys_M for entry in linked[1:]]
        missing_MK, entry = _link(listed[order - 1].ids_MK, keys, linked[-1].suffix_M, vocabulary_size)
        if entry is None:
            # N-grams of the order below must be added; then link that order again.
            listed[order - 2] = listed[order - 2].with_virtual(missing_MK)
            linked.pop()
            continue
        repeated = np.flatnonzero(entry.keys_M[1:] == entry.keys_M[:-1])
        if len(repeated):
            twice(order, int(np.maximum(entry.from_M[repeated], entry.from_M[repeated + 1]).min()))
        linked.append(entry)
    return _packed(listed, linked, vocabulary_size, given)


def _link(
    ids_MK: np.ndarray, keys: Sequence[np.ndarray], suffix_below: np.ndarray, vocabulary_size: int
) -> tuple[np.ndarray, _Linked | None]:
    """Sort the n-grams of one order by key.

    Returns:
        The missing shorter n-grams, and the linked n-grams if none is missing.
    """
    order = ids_MK.shape[1]
    context_M = ids_MK[:, 0].astype(np.int64)
    for place, keys_below in enumerate(keys, start=1):
        at = np.flatnonzero(context_M != NONE)
        context_M[at] = find(keys_below, context_M[at] * vocabulary_size + ids_MK[at, place])
    lost = context_M == NONE
    if lost.any():
        return ids_MK[lost, :-1], None
    keys_M = context_M * vocabulary_size + ids_MK[:, -1]
    from_M = _sorting(keys_M)
    keys_M = keys_M[from_M]
    if order == 2:
        return ids_MK[:0], _Linked(keys_M, from_M, keys_M % vocabulary_size)
    context_M, word_M = np.divmod(keys_M, vocabulary_size)
    suffix_M = find(keys[-1], suffix_below[context_M] * vocabulary_size + word_M)
    lost = suffix_M == NONE
    if lost.any():
        return ids_MK[from_M[lost], 1:], None
    return ids_MK[:0], _Linked(keys_M, from_M, suffix_M)


def _sorting(keys_M: np.ndarray) -> np.ndarray:
    """Return the rows sorted by their keys; equal keys keep their order."""
    if np.all(keys_M[1:] > keys_M[:-1]):
        return np.arange(len(keys_M))
    bits = max(len(keys_M) - 1, 1).bit_length()
    if int(keys_M.max()).bit_length() + bits > 63:
        return np.argsort(keys_M, kind="stable")
    # Pack key and row into one integer: sorting these in place is several times faster than an argsort.
    packed_M = (keys_M << bits) | np.arange(len(keys_M))
    packed_M.sort()
    return packed_M & ((1 << bits) - 1)


def _packed(listed: Sequence[Entries], linked: Sequence[_Linked], vocabulary_size: int, given: Sequence[int]) -> Tables:
    logp = [listed[0].logp_M]
    backoff = [entries.backoff_M[entry.from_M] for entries, entry in zip(listed, linked, strict=True)]
    for entries, entry, weights in zip(listed[1:], linked[1:], backoff[:-1], strict=True):
        logp_M = entries.logp_M[entry.from_M]
        virtual = np.flatnonzero(np.isnan(logp_M))
        logp_M[virtual] = weights[entry.keys_M[virtual] // vocabulary_size] + logp[-1][entry.suffix_M[virtual]]
        logp.append(logp_M)
    logp[0] = logp[0].copy()
    logp[0][list(given)] = -np.inf
    return Tables.from_keys([entry.keys_M for entry in linked[1:]], logp, backoff[:-1], vocabulary_size, given)
