"""Find near-duplicates among texts that workers hold.

Texts are hashed where they are. The keys of their bands are exchanged by ranges, so that one worker sees all equal keys,
which are a bucket. Texts that share buckets, directly or by a chain, go to one worker, which compares them as
`NearDuplicates` does: the same pairs, in the same order. No text outside can change what is found among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from reviewlm.core.config.sections.data import DuplicatesConfig
from reviewlm.corpus.duplicates import minhash
from reviewlm.corpus.duplicates.exact import cut_ranges, ranges_for
from reviewlm.corpus.duplicates.near import NearDuplicates
from reviewlm.corpus.duplicates.node_coverage import FormsPart, coverage_on_nodes
from reviewlm.corpus.duplicates.shingles import Forms, chosen_forms
from reviewlm.models.dataflow import Dataflow


class RangeKeys(NamedTuple):
    """Keys of texts in a range: those of the first band, then of the next.

    Attributes:
        keys: The keys.
        texts: Number of the text of each, in its slice.
        counts: How many are of each band.
    """

    keys: np.ndarray
    texts: np.ndarray
    counts: np.ndarray


class NearOnNodes(NearDuplicates):
    """A search for near-duplicates among texts on workers.

    Args:
        work: A separate folder, which stays empty; deleted and created again.
        config: Definition of near-duplicates.
        engine: Has the workers.
    """

    def __init__(
        self,
        work: Path,
        config: DuplicatesConfig,
        engine: Dataflow,
    ) -> None:
        super().__init__(work, config)
        self._config = config
        self._engine = engine
        self._forms: list[Any] = []
        self._ranges: list[list[Any]] = []
        self._keys: list[np.ndarray] = []
        self._parts = ranges_for(engine.workers())  # of keys, and groups of texts to compare

    @property
    def keys(self) -> np.ndarray:
        """Keys (`texts`,) of the texts that are long enough to compare, in order."""
        return np.concatenate([np.zeros(0, np.uint32), *self._keys])

    def add_slices(self, slices: Iterable[tuple[Any, np.ndarray]]) -> None:
        """Add some texts of slices, one after another: references to their rows, with masks of the chosen ones.

        The key of a text is the number of its row, from the first slice on.
        """
        engine = self._engine
        hashing = minhash.Hashing(self._fingerprints, self.bands, self._least_words)
        hashed = engine.put(partial(_hash_slice, hashing, self._parts))
        made = []
        start = 0
        for rows, chosen in slices:
            made.append(
                engine.submit(
                    hashed,
                    rows,
                    chosen,
                    start,
                    results=2 + self._parts,
                )
            )
            start += len(chosen)

        for keys, short in engine.fetch(one[1] for one in made):
            self._keys.append(keys)
            self.short += short
            self.texts += len(keys)

        self._forms = [one[0] for one in made]
        self._ranges = [one[2:] for one in made]

    def _search(self, sides: Callable[[np.ndarray], np.ndarray] | None) -> pl.DataFrame:
        engine = self._engine
        starts = np.cumsum([0, *(len(keys) for keys in self._keys)])
        met = []
        for place in range(self._parts):
            find = partial(_find_buckets, place, self._parts, starts)
            met += engine.submit(find, *(one[place] for one in self._ranges))

        together = engine.submit(partial(_group_texts, self._parts), *met, results=2 * self._parts)
        groups = list(engine.fetch(together[: self._parts]))
        forms = self._forms_of(groups, starts)
        keys = self.keys
        compared = []
        for texts, of_group, some in zip(groups, together[self._parts :], forms, strict=True):
            keys_C = keys[texts].astype(np.uint64)
            sides_C = sides(keys_C) if sides else np.zeros(len(texts), np.uint8)
            compare = partial(_compare, self._config, keys_C, sides_C)
            compared.append(engine.submit(compare, of_group, *some, results=2))

        self.examined = sum(engine.fetch(one[1] for one in compared))
        return pl.concat(engine.fetch(one[0] for one in compared)).sort("a", "b")

    def _forms_of(self, groups: Sequence[np.ndarray], starts: np.ndarray) -> list[list[Any]]:
        """Return references to the word forms of groups of texts, ascending."""
        asked: list[list[Any]] = [[] for _ in groups]
        for forms, start, end in zip(self._forms, starts[:-1], starts[1:], strict=True):
            places = []
            for texts in groups:
                low, high = np.searchsorted(texts, [start, end])
                places.append(texts[low:high] - start)
            if any(map(len, places)):
                chosen = self._engine.submit(_choose_forms, forms, places, results=len(places))
                for group, one in zip(asked, chosen, strict=True):
                    group.append(one)
        return asked

    def _mask_slices(self, chosen_D: np.ndarray) -> list[FormsPart]:
        """Return the word forms of each slice, with the part of a mask of all texts."""
        parts = []
        start = 0
        for forms, keys in zip(self._forms, self._keys, strict=True):
            parts.append((forms, chosen_D[start : start + len(keys)]))
            start += len(keys)
        return [(forms, mask) for forms, mask in parts if mask.any()]

    def forms(self, chosen_D: np.ndarray) -> Iterator[Forms]:
        """Yield the word forms of the chosen texts: through this process."""
        for reference, mask in self._mask_slices(chosen_D):
            for forms in self._engine.fetch([reference]):
                data, offsets = forms
                yield from chosen_forms(data, offsets, mask)

    def coverage(
        self,
        held_out_D: np.ndarray,
        train_D: np.ndarray,
        threads: int = 1,
    ) -> np.ndarray:
        """Return the coverage of some texts by others, measured by workers; see `coverage.coverage`."""
        return coverage_on_nodes(
            self._engine, self._mask_slices(held_out_D), self._mask_slices(train_D)
        )


def _hash_slice(
    hashing: minhash.Hashing,
    ranges: int,
    rows: pl.DataFrame,
    chosen: np.ndarray,
    start: int,
) -> list[Any]:
    """Return word forms, keys with the number of short texts, and each range of bands' keys of a slice; on a worker."""
    texts = rows["text"].filter(pl.Series(chosen))
    numbers = np.flatnonzero(chosen) + start
    hashed = [hashing(stretch) for stretch in minhash.stretches([(numbers, texts)])]
    bands = hashing.bands.count
    keys = np.concatenate([np.zeros(0, np.uint64), *(one.keys for one in hashed)])
    keys = keys.astype(np.uint32)
    data = np.concatenate([np.zeros(0, np.uint8), *(one.data for one in hashed)])
    lengths = np.concatenate([np.zeros(0, np.int64), *(one.lengths for one in hashed)])
    band_keys = np.concatenate(
        [np.zeros((0, bands), np.uint64), *(one.band_keys for one in hashed)]
    )
    short = sum(int(one.short.sum()) for one in hashed)
    forms = data, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return [forms, (keys, short), *_cut_keys(band_keys, ranges)]


def _cut_keys(band_keys: np.ndarray, ranges: int) -> list[RangeKeys]:
    """Return the keys (D, bands) of a slice in each range."""
    texts, bands = band_keys.shape
    keys = band_keys.T.ravel()
    parts = []
    for places in cut_ranges(keys, ranges):
        band, text = np.divmod(places, max(1, texts))
        counts = np.bincount(band, minlength=bands)
        parts.append(RangeKeys(keys[places], text.astype(np.uint32), counts))
    return parts


def _find_buckets(
    place: int,
    ranges: int,
    starts: np.ndarray,
    *slices: RangeKeys,
) -> list[pl.DataFrame]:
    """Return the texts that share a bucket of any band whose key is in a range, by their numbers; on a worker."""
    ends = [np.cumsum(one.counts) for one in slices]
    tables = []
    for band in range(len(slices[0].counts)):
        keys = []
        texts = []
        for one, end, start in zip(slices, ends, starts, strict=False):
            stretch = slice(end[band] - one.counts[band], end[band])
            keys.append(one.keys[stretch])
            texts.append(one.texts[stretch].astype(np.int64) + start)

        met = minhash.met_in_band(np.concatenate(keys), band * ranges + place)
        numbers = np.concatenate(texts)[met["text"].to_numpy()]
        tables.append(met.with_columns(text=numbers))
    return [pl.concat(tables)]


def _group_texts(parts: int, *met: pl.DataFrame) -> list[Any]:
    """Put texts that share buckets, directly or by a chain, into one of some groups; on a worker.

    Returns:
        The texts of each group, ascending; then the buckets of each, with places among these.
    """
    from scipy.sparse import coo_array  # here, because the import takes a third of a second
    from scipy.sparse.csgraph import connected_components

    table = pl.concat(met).sort("bucket", maintain_order=True)
    texts, places = np.unique(table["text"].to_numpy(), return_inverse=True)
    first = table.select(pl.col("text").first().over("bucket"))["text"].to_numpy()
    edges = np.searchsorted(texts, first), places
    graph = coo_array((np.ones(len(places), np.int8), edges), shape=(len(texts),) * 2)
    chain = connected_components(graph, directed=False)[1]
    before = np.cumsum(np.bincount(chain[places], minlength=1))  # of rows: about the work
    group = ((before - 1) * parts // max(1, len(places)))[chain] if len(texts) else chain
    groups = [texts[group == number] for number in range(parts)]
    buckets = []
    for number in range(parts):
        rows = table.filter(pl.Series(group[places] == number, dtype=pl.Boolean))
        where = np.searchsorted(groups[number], rows["text"].to_numpy())
        buckets.append(rows.with_columns(text=where.astype(np.int64)))
    return [*groups, *buckets]


def _choose_forms(forms: Forms, places: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the bytes and lengths of some groups of word forms; on a worker."""
    data, offsets = forms
    chosen = []
    for group in places:
        begin = offsets[group]
        end = offsets[group + 1]
        pieces = [np.zeros(0, np.uint8)]
        for low, high in zip(begin.tolist(), end.tolist(), strict=True):
            pieces.append(data[low:high])
        chosen.append((np.concatenate(pieces), end - begin))
    return chosen


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
