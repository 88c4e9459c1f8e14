"""Find near-duplicates among texts that workers hold.

Texts are hashed where they are. The keys of each band are exchanged, so that one worker sees all of a band and finds
its buckets. Texts that share a bucket with another one go to one worker, which compares them as `NearDuplicates` does:
the same pairs, in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl

from reviewlm.core.config.sections.data import DuplicatesConfig
from reviewlm.corpus.duplicates import minhash
from reviewlm.corpus.duplicates.near import NearDuplicates
from reviewlm.corpus.duplicates.node_coverage import FormsPart, coverage_on_nodes
from reviewlm.corpus.duplicates.shingles import Forms, chosen_forms
from reviewlm.models.dataflow import Dataflow

BAND_GROUPS = 8
"""Bands are exchanged in so many groups at most: each group is a result of each slice."""


class NearOnNodes(NearDuplicates):
    """A search for near-duplicates among texts on workers.

    Args:
        work: A separate folder, which stays empty; deleted and created again.
        config: Definition of near-duplicates.
        engine: Has the workers.
    """

    def __init__(self, work: Path, config: DuplicatesConfig, engine: Dataflow) -> None:
        super().__init__(work, config)
        self._config = config
        self._engine = engine
        self._forms: list[Any] = []
        self._band_keys: list[list[Any]] = []
        self._keys: list[np.ndarray] = []
        numbers = np.arange(self.bands.count)
        self._groups = np.array_split(numbers, min(BAND_GROUPS, self.bands.count))

    @property
    def keys(self) -> np.ndarray:
        """Keys (`texts`,) of the texts that are long enough to compare, in order."""
        return np.concatenate([np.zeros(0, np.uint64), *self._keys])

    def add_slices(self, slices: Iterable[tuple[Any, np.ndarray]]) -> None:
        """Add some texts of slices: references to their rows, with masks of the chosen ones."""
        engine = self._engine
        hashing = minhash.Hashing(self._fingerprints, self.bands, self._least_words)
        hashed = engine.put(partial(_hash_slice, hashing, self._groups))
        made = []
        for rows, chosen in slices:
            made.append(engine.submit(hashed, rows, chosen, results=2 + len(self._groups)))

        for keys, short in engine.fetch(one[1] for one in made):
            self._keys.append(keys)
            self.short += short
            self.texts += len(keys)

        self._forms = [one[0] for one in made]
        self._band_keys = [one[2:] for one in made]

    def _search(self, sides: Callable[[np.ndarray], np.ndarray] | None) -> pl.DataFrame:
        engine = self._engine
        met = []
        for place, numbers in enumerate(self._groups):
            keys = [one[place] for one in self._band_keys]
            met += engine.submit(_find_buckets, numbers, self.bands.count, *keys)

        together = engine.submit(_number_anew, *met, results=2)
        texts = next(engine.fetch([together[0]]))
        keys_C = self.keys[texts]
        sides_C = sides(keys_C) if sides else np.zeros(len(texts), np.uint8)
        compare = partial(_compare, self._config, keys_C, sides_C)
        made = engine.submit(compare, together[1], *self._some_forms(texts), results=2)
        pairs, self.examined = engine.fetch(made)
        return pairs

    def _some_forms(self, texts: np.ndarray) -> list[Any]:
        """Return references to the word forms of some texts, ascending."""
        ends = np.cumsum([len(keys) for keys in self._keys])
        asked = []
        for forms, keys, end in zip(self._forms, self._keys, ends, strict=True):
            start = end - len(keys)
            low, high = np.searchsorted(texts, [start, end])
            if high > low:
                asked += self._engine.submit(_choose_forms, forms, texts[low:high] - start)
        return asked

    def _masked(self, chosen_D: np.ndarray) -> list[FormsPart]:
        """Return the word forms of each slice, with the part of a mask of all texts."""
        parts = []
        start = 0
        for forms, keys in zip(self._forms, self._keys, strict=True):
            parts.append((forms, chosen_D[start : start + len(keys)]))
            start += len(keys)
        return [(forms, mask) for forms, mask in parts if mask.any()]

    def forms(self, chosen_D: np.ndarray) -> Iterator[Forms]:
        """Yield the word forms of the chosen texts: through this process."""
        for reference, mask in self._masked(chosen_D):
            for forms in self._engine.fetch([reference]):
                data, offsets = forms
                yield from chosen_forms(data, offsets, mask)

    def coverage(self, held_out_D: np.ndarray, train_D: np.ndarray, threads: int = 1) -> np.ndarray:
        """Return the coverage of some texts by others, measured by workers; see `exact.coverage`."""
        return coverage_on_nodes(self._engine, self._masked(held_out_D), self._masked(train_D))


def _hash_slice(
    hashing: minhash.Hashing, groups: list[np.ndarray], rows: pl.DataFrame, chosen: np.ndarray
) -> list[Any]:
    """Return word forms, keys with the number of short texts, and each group of bands of a slice; on a worker."""
    some = rows.select("text_high", "text").filter(pl.Series(chosen))
    texts = (some["text_high"].to_numpy(), some["text"])
    hashed = [hashing(stretch) for stretch in minhash.stretches([texts])]
    bands = hashing.bands.count
    keys = np.concatenate([np.zeros(0, np.uint64), *(one.keys for one in hashed)])
    data = np.concatenate([np.zeros(0, np.uint8), *(one.data for one in hashed)])
    lengths = np.concatenate([np.zeros(0, np.int64), *(one.lengths for one in hashed)])
    band_keys = np.concatenate(
        [np.zeros((0, bands), np.uint32), *(one.band_keys for one in hashed)]
    )
    short = sum(int(one.short.sum()) for one in hashed)
    forms = data, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return [forms, (keys, short), *(np.ascontiguousarray(band_keys[:, some].T) for some in groups)]


def _find_buckets(numbers: np.ndarray, bands: int, *keys: np.ndarray) -> list[pl.DataFrame]:
    """Return the texts that share a bucket of some bands; on a worker."""
    tables = []
    for place, number in enumerate(numbers.tolist()):
        tables.append(
            minhash.met_in_band(np.concatenate([some[place] for some in keys]), number, bands)
        )
    return [pl.concat(tables)]


def _number_anew(*met: pl.DataFrame) -> tuple[np.ndarray, pl.DataFrame]:
    """Return the texts that share buckets, ascending, and the buckets with their places among these; on a worker."""
    table = pl.concat(met)
    texts, places = np.unique(table["text"].to_numpy(), return_inverse=True)
    return texts, table.with_columns(text=places.astype(np.int64))


def _choose_forms(forms: Forms, places: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the bytes and lengths of some word forms; on a worker."""
    data, offsets = forms
    begin = offsets[places]
    end = offsets[places + 1]
    pieces = [data[low:high] for low, high in zip(begin.tolist(), end.tolist(), strict=True)]
    return [(np.concatenate(pieces), end - begin)]


def _compare(
    config: DuplicatesConfig,
    keys: np.ndarray,
    sides: np.ndarray,
    met: pl.DataFrame,
    *forms: tuple[np.ndarray, np.ndarray],
) -> tuple[pl.DataFrame, int]:
    """Return the near-duplicates among some texts, and how many pairs were compared; on a worker."""
    with TemporaryDirectory(prefix="near-") as folder:
        search = NearDuplicates(Path(folder) / "texts", config)
        search.store(keys, forms)
        return search.compare(met, lambda _: sides), search.examined
