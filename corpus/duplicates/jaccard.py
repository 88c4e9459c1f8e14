"""Compare texts in a file exactly, as sets of word shingles: Jaccard similarity and containment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from corpus.duplicates.scattered import read_numbers, read_scattered
from corpus.duplicates.shingles import SLICE_BYTES, Fingerprints, hash_table, sets


@dataclass(frozen=True)
class Nearness:
    """The rule that decides whether two sets of shingles belong to near-duplicates.

    Args:
        similarity: Least Jaccard similarity, |A ∩ B| / |A ∪ B|.
        containment: Least share of the smaller set that is in the larger one, |A ∩ B| / min(|A|, |B|); above 1: never.
        least: Smaller sets do not count as contained, because that happens by chance.
    """

    similarity: float
    containment: float = 2.0
    least: int = 0

    def judge(self, common: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the Jaccard similarity, as float32, and whether the texts are near-duplicates.

        Args:
            common: Number of shingles that two texts share.
            a: Number of shingles of the first text.
            b: Number of shingles of the second text.
        """
        similarity = (common / (a + b - common)).astype(np.float32)
        smaller = np.minimum(a, b)
        contained = (smaller >= self.least) & (common >= self.containment * smaller)
        return similarity, (similarity >= np.float32(self.similarity)) | contained

    def least_similarity(self, ratio: np.ndarray) -> np.ndarray:
        """Return the lowest Jaccard similarity that near-duplicates can have.

        Of a smaller set of s shingles the share c is in the larger one of l. So the similarity is at least
        c·s / (s + l - c·s).

        Args:
            ratio: Sizes of smaller sets, as shares of the larger ones: s / l.
        """
        common = min(self.containment, 1.0) * ratio
        contained = common / (ratio + 1 - common)
        return np.minimum(contained, self.similarity) if self.containment <= 1 else np.full(len(ratio), self.similarity)


class Comparison:
    """An exact comparison of texts, whose words are read from files.

    Args:
        words: File of the word forms, one after another.
        offsets: File of D + 1 uint64: where each word form begins, and where the last one ends.
        shingle: Number of words in a shingle.
        nearness: Rule for near-duplicates.
    """

    def __init__(self, words: Path, offsets: Path, shingle: int, nearness: Nearness) -> None:
        self._words, self._offsets, self._fingerprints = words, offsets, Fingerprints(shingle)
        self._nearness = nearness

    def pairs(self, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the Jaccard similarity (P,) of texts a and b (P,), as float32, and which are near-duplicates (P,)."""
        if not len(a):
            return np.zeros(0, np.float32), np.zeros(0, bool)
        (begin_a, end_a), (begin_b, end_b) = self._bounds(a), self._bounds(b)
        ends = np.cumsum(end_a - begin_a + end_b - begin_b)
        done, parts = 0, []
        while done < len(a):
            before = ends[done - 1] if done else 0
            stop = max(done + 1, int(np.searchsorted(ends, before + SLICE_BYTES, side="right")))
            parts.append(self._some(a[done:stop], b[done:stop]))
            done = stop
        similarity, near = zip(*parts, strict=True)
        return np.concatenate(similarity), np.concatenate(near)

    def _some(self, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        texts, row = np.unique(np.concatenate([a, b]), return_inverse=True)
        return self._judged(texts, row[: len(a)], row[len(a) :])

    def table(self, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the results of `pairs` for all texts a (A,) with all texts b (B,), (A, B) each."""
        rows, columns = np.arange(len(a)), len(a) + np.arange(len(b))
        found = self._judged(np.concatenate([a, b]), np.repeat(rows, len(b)), np.tile(columns, len(a)))
        return found[0].reshape(len(a), -1), found[1].reshape(len(a), -1)

    def _judged(self, texts: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the results of `pairs`, for pairs given by their places in *texts*."""
        from corpus.duplicates import pair_kernels  # here, because numba's import takes half a second

        values, offsets = self._sets(texts)
        common, sizes = np.empty(len(a), np.int64), np.diff(offsets)
        pair_kernels.common(values, offsets, a, b, *hash_table(offsets), common)
        return self._nearness.judge(common, sizes[a], sizes[b])

    def _sets(self, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the sets of shingles of the texts, one after another, and their offsets."""
        begin, end = self._bounds(texts)
        bounds = np.concatenate([[0], np.cumsum(end - begin)])
        return sets(*self._fingerprints.of(read_scattered(self._words, begin, end), bounds))

    def _bounds(self, texts: np.ndarray) -> np.ndarray:
        """Return where the words of each text begin and end, (2, D)."""
        return np.ascontiguousarray(read_numbers(self._offsets, np.uint64, texts, 2).T, np.int64)
