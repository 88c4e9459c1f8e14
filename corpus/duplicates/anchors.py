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
from numpy.lib.stride_tricks import sliding_window_view

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
"""Number of files for the anchors, chosen by their last bits; one file at a time is in memory. (The first bits of
anchors are mostly zero, because an anchor is the smallest of many.)"""

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

    def of(self, fingerprints_S: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the anchors (A,) uint64 of D texts and the text (A,) of each anchor, uint32.

        Args:
            fingerprints_S: Fingerprints of the shingles of all texts, in the order of the text.
            offsets: (D + 1,) where the fingerprints of each text begin, and where the last ones end.
        """
        lengths = np.diff(offsets)
        windows = np.where(lengths >= self._least, lengths - self._window + 1, 0)
        total = int(windows.sum())
        if not total:
            return np.zeros(0, np.uint64), np.zeros(0, np.uint32)
        text = np.repeat(np.arange(len(lengths), dtype=np.uint32), windows)
        inside = np.arange(total) - np.repeat(np.cumsum(windows) - windows, windows)
        runs = _runs(fingerprints_S)
        smallest = sliding_window_view(runs, self._window - RUN + 1).min(axis=1)[offsets[text] + inside]
        new = np.ones(total, bool)
        new[1:] = (smallest[1:] != smallest[:-1]) | (text[1:] != text[:-1])
        return smallest[new], text[new]

    def append(self, anchors: np.ndarray, texts: np.ndarray) -> None:
        """Append anchors and the numbers of their texts to the files."""
        place = (anchors % np.uint64(PARTITIONS)).astype(np.uint8)
        for partition in np.unique(place).tolist():
            here = place == partition
            for values in (anchors[here].astype(np.uint64), texts[here].astype(np.uint32)):
                with self._file(partition, values.dtype).open("ab") as out:
                    values.tofile(out)

    def buckets(self, partition: int) -> tuple[np.ndarray, np.ndarray]:
        """Return texts that share an anchor: members (M,), ordered by anchor and number, and B + 1 bucket offsets."""
        kinds = np.dtype(np.uint64), np.dtype(np.uint32)
        if not self._file(partition, kinds[0]).exists():
            return np.zeros(0, np.int64), np.zeros(1, np.int64)
        anchors, texts = (np.fromfile(self._file(partition, kind), kind) for kind in kinds)
        members, starts = buckets(anchors)
        texts, bucket = texts[members].astype(np.int64), np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        once = np.ones(len(texts), bool)  # a text can have the same anchor twice
        once[1:] = (bucket[1:] != bucket[:-1]) | (texts[1:] != texts[:-1])
        sizes = np.bincount(bucket[once], minlength=len(starts) - 1)
        shared = once & (sizes > 1)[bucket]
        return texts[shared], np.concatenate([[0], np.cumsum(sizes[sizes > 1])])

    def _file(self, partition: int, kind: np.dtype) -> Path:
        return self._folder / f"anchors-{partition:02d}.{kind.name}"


def _runs(fingerprints_S: np.ndarray) -> np.ndarray:
    """Return the fingerprint of each run of `RUN` shingles, (S - RUN + 1,), from its first, middle and last shingle.

    With shingles of three words, these contain all words of the run.
    """
    last = RUN - 1
    first, middle, final = (fingerprints_S[start : len(fingerprints_S) - last + start] for start in (0, RUN // 2, last))
    return mix(first * _FACTORS[0] + middle * _FACTORS[1] + final * _FACTORS[2])
