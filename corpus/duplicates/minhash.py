"""Find candidates for near-duplicates by MinHash: bands of signatures, and sketches of these.

Two texts of Jaccard similarity s agree in one value of their signatures with probability s, in all r values of a band
with s^r, and in at least one of b bands with 1 - (1 - s^r)^b: the S-curve (Leskovec, Rajaraman and Ullman, Mining of
Massive Datasets, 3rd ed., section 3.4.2). The values are the least of (a x + b) >> 32 over the shingles' fingerprints
x, with 64-bit a and b drawn for each value (Broder 1997; Dietzfelbinger 1996 for the family of hash functions).

A sketch is one byte of each of some values of a signature (b-bit minwise hashing: Li and Koenig 2010). Two texts of
Jaccard similarity s agree in each byte with probability s. With millions of reviews most pairs that share a band are
not similar, and a check of their sketches costs a hundredth of a comparison of their words.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import comb
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from core.config.sections.data import DuplicatesConfig
from core.errors import ConfigError
from corpus.duplicates.shingles import SLICE_BYTES, Fingerprints, mix, part_of, simple_bytes, slices, word_bytes


def read_scattered(file: Path, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return the bytes from each *begin* (K,) to its *end*, one stretch after another.

    Other threads can work meanwhile; with a call of `os.pread` for each stretch they would wait for Python's lock. The
    file is not mapped to memory: the system maps up to 2 MB around each stretch, and to unmap them takes longer than
    to read.

    Raises:
        OSError: The file ends before a stretch, or cannot be read.
    """
    from corpus.duplicates import kernels  # here, because numba's import takes half a second

    buffer = np.empty(int((end - begin).sum()), np.uint8)
    with file.open("rb", buffering=0) as opened:
        count = kernels.read(opened.fileno(), begin, end, buffer)
    if count < len(buffer):
        raise OSError(errno.EIO, "a stretch of the file cannot be read", str(file))
    return buffer


def read_numbers(file: Path, kind: type[np.generic], places: np.ndarray, each: int = 1) -> np.ndarray:
    """Return the numbers of a file at some *places* (K,); with *each*, so many from each place on, (K, each).

    Raises:
        OSError: As for `read_scattered`.
    """
    size = np.dtype(kind).itemsize
    begin = places.astype(np.int64) * size
    numbers = read_scattered(file, begin, begin + each * size).view(kind)
    return numbers if each == 1 else numbers.reshape(-1, each)


SEED = 1
"""Seed of the hash functions of MinHash."""

RECALL = 0.98
"""Least share of pairs just at the similarity limit that must share a band; for more similar pairs it is higher."""

LOWEST_RECALL = 0.95

SLOTS = 8
"""Slots for each key, by which most keys that only one text has are recognised before they are sorted."""

COARSE_BYTES, FINE_BYTES = 32, 248
"""Largest sizes of sketches; the number of equal bytes must fit in a byte."""

OVERLOOKED = 0.0005
"""Largest share of pairs just at the similarity limit that a sketch may miss."""

STRETCH_BYTES = 8 << 20
"""Bytes of text that are given to a worker at a time, and stored at a time."""

Pairs = tuple[np.ndarray, np.ndarray]
"""Numbers of texts a and b, (P,) each."""

Stretch = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Keys of some texts, and what `simple_bytes` returns for these."""

_WORD = 8
"""Bytes that are compared at once; the size of a sketch is a multiple."""
_ONES = np.uint64(0x0101010101010101)
_READ_AT_ONCE = 1 << 14
"""Pairs whose fine sketches are in memory at a time: 2 MB for each side."""
PERMUTATIONS = 128
"""MinHash values per text: enough to find 95 % of the pairs from a similarity of 0.03 on."""
_MAPPING = threading.Lock()
"""Held while a file is mapped. Not in the objects, because they go to the workers of a cluster."""


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
                where="duplicates.similarity", value=config.similarity, remedy="raise duplicates.similarity",
            )
        return chosen

    def signatures(self, fingerprints: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """Return the signatures (D, count * rows) of D texts as uint64, mixed so that any of their bits may be used.

        Args:
            fingerprints: Fingerprints of the shingles of all texts (see `corpus.duplicates.shingles`).
            offsets: (D + 1,) where those of each text begin and the last ones end; each text has at least one.
        """
        from corpus.duplicates import kernels  # here, because numba's import takes half a second

        used = self.count * self.rows
        factors, terms = mix(np.arange(1, 2 * used + 1, dtype=np.uint64) + np.uint64(SEED << 32)).reshape(2, used)
        signature_DP = np.empty((len(offsets) - 1, used), np.uint64)
        kernels.signatures(fingerprints, offsets, factors, terms, np.empty(used, np.uint32), signature_DP)
        return signature_DP

    def keys(self, signature_DP: np.ndarray) -> np.ndarray:
        """Return the keys (count, D) as uint32: texts with equal values in a band have the same key for it.

        Others have the same key by chance once in 2^32 pairs, which costs a comparison.
        """
        from corpus.duplicates import kernels  # here, because numba's import takes half a second

        factors = mix(np.arange(1, self.rows + 1, dtype=np.uint64)) | np.uint64(1)
        keys_BD = np.empty((self.count, len(signature_DP)), np.uint32)
        kernels.band_keys(signature_DP, factors, keys_BD)
        return keys_BD


def buckets(keys_D: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return texts that share a key: members (M,), ordered by bucket and number, and B + 1 bucket offsets.

    Keys of only one text are left out, most of them before the others are sorted. It takes about 24 bytes per key.
    """
    from corpus.duplicates import kernels  # here, because numba's import takes half a second

    size = max(1, 1 << (SLOTS * len(keys_D) // 64).bit_length())
    order = np.empty(len(keys_D), np.int64)
    order = order[: kernels.maybe_shared(keys_D, np.zeros(size, np.uint64), np.zeros(size, np.uint64), order)]
    order = order[np.argsort(keys_D[order])]  # not stable, which is slower; the few that share a key are sorted below
    sorted_keys = keys_D[order]
    again = sorted_keys[1:] == sorted_keys[:-1]
    shared = np.zeros(len(order), bool)
    shared[1:] = again
    shared[:-1] |= again
    first = shared.copy()
    first[1:] &= ~again
    members, starts, shared_keys = order[shared], np.flatnonzero(first[shared]), sorted_keys[shared]
    del order, sorted_keys
    members = members[np.lexsort((members, shared_keys))]
    return members, np.append(starts, len(members))


@dataclass(frozen=True)
class Sketch:
    """One byte of each of *size* values of a signature; a pair is worth comparing if enough of the bytes agree."""

    size: int

    @classmethod
    def coarse_and_fine(cls, values: int) -> tuple[Sketch, Sketch]:
        """Return a small sketch of signatures with so many values, at least 8, and one of most of them."""
        fine = min(values, FINE_BYTES) // _WORD * _WORD
        return cls(min(COARSE_BYTES, fine)), cls(fine)

    def least(self, similarity: float) -> int:
        """Return the highest number of equal bytes that at most `OVERLOOKED` of the pairs so similar do not reach."""
        total = np.cumsum([self._share(similarity, equal) for equal in range(self.size)])
        return int(np.searchsorted(total, OVERLOOKED, side="right"))

    def overlooked(self, similarity: float) -> float:
        """Return the share of pairs of this similarity of which fewer than `least` bytes agree."""
        return sum(self._share(similarity, equal) for equal in range(self.least(similarity)))

    def _share(self, similarity: float, equal: int) -> float:
        """Return the share of pairs of which exactly so many bytes agree (binomial).

        Different values can have the same byte. This is ignored; it only makes the share that is overlooked smaller.
        """
        return comb(self.size, equal) * similarity**equal * (1 - similarity) ** (self.size - equal)

    def cut(self, signature_DP: np.ndarray) -> np.ndarray:
        """Return the sketches (D, size) as uint8, from values spread over the signatures."""
        from corpus.duplicates import kernels  # here, because numba's import takes half a second

        chosen = np.arange(self.size) * signature_DP.shape[1] // self.size
        sketch_DS = np.empty((len(signature_DP), self.size), np.uint8)
        kernels.lowest_bytes(signature_DP, chosen, sketch_DS)
        return sketch_DS

    def alike(self, left_PS: np.ndarray, right_PS: np.ndarray, least: int) -> np.ndarray:
        """Return a mask of the pairs of sketches (P, size) of which *least* bytes agree."""
        equal = (left_PS == right_PS).view(np.uint64)  # bytes 0 and 1, eight in a number; their sum fits in a byte
        total = sum(equal[:, word] for word in range(self.size // _WORD)) * _ONES >> np.uint64(56)
        return total.astype(np.uint8) >= least


class Sketches:
    """The sketches of texts, in files: a coarse one, mapped to memory, and a fine one for pairs that pass the first.

    Args:
        work: Folder of the files.
        values: Number of values of a signature, at least 8.
        similarity: Least Jaccard similarity of near-duplicates.
    """

    def __init__(self, work: Path, values: int, similarity: float) -> None:
        self.coarse, self.fine = Sketch.coarse_and_fine(values)
        self._coarse_file, self._fine_file = work / "coarse.u8", work / "fine.u8"
        self._mapped: np.ndarray | None = None
        self._least = [sketch.least(similarity) for sketch in (self.coarse, self.fine)]

    def limits(self) -> list[dict[str, int]]:
        """Return the size of each sketch, and the least number of equal bytes."""
        pairs = zip((self.coarse, self.fine), self._least, strict=True)
        return [{"size": sketch.size, "least": least} for sketch, least in pairs]

    def overlooked(self, similarity: float) -> float:
        """Return the largest share of pairs of this similarity that the two checks miss."""
        return self.coarse.overlooked(similarity) + self.fine.overlooked(similarity)

    def append(self, coarse: np.ndarray, fine: np.ndarray) -> None:
        """Append the sketches of texts, as `Sketch.cut` returns them, to the files."""
        self.unmap()
        for file, values in ((self._coarse_file, coarse), (self._fine_file, fine)):
            with file.open("ab") as out:
                values.tofile(out)

    def unmap(self) -> None:
        """Give back the pages of the file, which count as resident memory; the next search maps it again."""
        self._mapped = None

    def similar(self, pairs: Pairs) -> np.ndarray:
        """Return a mask of the pairs (P,) that may be as similar as near-duplicates."""
        stored = self._map()
        left, right = (stored.take(numbers, axis=0) for numbers in pairs)  # ten times as fast as indexing
        mask = self.coarse.alike(left, right, self._least[0])
        mask[mask] = self._finely_alike([numbers[mask] for numbers in pairs])
        return mask

    def _map(self) -> np.ndarray:
        """Return the coarse sketches mapped to memory, once for all threads: each mapping counts as memory."""
        with _MAPPING:
            if self._mapped is None:
                self._mapped = np.memmap(self._coarse_file, np.uint8, "r").reshape(-1, self.coarse.size)
            return self._mapped

    def _finely_alike(self, pairs: Sequence[np.ndarray]) -> np.ndarray:
        """Return a mask of the pairs (P,) whose fine sketches agree often enough."""
        mask = np.empty(len(pairs[0]), bool)
        for start in range(0, len(mask), _READ_AT_ONCE):
            some = slice(start, start + _READ_AT_ONCE)
            left, right = (self._fine(numbers[some]) for numbers in pairs)
            mask[some] = self.fine.alike(left, right, self._least[1])
        return mask

    def _fine(self, numbers: np.ndarray) -> np.ndarray:
        size = self.fine.size
        texts, row = np.unique(numbers, return_inverse=True)
        read = read_scattered(self._fine_file, texts * size, texts * size + size)
        return read.reshape(-1, size).take(row, axis=0)


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
    """Coarse sketches (D, bytes)."""
    fine: np.ndarray
    band_keys: np.ndarray
    """(D, bands)."""


@dataclass(frozen=True)
class Hashing:
    """The hash functions of one search: most of its work, which any thread, process or machine may do.

    Args:
        fingerprints: Fingerprints of shingles.
        bands: Cut of the signatures.
        sketches: Coarse and fine sketch.
        least_words: Texts with fewer words are not compared.
    """

    fingerprints: Fingerprints
    bands: Bands
    sketches: tuple[Sketch, Sketch]
    least_words: int

    def __call__(self, stretch: Stretch) -> Hashed:
        """Return what is stored of the texts of a stretch; see `stretches`."""
        keys, data, offsets = stretch
        parts = [self._hashed(keys[part], *part_of(part, data, offsets)) for part in slices(offsets, SLICE_BYTES)]
        return Hashed._make(np.concatenate(each) for each in zip(*parts, strict=True))

    def _hashed(self, keys: np.ndarray, data: np.ndarray, offsets: np.ndarray) -> Hashed:
        data, offsets, words = word_bytes(data, offsets, self.least_words)
        long = words >= self.least_words
        signatures = self.bands.signatures(*self.fingerprints.of(data, offsets))
        coarse, fine = (sketch.cut(signatures) for sketch in self.sketches)
        return Hashed(keys[long], keys[~long], data, np.diff(offsets), coarse, fine, self.bands.keys(signatures).T)


def stretches(batches: Iterable[tuple[np.ndarray, pl.Series]]) -> Iterator[Stretch]:
    """Yield texts with their keys in stretches of about `STRETCH_BYTES`, with at least one text each."""
    for keys, texts in batches:
        data, offsets = simple_bytes(texts)
        for part in slices(offsets, STRETCH_BYTES):
            yield np.asarray(keys[part], np.uint64), *part_of(part, data, offsets)
