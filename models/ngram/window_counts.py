"""From sorted windows (`windows.py`) to the counts of each order: the machinery behind `counts.count_ngrams`."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .lookup import Followers, row_type, word_type
from .shelf import Shelf
from .windows import Text, deal, first_words, shard_words, sort_shard


@dataclass(frozen=True)
class SortedWindows:
    """All windows of at least two tokens, sorted, in shards.

    Args:
        start_W: Position in the text where each begins; int32.
        shared_W: First words shared with the window before; uint8.
        first_S: Where each shard begins, and W.
        edges: First words of shard s are the ids edges[s] … edges[s + 1] − 1.
        rows_NS: N-grams of each order (row k − 1) that the shards before s hold; the last column is all of them.
    """

    text: Text
    start_W: np.ndarray
    shared_W: np.ndarray
    first_S: np.ndarray
    edges: np.ndarray
    rows_NS: np.ndarray

    @property
    def shards(self) -> int:
        """Number of shards."""
        return len(self.edges) - 1

    def ngrams(self, order: int) -> int:
        """Return the number of different n-grams of an order."""
        return int(self.rows_NS[order - 1, -1])

    def of(self, shard: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the starts of a shard's windows, and what each shares with the one before."""
        part = slice(int(self.first_S[shard]), int(self.first_S[shard + 1]))
        return self.start_W[part], self.shared_W[part]


class Rows(NamedTuple):
    """The n-grams of one order, from one shard or from all of them; M rows.

    Args:
        followers: By context and last word; of a shard, its own contexts only, but rows of all.
        raw_M: Occurrences; int32.
        suffix_M: Row of the n-gram without its first word at the order below; int32.
        begins_M: Whether it begins with a begin token.
    """

    followers: Followers
    raw_M: np.ndarray
    suffix_M: np.ndarray
    begins_M: np.ndarray


def sort_windows(text: Text, most: int, threads: int, shelf: Shelf) -> SortedWindows:
    """Sort all windows of a text, in shards of at most *most* windows each (more where one first word has more)."""
    windows_V = first_words(text)
    edges = shard_words(windows_V, most)
    first_S = np.append(0, np.cumsum(windows_V))[edges]
    start_W, shared_W = shelf.empty(int(first_S[-1]), np.int32), shelf.empty(int(first_S[-1]), np.uint8)
    deal(text, edges, first_S, start_W)
    rows_NS = np.zeros((text.order, len(edges)), np.int64)
    rows_NS[0] = edges
    windows = SortedWindows(text, start_W, shared_W, first_S, edges, rows_NS)

    def sort(shard: int) -> None:
        start_P, shared_P = windows.of(shard)
        sort_shard(text, start_P, shared_P)
        rows_NS[1:, shard + 1] = _ngrams(text, start_P, shared_P)
        shelf.release()

    in_parallel(sort, windows.shards, threads)
    np.cumsum(rows_NS[1:], axis=1, out=rows_NS[1:])
    return windows


def _ngrams(text: Text, start_P: np.ndarray, shared_P: np.ndarray) -> list[int]:
    """Return how many different n-grams of orders 2 … N begin a sorted shard's windows."""
    kinds = text.order + 1
    pairs = shared_P.astype(np.int32) * kinds + text.length_T[start_P]
    windows_KK = np.bincount(pairs, minlength=kinds * kinds).reshape(kinds, kinds)
    return [int(windows_KK[:k, k:].sum()) for k in range(2, kinds)]


def count_order(
    windows: SortedWindows, order: int, row_T: np.ndarray, longer_T: np.ndarray | None, threads: int, shelf: Shelf
) -> Rows:
    """Count the n-grams of one order.

    Args:
        row_T: Row, at the order below, of the n-gram that begins at each position of the text; int32.
        longer_T: Is filled with the same for this order, where there is one; None where nobody asks.
    """
    rows, contexts = windows.ngrams(order), windows.ngrams(order - 1)
    found = Rows(
        Followers(
            shelf.empty(rows, word_type(windows.text.vocabulary_size)), shelf.empty(contexts + 1, row_type(rows))
        ),
        shelf.empty(rows, np.int32), shelf.empty(rows, np.int32), shelf.empty(rows, bool),
    )  # fmt: skip
    found.followers.first_C[0] = 0

    def count(shard: int) -> None:
        first, last = windows.rows_NS[order - 2, shard : shard + 2].tolist()
        here = int(windows.rows_NS[order - 1, shard])
        part = count_shard(windows.text, *windows.of(shard), order, row_T, (first, last), here, longer_T)
        found.followers.first_C[first + 1 : last + 1] = part.followers.first_C
        last = here + len(part.raw_M)
        found.followers.word_M[here:last] = part.followers.word_M
        for all_M, part_M in zip(found[1:], part[1:], strict=True):
            all_M[here:last] = part_M
        shelf.release()

    in_parallel(count, windows.shards, threads)
    return found


def count_shard(
    text: Text,
    start_P: np.ndarray,
    shared_P: np.ndarray,
    order: int,
    row_T: np.ndarray,
    contexts: tuple[int, int],
    first_row: int,
    longer_T: np.ndarray | None = None,
) -> Rows:
    """Count the n-grams of one order that begin the windows of one sorted shard.

    Args:
        row_T: See `count_order`.
        contexts: First and last (exclusive) of the rows at the order below that are this shard's.
        first_row: Rows of this order that the shards before this one hold.
        longer_T: See `count_order`.

    Returns:
        The shard's n-grams. `followers.first_C` says where each of the shard's contexts ends.
    """
    long_P = text.length_T[start_P] >= order
    new_P = shared_P < order
    new_P &= long_P
    at_M = np.flatnonzero(new_P)
    start_M = start_P[at_M]
    # An n-gram's occurrences are the windows up to the next new one; those too short for this order are not.
    raw_M = np.diff(at_M, append=len(start_P)).astype(np.int32)
    short = np.flatnonzero(~long_P)
    among = np.searchsorted(at_M, short, side="right")
    raw_M -= np.bincount(among, minlength=len(at_M) + 1)[1:].astype(np.int32)
    if longer_T is not None:
        row_P = np.cumsum(new_P, dtype=np.int32)
        row_P += first_row - 1
        if len(short):
            longer_T[start_P[long_P]] = row_P[long_P]
        else:
            longer_T[start_P] = row_P
    context_M = row_T[start_M] - contexts[0]
    number_C = np.bincount(context_M, minlength=contexts[1] - contexts[0])
    return Rows(
        Followers(text.later_ids(start_M, order - 1), np.cumsum(number_C) + first_row),
        raw_M, row_T[start_M + 1], text.code_T[start_M] < 0,
    )  # fmt: skip


def in_parallel(work: Callable[[int], None], shards: int, threads: int) -> None:
    """Call *work* for every shard; numpy lets other threads run while it sorts and adds."""
    if threads == 1 or shards < 2:
        for shard in range(shards):
            work(shard)
        return
    with ThreadPoolExecutor(min(threads, shards)) as pool:
        list(pool.map(work, range(shards)))


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
