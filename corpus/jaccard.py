"""The Jaccard similarity of texts as sets of word shingles, exactly, for texts that stand in a file."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from corpus.shingles import SLICE_BYTES, Fingerprints

_COLUMNS = 4_096


class Comparison:
    """Compares texts exactly, reading their words back from files.

    Args:
        words: File of the word forms, one after another.
        offsets: File of D + 1 uint64: where each begins, and the last one ends.
        shingle: Words of a shingle.
    """

    def __init__(self, words: Path, offsets: Path, shingle: int) -> None:
        self._words, self._offsets, self._fingerprints = words, offsets, Fingerprints(shingle)

    def similarities(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the Jaccard similarity (P,) of the shingle sets of texts a and b (P,), as float32."""
        if not len(a):
            return np.zeros(0, np.float32)
        offsets = np.memmap(self._offsets, np.uint64, "r")
        ends = np.cumsum(offsets[a + 1] - offsets[a] + offsets[b + 1] - offsets[b])
        done, parts = 0, []
        while done < len(a):
            before = ends[done - 1] if done else 0
            stop = max(done + 1, int(np.searchsorted(ends, before + np.uint64(SLICE_BYTES), side="right")))
            parts.append(self._some(a[done:stop], b[done:stop]))
            done = stop
        return np.concatenate(parts)

    def _some(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        texts, where = np.unique(np.concatenate([a, b]), return_inverse=True)
        shingles, sizes = self._sets(texts)
        starts = np.cumsum(sizes) - sizes
        pair = np.concatenate([np.arange(len(a)), np.arange(len(b))])
        lengths = sizes[where]
        total = int(lengths.sum())
        inside = np.arange(total) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        keyed = shingles[np.repeat(starts[where], lengths) + inside] | (np.repeat(pair, lengths) << 32)
        keyed.sort()
        common = np.bincount(keyed[1:][keyed[1:] == keyed[:-1]] >> 32, minlength=len(a))
        return (common / (sizes[where[: len(a)]] + sizes[where[len(a) :]] - common)).astype(np.float32)

    def table(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the similarities (A, B) of all texts a (A,) with all texts b (B,), as float32, by matrix products."""
        shingles, sizes = self._sets(np.concatenate([a, b]))
        owner = np.repeat(np.arange(len(sizes)), sizes)
        ours = owner < len(a)
        both = np.intersect1d(shingles[ours], shingles[~ours])
        column = np.searchsorted(both, shingles)
        shared = column < len(both)
        shared[shared] = both[column[shared]] == shingles[shared]
        owner, column = owner[shared], column[shared]
        common = np.zeros((len(a), len(b)), np.float32)
        for first in range(0, len(both), _COLUMNS):
            some = (column >= first) & (column < first + _COLUMNS)
            present = np.zeros((len(sizes), min(_COLUMNS, len(both) - first)), np.float32)
            present[owner[some], column[some] - first] = 1
            common += present[: len(a)] @ present[len(a) :].T
        return common / (sizes[: len(a), None] + sizes[None, len(a) :] - common).astype(np.float32)

    def _sets(self, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the different shingles of each text, numbered within this call, and how many each has."""
        offsets = np.memmap(self._offsets, np.uint64, "r")
        begin, end = offsets[texts].tolist(), offsets[texts + 1].tolist()
        with self._words.open("rb", buffering=0) as file:  # not mapped: pages around each text would stay in memory
            read = [os.pread(file.fileno(), stop - start, start) for start, stop in zip(begin, end, strict=True)]
        data = np.frombuffer(b"".join(read), np.uint8)
        bounds = np.concatenate([[0], np.cumsum(np.array(end) - np.array(begin))])
        fingerprints, shingle_offsets = self._fingerprints.of(data, bounds)
        _, numbers = np.unique(fingerprints, return_inverse=True)
        owner = np.repeat(np.arange(len(texts)), np.diff(shingle_offsets))
        keyed = (owner << 32) | numbers
        keyed.sort()
        keyed = keyed[np.append(True, keyed[1:] != keyed[:-1])]
        return keyed & 0xFFFFFFFF, np.bincount(keyed >> 32, minlength=len(texts))
