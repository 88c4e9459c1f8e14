"""Build tables from listed n-grams: sort them, link them, and add n-grams that a toolkit left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from reviewlm.models.ngram.lookup import NONE, Followers
from reviewlm.models.ngram.tables import Tables


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
        ids_MK = np.concatenate([part.ids_MK for part in parts])
        logp_M = np.concatenate([part.logp_M for part in parts])
        backoff_M = np.concatenate([part.backoff_M for part in parts])
        positive = sum(part.positive for part in parts)
        return cls(ids_MK, logp_M, backoff_M, positive)

    def with_virtual(self, ids_MK: np.ndarray) -> Entries:
        """Return the entries with added n-grams that are not listed but needed as context or suffix of longer ones."""
        ids_MK = np.unique(ids_MK, axis=0)
        added = Entries(ids_MK, np.full(len(ids_MK), np.nan), np.zeros(len(ids_MK)))
        return Entries.join([self, added], ids_MK.shape[1])


@dataclass
class _Linked:
    followers: Followers
    from_M: np.ndarray
    suffix_M: np.ndarray


def tables_of(
    orders: Sequence[Entries],
    vocabulary_size: int,
    given: Sequence[int],
    twice: Callable[[int, int], object],
) -> Tables:
    """Return the tables of listed n-grams; the unigrams are in the order of their ids.

    Args:
        orders: The entries of orders 1 … N.
        vocabulary_size: V.
        given: Ids that are never predicted.
        twice: Function called with order and row of an n-gram that is listed twice; must raise.
    """
    listed = list(orders)
    linked: list[_Linked] = []
    while len(linked) + 1 < len(listed):
        order = len(linked) + 2
        found = _link(listed[order - 1].ids_MK, linked, vocabulary_size, partial(twice, order))
        if isinstance(found, _Linked):
            linked.append(found)
        else:  # n-grams of the order below must be added; then link that order again
            listed[order - 2] = listed[order - 2].with_virtual(found)
            linked.pop()

    logp = [listed[0].logp_M.copy()]
    backoff = [listed[0].backoff_M]
    for entries, entry in zip(listed[1:], linked, strict=True):
        logp_M = entries.logp_M[entry.from_M]
        virtual = np.flatnonzero(np.isnan(logp_M))
        weight_N = backoff[-1][entry.followers.contexts(virtual)]
        logp_M[virtual] = weight_N + logp[-1][entry.suffix_M[virtual]]
        logp.append(logp_M)
        backoff.append(entries.backoff_M[entry.from_M])

    logp[0][list(given)] = -np.inf
    followers = tuple(entry.followers for entry in linked)
    return Tables(
        followers,
        tuple(logp),
        tuple(backoff[:-1]),
        vocabulary_size,
        tuple(given),
    )


def _link(
    ids_MK: np.ndarray,
    linked: Sequence[_Linked],
    vocabulary_size: int,
    twice: Callable[[int], object],
) -> _Linked | np.ndarray:
    """Sort the n-grams of one order by context and last word; or return the shorter n-grams that are missing."""
    context_M = ids_MK[:, 0].astype(np.int64)
    for place, below in enumerate(linked, start=1):
        at = np.flatnonzero(context_M != NONE)
        context_M[at] = below.followers.find(context_M[at], ids_MK[at, place])

    lost = context_M == NONE
    if lost.any():
        return ids_MK[lost, :-1]

    keys_M = context_M * vocabulary_size + ids_MK[:, -1]
    from_M = np.argsort(keys_M, kind="stable")
    keys_M = keys_M[from_M]
    if len(repeated := np.flatnonzero(keys_M[1:] == keys_M[:-1])):
        twice(int(np.maximum(from_M[repeated], from_M[repeated + 1]).min()))

    contexts = vocabulary_size
    if linked:
        contexts = len(linked[-1].suffix_M)

    followers = Followers.from_keys(keys_M, contexts, vocabulary_size)
    suffix_M = keys_M % vocabulary_size
    if linked:
        suffix_M = linked[-1].followers.find(
            linked[-1].suffix_M[keys_M // vocabulary_size], suffix_M
        )
        lost = suffix_M == NONE
        if lost.any():
            return ids_MK[from_M[lost], 1:]

    return _Linked(followers, from_M, suffix_M)
