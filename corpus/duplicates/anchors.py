"""Find candidates for containment: a text inside a longer one, such as its first half.

MinHash finds texts whose sets of shingles are similar as a whole, but half a review and the whole review are not.
Winnowing (Schleimer, Wilkerson and Aiken 2003) computes the fingerprints of runs of words. Of every w consecutive
fingerprints it keeps the smallest one, the anchor. Two texts with w consecutive runs in common share an anchor,
wherever these runs are in each text. A share of 2 / (w + 1) of the runs is kept. Runs are longer than shingles: almost
every text contains "one of the", but few texts share eight words in a row.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from corpus.duplicates.banding import buckets
from corpus.duplicates.shingles import mix

WINDOW = 16
"""Equal shingles in a row that are always found: with shingles of three words, 18 equal words."""

RUN = 6
"""Shingles in a run: with shingles of three words, eight words."""

COMMON = 64
"""An anchor that more texts of one side share, such as one of a disclaimer under every review, is skipped. Otherwise
every text would be compared with every other one."""

PARTITIONS = 64
"""Number of partitions of the anchors, by their last bits; few at a time are in memory. (The first bits of anchors are
mostly zero, because an anchor is the smallest of many.)"""

_FILES = ("anchors.u64", np.dtype(np.uint64)), ("anchor_texts.u32", np.dtype(np.uint32))

_FACTORS = mix(np.arange(1, 4, dtype=np.uint64)) | np.uint64(1)


class Anchors:
    """The anchors of texts, on disk.

    Args:
        folder: Folder for the files.
        window: Equal shingles in a row that are always found; at least `RUN`.
        least: Texts with fewer shingles have no anchors.
    """

    def __init__(self, folder: Path, window: int, least: int) -> None:
        self._folder, self._window, self._least = folder, max(window, RUN), max(least, window, RUN)
        self._sizes: list[np.ndarray] = []

    def of(self, fingerprints_S: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the anchors (A,) uint64 of D texts, in the order of the texts, and their number in each text (D,).

        The fingerprint of a run is that of its first, middle and last shingle: with shingles of three words, these
        contain all its words.

        Args:
            fingerprints_S: Fingerprints of the shingles of all texts, in the order of the text.
            offsets: (D + 1,) where the fingerprints of each text begin, and where the last ones end.
        """
        from corpus.duplicates import kernels  # here, because numba's import takes half a second

        counts_D, found = np.empty(len(offsets) - 1, np.int64), np.empty(len(fingerprints_S), np.uint64)
        runs = np.empty(int(np.diff(offsets).max(initial=0)), np.uint64)
        total = kernels.anchors(
            fingerprints_S, offsets, _FACTORS, RUN, self._window, self._least, runs, found, counts_D
        )
        return found[:total], counts_D

    def append(self, anchors: np.ndarray, texts: np.ndarray, sizes: np.ndarray) -> None:
        """Append the result of `partitioned` to the files, with the numbers of the texts among all texts."""
        for (name, _), values in zip(_FILES, (anchors, texts), strict=True):
            with (self._folder / name).open("ab") as out:
                values.tofile(out)
        self._sizes.append(sizes)

    def buckets(self, partition: int) -> tuple[np.ndarray, np.ndarray]:
        """Return texts that share an anchor: members (M,), ordered by anchor and number, and B + 1 bucket offsets."""
        anchors, texts = (self._read(name, kind, partition) for name, kind in _FILES)
        members, starts = buckets(anchors)
        texts, bucket = texts[members].astype(np.int64), np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        once = np.ones(len(texts), bool)  # a text can have the same anchor twice
        once[1:] = (bucket[1:] != bucket[:-1]) | (texts[1:] != texts[:-1])
        sizes = np.bincount(bucket[once], minlength=len(starts) - 1)
        shared = once & (sizes > 1)[bucket]
        return texts[shared], np.concatenate([[0], np.cumsum(sizes[sizes > 1])])

    def _read(self, name: str, kind: np.dtype, partition: int) -> np.ndarray:
        """Return the values of one partition, in the order of the texts."""
        parts, before = [np.zeros(0, kind)], 0
        for sizes in self._sizes:
            start = before + int(sizes[:partition].sum())
            parts.append(np.fromfile(self._folder / name, kind, int(sizes[partition]), offset=start * kind.itemsize))
            before += int(sizes.sum())
        return np.concatenate(parts)


def partitioned(anchors: np.ndarray, counts_D: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sort anchors by partition.

    Args:
        anchors: Anchors (A,) of D texts, in the order of the texts.
        counts_D: Number of anchors of each text.

    Returns:
        The anchors, the number of the text of each as uint32, and how many there are in each of `PARTITIONS`.
    """
    place = (anchors % np.uint64(PARTITIONS)).astype(np.uint8)
    order = np.argsort(place, kind="stable")
    texts = np.repeat(np.arange(len(counts_D), dtype=np.uint32), counts_D)
    return anchors[order], texts[order], np.bincount(place, minlength=PARTITIONS)
