"""Find candidates for near-duplicates by MinHash: texts that share a band of their signatures.

Two texts of Jaccard similarity s agree in one value of their signatures with probability s, in all r values of a band
with s^r, and in at least one of b bands with 1 - (1 - s^r)^b: the S-curve (Leskovec, Rajaraman and Ullman, Mining of
Massive Datasets, 3rd ed., section 3.4.2). The values are the least of (a x + b) >> 32 over the shingles' fingerprints
x, with 64-bit a and b drawn for each value (Broder 1997; Dietzfelbinger 1996 for the family of hash functions).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from reviewlm.core.config.sections.data import DuplicatesConfig
from reviewlm.core.errors import ConfigError
from reviewlm.corpus.duplicates.shingles import (
    SLICE_BYTES,
    Fingerprints,
    mix,
    part_of,
    simple_bytes,
    slices,
    word_bytes,
)

SEED = 1
"""Seed of the hash functions of MinHash."""
RECALL = 0.98
"""Least share of pairs just at the similarity limit that must share a band; for more similar pairs it is higher."""
LOWEST_RECALL = 0.95
STRETCH_BYTES = 8 << 20
"""Bytes of text that are given to a worker at a time, and stored at a time."""
UPPER_HALF = np.uint64(0xFFFFFFFF00000000)
BUCKET_BITS = 40
"""Bits of the number of a bucket in its band, or in a range of the keys of its band."""
PERMUTATIONS = 128
"""MinHash values per text: enough to find 95 % of the pairs from a similarity of 0.03 on."""


def read_scattered(
    file: Path,
    begin: np.ndarray,
    end: np.ndarray,
) -> np.ndarray:
    """Return the bytes from each *begin* (K,) to its *end*, one stretch after another.

    The file is not mapped to memory: the system maps up to 2 MB around each stretch, and to unmap them takes longer
    than to read.

    Raises:
        OSError: The file ends before a stretch, or cannot be read.
    """
    sizes = (end - begin).tolist()
    with file.open("rb", buffering=0) as opened:
        descriptor = opened.fileno()
        pieces = [
            os.pread(descriptor, size, at) for at, size in zip(begin.tolist(), sizes, strict=True)
        ]

    content = np.frombuffer(b"".join(pieces), np.uint8)
    if len(content) < sum(sizes):
        raise OSError(errno.EIO, "a stretch of the file cannot be read", str(file))

    return content


def read_numbers(
    file: Path,
    kind: type[np.generic],
    places: np.ndarray,
) -> np.ndarray:
    """Return the numbers of a file at some *places* (K,)."""
    return np.asarray(np.memmap(file, kind, "r")[places])


Pairs = tuple[np.ndarray, np.ndarray]
"""Numbers of texts a and b, (P,) each."""

Stretch = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Keys of some texts, and what `simple_bytes` returns for these."""


@dataclass(frozen=True)
class Bands:
    """The cut of a signature: *count* bands of *rows* values each."""

    count: int
    rows: int

    def recall(self, similarity: float) -> float:
        """Return the probability that two texts of this similarity share a band."""
        return float(1 - (1 - similarity**self.rows) ** self.count)

    @classmethod
    def of(cls, config: DuplicatesConfig) -> Bands:
        """Return the longest bands that still reach `RECALL`; long bands bring the fewest dissimilar texts together.

        Raises:
            ConfigError: Even bands of one value would lose more than one pair in twenty.
        """
        cuts = [cls(PERMUTATIONS // rows, rows) for rows in range(PERMUTATIONS, 0, -1)]
        chosen = next((cut for cut in cuts if cut.recall(config.similarity) >= RECALL), cuts[-1])
        if chosen.recall(config.similarity) < LOWEST_RECALL:
            raise ConfigError(
                f"MinHash finds only {chosen.recall(config.similarity):.0%} of the pairs that are so little similar",
                where="duplicates.similarity",
                value=config.similarity,
                remedy="raise duplicates.similarity",
            )

        return chosen

    def signatures(self, fingerprints: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """Return the signatures (D, count * rows) of D texts as uint64, mixed so that any of their bits may be used.

        Args:
            fingerprints: Fingerprints of the shingles of all texts (see `reviewlm.corpus.duplicates.shingles`).
            offsets: (D + 1,) where those of each text begin and the last ones end; each text has at least one.
        """
        # Here, because numba's import takes half a second.
        from reviewlm.corpus.duplicates import kernels

        used = self.count * self.rows
        numbers = np.arange(1, 2 * used + 1, dtype=np.uint64) + np.uint64(SEED << 32)
        factors, terms = mix(numbers).reshape(2, used)
        signature_DP = np.empty((len(offsets) - 1, used), np.uint64)
        kernels.signatures(
            fingerprints,
            offsets,
            factors,
            terms,
            np.empty(used, np.uint32),
            signature_DP,
        )
        return signature_DP

    def keys(self, signature_DP: np.ndarray) -> np.ndarray:
        """Return the keys (count, D) as uint64: texts with equal values in a band have the same key for it.

        Others have the same key by chance once in 2^64 pairs. With 32 bits, most of a billion texts would be candidates.
        """
        # Here, because numba's import takes half a second.
        from reviewlm.corpus.duplicates import kernels

        factors = mix(np.arange(1, self.rows + 1, dtype=np.uint64)) | np.uint64(1)
        keys_BD = np.empty((self.count, len(signature_DP)), np.uint64)
        kernels.band_keys(signature_DP, factors, keys_BD)
        return keys_BD


def buckets(keys_D: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return texts that share a key: members (M,), ordered by bucket and number, and B + 1 bucket offsets.

    Buckets are in the order of their keys; keys of only one text are left out. It takes about 24 bytes per key.
    """
    numbers_D = np.arange(len(keys_D), dtype=np.uint64)
    sorted_D = np.sort(keys_D & UPPER_HALF | numbers_D)  # numbers of 64 bits are sorted fastest
    shared, _ = _repeats(sorted_D & UPPER_HALF)
    members = sorted_D[shared].astype(np.uint32)
    members = members[np.argsort(keys_D[members], kind="stable")]
    shared, starts = _repeats(keys_D[members])
    return members[shared], starts


def _repeats(ascending: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a mask of the values that are there several times, and where the different ones of these begin and end."""
    follows = np.zeros(len(ascending), bool)
    follows[1:] = ascending[1:] == ascending[:-1]
    shared = follows.copy()
    shared[:-1] |= follows[1:]
    starts = np.flatnonzero(~follows[shared])
    return shared, np.append(starts, np.count_nonzero(shared))


def met_in_band(keys_D: np.ndarray, stretch: int) -> pl.DataFrame:
    """Return the texts that share a bucket of a band, as columns bucket and text.

    Args:
        keys_D: The keys of the band, or those in a range.
        stretch: Number of the band, or of the range among the ranges of all bands, which has buckets of its own.
    """
    members, starts = buckets(keys_D)
    bucket = np.repeat(np.arange(len(starts) - 1), np.diff(starts)) + (stretch << BUCKET_BITS)
    return pl.DataFrame({"bucket": bucket, "text": members.astype(np.int64)})


class Hashed(NamedTuple):
    """The stored signatures of some texts, of which D are long enough to compare."""

    keys: np.ndarray
    short: np.ndarray
    """Numbers of the other texts, of each part of these."""
    data: np.ndarray
    """Bytes of the word forms, one after another."""
    lengths: np.ndarray
    """Bytes of each word form (D,)."""
    band_keys: np.ndarray
    """(D, bands)."""


@dataclass(frozen=True)
class Hashing:
    """The hash functions of one search: most of its work, which any thread, process or machine may do.

    Args:
        fingerprints: Fingerprints of shingles.
        bands: Cut of the signatures.
        least_words: Texts with fewer words are not compared.
    """

    fingerprints: Fingerprints
    bands: Bands
    least_words: int

    def __call__(self, stretch: Stretch) -> Hashed:
        """Return the signatures of the texts of a stretch; see `stretches`."""
        keys, data, offsets = stretch
        parts = [
            self._hash_part(keys[part], *part_of(part, data, offsets))
            for part in slices(offsets, SLICE_BYTES)
        ]
        return Hashed._make(np.concatenate(each) for each in zip(*parts, strict=True))

    def _hash_part(
        self,
        keys: np.ndarray,
        data: np.ndarray,
        offsets: np.ndarray,
    ) -> Hashed:
        data, offsets, words = word_bytes(data, offsets, self.least_words)
        long = words >= self.least_words
        signatures = self.bands.signatures(*self.fingerprints.of(data, offsets))
        short = np.array([np.sum(~long)])
        band_keys = self.bands.keys(signatures).T
        return Hashed(
            keys[long],
            short,
            data,
            np.diff(offsets),
            band_keys,
        )


def stretches(batches: Iterable[tuple[np.ndarray, pl.Series]]) -> Iterator[Stretch]:
    """Yield texts with their keys in stretches of about `STRETCH_BYTES`, with at least one text each."""
    for keys, texts in batches:
        data, offsets = simple_bytes(texts)
        for part in slices(offsets, STRETCH_BYTES):
            yield np.asarray(keys[part], np.uint64), *part_of(part, data, offsets)
