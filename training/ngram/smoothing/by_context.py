"""Estimate one order of a model in blocks of whole contexts, since the estimate of a context needs no other context.

So blocks run in parallel. Counts and results may be in temporary files (`counting/array_allocator.py`): then memory
only holds p of the order below, or as much of it as fits, and the current blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sized
from functools import partial
from typing import NamedTuple

import numpy as np

from models.ngram.lookup import Followers
from models.npy_files import let_go
from training.ngram.counting.array_allocator import ArrayAllocator
from training.ngram.counting.counts import NGramCounts
from training.ngram.counting.memory import ranges_in_memory
from training.ngram.engine import ShardEngine

NGRAMS = 1 << 18
"""Number of n-grams in a block: small enough for the processor's cache."""


class ContextBlock(NamedTuple):
    """Some neighbouring contexts h, and the P n-grams h w that continue them.

    Args:
        contexts: Rows of the contexts at the order below; the one empty context at order 1.
        rows: Rows of the n-grams.
        context_P: Index of each n-gram's context in the block.
        below_P: p(w | h') of each n-gram.
    """

    contexts: slice
    rows: slice
    context_P: np.ndarray
    below_P: np.ndarray

    def sums(self, weight_P: np.ndarray) -> np.ndarray:
        """Return the sum of a weight over the n-grams of each context; (C,) float64."""
        contexts = self.contexts.stop - self.contexts.start
        return np.bincount(self.context_P, weights=weight_P, minlength=contexts)


Work = Callable[[ContextBlock], tuple[np.ndarray, np.ndarray]]
"""A method for a block: returns p of its n-grams and γ of its contexts."""


def estimate_order(
    counts: NGramCounts, order: int, p_below: np.ndarray, work: Work, engine: ShardEngine, precision: str = "double"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Estimate an order block by block.

    Args:
        p_below: p of every n-gram of the order below; at order 1, p of every id below the unigrams.
        work: The method: a function of a module, with its data bound to it (`functools.partial`).
        engine: Executor of the blocks.
        precision: Precision of the result; within a block everything is float64.

    Returns:
        log p of every n-gram; p of every n-gram, for the order above (empty at the highest order); log γ of every
        context, that is of every n-gram of the order below.
    """
    entry, kind = counts.orders[order - 1], np.float32 if precision == "single" else np.float64
    followers, contexts = entry.followers, 1 if entry.followers is None else len(p_below)
    logp_M, log_gamma = counts.allocator.empty(len(entry), kind), counts.allocator.empty(contexts, kind)
    p_M = counts.allocator.empty(len(entry) if order < counts.order else 0, kind)
    below = Below.of(counts, p_below, entry.suffix_M)
    edges = np.array([0, 1]) if followers is None else context_blocks(followers.first_C, NGRAMS)

    def place(number: int, found: tuple[np.ndarray, np.ndarray]) -> None:
        part = slice(int(edges[number]), int(edges[number + 1]))
        rows = slice(None) if followers is None else slice(*followers.first_C[[part.start, part.stop]].tolist())
        p_P, gamma_C = found
        if len(p_M):
            p_M[rows] = p_P
        with np.errstate(divide="ignore"):
            logp_M[rows] = np.minimum(np.log(p_P), 0.0)
            log_gamma[part] = np.log(gamma_C)
        counts.allocator.release()

    step = partial(_of_shard, followers, entry.suffix_M, below, edges, work)
    engine.each(step, place, len(edges) - 1)
    return logp_M, p_M, log_gamma


def _of_shard(
    followers: Followers | None, suffix_M: np.ndarray, below: Below, edges: np.ndarray, work: Work, number: int
) -> tuple[np.ndarray, np.ndarray]:
    part = slice(int(edges[number]), int(edges[number + 1]))
    if followers is None:
        return work(ContextBlock(part, slice(0, len(below.p)), np.zeros(len(below.p), np.int64), below.p))
    rows, context_P = continuations(followers, part)
    below_P = below.p[rows] if below.by_ngram else below.p.take(suffix_M[rows])
    return work(ContextBlock(part, rows, context_P, below_P.astype(np.float64, copy=False)))


class Below(NamedTuple):
    """p of the order below: of each of its n-grams, or *by_ngram* of this order, p(w | h') of each."""

    p: np.ndarray
    by_ngram: bool

    @classmethod
    def of(cls, counts: NGramCounts, p_below: np.ndarray, suffix_M: np.ndarray) -> Below:
        """Read p of the order below into memory; if it does not fit, look it up in one pass for each part that does."""
        allocator = counts.allocator
        ranges = ranges_in_memory(len(p_below), p_below.itemsize, allocator.limit)
        if allocator.folder is None or not len(suffix_M):
            return cls(p_below, by_ngram=False)
        if len(ranges) == 1:
            return cls(_read(p_below, ranges[0], allocator), by_ngram=False)
        found_M = allocator.empty(len(suffix_M), p_below.dtype)
        for rows in ranges:
            _look_up(p_below, rows, suffix_M, found_M, allocator)
        return cls(found_M, by_ngram=True)


def _look_up(
    p_below: np.ndarray, rows: slice, suffix_M: np.ndarray, found_M: np.ndarray, allocator: ArrayAllocator
) -> None:
    some = _read(p_below, rows, allocator)
    for part in pieces(suffix_M):
        suffix_B = suffix_M[part]
        inside_B = (suffix_B >= rows.start) & (suffix_B < rows.stop)
        found_M[part][inside_B] = some.take(suffix_B[inside_B] - rows.start)
        allocator.release()


def _read(array: np.ndarray, rows: slice, allocator: ArrayAllocator) -> np.ndarray:
    some = np.empty(rows.stop - rows.start, array.dtype)
    for part in pieces(some):
        some[part] = array[rows.start + part.start : rows.start + part.stop]
        allocator.release()
    return some


def continuations(followers: Followers, contexts: slice) -> tuple[slice, np.ndarray]:
    """Return the rows of the n-grams that continue neighbouring contexts, and the index of each one's context."""
    first_C = followers.first_C[contexts.start : contexts.stop + 1]
    numbers = np.diff(first_C).astype(np.int64)
    return slice(int(first_C[0]), int(first_C[-1])), np.repeat(np.arange(len(numbers)), numbers)


def context_blocks(first_C: np.ndarray, most: int) -> np.ndarray:
    """Cut contexts into blocks of at most *most* contexts and *most* n-grams (more if a single context has more).

    Args:
        most: Maximum size of a block.

    Returns:
        First context of every block, and the number of contexts; (blocks + 1,).
    """
    edges, contexts = [0], len(first_C) - 1
    while edges[-1] < contexts:
        room = int(first_C[edges[-1]]) + most
        last = int(np.searchsorted(first_C[: edges[-1] + most + 1], np.array(room, first_C.dtype), side="right")) - 1
        edges.append(max(last, edges[-1] + 1))
        let_go(first_C)
    return np.array(edges)


def contexts_in_blocks(followers: Followers) -> Iterator[slice]:
    """Yield ranges of neighbouring contexts with about `NGRAMS` n-grams each."""
    edges = context_blocks(followers.first_C, NGRAMS).tolist()
    yield from map(slice, edges[:-1], edges[1:])


def pieces(rows: Sized) -> Iterator[slice]:
    """Yield slices of at most `NGRAMS` rows."""
    for first in range(0, len(rows), NGRAMS):
        yield slice(first, min(first + NGRAMS, len(rows)))
