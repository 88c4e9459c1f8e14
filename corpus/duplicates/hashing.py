"""Hash stretches of texts for the search for near-duplicates: band keys, anchors and sketches.

This is most of the work of the search, and depends on nothing but the texts: any thread, process or machine may do it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl

from corpus.duplicates.anchors import Anchors, partitioned
from corpus.duplicates.banding import Bands
from corpus.duplicates.shingles import (
    SLICE_BYTES,
    Fingerprints,
    sets,
    simple_bytes,
    slices,
    word_bytes,
)
from corpus.duplicates.sketches import Sketches

STRETCH_BYTES = 8 << 20
"""Bytes of text that are given to a worker at a time, and stored at a time."""

Stretch = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Keys of some texts, and what `simple_bytes` returns for these."""


class Hashed(NamedTuple):
    """What is stored of some texts, of which D are long enough to compare."""

    keys: np.ndarray
    short: np.ndarray
    """Keys of the other texts."""
    data: np.ndarray
    """Bytes of the word forms, one after another."""
    lengths: np.ndarray
    """Bytes of each word form (D,)."""
    coarse: np.ndarray
    """Coarse sketches (D, bytes); see `corpus.duplicates.sketches.Sketches.of`."""
    fine: np.ndarray
    sizes: np.ndarray
    band_keys: np.ndarray
    """(D, bands)."""
    anchors: np.ndarray
    """Anchors, see `corpus.duplicates.anchors.partitioned`."""
    anchor_texts: np.ndarray
    anchor_partitions: np.ndarray


@dataclass(frozen=True)
class Hashing:
    """The hash functions of one search.

    Args:
        fingerprints: Fingerprints of shingles.
        bands: Cut of the signatures.
        sketches: Their sketches.
        anchors: Anchors of passages; None: contained texts are not looked for.
        least_words: Texts with fewer words are not compared.
    """

    fingerprints: Fingerprints
    bands: Bands
    sketches: Sketches
    anchors: Anchors | None
    least_words: int

    def __call__(self, stretch: Stretch) -> Hashed:
        """Return what is stored of the texts of a stretch; see `stretches`."""
        keys, data, offsets = stretch
        parts = [self._hashed(keys[part], *_of(part, data, offsets)) for part in slices(offsets, SLICE_BYTES)]
        columns = [np.concatenate(each) for each in zip(*parts, strict=True)]
        return Hashed._make([*columns[:-2], *partitioned(*columns[-2:])])

    def _hashed(self, keys: np.ndarray, data: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the fields of `Hashed` up to the anchors, and the number of anchors of each text."""
        data, offsets, words = word_bytes(data, offsets, self.least_words)
        long = words >= self.least_words
        shingles = self.fingerprints.of(data, offsets)
        signatures = self.bands.signatures(*shingles)
        anchors = np.zeros(0, np.uint64), np.zeros(len(offsets) - 1, np.int64)
        if self.anchors is not None:
            anchors = self.anchors.of(*shingles)
        coarse, fine, sizes = self.sketches.of(signatures, np.diff(sets(*shingles)[1]))
        band_keys = self.bands.keys(signatures).T
        return keys[long], keys[~long], data, np.diff(offsets), coarse, fine, sizes, band_keys, *anchors


def stretches(batches: Iterable[tuple[np.ndarray, pl.Series]]) -> Iterator[Stretch]:
    """Yield texts with their keys in stretches of about `STRETCH_BYTES`, with at least one text each."""
    for keys, texts in batches:
        data, offsets = simple_bytes(texts)
        for part in slices(offsets, STRETCH_BYTES):
            yield np.asarray(keys[part], np.uint64), *_of(part, data, offsets)


def _of(part: slice, data: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the bytes and offsets of a range of texts."""
    ends = offsets[part.start : part.stop + 1]
    return data[ends[0] : ends[-1]], ends - ends[0]
