"""Read documents for counting block by block, so that they may be in a file that is larger than memory.

T: tokens. V: vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Protocol

import numpy as np

from models.base import ModelError
from models.ngram.lookup import NONE
from models.npy_files import let_go
from training.ngram.counting.array_allocator import IN_MEMORY, ArrayAllocator

_BLOCK = 1 << 20


class Documents(Protocol):
    """Documents one after another: document i is `ids[offsets[i]:offsets[i + 1]]`."""

    ids: np.ndarray
    offsets: np.ndarray


def mask(given: Collection[int], vocabulary_size: int) -> np.ndarray:
    """Return which ids are given; (V,) bool."""
    given_V = np.zeros(vocabulary_size, bool)
    given_V[list(given)] = True
    return given_V


def ids_from_begin(
    documents: Documents, given_V: np.ndarray, allocator: ArrayAllocator = IN_MEMORY
) -> np.ndarray:
    """Return all documents one after another, each from its last leading given token on (without `<bos>`); int32."""
    ids_T, offsets = np.asarray(documents.ids), np.asarray(documents.offsets)
    document = 0
    for part in _blocks(len(ids_T)):
        ids_B = ids_T[part]
        if not 0 <= int(ids_B.min()) <= int(ids_B.max()) < len(given_V):
            span = f"{ids_T.min()} to {ids_T.max()}"
            raise ModelError(f"token ids from {span}; the vocabulary has {len(given_V)}", kind="input")
        while document < len(offsets) and offsets[document] < part.stop:
            begins = offsets[document : document + _BLOCK]
            begins = begins[: np.searchsorted(begins, part.stop)]
            if not given_V[ids_B[begins - part.start]].all():
                raise ModelError("a document does not begin with a given token (a star token, <s>)", kind="input")
            document += len(begins)
            let_go(offsets)
        let_go(ids_T)
    return _without_leading(ids_T, given_V, allocator)


def _without_leading(ids_T: np.ndarray, given_V: np.ndarray, allocator: ArrayAllocator) -> np.ndarray:
    """Drop the given tokens before another one, and at the end of the text."""
    length = sum(int(np.count_nonzero(kept_B)) for _, kept_B in _not_leading(ids_T, given_V))
    if length == len(ids_T) and ids_T.dtype == np.int32:
        return ids_T
    found, end = allocator.empty(length, np.int32), 0
    for ids_B, kept_B in _not_leading(ids_T, given_V):
        some = ids_B[kept_B]
        found[end : end + len(some)] = some
        end += len(some)
        allocator.release()
    return found


def _not_leading(ids_T: np.ndarray, given_V: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for part in _blocks(len(ids_T)):
        ids_B = ids_T[part.start : part.stop + 1]
        given_B = given_V[ids_B]
        next_B = given_B[1:] if part.stop < len(ids_T) else np.append(given_B[1:], True)
        yield ids_B[: len(next_B)], ~(given_B[: len(next_B)] & next_B)
        let_go(ids_T)


def _taken(ids_T: np.ndarray, at_Q: np.ndarray) -> np.ndarray:
    """Return the ids at some positions, ascending; memory holds one block of a text that is in a file."""
    found_Q = np.empty(len(at_Q), ids_T.dtype)
    for part in _blocks(len(ids_T)):
        some = slice(*np.searchsorted(at_Q, (part.start, part.stop)).tolist())
        found_Q[some] = ids_T[at_Q[some]]
        let_go(ids_T)
    return found_Q


def _blocks(length: int) -> Iterator[slice]:
    yield from (slice(first, min(first + _BLOCK, length)) for first in range(0, length, _BLOCK))


def occurrences(ids_T: np.ndarray, given_V: np.ndarray) -> np.ndarray:
    """Return how often each id occurs, 0 for those that are never predicted; (V,) int64."""
    raw_V = np.zeros(len(given_V), np.int64)
    for part in _blocks(len(ids_T)):
        raw_V += np.bincount(ids_T[part], minlength=len(given_V))
        let_go(ids_T)
    raw_V[given_V] = 0
    return raw_V


def begins(ids_T: np.ndarray, given_V: np.ndarray, allocator: ArrayAllocator = IN_MEMORY) -> np.ndarray:
    """Return the position of each document's begin token, ascending; (D,) int32."""
    growing = allocator.growing(np.int32)
    for part in _blocks(len(ids_T)):
        growing.append((np.flatnonzero(given_V[ids_T[part]]) + part.start).astype(np.int32))
        let_go(ids_T)
    return growing.finished()


def last_in_suffix_order(ids_T: np.ndarray, given_V: np.ndarray, raw_V: np.ndarray, order: int) -> int:
    """Return the end position of the N-gram that is greatest when read backwards; NONE if there is no n-gram.

    Histories that are longer than their document are padded with the begin token.
    """
    greatest = int(np.flatnonzero(raw_V).max(initial=NONE))
    if greatest == NONE:
        return NONE
    found = []
    for part in _blocks(len(ids_T)):
        found.append(np.flatnonzero(ids_T[part] == greatest) + part.start)
        let_go(ids_T)
    best = looking = np.concatenate(found)
    for _ in range(order):
        words = _taken(ids_T, looking)
        kept = words == words.max()
        best, looking = best[kept], looking[kept]
        if len(best) == 1:
            break
        looking = np.where(given_V[words[kept]], looking, looking - 1)
    return int(best[0])
