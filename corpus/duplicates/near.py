"""Find near-duplicates among millions of texts: MinHash, bands, and an exact comparison of the candidates.

    search = NearDuplicates(folder, config, threads)
    search.add(batches)                            # keys and texts
    pairs = search.pairs(sides)                    # a, b, similarity

Texts are near-duplicates if the Jaccard similarity of their sets of word shingles reaches the limit. Texts that share a
band of their signatures are candidates (`corpus.duplicates.minhash`), and all of them are compared. Files hold what
grows with the texts: words and the bands of signatures. Memory: about 35 bytes per text and thread while bands are
sorted.

No library is used, because none compares candidates exactly, or limits the comparisons of ten thousand copies of one
letter. `benchmarks/data/near_duplicates.py` compares time, memory, recall and false candidates with those of rensa,
datasketch and datatrove. A text inside a longer one is not a near-duplicate: see `reviewlm.corpus.duplicates.coverage`.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from reviewlm.core.config.sections.data import DuplicatesConfig
from reviewlm.corpus.duplicates import minhash
from reviewlm.corpus.duplicates.coverage import coverage
from reviewlm.corpus.duplicates.minhash import Pairs
from reviewlm.corpus.duplicates.shingles import (
    SLICE_BYTES,
    Fingerprints,
    Forms,
    hash_table,
    sets,
    simple_bytes,
    stretches_of,
    word_bytes,
)
from reviewlm.models.threads import map_in_order

log = logging.getLogger(__name__)

PAIRS = {
    "a": pl.UInt64(),
    "b": pl.UInt64(),
    "similarity": pl.Float32(),
}
"""Columns of the table that `pairs` returns."""

STAYS = 255
ABSENT = 254

MANY_TEXTS = 1_000_000
"""Above this number of texts the comparison takes minutes, so the log announces it."""

SORTED_AT_ONCE = 2
"""Bands that are sorted at the same time: each takes about 35 bytes of memory per text."""

MOST_THREADS = 4
"""Largest number of threads: each takes about three times `corpus.duplicates.minhash.STRETCH_BYTES` of memory."""

CROWD = 256
"""A bucket with more pairs than this is a crowd, which is compared block by block (see `Round`)."""

NEIGHBOURS = 16
"""Number of texts of its own side with which a text of a crowd is compared."""

_SCOUTS = 1
_BLOCK = 512

Near = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Texts a and b (P,) and their similarities (P,)."""


class NearDuplicates:
    """A search for near-duplicates among the texts given to `add`.

    Args:
        work: A separate folder for files of about the size of the texts; deleted and created again.
        config: Definition of near-duplicates.
        threads: Threads that sort and check, at most `MOST_THREADS`; they do not change the result.

    Raises:
        ConfigError: The number of permutations is too low to find enough near-duplicates.
    """

    def __init__(
        self,
        work: Path,
        config: DuplicatesConfig,
        threads: int = 1,
    ) -> None:
        self.work = work
        self.bands = minhash.Bands.of(config)
        self.texts = 0
        """Number of texts that are long enough to compare."""
        self.short = 0
        """Number of texts with fewer than `shingle + 2` words, which are not compared."""
        self.examined = 0
        """Number of pairs that the last search compared exactly."""
        self._similarity = config.similarity
        self._shingle = config.shingle
        self._least_words = config.shingle + 2
        self._fingerprints = Fingerprints(config.shingle)
        self._threads = min(threads, MOST_THREADS)
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        self._end = 0
        self._append("offsets.u64", np.zeros(1, np.uint64))
        for file in ("keys.u64", "words.utf8"):
            self._append(file, np.zeros(0, np.uint64))

    @property
    def keys(self) -> np.ndarray:
        """Keys (`texts`,) of the texts that are long enough to compare, in the order of `add`."""
        return np.fromfile(self.work / "keys.u64", np.uint64)

    def forms(self, chosen_D: np.ndarray) -> Iterator[Forms]:
        """Yield the word forms of the chosen texts, given by a mask of `keys`, some at a time and in their order."""
        offsets = np.fromfile(self.work / "offsets.u64", np.int64)
        file = self.work / "words.utf8"
        for part in stretches_of(chosen_D, offsets):
            ends = offsets[part.start : part.stop + 1]
            size = int(ends[-1] - ends[0])
            yield np.fromfile(file, np.uint8, size, offset=int(ends[0])), ends - ends[0]

    def coverage(
        self,
        held_out_D: np.ndarray,
        train_D: np.ndarray,
        threads: int = 1,
    ) -> np.ndarray:
        """Return the coverage of some texts by others, given by masks of `keys`; see `coverage.coverage`."""
        return coverage(partial(self.forms, held_out_D), partial(self.forms, train_D), threads)

    def add(self, batches: Iterable[tuple[np.ndarray, pl.Series]]) -> None:
        """Add batches of different texts. The next batch is taken while the texts of those before are hashed.

        Args:
            batches: (D,) uint64, a unique key for each text; the D texts in normal form.
        """
        hashing = minhash.Hashing(self._fingerprints, self.bands, self._least_words)
        for hashed in map_in_order(hashing, minhash.stretches(batches), self._threads):
            self._store(hashed)

    def _store(self, hashed: minhash.Hashed) -> None:
        self.store(hashed.keys, [(hashed.data, hashed.lengths)])
        self.short += int(hashed.short.sum())
        for number, keys in enumerate(np.ascontiguousarray(hashed.band_keys.T)):
            self._append(_band(number), keys)
        self.texts = self.texts + len(hashed.lengths)

    def about(self) -> dict[str, Any]:
        """Return the method with its parameters, and what the last search has done."""
        search: dict[str, Any] = {"pairs": self.examined, "shorter": self.short}
        search["method"] = "MinHash, bands, exact Jaccard of shingles"
        search["seed"] = minhash.SEED
        search["bands"] = self.bands.count
        search["rows"] = self.bands.rows
        search["recall"] = round(self.bands.recall(self._similarity), 6)
        search["similarity"] = self._similarity
        search["shingle"] = self._shingle
        return search

    def pairs(self, sides: Callable[[np.ndarray], np.ndarray] | None = None) -> pl.DataFrame:
        """Return the near-duplicates found, with the columns `PAIRS`, a < b, in ascending order.

        Pairs of kept texts on the same side are among them, all except in a crowd (see `Round`).

        Args:
            sides: Returns the side of each key as uint8, 0 for the highest priority; `ABSENT`: leave the text out. A
                text is dropped if it nearly equals a kept text of an earlier side. Each dropped text is in at least one
                returned pair, and no kept near-duplicates are on different sides. Without it, all are on one side.
        """
        if not self.texts:
            return pl.DataFrame(schema=PAIRS)

        if self.texts > MANY_TEXTS:
            log.info(
                "searching %s texts for near-duplicates: this takes some minutes", f"{self.texts:,}"
            )

        return self._search(sides)

    def _search(self, sides: Callable[[np.ndarray], np.ndarray] | None) -> pl.DataFrame:
        """Return the near-duplicates; see `pairs`."""
        bands = range(self.bands.count)
        met = map_in_order(self._buckets, bands, min(self._threads, SORTED_AT_ONCE))
        return self.compare(pl.concat(met), sides)

    def store(self, keys: np.ndarray, forms: Iterable[Forms]) -> None:
        """Write texts to the files that are compared: keys, and bytes and lengths of their word forms."""
        self._append("keys.u64", keys)
        for data, lengths in forms:
            self._append("words.utf8", data)
            self._append("offsets.u64", (self._end + np.cumsum(lengths)).astype(np.uint64))
            self._end = self._end + len(data)

    def compare(
        self, met: pl.DataFrame, sides: Callable[[np.ndarray], np.ndarray] | None
    ) -> pl.DataFrame:
        """Return the near-duplicates among stored texts that share buckets; see `pairs`.

        Args:
            met: Columns bucket and text, the number of a stored text.
        """
        self.examined = 0
        tables = [pl.DataFrame(schema=PAIRS)]
        for a, b, similarity in self._near(self._rounds(sides), met):
            first, second = (
                minhash.read_numbers(self.work / "keys.u64", np.uint64, texts) for texts in (a, b)
            )
            columns = {
                "a": np.minimum(first, second),
                "b": np.maximum(first, second),
                "similarity": similarity,
            }
            tables.append(pl.DataFrame(columns, schema=PAIRS))

        return pl.concat(tables).sort("a", "b")

    def _near(self, rounds: Iterable[Round], met: pl.DataFrame) -> Iterator[Near]:
        for each in rounds:
            yield from each.pairs(met)
            self.examined += each.examined

    def _rounds(self, sides: Callable[[np.ndarray], np.ndarray] | None) -> Iterator[Round]:
        files = self.work / "words.utf8", self.work / "offsets.u64"
        comparison = Comparison(*files, self._shingle, self._similarity)
        keys = np.fromfile(self.work / "keys.u64", np.uint64)
        if sides is None:
            side_D = np.zeros(len(keys), np.uint8)
        else:
            side_D = sides(keys)

        near_D = np.where(side_D == ABSENT, np.uint8(ABSENT), np.uint8(STAYS))
        present = np.unique(side_D[side_D != ABSENT])
        for side in [*present[:-1].tolist(), None]:
            yield Round(side_D, near_D, side, comparison)

    def _buckets(self, number: int) -> pl.DataFrame:
        """Return the texts of a band that share a bucket, as columns bucket and text."""
        return minhash.met_in_band(np.fromfile(self.work / _band(number), np.uint64), number)

    def _append(self, name: str, values: np.ndarray) -> None:
        with (self.work / name).open("ab") as out:
            values.tofile(out)


def _band(number: int) -> str:
    """Return the name of the file with the keys of a band."""
    return f"band-{number:03d}.u64"


class Comparison:
    """An exact comparison of texts by the Jaccard similarity of their shingles; their words are read from files.

    Args:
        words: File of the word forms, one after another.
        offsets: File of D + 1 uint64: where each word form begins, and where the last one ends.
        shingle: Number of words in a shingle.
        least: Least similarity of near-duplicates, |A ∩ B| / |A ∪ B|.
    """

    def __init__(
        self,
        words: Path,
        offsets: Path,
        shingle: int,
        least: float,
    ) -> None:
        self._words = words
        self._offsets = offsets
        self._fingerprints = Fingerprints(shingle)
        self._least = np.float32(least)

    def pairs(self, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the Jaccard similarity (P,) of texts a and b (P,), as float32, and which are near-duplicates (P,)."""
        if not len(a):
            return np.zeros(0, np.float32), np.zeros(0, bool)

        begin_a, end_a = self._bounds(a)
        begin_b, end_b = self._bounds(b)
        ends = np.cumsum(end_a - begin_a + end_b - begin_b)
        done = 0
        parts = []
        while done < len(a):
            before = ends[done - 1] if done else 0
            stop = max(done + 1, int(np.searchsorted(ends, before + SLICE_BYTES, side="right")))
            parts.append(self._some(a[done:stop], b[done:stop]))
            done = stop

        similarity, near = zip(*parts, strict=True)
        return np.concatenate(similarity), np.concatenate(near)

    def _some(self, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the results of `pairs`, at once."""
        texts, row = np.unique(np.concatenate([a, b]), return_inverse=True)
        similarity = _jaccard(*self._sets(texts), row[: len(a)], row[len(a) :])
        return similarity, similarity >= self._least

    def _sets(self, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the sets of shingles of the texts, one after another, and their offsets."""
        begin, end = self._bounds(texts)
        bounds = np.concatenate([[0], np.cumsum(end - begin)])
        return sets(*self._fingerprints.of(minhash.read_scattered(self._words, begin, end), bounds))

    def _bounds(self, texts: np.ndarray) -> np.ndarray:
        """Return where the words of each text begin and end, (2, D)."""
        return minhash.read_numbers(self._offsets, np.int64, np.stack([texts, texts + 1]))


def similarities(
    first: pl.Series,
    second: pl.Series,
    shingle: int,
) -> np.ndarray:
    """Return the Jaccard similarity (P,) of the shingles of two columns of texts in normal form, row by row.

    Args:
        first: P texts.
        second: P texts.
        shingle: Number of words in a shingle.
    """
    data, offsets, _ = word_bytes(*simple_bytes(pl.concat([first, second.rename(first.name)])))
    values, ends = sets(*Fingerprints(shingle).of(data, offsets))
    rows = np.arange(len(first))
    return _jaccard(values, ends, rows, rows + len(first))


def _jaccard(
    values: np.ndarray,
    offsets: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
) -> np.ndarray:
    """Return the Jaccard similarity (P,), as float32, of the sets a and b, given by their numbers; 0 of empty ones."""
    # Here, because numba's import takes half a second.
    from reviewlm.corpus.duplicates import kernels

    common = np.empty(len(a), np.int64)
    kernels.common(
        values,
        offsets,
        a,
        b,
        *hash_table(offsets),
        common,
    )
    sizes = np.diff(offsets)
    union = sizes[a] + sizes[b] - common
    return (common / np.maximum(union, 1)).astype(np.float32)


class Round:
    """One round of comparisons: the texts of one side with those of later sides, or each side within itself.

    A side is a split; sides have their rounds in order of priority. A near-duplicate of a text of an earlier side is
    dropped, and dropped texts are not compared any more. Crowds are compared block by block. The first block is small
    and already drops all similar texts, so ten thousand copies of a form letter cost about one comparison each. Within
    a side near-duplicates are kept and only counted; there a text of a crowd is compared with the next `NEIGHBOURS`
    texts of its bucket.

    Args:
        side_D: The side of each text as uint8, 0 for the highest priority, or `ABSENT`.
        near_D: For each text the side because of which it is dropped, `ABSENT`, or `STAYS`; updated during the round.
        side: The side of this round; None for each side within itself.
        comparison: Compares texts and decides which are near-duplicates.
    """

    def __init__(
        self,
        side_D: np.ndarray,
        near_D: np.ndarray,
        side: int | None,
        comparison: Comparison,
    ) -> None:
        self._side_D = side_D
        self._near_D = near_D
        self._side = side
        self._comparison = comparison
        self.examined = 0
        """Pairs compared so far."""

    def pairs(self, met: pl.DataFrame) -> Iterator[Near]:
        """Yield the near-duplicates among the texts that share buckets, some at a time.

        Args:
            met: Columns bucket and text.
        """
        texts = met["text"].to_numpy()
        table = met.with_columns(side=self._side_D[texts]).filter(self._near_D[texts] == STAYS)
        if self._side is None:
            yield from self._compare(_unique(_neighbours(table)))
            return

        both = table.filter(pl.col("side") == self._side), table.filter(pl.col("side") > self._side)
        sizes = (
            both[0]
            .group_by("bucket")
            .len()
            .join(both[1].group_by("bucket").len("others"), on="bucket")
        )
        crowded = sizes.filter(pl.col("len") * pl.col("others") > CROWD)["bucket"].implode()
        others = both[1].filter(~pl.col("bucket").is_in(crowded))
        yield from self._compare(_unique(both[0].join(others, on="bucket")))
        crowds = (
            each.filter(pl.col("bucket").is_in(crowded)).partition_by("bucket", as_dict=True)
            for each in both
        )
        protected, others_of = crowds
        for number, own in protected.items():
            yield from self._crowd(own["text"].to_numpy(), others_of[number]["text"].to_numpy())

    def _crowd(self, protected: np.ndarray, others: np.ndarray) -> Iterator[Near]:
        for start in (0, *range(_SCOUTS, len(protected), _BLOCK)):
            if start:
                some = protected[start : start + _BLOCK]
            else:
                some = protected[:_SCOUTS]

            others = others[self._near_D[others] == STAYS]
            for first in range(0, len(others), _BLOCK):
                block = others[first : first + _BLOCK]
                yield from self._compare((np.repeat(some, len(block)), np.tile(block, len(some))))

    def _compare(self, pairs: Pairs) -> Iterator[Near]:
        """Yield the pairs that are near-duplicates; in the round of a side, drop text b of each."""
        a, b = pairs
        similarity, near = self._comparison.pairs(a, b)
        self.examined += len(a)
        if near.any():
            if self._side is not None:
                self._near_D[b[near]] = self._side
            yield a[near], b[near], similarity[near]


def _unique(joined: pl.DataFrame) -> Pairs:
    """Return the pairs of text and text_right, each once whatever buckets it shares, by text."""
    pairs = joined.select("text", "text_right").unique().sort("text", "text_right")
    return pairs["text"].to_numpy(), pairs["text_right"].to_numpy()


def _neighbours(table: pl.DataFrame) -> pl.DataFrame:
    """Return the pairs of texts of one side in a bucket; in a crowd, of a text with the next `NEIGHBOURS` ones."""
    group = ["bucket", "side"]
    table = table.sort(group, maintain_order=True).with_columns(
        others=pl.len().over(group).cast(pl.Int64) - 1
    )
    crowded = pl.col("others").sum().over("bucket") > 2 * CROWD
    table = table.with_columns(
        reach=pl.when(crowded).then(pl.min_horizontal("others", NEIGHBOURS)).otherwise("others")
    )
    pairs = [table.head(0).with_columns(text_right="text")]
    for distance in range(1, 1 + int(table["reach"].to_numpy().max(initial=0))):
        near = table.filter(pl.col("reach") >= distance)
        pairs.append(
            near.with_columns(text_right=pl.col("text").shift(-distance).over(group)).drop_nulls(
                "text_right"
            )
        )

    return pl.concat(pairs)
