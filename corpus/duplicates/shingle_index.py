"""Find which of some texts are near-duplicates of any of very many others, which are read once and not kept.

    index = ShingleIndex(texts, sides, config)     # the texts that are searched for
    for others, their_sides in batches:
        found |= index.compare(others, their_sides)

MinHash (`corpus.duplicates.dedupe`) compares all texts with all, and stores hashes of each. Here one side is small, so
it is indexed by its word shingles, as a search engine does (an inverted index), and nothing is left to chance.

A pair is compared if it shares enough of some shingles, the rarest ones (prefix filtering: Chaudhuri, Ganti and
Kaushik 2006; Bayardo, Ma and Srikant 2007). Say that near-duplicates of a text have at least c of its n shingles. They
lack n - c, so of any n - c + k shingles they have k. Shingles of more than `COMMON` indexed texts are not looked up.
Pairs with only such ones, and no other, are the only ones that are overlooked.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from core.config.run_config import DuplicatesConfig
from corpus.duplicates.anchors import COMMON
from corpus.duplicates.dedupe import nearness_of
from corpus.duplicates.shingles import SLICE_BYTES, Fingerprints, sets, simple_bytes, slices, word_bytes

SHARED = 4
"""Shingles, of some of the rarest, that two texts share before they are compared; of very short texts fewer."""


class ShingleIndex:
    """An index of texts by their word shingles. Several threads may call `compare` at the same time.

    Memory: about 50 bytes for each shingle of each text, and 120 while the index is made.

    Args:
        texts: The texts that are searched for (D,), in normal form.
        sides: Their sides (D,), as uint8.
        config: Definition of near-duplicates.
    """

    def __init__(self, texts: pl.Series, sides: np.ndarray, config: DuplicatesConfig) -> None:
        from corpus.duplicates import index_kernels  # here, because numba's import takes half a second

        self._fingerprints, self._least_words = Fingerprints(config.shingle), config.shingle + 2
        self._rule, self._side_D = nearness_of(config), np.asarray(sides, np.uint8)
        self.compared = 0
        """About how many pairs were compared exactly (threads do not wait for each other to count)."""
        found, sizes_D = list(self._sets(texts)), np.zeros(len(texts), np.int64)
        for chosen, _, offsets in found:
            sizes_D[chosen] = np.diff(offsets)
        self._offsets_D = np.concatenate([[0], np.cumsum(sizes_D)])
        values_P = np.concatenate([np.zeros(0, np.uint64), *(values for _, values, _ in found)])
        keys_G, groups_P = np.unique(values_P, return_inverse=True)
        counts_G, places_G = np.bincount(groups_P, minlength=len(keys_G)), np.empty(len(keys_G), np.int64)
        self._entries_T = np.zeros((1 << (2 * len(keys_G)).bit_length(), 2), np.uint64)
        self._bits_W = np.zeros(max(1, len(self._entries_T) // 8), np.uint64)  # 6 % of other fingerprints pass
        index_kernels.place_keys(keys_G, self._entries_T, self._bits_W, places_G)
        self._places_P = places_G[groups_P].astype(np.int32)
        chosen_P, self._needed_D = self._chosen(sizes_D, counts_G[groups_P])
        owner_P = np.repeat(np.arange(len(texts), dtype=np.int32), sizes_D)
        self._texts_P = owner_P[np.lexsort((~chosen_P, groups_P))]
        entries = np.cumsum(counts_G) - counts_G  # where the texts of each fingerprint begin
        entries |= np.bincount(groups_P[chosen_P], minlength=len(keys_G)) << 32
        self._entries_T[places_G, 1] = entries | (np.minimum(counts_G, COMMON + 1) << 48)

    def _chosen(self, sizes_D: np.ndarray, counts_P: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Choose the shingles of each text by which a longer text that contains it is found.

        Args:
            sizes_D: Number of shingles of each text.
            counts_P: Number of texts that have each of these.

        Returns:
            Mask of the chosen shingles (P,), and how many of them a text has that contains text D.
        """
        from corpus.duplicates import index_kernels  # here, because numba's import takes half a second

        common_D = np.ceil(self._rule.containment * sizes_D * (1 - 1e-6)).astype(np.int64)  # not above it by rounding
        shared_D = np.minimum(SHARED, common_D)
        possible_D = (common_D <= sizes_D) & (sizes_D >= self._rule.least)
        wanted_D = np.where(possible_D, sizes_D - common_D + shared_D, 0)
        chosen_P = np.zeros(len(counts_P), bool)
        index_kernels.rarest(counts_P, self._offsets_D, wanted_D, COMMON, chosen_P)
        taken_D = np.diff(np.concatenate([[0], np.cumsum(chosen_P)])[self._offsets_D])
        needed_D = np.maximum(1, shared_D - (wanted_D - taken_D))  # each one that is too frequent may be shared
        return chosen_P, np.where(taken_D > 0, needed_D, np.iinfo(np.int64).max)

    def compare(self, texts: pl.Series, sides: np.ndarray) -> np.ndarray:
        """Return a mask (D,) of the indexed texts with a near-duplicate among *texts* that is on a later side.

        Args:
            texts: Any texts (A,), in normal form.
            sides: Their sides (A,).
        """
        from corpus.duplicates import index_kernels  # here, because numba's import takes half a second

        rule, count = self._rule, len(self._side_D)
        near, shared, touched = np.zeros(count, bool), np.zeros(count, np.int64), np.empty(count + 1, np.int64)
        for chosen, values, offsets in self._sets(texts):
            self.compared += index_kernels.find_near(
                values, offsets, np.asarray(sides[chosen], np.uint8), self._bits_W, self._entries_T, self._texts_P,
                self._places_P, self._offsets_D, self._side_D, self._needed_D, min(rule.similarity, rule.containment),
                SHARED, COMMON, np.float32(rule.similarity), float(rule.containment), rule.least, shared, touched, near,
            )  # fmt: skip
        return near

    def _sets(self, texts: pl.Series) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield, for stretches of the texts: the numbers of those with enough words, their shingles, and offsets."""
        data, offsets = simple_bytes(texts)
        for part in slices(offsets, 2 * SLICE_BYTES):  # measured with two threads: 5 % faster than one
            ends = offsets[part.start : part.stop + 1]
            forms, bounds, words = word_bytes(data[ends[0] : ends[-1]], ends - ends[0], self._least_words)
            chosen = part.start + np.flatnonzero(words >= self._least_words)
            yield chosen, *sets(*self._fingerprints.of(forms, bounds))
