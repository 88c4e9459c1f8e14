"""Find near-duplicates among millions of texts by MinHash and locality-sensitive hashing, on disk.

    near = NearDuplicates(work, config.duplicates)
    for keys, texts in batches:
        near.add(keys, texts)          # one representative of every exact text
    found = near.pairs(sides)          # sides(keys): 0 for test, 1 for validation, 2 for train
    left = near.pairs(sides_of_rest)   # `ABSENT` for the texts that have left: hashing is not repeated

Candidates come from the S-curve of `corpus.duplicates.banding`; a text inside a longer one shares an anchor with it
(`corpus.duplicates.anchors`). Those with similar sketches (`corpus.duplicates.sketches`) are then compared exactly, by
their sets of word shingles (`corpus.duplicates.shingles`). A text of fewer than `shingle + 2` words is never a
near-duplicate: "Great food!" does not show that one author copied another. The input of `add` goes to files. Memory
holds up to 60 bytes per text while bands are sorted, and maps 36 bytes of the files per text while pairs are checked.

No library is used, because none finds contained texts, compares candidates exactly, or limits the comparisons of ten
thousand copies of one letter. `benchmarks/data/near_duplicates.py` compares time, memory, recall and false candidates
with those of rensa, datasketch and datatrove.
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
from corpus.duplicates.banding import Bands, buckets
from corpus.duplicates.compare import ABSENT, STAYS, Near, Pairs, Round
from corpus.duplicates.hashing import Hashed, Hashing, stretches
from corpus.duplicates.jaccard import Comparison, Nearness
from corpus.duplicates.scattered import read_numbers
from corpus.duplicates.shingles import Fingerprints
from corpus.duplicates.sketches import Sketches
from models.npy_files import load_arrays
from models.threads import FanOut, ordered

log = logging.getLogger(__name__)

PAIRS = {"a": pl.UInt64(), "b": pl.UInt64(), "similarity": pl.Float32()}
"""Columns of the table that `pairs` returns."""

MANY = 1_000_000
"""Above this number of texts the comparison takes minutes, so the log announces it."""

SORTED_AT_ONCE = 2
"""Bands that are sorted at the same time: each takes about 27 bytes of memory per text."""

MOST_THREADS = 4
"""Largest number of threads: each takes about three times `corpus.duplicates.hashing.STRETCH_BYTES` of memory."""


class NearDuplicates:
    """A search for near-duplicates among the texts given to `add`.

    Args:
        work: A separate folder for files of about the size of the texts; deleted and created again.
        config: Definition of near-duplicates.
        threads: Threads that sort and check, at most `MOST_THREADS`; they do not change the result.
        fan_out: Who hashes the texts; default: these threads.

    Raises:
        ConfigError: The number of permutations is too low to find enough near-duplicates.
    """

    def __init__(
        self, work: Path, config: DuplicatesConfig, threads: int = 1, fan_out: FanOut | None = None
    ) -> None:
        self.work = work
        self.bands = Bands.of(config)
        self.texts = 0
        """Number of texts that are long enough to compare."""
        self.examined = 0
        """Number of pairs that the last search compared exactly."""
        self.common = 0
        """Number of anchors that it skipped because more than `COMMON` texts of a side share them."""
        self._similarity, self._shingle, self._least_words = config.similarity, config.shingle, config.shingle + 2
        self._nearness = nearness_of(config)
        self.sketches = Sketches(work, self.bands.count * self.bands.rows, self._nearness)
        self._anchors = Anchors(work, min(WINDOW, self._nearness.least), self._nearness.least)
        self._contained = config.containment != "none"
        self._fingerprints = Fingerprints(config.shingle)
        self._threads = min(threads, MOST_THREADS)
        self._fan_out = fan_out or partial(ordered, workers=self._threads)
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        self._end = 0
        self._append("offsets.u64", np.zeros(1, np.uint64))
        for file in ("keys.u64", "short.u64"):
            self._append(file, np.zeros(0, np.uint64))

    @property
    def recall(self) -> float:
        """Expected share of pairs just at the similarity limit that are compared."""
        return self.bands.recall(self._similarity) * (1 - self.sketches.overlooked(self._similarity))

    @property
    def keys(self) -> np.ndarray:
        """Keys (`texts`,) of the texts that are long enough to compare, in the order of `add`."""
        return np.fromfile(self.work / "keys.u64", np.uint64)

    @property
    def short(self) -> np.ndarray:
        """Keys of the texts with fewer than `shingle + 2` words, which are not compared."""
        return np.fromfile(self.work / "short.u64", np.uint64)

    def add(self, keys: np.ndarray, texts: pl.Series) -> None:
        """Add one batch of different texts, see `add_all`."""
        self.add_all([(keys, texts)])

    def add_all(self, batches: Iterable[tuple[np.ndarray, pl.Series]]) -> None:
        """Add batches of different texts. The next batch is taken while the texts of those before are hashed.

        Args:
            batches: (D,) uint64, a unique key for each text; the D texts in normal form.
        """
        anchors = self._anchors if self._contained else None
        hashing = Hashing(self._fingerprints, self.bands, self.sketches, anchors, self._least_words)
        for found in self._fan_out(hashing, stretches(batches)):
            self._store(found)

    def _store(self, found: Hashed) -> None:
        for file in self.work.glob("met-*.npz"):
            file.unlink()  # these buckets are without the new texts
        count = len(found.lengths)
        self._append("keys.u64", found.keys)
        self._append("short.u64", found.short)
        self._append("words.utf8", found.data)
        self._append("offsets.u64", (self._end + np.cumsum(found.lengths)).astype(np.uint64))
        self.sketches.append((found.coarse, found.fine, found.sizes))
        for number, keys in enumerate(np.ascontiguousarray(found.band_keys.T)):
            self._append(_band(number), keys)
        anchor_texts = found.anchor_texts + np.uint32(self.texts)
        self._anchors.append(found.anchors, anchor_texts, found.anchor_partitions)
        self.texts, self._end = self.texts + count, self._end + len(found.data)

    def pairs(
        self, sides: Callable[[np.ndarray], np.ndarray] | None = None, within: bool = True
    ) -> pl.DataFrame:
        """Return the near-duplicates found, with the columns `PAIRS`, a < b, in ascending order.

        Args:
            sides: Returns the side of each key as uint8, 0 for the highest priority; `ABSENT`: leave the text out. A
                text is dropped if it nearly equals a kept text of an earlier side. Each dropped text is in at least one
                returned pair, and no kept near-duplicates are on different sides. Without it, all are on one side.
            within: Whether to return also pairs of kept texts on the same side. All are found except in a crowd (see
                `corpus.duplicates.compare.Round`).
        """
        if not self.texts:
            return pl.DataFrame(schema=PAIRS)
        if self.texts > MANY:
            log.info("searching %s texts for near-duplicates: this takes some minutes", f"{self.texts:,}")
        files = self.work / "words.utf8", self.work / "offsets.u64"
        comparison = Comparison(*files, self._shingle, self._nearness)
        self._meet()
        self.examined = self.common = 0
        found = []
        for a, b, similarity in self._near(self._rounds(sides, within, comparison)):
            first, second = (read_numbers(self.work / "keys.u64", np.uint64, texts) for texts in (a, b))
            columns = {"a": np.minimum(first, second), "b": np.maximum(first, second), "similarity": similarity}
            found.append(pl.DataFrame(columns, schema=PAIRS))
        self.sketches.unmap()
        if not found:
            return pl.DataFrame(schema=PAIRS)
        return pl.concat(found).unique(["a", "b"]).sort("a", "b")  # a pair can share anchors of several partitions

    def _near(self, rounds: Iterable[Round]) -> Iterator[Near]:
        for each in rounds:
            for number in range(self.bands.count):
                yield from each.pairs(*self._met("band", number), partial(self._of_band, number))
            files = PARTITIONS if self._contained else 0
            load, among = partial(self._met, "anchors"), self.sketches.pairs_among
            yield from each.passages(load, files, among, COMMON, self._threads)
            self.examined += each.examined
            self.common += each.skipped

    def _rounds(
        self, sides: Callable[[np.ndarray], np.ndarray] | None, within: bool, comparison: Comparison
    ) -> Iterator[Round]:
        side_D = np.zeros(self.texts, np.uint8) if sides is None else sides(self.keys)
        near_D = np.where(side_D == ABSENT, np.uint8(ABSENT), np.uint8(STAYS))
        found = np.unique(side_D[side_D != ABSENT])
        for side in [*found[:-1].tolist(), *([None] if within else [])]:
            yield Round(side_D, near_D, side, comparison)

    def _meet(self) -> None:
        """Write the buckets of each band and of the anchors to files, once."""
        kinds = [("band", number) for number in range(self.bands.count)]
        kinds += [("anchors", partition) for partition in range(PARTITIONS if self._contained else 0)]
        missing = [kind for kind in kinds if not self._met_file(*kind).exists()]
        found = ordered(self._buckets, missing, min(self._threads, SORTED_AT_ONCE))
        for kind, (members, starts) in zip(missing, found, strict=True):
            np.savez(self._met_file(*kind), members=members.astype(np.uint32), starts=starts)

    def _buckets(self, kind: tuple[str, int]) -> tuple[np.ndarray, np.ndarray]:
        name, number = kind
        if name == "anchors":
            return self._anchors.buckets(number)
        return buckets(np.fromfile(self.work / _band(number), np.uint32))

    def _met(self, kind: str, number: int) -> tuple[np.ndarray, np.ndarray]:
        met = load_arrays(self._met_file(kind, number))
        return met["members"].astype(np.int64), met["starts"]

    def _of_band(self, band: int, pairs: Pairs) -> np.ndarray:
        """Return a mask of the pairs with similar sketches that do not share an earlier band."""
        new = self.sketches.similar(pairs)
        for number in range(band):
            a, b = (read_numbers(self.work / _band(number), np.uint32, texts[new]) for texts in pairs)
            new[new] = a != b
        return new

    def _met_file(self, kind: str, number: int) -> Path:
        return self.work / f"met-{kind}-{number:03d}.npz"

    def _append(self, name: str, *values: np.ndarray) -> None:
        with (self.work / name).open("ab") as out:
            for each in values:
                each.tofile(out)


def _band(number: int) -> str:
    """Return the name of the file with the keys of a band."""
    return f"band-{number:03d}.u32"


def nearness_of(config: DuplicatesConfig) -> Nearness:
    """Return the rule for near-duplicates that the settings define."""
    if config.containment == "none":
        return Nearness(config.similarity)
    least = max(1, config.containment_words - config.shingle + 1)
    return Nearness(config.similarity, config.containment, least)
