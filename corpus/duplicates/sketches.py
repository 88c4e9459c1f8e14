"""Check pairs of texts by sketches of their MinHash signatures before their words are compared.

A sketch is one byte of each of some values of a signature (b-bit minwise hashing: Li and Koenig 2010). Two texts of
Jaccard similarity s agree in each byte with probability s. With millions of reviews most pairs that share a band or a
passage are not similar, and a check costs a hundredth of a comparison of the words. There are two: a coarse sketch,
those of all texts mapped to memory, and a fine one, which is read for the pairs that pass the first. Of 10.7 million
pairs of 300,000 synthetic reviews that share a passage, 2 % pass the first check and 0.1 % the second.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import comb
from pathlib import Path

import numpy as np

from corpus.duplicates.compare import Pairs
from corpus.duplicates.jaccard import Nearness
from corpus.duplicates.scattered import read_scattered

COARSE_BYTES, FINE_BYTES = 32, 248
"""Largest sizes; the number of equal bytes must fit in a byte."""
OVERLOOKED = 0.0005
"""Largest share of pairs just at the similarity limit that a sketch may miss."""

_WORD = 8
"""Bytes that are compared at once; the size of a sketch is a multiple."""
_ONES = np.uint64(0x0101010101010101)
_STEPS = 256
"""Steps of the ratio of the sizes of two texts."""
_PAIRS_AT_ONCE = 1 << 18
_READ_AT_ONCE = 1 << 14
"""Pairs whose fine sketches are in memory at a time: 2 MB for each side."""
_MAPPING = threading.Lock()
"""Held while a file is mapped. Not in the objects, because they go to the workers of a cluster."""


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
        found = np.empty((len(signature_DP), self.size), np.uint8)
        kernels.lowest_bytes(signature_DP, chosen, found)
        return found

    def alike(self, left_PS: np.ndarray, right_PS: np.ndarray, least: np.ndarray | int) -> np.ndarray:
        """Return a mask of the pairs of sketches (P, size) of which *least* bytes agree: one number, or (P,)."""
        equal = (left_PS == right_PS).view(np.uint64)  # bytes 0 and 1, eight in a number; their sum fits in a byte
        total = sum(equal[:, word] for word in range(self.size // _WORD)) * _ONES >> np.uint64(56)
        return total.astype(np.uint8) >= least


@lru_cache(maxsize=8)
def _least_by_ratio(sketch: Sketch, nearness: Nearness) -> np.ndarray:
    similarity = nearness.least_similarity(np.arange(_STEPS + 1) / _STEPS)
    least = np.array([sketch.least(one) for one in similarity], np.uint8)
    least.flags.writeable = False
    return least


class Sketches:
    """The sketches and sizes of texts, in files.

    Args:
        work: Folder of the files.
        values: Number of values of a signature, at least 8.
        nearness: The rule for near-duplicates.
    """

    def __init__(self, work: Path, values: int, nearness: Nearness) -> None:
        self.coarse, self.fine = Sketch.coarse_and_fine(values)
        self._files = {name: work / name for name in ("coarse.u8", "fine.u8", "sizes.u32")}
        self._mapped: dict[str, np.ndarray] = {}
        self._least = [_least_by_ratio(sketch, nearness) for sketch in self.both]
        """By the ratio of the sizes of two texts, rounded down, the least number of equal bytes in each sketch."""

    def limits(self) -> list[dict[str, int]]:
        """Return the size of each sketch, and the least number of equal bytes for two texts of equal size."""
        pairs = zip(self.both, self._least, strict=True)
        return [{"size": sketch.size, "least": int(least[_STEPS])} for sketch, least in pairs]

    @property
    def both(self) -> tuple[Sketch, Sketch]:
        """The coarse and the fine sketch."""
        return self.coarse, self.fine

    def overlooked(self, similarity: float) -> float:
        """Return the largest share of pairs of this similarity that the two checks miss."""
        return sum(sketch.overlooked(similarity) for sketch in self.both)

    def of(self, signature_DP: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return what is stored of D texts.

        Args:
            signature_DP: Their signatures.
            sizes: Number of different shingles of each.
        """
        return self.coarse.cut(signature_DP), self.fine.cut(signature_DP), sizes.astype(np.uint32)

    def append(self, found: tuple[np.ndarray, ...]) -> None:
        """Append the result of `of` to the files."""
        self.unmap()
        for file, values in zip(self._files.values(), found, strict=True):
            with file.open("ab") as out:
                values.tofile(out)

    def unmap(self) -> None:
        """Give back the pages of the files, which count as resident memory; the next search maps the files again."""
        self._mapped.clear()

    def similar(self, pairs: Pairs) -> np.ndarray:
        """Return a mask of the pairs (P,) that may be as similar as near-duplicates of equal size."""
        left, right = self._load(pairs)
        mask = self.coarse.alike(left, right, int(self._least[0][_STEPS]))
        mask[mask] = self._finely_alike([numbers[mask] for numbers in pairs], np.full(int(mask.sum()), _STEPS))
        return mask

    def pairs_among(self, texts_M: np.ndarray, begin_M: np.ndarray, end_M: np.ndarray) -> np.ndarray:
        """Return the pairs (2, K) of texts that may be near-duplicates, of all that are to be checked.

        They may be as similar as a text is to one that contains it. The texts of a bucket stand next to each other, so
        their sketches, which are loaded here, are in the cache for all their pairs.

        Args:
            begin_M: For each text the place in *texts_M* of the first one with which it is checked.
            end_M: The place after the last one.
        """
        from corpus.duplicates import pair_kernels  # here, because numba's import takes half a second

        coarse, sizes = self._load((texts_M,))[0], self._map("sizes.u32", np.uint32).take(texts_M)
        buffer, found, at = np.empty((_PAIRS_AT_ONCE, 2), np.int64), [np.zeros((2, 0), np.int64)], (0, 0)
        while at[0] < len(texts_M):
            count, *at = pair_kernels.alike(coarse.view(np.uint64), sizes, begin_M, end_M, self._least[0], buffer, *at)
            places = buffer[:count].T
            a, b = sizes[places]
            ratio = np.minimum(a, b) * np.uint32(_STEPS) // np.maximum(a, b)
            pairs = texts_M[places]
            found.append(pairs[:, self._finely_alike(pairs, ratio)])
        return np.concatenate(found, axis=1)

    def _map(self, name: str, kind: type[np.generic]) -> np.ndarray:
        """Return a file mapped to memory, once for all threads: each mapping counts as memory of its own."""
        with _MAPPING:
            if name not in self._mapped:
                self._mapped[name] = np.memmap(self._files[name], kind, "r")
            return self._mapped[name]

    def _load(self, texts: Sequence[np.ndarray]) -> list[np.ndarray]:
        stored = self._map("coarse.u8", np.uint8).reshape(-1, self.coarse.size)
        return [stored.take(numbers, axis=0) for numbers in texts]  # ten times as fast as indexing

    def _finely_alike(self, pairs: Sequence[np.ndarray] | np.ndarray, ratio: np.ndarray) -> np.ndarray:
        """Return a mask of the pairs (P,) whose fine sketches agree often enough, by the ratio of their sizes."""
        found = np.empty(len(ratio), bool)
        for start in range(0, len(ratio), _READ_AT_ONCE):
            some = slice(start, start + _READ_AT_ONCE)
            left, right = (self._fine(numbers[some]) for numbers in pairs)
            found[some] = self.fine.alike(left, right, self._least[1].take(ratio[some]))
        return found

    def _fine(self, numbers: np.ndarray) -> np.ndarray:
        size = self.fine.size
        texts, row = np.unique(numbers, return_inverse=True)
        read = read_scattered(self._files["fine.u8"], texts * size, texts * size + size)
        return read.reshape(-1, size).take(row, axis=0)
