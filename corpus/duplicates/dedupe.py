"""Find near-duplicates among millions of texts by MinHash and locality-sensitive hashing, on disk.

    near = NearDuplicates(work, config.duplicates)
    for keys, texts in batches:
        near.add(keys, texts)          # one representative of every exact text
    found = near.pairs(sides)          # sides(keys): 0 for test, 1 for validation, 2 for train

Candidates come from the S-curve of `corpus.duplicates.banding`. Those with similar sketches are then compared exactly,
by the Jaccard similarity of their sets of word shingles (`corpus.duplicates.shingles`). A text inside a longer one is
found by an anchor that both share (`corpus.duplicates.anchors`). A text of fewer than `shingle + 2` words is never a
near-duplicate: "Great food!" does not show that one author copied another. The input of `add` goes to files. Memory
holds 30 to 40 bytes per text while a band is joined, and memory maps of 16 more bytes while sketches are read.

Of the libraries only the signatures are used (rensa). On 8,000 reviews its index, `RMinHashLSH`, took as much CPU time
as this search and 2,050 bytes of memory per text; datasketch ten times as much and 8,900 bytes. Neither
finds contained texts, nor limits the comparisons of ten thousand copies of one letter.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from core.config.run_config import DuplicatesConfig
from corpus.duplicates.anchors import COMMON, PARTITIONS, WINDOW, Anchors
from corpus.duplicates.banding import Bands, Sketch, buckets
from corpus.duplicates.compare import STAYS, Near, Pairs, Round
from corpus.duplicates.jaccard import Comparison, Nearness
from corpus.duplicates.shingles import Fingerprints, bytes_of, slices, word_form
from models.threads import ordered

log = logging.getLogger(__name__)

PAIRS = {"a": pl.UInt64(), "b": pl.UInt64(), "similarity": pl.Float32()}
"""Columns of the table that `pairs` returns."""

MANY = 1_000_000
"""Above this number of texts the comparison takes minutes, so the log announces it."""

MOST_THREADS = 4
"""Largest number of threads: each takes about 32 times `corpus.duplicates.shingles.SLICE_BYTES` of memory."""


class NearDuplicates:
    """A search for near-duplicates among the texts given to `add`.

    Args:
        work: A separate folder for files of about the size of the texts; deleted and created again.
        config: Definition of near-duplicates.
        threads: Threads that hash in `add`, at most `MOST_THREADS`; they do not change the result.

    Raises:
        ConfigError: The number of permutations is too low to find enough near-duplicates.
    """

    def __init__(self, work: Path, config: DuplicatesConfig, threads: int = 1) -> None:
        self.bands = Bands.of(config)
        self.sketch = Sketch.of(config.similarity, self.bands.count * self.bands.rows)
        self.texts = 0
        """Number of texts that are long enough to compare."""
        self.short = 0
        """Number of texts with fewer than `shingle + 2` words, which are not compared."""
        self.examined = 0
        """Number of pairs that were compared exactly."""
        self.common = 0
        """Number of anchors that were skipped because more than `COMMON` texts of a side share them."""
        self._similarity, self._shingle, self._least_words = config.similarity, config.shingle, config.shingle + 2
        self._nearness = nearness_of(config)
        self._anchors = Anchors(work, min(WINDOW, self._nearness.least), self._nearness.least)
        self._contained = config.containment != "none"
        self._fingerprints = Fingerprints(config.shingle)
        self._threads = min(threads, MOST_THREADS)
        self._work = work
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        self._end = 0
        self._append(self._work / "offsets.u64", np.zeros(1, np.uint64))

    @property
    def recall(self) -> float:
        """Expected share of pairs just at the similarity limit that are compared."""
        least = self._similarity
        return self.bands.recall(least) * (1 - self.sketch.overlooked(least))

    def add(self, keys: np.ndarray, texts: pl.Series) -> None:
        """Add a batch of different texts.

        Args:
            keys: (D,) as uint64, a unique key for each text.
            texts: The D texts in normal form.
        """
        words = word_form(texts)
        long = (words.str.count_matches(" ", literal=True) + 1 >= self._least_words).to_numpy()
        keys, words = np.asarray(keys, np.uint64)[long], words.filter(pl.Series(long))
        self.short += int((~long).sum())
        self.texts += len(words)
        self._append(self._work / "keys.u64", keys)
        before = self.texts - len(words)
        for data, offsets, sketches, band_keys, anchors in ordered(self._hashed, slices(words), self._threads):
            self._anchors.append(anchors[0], anchors[1] + np.uint32(before))
            before += len(offsets) - 1
            self._append(self._work / "words.utf8", data)
            self._append(self._work / "offsets.u64", (offsets[1:] + self._end).astype(np.uint64))
            self._end += len(data)
            self._append(self._sketch_file, sketches)
            for number, keys_D in enumerate(band_keys):
                self._append(self._band_file(number), keys_D)

    def _hashed(
        self, words: pl.Series
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
        """Return the bytes of the texts, their D + 1 offsets, sketches, keys in each band, and anchors."""
        data, offsets = bytes_of(words)
        shingles = self._fingerprints.of(data, offsets)
        signatures = self.bands.signatures(*shingles)
        anchors = self._anchors.of(*shingles) if self._contained else (np.zeros(0, np.uint64), np.zeros(0, np.uint32))
        return data, offsets, self.sketch.cut(signatures), self.bands.keys(signatures), anchors

    def pairs(
        self, sides: Callable[[np.ndarray], np.ndarray] | None = None, within: bool = True
    ) -> pl.DataFrame:
        """Return the near-duplicates found, with the columns `PAIRS`, a < b, in ascending order.

        Args:
            sides: Returns the side of each key as uint8, 0 for the highest priority. A text is dropped if it nearly
                equals a kept text of an earlier side. Each dropped text is in at least one returned pair, and no kept
                near-duplicates are on different sides. Without it, all texts are on one side.
            within: Whether to return also pairs of kept texts on the same side. All are found except in a crowd (see
                `corpus.duplicates.compare.Round`).
        """
        if not self.texts:
            return pl.DataFrame(schema=PAIRS)
        if self.texts > MANY:
            log.info("searching %s texts for near-duplicates: this takes some minutes", f"{self.texts:,}")
        keys = np.memmap(self._work / "keys.u64", np.uint64, "r")
        files = self._work / "words.utf8", self._work / "offsets.u64"
        comparison = Comparison(*files, self._shingle, self._nearness)
        self._meet()
        found = []
        for a, b, similarity in self._near(self._rounds(sides, keys, within, comparison)):
            first, second = keys[a], keys[b]
            columns = {"a": np.minimum(first, second), "b": np.maximum(first, second), "similarity": similarity}
            found.append(pl.DataFrame(columns, schema=PAIRS))
        if not found:
            return pl.DataFrame(schema=PAIRS)
        return pl.concat(found).unique(["a", "b"]).sort("a", "b")  # a pair can share anchors of several partitions

    def _near(self, rounds: Iterable[Round]) -> Iterator[Near]:
        for each in rounds:
            for number in range(self.bands.count):
                with np.load(self._met_file(number)) as met:
                    members, starts = met["members"], met["starts"]
                yield from each.pairs(members, starts, partial(self._worthwhile, number))
            for partition in range(PARTITIONS if self._contained else 0):
                yield from each.pairs(*self._anchors.buckets(partition), _once, COMMON)
            self.examined += each.examined
            self.common += each.skipped

    def _rounds(
        self, sides: Callable[[np.ndarray], np.ndarray] | None, keys: np.ndarray, within: bool, comparison: Comparison
    ) -> Iterator[Round]:
        side_D = np.zeros(len(keys), np.uint8) if sides is None else sides(keys)
        near_D = np.full(len(keys), STAYS, np.uint8)
        for side in [*np.unique(side_D)[:-1].tolist(), *([None] if within else [])]:
            yield Round(side_D, near_D, side, comparison)

    def _meet(self) -> None:
        """Write the buckets of each band to a file, once."""
        for number in range(self.bands.count):
            if not self._met_file(number).exists():
                members, starts = buckets(np.fromfile(self._band_file(number), np.uint64))
                np.savez(self._met_file(number), members=members, starts=starts)

    def _worthwhile(self, band: int, pairs: Pairs) -> np.ndarray:
        """Return a mask of the pairs with similar sketches that do not share an earlier band."""
        sketches = np.memmap(self._sketch_file, np.uint8, "r").reshape(-1, self.sketch.size)
        new = self.sketch.alike(sketches[pairs[0]], sketches[pairs[1]])
        for number in range(band):
            keys = np.memmap(self._band_file(number), np.uint64, "r")
            new[new] = keys[pairs[0][new]] != keys[pairs[1][new]]
        return new

    @property
    def _sketch_file(self) -> Path:
        return self._work / "sketches.u8"

    def _band_file(self, number: int) -> Path:
        return self._work / f"band-{number:03d}.u64"

    def _met_file(self, number: int) -> Path:
        return self._work / f"met-{number:03d}.npz"

    @staticmethod
    def _append(file: Path, values: np.ndarray) -> None:
        with file.open("ab") as out:
            values.tofile(out)


def nearness_of(config: DuplicatesConfig) -> Nearness:
    """Return the rule for near-duplicates that the settings define."""
    if config.containment == "none":
        return Nearness(config.similarity)
    least = max(1, config.containment_words - config.shingle + 1)
    return Nearness(config.similarity, config.containment, least)


def _once(pairs: Pairs) -> np.ndarray:
    """Return a mask of the first occurrence of each pair, because two texts can share several anchors."""
    mask = np.zeros(len(pairs[0]), bool)
    numbers = pairs[0].astype(np.uint64) << np.uint64(32) | pairs[1].astype(np.uint64)
    mask[np.unique(numbers, return_index=True)[1]] = True
    return mask
